"""A pretrained model's states and self-attention here and in transformers: the largest difference.

In an environment with torch and transformers:
python benchmarks/peers/torch_bert.py --folder=DIR --out=states.npz
Here: python benchmarks/bert_parity.py --path=DIR --data=states.npz [--out=FILE]

DIR is a BERT in Hugging Face's layout. Texts of several lengths, and pairs, are one padded batch
here and go through transformers one by one. 1e-5 is the bar in float32, 1e-12 in float64.
"""

import argparse
import ast
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from attnjax.config import ModelConfig
from attnjax.data.batches import EncodedSplit, Shapes, evaluation_batches
from attnjax.data.examples import Tokenized
from attnjax.data.pieces import pieces_of, read_reader
from attnjax.data.vocabulary import Vocabulary
from attnjax.model import bert
from attnjax.model.pretrained import read_weights
from attnjax.model.stages import build_stages
from benchmarks.record import command_line, machine

PEER = pathlib.Path(__file__).parent / "peers" / "torch_bert.py"


def peers_texts() -> tuple[list[str], list[str]]:
    """TEXTS and PAIRS of the peer's script, which needs torch to be imported."""
    tree = ast.parse(PEER.read_text())
    named = {
        each.targets[0].id: ast.literal_eval(each.value)
        for each in tree.body
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name)
    }
    return named["TEXTS"], named["PAIRS"]


def differences(folder: str, expected: dict[str, np.ndarray], dtype: str, pair: bool):
    """The largest differences of "states" and "attention", over layers and texts."""
    texts, pairs = peers_texts()
    words = [
        Tokenized(text.split(), query.split() if pair else None)
        for text, query in zip(texts, pairs, strict=True)
    ]
    reader = read_reader(folder)
    vocabulary = Vocabulary.build(part for each in words for part in each if part is not None)
    pieces = pieces_of(reader, vocabulary, words)
    config = ModelConfig(encoder="bert", pretrained=folder)
    stages = build_stages(config, words=len(vocabulary), classes=2, pair=pair, pieces=pieces)
    table, weights = read_weights(reader.geometry)
    params = {"embed": table, "encode": {"text": weights}}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
    query = [vocabulary.ids(each.query or []) for each in words] if pair else None
    tokens = [vocabulary.ids(each.text) for each in words]
    split = EncodedSplit(tokens, query, np.zeros(len(words), np.int32), None)
    (batch,) = evaluation_batches(split, Shapes((40,), (20,) if pair else ()), len(words))
    layers = jax.jit(lambda p, b: stages.layers(p, stages.embed(p, b), b, "text"))(params, batch)
    laid = bert.lay(pieces, batch)
    found = {"states": 0.0, "attention": 0.0}
    for place, row in enumerate(batch.rows.tolist()):
        name, count = f"{dtype}_{'pair' if pair else 'single'}_{row}", int(laid.real[place].sum())
        if count != len(expected[f"{name}_ids"]):
            raise SystemExit(f"text {row}: {count} pieces, not {len(expected[f'{name}_ids'])}")
        states = [layers[0].inputs, *(each.states for each in layers)]
        for kind, ours in (
            ("states", np.stack([np.asarray(each[place, :count]) for each in states])),
            ("attention", np.stack([np.asarray(e.weights[place]) for e in layers])),
        ):
            ours = ours if kind == "states" else ours[:, :, :count, :count]
            far = np.abs(ours - expected[f"{name}_{kind}"]).max()
            found[kind] = max(found[kind], float(far))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--path", required=True, help="of the model")
    parser.add_argument("--data", required=True, help="what peers/torch_bert.py wrote")
    parser.add_argument("--out", help="JSON file for the record")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    expected = dict(np.load(options.data))
    record = {
        "command": command_line(),
        "machine": machine(),
        "peer": dict(zip(("torch", "transformers"), expected["versions"].tolist(), strict=True)),
        "largest_difference": {
            dtype: {
                "pairs" if pair else "single texts": differences(
                    options.path, expected, dtype, pair
                )
                for pair in (False, True)
            }
            for dtype in ("float32", "float64")
        },
    }
    print(json.dumps(record, indent=1))
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
