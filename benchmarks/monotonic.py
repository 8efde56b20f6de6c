"""Models with listed words beside the same without: accuracy, and edits that lower a score.

python benchmarks/monotonic.py --data=DIR --words=DIR [--config=sst] [--seeds=3] [--edits=10000]
    [--encoder=bilstm] [--hidden=128] [--train=-1] [--cut=-1] [--epochs=4] [--out=FILE]

DIR of --data has {train,test}.jsonl(.gz) with text and label, of SST or another set whose class 1
is the positive one; --cut keeps so many words of a text. DIR of --words has SST's train.jsonl(.gz)
with the lists tokens and word_sentiment, people's label of each word from -2 to 2. Of a word's
labels in train the mean is its strength, and the mean's sign its sign; "signs" is a model that is
given the signs alone. An edit of a test text puts in one more + word or takes out a - word
("more"), or puts a stronger + word in the place of a weaker one ("stronger", which signs alone do
not promise): none may lower the probability of class 1.
"""

import argparse
import collections
import importlib
import json
import logging
import os
import pathlib
import statistics
import sys
import tempfile
from typing import Any

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import attnjax
from attnjax.data.lines import read_json_rows
from attnjax.data.listed import listed_of
from attnjax.data.tokens import tokenize
from attnjax.model import monotonic
from benchmarks.record import command_line, machine

LEAST = 0.5  # size of a mean label from which on a word is listed
SLACK = 1e-6  # of the probability: what rounding may do
SCORES = ("accuracy", "auc", "loss")


def lexicon(folder: pathlib.Path) -> dict[str, float]:
    """Word -> the mean of its labels in train, of words whose mean label is of that size."""
    labels: dict[str, list[int]] = collections.defaultdict(list)
    (path,) = folder.glob("train.jsonl*")
    for _, row in read_json_rows(path):
        for token, label in zip(row["tokens"], row["word_sentiment"], strict=True):
            words = tokenize(token)
            if len(words) == 1:
                labels[words[0]].append(label)
    means = {word: statistics.fmean(each) for word, each in labels.items()}
    return {word: mean for word, mean in means.items() if abs(mean) >= LEAST}


def write_list(words: dict[str, float], strengths: bool, path: pathlib.Path) -> str:
    """The file of `model.monotonic`."""
    lines = [
        f"{word} {1 if mean > 0 else -1}" + (f" {abs(mean):.4f}" if strengths else "")
        for word, mean in words.items()
    ]
    path.write_text("\n".join(lines))
    return str(path)


def edits(
    texts: list[list[str]], words: dict[str, float], count: int
) -> dict[str, list[tuple[str, str]]]:
    """Kind -> (before, after) of random edits that may not lower the score; see the head."""
    random = np.random.default_rng(0)
    plus = sorted((word for word, mean in words.items() if mean > 0), key=lambda word: words[word])
    minus = sorted(word for word, mean in words.items() if mean < 0)
    found: dict[str, list[tuple[str, str]]] = {"more": [], "stronger": []}
    for number in range(count):
        before = list(texts[int(random.integers(len(texts)))])
        place, after = int(random.integers(len(before) + 1)), list(before)
        if number % 3 == 0:
            after.insert(place, plus[int(random.integers(len(plus)))])
        elif number % 3 == 1:
            before.insert(place, minus[int(random.integers(len(minus)))])
        else:
            low, high = sorted(int(k) for k in random.integers(len(plus), size=2))
            before.insert(place, plus[low])
            after.insert(place, plus[high])
        kind = "stronger" if number % 3 == 2 else "more"
        found[kind].append((" ".join(before), " ".join(after)))
    return found


def trained(options: argparse.Namespace, seed: int, path: str, folder: str) -> Any:
    """The run."""
    config: Any = importlib.import_module(f"configs.{options.config}").get_config()
    config.data.source, config.data.path, config.seed = "files", options.data, seed
    config.data.train_examples, config.data.max_length = options.train, options.cut
    config.model.encoder, config.model.hidden_dim = options.encoder, options.hidden
    config.model.monotonic, config.train.epochs = path, options.epochs
    config.analysis.examples = 0
    return attnjax.train(config, folder)


def measured(run: Any, kinds: dict[str, list[tuple[str, str]]], path: str) -> dict[str, Any]:
    """Scores, how many edits lower the probability and by how much, and the calibrators' bounds."""
    found: dict[str, Any] = {name: run.results["test"][name] for name in SCORES}
    for kind, pairs in kinds.items():
        before, after = (
            run.predict([pair[side] for pair in pairs]).probabilities[:, 1] for side in (0, 1)
        )
        change = after - before
        found[kind] = {
            "edits": len(pairs),
            "lowered": int((change < -SLACK).sum()),
            "worst": float(change.min()),
            "mean": float(change.mean()),
        }
    if path:
        stored = json.loads((run.folder / "vocab.json").read_text())["listed"]
        listed = listed_of(stored, run.vocab)
        assert listed is not None
        found["listed"] = len(stored)
        found["bounds"] = monotonic.bounds(run.params["decode"]["monotonic"], listed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--words", required=True)
    parser.add_argument("--config", default="sst")
    parser.add_argument("--cut", type=int, default=-1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--encoder", default="bilstm")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--train", type=int, default=-1)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    (test,) = pathlib.Path(options.data).glob("test.jsonl*")
    texts = [
        tokenize(row["text"])[: 10**6 if options.cut < 0 else options.cut - 1]
        for _, row in read_json_rows(test)
    ]
    words = lexicon(pathlib.Path(options.words))
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        files = {
            "without": "",
            "signs": write_list(words, False, folder / "signs.txt"),
            "strengths": write_list(words, True, folder / "strengths.txt"),
        }
        for seed in range(options.seeds):
            for way, path in files.items():
                run = trained(options, seed, path, str(folder / f"{way}_{seed}"))
                known = {word: words[word] for word in run.vocab.tokens if word in words}
                kinds = edits(texts, known, options.edits)
                found.setdefault(way, []).append(measured(run, kinds, path))
                print(way, seed, json.dumps(found[way][-1]), flush=True)
    report = {
        "command": command_line(),
        "machine": machine(),
        "listed": len(words),
        "means": {
            way: {score: statistics.fmean(each[score] for each in runs) for score in SCORES}
            for way, runs in found.items()
        },
        "runs": found,
    }
    print(json.dumps(report["means"], indent=1))
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
