"""A small random BERT in Hugging Face's layout, as tests write it and transformers reads it."""

import json

import numpy as np

LAYERS, WIDTH, HEADS, INNER, POSITIONS = 2, 32, 4, 48, 24
SPECIAL = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz.!'", *(f"##{each}" for each in "abcdefgilnorsuvy")]
PIECES += [
    "the",
    "film",
    "bad",
    "good",
    "word",
    "##word",
    "##ness",
    "un",
    "##believ",
    "##ably",
    "7",
]
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": len(PIECES),
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 0,
}


def tensors(prefix="", norm=("weight", "bias"), dtype=np.float32):
    """Name -> tensor, drawn in the order of the names; no pooler."""
    shapes = {
        "embeddings.word_embeddings.weight": (len(PIECES), WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(LAYERS):
        start = f"encoder.layer.{number}."
        maps = dict.fromkeys(("attention.self.query", "attention.self.key"), (WIDTH, WIDTH))
        maps |= dict.fromkeys(("attention.self.value", "attention.output.dense"), (WIDTH, WIDTH))
        maps |= {"intermediate.dense": (INNER, WIDTH), "output.dense": (WIDTH, INNER)}
        for name, shape in maps.items():
            shapes |= {f"{start}{name}.weight": shape, f"{start}{name}.bias": shape[:1]}
        norms += [f"{start}attention.output.LayerNorm", f"{start}output.LayerNorm"]
    random = np.random.default_rng(5)
    found = {name: random.uniform(-0.5, 0.5, shape) for name, shape in shapes.items()}
    for each in norms:
        found[f"{each}.{norm[0]}"] = random.uniform(0.5, 1.5, WIDTH)
        found[f"{each}.{norm[1]}"] = random.uniform(-0.5, 0.5, WIDTH)
    return {prefix + name: each.astype(dtype) for name, each in found.items()}


def write_folder(folder, config=None, found=None, words="vocab.txt"):
    """The folder with the three files; words  "vocab.txt" or "tokenizer.json"."""
    from safetensors.numpy import save_file

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    save_file(tensors() if found is None else found, str(folder / "model.safetensors"))
    if words == "vocab.txt":
        (folder / "vocab.txt").write_text("\n".join(PIECES))
        (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    else:
        from tokenizers.implementations import BertWordPieceTokenizer

        vocabulary = {piece: number for number, piece in enumerate(PIECES)}
        BertWordPieceTokenizer(vocabulary, lowercase=True).save(str(folder / words))
    return folder


TEXTS = {  # as people write them; letters that are no piece, and capitals, are among them
    "single": ["The unbelievably bad film!", "Isn't it good?", "A fílm, wordword 77."],
    "pair": [("the film", "unbelievably good!"), ("Bad", "wordword isn't GOOD."), ("a", "the")],
    "cased": ["The film isn't bad", "the film"],
}


def write_classifier(folder, labels=("negative", "positive"), cased=False, leave=(), config=None):
    """A `BertForSequenceClassification`, with these classes; leave  tensors that it lacks."""
    random = np.random.default_rng(6)
    shapes = {"bert.pooler.dense": (WIDTH, WIDTH), "classifier": (len(labels), WIDTH)}
    found = tensors("bert.")
    for name, shape in shapes.items():
        found[f"{name}.weight"] = random.uniform(-0.5, 0.5, shape).astype(np.float32)
        found[f"{name}.bias"] = random.uniform(-0.5, 0.5, shape[:1]).astype(np.float32)
    found = {name: each for name, each in found.items() if name not in leave}
    names = {str(number): name for number, name in enumerate(labels)}
    more = {"architectures": ["BertForSequenceClassification"], "id2label": names}
    more["label2id"] = {name: number for number, name in enumerate(labels)}
    write_folder(folder, {**more, **(config or {})}, found)
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": not cased}))
    return folder
