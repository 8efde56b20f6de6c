"""Influence of all training texts, and the smallest changes that flip, on SST: what they take.

python benchmarks/by_examples.py --workdir=DIR --data=DIR [--python=PYTHON] [--rounds=3]
    [--tests=10] [--flips=-1] [--out=FILE]

--workdir is a finished run of configs/sst.py (BiLSTM, additive attention), --data its data. Timed,
with what has to be compiled: the effects of every training text on every test text through the last
layer; the same with the words of the texts that are told; the effects on --tests texts through all
parameters, by conjugate gradients; the flips of --flips test texts. PYTHON has the extra `bench`:
beside that, alternating, PyTorch loops over single texts' gradients of the last layer, and the
effects must be the same.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import attnjax
from attnjax.analysis.questions.influence_last import effects_of_last, last_layer
from attnjax.analysis.questions.influence_texts import Asked
from attnjax.analysis.rows import BUCKETS, engine_for
from attnjax.analysis.study import study
from attnjax.data.batches import choose_shapes, sample
from attnjax.data.dataset import load_dataset
from attnjax.runs.analysed import kept_checkpoints, training_rows
from attnjax.runtime import set_compiler
from benchmarks.record import command_line, machine
from benchmarks.worker import Worker, by_path

ROOT = pathlib.Path(__file__).resolve().parents[1]
AT_MOST_S = {"effects": 60.0, "all_parameters": 600.0, "flips": 180.0}  # what is asked
AT_LEAST, SAME = 20.0, 1e-4  # times as fast; largest difference of effects, of the largest
LAST, ALL = {"influence_leverage": False}, {"influence_scope": "all"}


def effects(run: Any, dataset: Any) -> np.ndarray:
    """[train, test] by the last layer."""
    train, test = dataset.splits["train"], dataset.splits["test"]
    params, shapes = jax.device_get(run.params), choose_shapes([train, test], BUCKETS)
    config = dataclasses.replace(run.config.analysis, **LAST)
    asked = Asked(run.stages, params, train, test, shapes, config.chunk_size, 0, lambda: None)
    last = last_layer(asked, config.influence_damping)
    return effects_of_last(asked, config, last, np.random.default_rng(0)).effects


def question(
    run: Any, dataset: Any, split: Any, name: str, **settings: Any
) -> tuple[float, dict[str, Any]]:
    """Seconds of one question over a split, and what it found."""
    config = dataclasses.replace(
        run.config.analysis, methods=(), questions=(name,), pairs=(), **settings
    )
    started = time.perf_counter()
    (found,) = study(
        config,
        run.stages,
        split,
        0,
        engine_for(run.params, run.compile),
        lambda: training_rows(run.config, dataset),
        kept=lambda: kept_checkpoints(run.config, dataset, run.folder, run.params),
    )
    took = time.perf_counter() - started
    print(f"{name}, {settings}, {len(split)} texts: {took:.0f} s", flush=True)
    return took, found.found[name]


def peer_of(run: Any, dataset: Any, python: str, folder: str) -> Worker:
    """The loop in PyTorch, which leaves its effects in the folder."""
    arrays = by_path(run.params)
    for name in ("train", "test"):
        split = dataset.splits[name]
        size = max(map(len, split.tokens))
        arrays[name] = np.stack([np.pad(row, (0, size - len(row))) for row in split.tokens])
        arrays[f"{name}_labels"] = np.asarray(split.labels)
    file, out = os.path.join(folder, "model.npz"), os.path.join(folder, "effects.npy")
    np.savez(file, **arrays)
    damping = str(run.config.analysis.influence_damping)
    command = [python, "-m", "benchmarks.peers.torch_influence", file, damping, out]
    return Worker(command, {**os.environ, "PYTHONPATH": str(ROOT)})


def beside(run: Any, dataset: Any, python: str, rounds: int) -> dict[str, Any]:
    """Median seconds of both sides, alternating, their ratio and how far the effects differ."""
    ours, theirs, ratios = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        peer = peer_of(run, dataset, python, folder)
        for _ in range(rounds):
            theirs.append(peer.round())
            started = time.perf_counter()
            found = effects(run, dataset)
            ours.append(time.perf_counter() - started)
            ratios.append(theirs[-1] / ours[-1])
        peer.close()
        other = np.load(os.path.join(folder, "effects.npy"))
    far = float(np.abs(found - other).max() / np.abs(other).max())
    if far > SAME:
        raise SystemExit(f"the effects differ by {far:.2g} of the largest")
    return {
        "seconds": statistics.median(ours),
        "pytorch_seconds": statistics.median(theirs),
        "times_as_fast": statistics.median(ratios),
        "largest_difference": far,
    }


def main() -> None:
    set_compiler()  # before anything is computed
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--python", help="with torch; without it PyTorch is left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tests", type=int, default=10)
    parser.add_argument("--flips", type=int, default=-1, help="test texts, at random; -1: all")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    run = attnjax.load_run(options.workdir)
    data = dataclasses.replace(run.config.data, path=options.data)
    run = run._replace(config=dataclasses.replace(run.config, data=data))
    dataset = load_dataset(run.config)
    test = dataset.splits["test"]
    some = test.take(sample(len(test), options.flips, 0))
    started = time.perf_counter()
    found = effects(run, dataset)
    seconds = {"effects": time.perf_counter() - started}
    print(f"effects: {seconds['effects']:.0f} s", flush=True)
    seconds["all_parameters"], told = question(
        run, dataset, test, "influence", influence_examples=options.tests, **ALL
    )
    seconds["flips"], flips = question(run, dataset, some, "flips")
    seconds["with_words"], _ = question(run, dataset, test, "influence", influence_examples=-1)
    fewest = np.asarray(flips["flips"]["changed_words"])
    report = {
        "command": command_line().replace(str(options.python), "PYTHON"),
        "machine": machine(),
        "jax": jax.__version__,
        "asked": {"seconds": AT_MOST_S, "times_as_fast": AT_LEAST},
        "texts": {
            "train": found.shape[0],
            "test": found.shape[1],
            "all": options.tests,
            "flips": len(some),
        },
        "seconds": seconds,
        "all_parameters": told["summary"],
        "flipped": float(np.isfinite(fewest).mean()),
        "changed_words": float(np.nanmean(fewest)),
        "loop": beside(run, dataset, options.python, options.rounds) if options.python else None,
    }
    print(json.dumps(report, indent=1))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
