"""A data set and a model small enough that whole trainings are tests."""

import itertools
import json
import pathlib
import tempfile
from functools import cache

import numpy as np

from attnjax.config import from_config_dict
from attnjax.data.dataset import load_dataset
from attnjax.model.stages import build_stages

LETTERS = "abcdefghijklmnop"


def write_small_data(folder, train=44, other=24, words=16):
    """Sentences of 3 to 12 words out of so many, beside one that says the label."""
    random = np.random.default_rng(0)
    names = ["".join(pair) for pair in itertools.product(("", *LETTERS), LETTERS)][:words]
    folder.mkdir(exist_ok=True)
    for name, count in (("train", train), ("validation", other), ("test", other)):
        lines = []
        for _ in range(count):
            label = int(random.integers(2))
            text = [f"word{name}" for name in random.choice(names, random.integers(3, 12))]
            text.insert(int(random.integers(len(text))), ("bad", "good")[label])
            lines.append(json.dumps({"text": " ".join(text), "label": label}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


@cache
def small_dataset(technique="attention_at", encoder="average", buckets=1, words=16):
    """(config, data set): 6 steps an epoch, 2 epochs."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_small_data(pathlib.Path(folder) / "data", words=words)
        config = from_config_dict(
            {
                "task": "classification",
                "data": {"source": "files", "path": str(data), "buckets": buckets},
                "model": {
                    "encoder": encoder,
                    "embed_dim": 6,
                    "hidden_dim": 4,
                    "embed_scale": 1.0,
                },
                "train": {"batch_size": 8, "epochs": 2, "learning_rate": 0.03, "log_steps": 4},
                "adversary": {"technique": technique, "neighbours": 3},
            }
        )
        return config, load_dataset(config)


def small_stages(config, dataset):
    """The stages of the configured model."""
    return build_stages(
        config.model, words=len(dataset.vocabulary), classes=len(dataset.labels), pair=dataset.pair
    )
