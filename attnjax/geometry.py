"""What is known of a pretrained BERT before its weights are read, and of words as its pieces."""

from typing import Any, NamedTuple

import numpy as np

from attnjax.errors import UserError, suggest
from attnjax.workdir import absolute, read_json

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
REFUSED = {  # model_type -> what is different
    "distilbert": "it has no segments, and other names",
    "roberta": "its places start at 2, and its pieces are bytes",
}
CLASSIFIER = "BertForSequenceClassification"
SHAPE = {
    "vocab_size": int,
    "hidden_size": int,
    "num_hidden_layers": int,
    "num_attention_heads": int,
    "intermediate_size": int,
    "max_position_embeddings": int,
    "type_vocab_size": int,
    "hidden_act": str,
    "layer_norm_eps?": float,
}
LEAST_POSITIONS = 5  # a pair of words, and three markers


class Geometry(NamedTuple):
    """Sizes of a BERT, as its config.json has them.

    folder     where it lies; rows  of its table of word pieces
    inner      width between the two maps after self-attention
    positions  pieces of the longest text, its two or three markers included
    epsilon    of layer norm; act  what stands between the two maps
    """

    folder: str
    rows: int
    width: int
    layers: int
    heads: int
    inner: int
    positions: int
    segments: int
    epsilon: float
    act: str


class Classes(NamedTuple):
    """The classes of a classifier trained elsewhere, in the order of its logits.

    named  False where they have no names but LABEL_0, LABEL_1 and so on
    """

    names: tuple[str, ...]
    named: bool


class Pieces(NamedTuple):
    """Which pieces of a pretrained model a vocabulary's words are made of.

    ids   [words, most] rows of its table, -1 beyond a word's last piece; <sos> and <eos> are its
          markers, padding has none
    room  room[n] is the number of pieces of the longest text of at most n tokens; empty where no
          text is known, and then a text may have any
    """

    geometry: Geometry
    ids: np.ndarray
    room: tuple[int, ...] = ()

    @property
    def most(self) -> int:
        """Pieces of the word that has most."""
        return self.ids.shape[1]

    def places(self, *lengths: int) -> int:
        """Pieces that a text of so many tokens, or a pair of such, may have in all."""

        def of(length: int) -> int:
            whole = length * self.most
            return min(whole, self.room[min(length, len(self.room) - 1)]) if self.room else whole

        return min(sum(map(of, lengths)), self.geometry.positions)


def read_geometry(path: str) -> Geometry:
    """The sizes of the model in this folder, from its config.json.

    Raises UserError where there is none, or where it is of another architecture than BERT.
    """
    folder = absolute(path)
    if not folder.is_dir():
        raise UserError(
            f"model.pretrained: there is no folder {folder}; say where it is with "
            "--config.model.pretrained=DIR"
        )
    file = folder / "config.json"
    if not file.exists():
        raise UserError(
            f"model.pretrained: {folder} has no config.json; give the folder of a BERT, with "
            "config.json, model.safetensors and tokenizer.json"
        )
    said = read_json(file, dict)
    kind = said.get("model_type")
    if kind != "bert":
        why = f": {REFUSED[kind]}" if kind in REFUSED else ""
        raise UserError(
            f"model.pretrained: {file} has model_type={kind!r}{why}; the encoder 'bert' reads "
            "models of type 'bert'"
        )
    _check(said, file)
    return Geometry(
        str(folder),
        said["vocab_size"],
        said["hidden_size"],
        said["num_hidden_layers"],
        said["num_attention_heads"],
        said["intermediate_size"],
        said["max_position_embeddings"],
        said["type_vocab_size"],
        float(said.get("layer_norm_eps", 1e-12)),
        said["hidden_act"],
    )


def _check(said: dict[str, Any], file: Any) -> None:
    """Raises UserError where a BERT's config.json says what no BERT has, or none that is read."""
    read_json(file, SHAPE)
    positions = said.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise UserError(
            f"model.pretrained: {file} has position_embedding_type={positions!r:.40}; only "
            "'absolute' is read"
        )
    if said["hidden_act"] not in ACTIVATIONS:
        raise UserError(
            f"model.pretrained: {file} has hidden_act={said['hidden_act']!r:.40}"
            f"{suggest(said['hidden_act'], ACTIVATIONS)}"
        )
    for name, kind in SHAPE.items():
        least = LEAST_POSITIONS if name == "max_position_embeddings" else 1
        if kind is int and said[name] < least:
            raise UserError(f"model.pretrained: {file} has {name}={said[name]}; restore the file")
    epsilon = float(said.get("layer_norm_eps", 1e-12))
    if not 0 < epsilon < 1:
        raise UserError(f"model.pretrained: {file} has layer_norm_eps={epsilon}; restore the file")
    if said.get("is_decoder"):
        raise UserError(
            f"model.pretrained: {file} has is_decoder=true: its words do not see those after them, "
            "and the encoder 'bert' reads models whose words see all"
        )
    width, heads = said["hidden_size"], said["num_attention_heads"]
    if width % heads:
        raise UserError(
            f"model.pretrained: {file} has hidden_size={width}, which {heads} heads cannot share "
            "evenly; restore the file"
        )


def read_classes(path: str) -> Classes:
    """The classes of the classifier in this folder, from its config.json.

    Raises UserError where it is no classifier of one class a text.
    """
    file = absolute(path) / "config.json"
    read_json(file, {"architectures?": list, "num_labels?": int})
    said = read_json(file, dict)
    kinds = said.get("architectures") or [CLASSIFIER]
    if CLASSIFIER not in kinds:
        raise UserError(no_head(path, f"{file} has architectures={kinds!r:.80}, no {CLASSIFIER}"))
    problem = said.get("problem_type") or "single_label_classification"
    named = said.get("id2label") or {
        str(number): f"LABEL_{number}" for number in range(said.get("num_labels", 2))
    }
    try:
        names = tuple(str(named[str(number)]) for number in range(len(named)))
    except (KeyError, TypeError) as error:
        raise UserError(
            f"model.pretrained: {file} has id2label={named!r:.80}, which must name the classes 0, "
            "1 and so on; restore the file"
        ) from error
    if len(names) < 2 or problem != "single_label_classification":
        what = f"problem_type={problem!r:.40}" if len(names) > 1 else "one label, a regression"
        raise UserError(
            f"model.pretrained: {file} has {what}; only classifiers that choose one of several "
            "classes are read"
        )
    if len(set(names)) < len(names):
        raise UserError(
            f"model.pretrained: {file} names two classes alike in id2label ({', '.join(names)}); "
            "give each a name of its own"
        )
    return Classes(names, any(name != f"LABEL_{k}" for k, name in enumerate(names)))


def no_head(path: str, why: str) -> str:
    """What is told of a folder whose model is no classifier."""
    return (
        f"model.pretrained: {why}; to train a classifier on its encoder here: attnjax train "
        f"--config.model.encoder=bert --config.model.pretrained={path} "
        "--config.task=classification --config.data.source=files --config.data.path=DATA"
    )


def missing_extra(name: str) -> UserError:
    """The error where a library of the extra is not installed."""
    return UserError(
        f"model.encoder='bert' needs the library {name}, which is not installed; "
        "pip install 'attnjax[bert]'"
    )


def agree(model: Any, geometry: Geometry, defaults: Any, pair: bool) -> dict[str, Any]:
    """Fields of a `config.ModelConfig` -> what the folder's model has.

    Raises UserError where the configuration says otherwise, defaults left aside, and for pairs
    where the model has one segment.
    """
    if pair and geometry.segments < 2:
        raise UserError(
            f"model.pretrained: {geometry.folder} has one segment (type_vocab_size in its "
            "config.json), and pairs have two; take a model that reads pairs"
        )
    found = {
        "embed_dim": geometry.width,
        "hidden_dim": geometry.width,
        "layers": geometry.layers,
        "heads": geometry.heads,
        "feedforward": geometry.inner,
        "norm": "post",
    }
    for name, value in found.items():
        given = getattr(model, name)
        if given not in (value, getattr(defaults, name)):
            raise UserError(
                f"model.{name}={given!r} is at odds with {geometry.folder}, whose model has "
                f"{value!r}; leave it out"
            )
    return found
