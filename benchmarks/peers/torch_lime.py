"""The lime package driving the PyTorch twin of the model, text by text.

python -m benchmarks.peers.torch_lime FILE SAMPLES   serves rounds, see benchmarks/worker.py

FILE is an .npz of the model's parameters, by path, and "tokens" [texts, length], 0 on padding. A
text is handed to lime as its ids, each with its position, so that every word is a feature of its
own and what lime removes is removed: the text closes up.
"""

import os
import sys
from typing import Any

import numpy as np
import torch
from lime.lime_text import LimeTextExplainer

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from benchmarks.peers.torch_analysis import EOS, Classifier, batches
from benchmarks.worker import serve

SOS = 2


def nested(stored: Any) -> dict[str, Any]:
    """{"a/b": array} -> {"a": {"b": array}}, without the tokens."""
    tree: dict[str, Any] = {}
    for path in stored.files:
        *folders, name = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = stored[path]
    return tree


def probabilities(model: Classifier, texts: list[str]) -> np.ndarray:
    """[texts, 2] of texts as lime writes them: "17_0 905_1"."""
    ids = [
        np.array([SOS, *(int(each.split("_")[0]) for each in text.split()), EOS]) for text in texts
    ]
    found = np.zeros(len(texts))
    with torch.no_grad():
        for batch in batches(ids):
            found[batch.rows] = model(batch)[2].numpy()
    return np.stack([1 - found, found], axis=1)


def main() -> None:
    stored = np.load(sys.argv[1])
    model, samples = Classifier(nested(stored)), int(sys.argv[2])
    rows = [row[(row > EOS)] for row in stored["tokens"]]
    texts = [" ".join(f"{word}_{place}" for place, word in enumerate(row)) for row in rows]
    explainer = LimeTextExplainer(
        class_names=["0", "1"], split_expression=" ", feature_selection="none", random_state=0
    )

    def run() -> None:
        for text, row in zip(texts, rows, strict=True):
            explainer.explain_instance(
                text,
                lambda each: probabilities(model, each),
                num_features=len(row),
                num_samples=samples,
            )

    serve(run, {"texts": len(texts)})


if __name__ == "__main__":
    main()
