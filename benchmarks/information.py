"""What each state knows of a word: time, precision, and the source's own procedure in PyTorch.

python benchmarks/information.py --workdir=DIR --data=DIR [--python=PYTHON] [--out=FILE]

--workdir is a finished run of configs/sst.py (BiLSTM, additive attention), --data its data. Timed
is the whole test split, every state, linearised, warm. Of a few sentences the linearised figures
are held against the optimised ones of two seeds: Spearman within a sentence, and the median
difference of sigma. PYTHON has the extra `bench`: beside that, alternating, PyTorch takes the
source's steps (5,000 of one draw each, Adam) for one state of a few sentences.
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
from scipy import stats

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import attnjax
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.data.batches import sample
from attnjax.data.dataset import load_dataset
from attnjax.runs.analysed import training_rows
from attnjax.runtime import set_compiler
from benchmarks.record import command_line, machine
from benchmarks.worker import Worker, by_path

ROOT = pathlib.Path(__file__).resolve().parents[1]
STATES = ("encoder", "context", "logits")  # the embedding needs no measuring
SENTENCES, LONGEST = 24, 24  # that are optimised, and their tokens
AT_MOST_S, AT_LEAST, SPEARMAN, DIFFERENCE = 240.0, 300.0, 0.8, 0.04  # what is asked


def asked(run: Any, dataset: Any, split: Any, seed: int, **settings: Any) -> dict[str, Any]:
    """State -> the retained figures of every row's words."""
    config = dataclasses.replace(
        run.config.analysis, methods=(), questions=("information",), pairs=(), **settings
    )
    engine = engine_for(run.params, run.compile)
    (found,) = study(
        config, run.stages, split, seed, engine, lambda: training_rows(run.config, dataset)
    )
    return {
        name: each["retained"] for name, each in found.found["information"]["information"].items()
    }


def sigmas(retained: np.ndarray) -> np.ndarray:
    """sigma in sigma_X, from 1/2 log(1 + sigma_X^2 / sigma^2)."""
    return 1 / np.sqrt(np.expm1(2 * np.asarray(retained, np.float64)))


def agreement(ours: list[np.ndarray], theirs: list[np.ndarray]) -> dict[str, float]:
    """Median difference of sigma over all words, and the mean Spearman of the sentences."""
    pairs = [(sigmas(a), sigmas(b)) for a, b in zip(ours, theirs, strict=True)]
    differences = np.concatenate([np.abs(np.log(a / b)) for a, b in pairs])
    ranks = [float(stats.spearmanr(a, b).statistic) for a, b in pairs if len(a) > 2]
    return {
        "median_difference": float(np.expm1(np.median(differences))),
        "spearman": float(np.nanmean(ranks)),
    }


def precision(run: Any, dataset: Any, options: argparse.Namespace) -> dict[str, Any]:
    """State -> linearised against optimised, and two seeds of either."""
    test = dataset.splits["test"]
    short = np.flatnonzero([5 <= len(each) - 2 <= LONGEST for each in test.tokens])
    split = test.take(short[sample(len(short), SENTENCES, 0)])
    steps = {"information_steps": options.steps, "information_draws": options.draws}
    optimised = [asked(run, dataset, split, seed, **steps) for seed in (0, 1)]
    found: dict[str, Any] = {
        state: {"two_seeds_optimised": agreement(optimised[0][state], optimised[1][state])}
        for state in STATES
    }
    for probes in options.probes:
        linear = [
            asked(run, dataset, split, seed, information_steps=0, information_probes=probes)
            for seed in (0, 1)
        ]
        for state, each in found.items():
            each[f"{probes}_probes"] = {
                "against_optimised": agreement(linear[0][state], optimised[0][state]),
                "two_seeds": agreement(linear[0][state], linear[1][state]),
            }
    return found


def whole(run: Any, dataset: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Probes -> seconds of the whole test split, all states, warm; the first of all compiles."""
    split, found = dataset.splits["test"], {}
    for probes in options.probes:
        took = []
        for _ in range(options.rounds + 1):
            started = time.perf_counter()
            asked(run, dataset, split, 0, information_steps=0, information_probes=probes)
            took.append(time.perf_counter() - started)
        found[str(probes)] = {"first_s": took[0], "warm_s": statistics.median(took[1:])}
        print(f"{probes} probes: {found[str(probes)]['warm_s']:.0f} s", flush=True)
    return {"texts": len(split), "probes": found}


def beside(run: Any, dataset: Any, options: argparse.Namespace, ours: float) -> dict[str, Any]:
    """The source's procedure on a few sentences; how many times longer one of its states takes.

    ours  seconds a sentence of all our states together
    """
    test = dataset.splits["test"]
    lengths = np.array([len(each) for each in test.tokens])
    middle = np.argsort(np.abs(lengths - lengths.mean()), kind="stable")[: options.peer_sentences]
    arrays = by_path(run.params)
    size = lengths[middle].max()
    tokens = np.stack([np.pad(test.tokens[n], (0, size - lengths[n])) for n in middle])
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "model.npz")
        np.savez(file, tokens=tokens, **arrays)
        command = [options.python, "-m", "benchmarks.peers.torch_information", file]
        peer = Worker([*command, str(options.peer_steps)], {**os.environ, "PYTHONPATH": str(ROOT)})
        seconds = peer.round() / options.peer_sentences
        peer.close()
    a_state = seconds * 5000 / options.peer_steps
    return {
        "steps": options.peer_steps,
        "sentences": options.peer_sentences,
        "s_a_sentence_and_state_of_5000_steps": a_state,
        "times_as_long_a_state": a_state / (ours / len(STATES)),
    }


def main() -> None:
    set_compiler()  # before anything is computed
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--python", help="with torch; without it PyTorch is left out")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--probes", type=int, action="append", help="default: 32 and 64")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--peer-sentences", type=int, default=3)
    parser.add_argument("--peer-steps", type=int, default=5000)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    run = attnjax.load_run(options.workdir)
    data = dataclasses.replace(run.config.data, path=options.data)
    run = run._replace(config=dataclasses.replace(run.config, data=data))
    dataset = load_dataset(run.config)
    options.probes = options.probes or [32, 64]
    timed = whole(run, dataset, options)
    precise = precision(run, dataset, options)
    each = timed["probes"][str(options.probes[0])]["warm_s"] / timed["texts"]
    peer = None if options.python is None else beside(run, dataset, options, each)
    found = {
        "command": command_line().replace(str(options.python), "PYTHON"),
        "machine": machine(),
        "jax": jax.__version__,
        "asked": {
            "whole_s": AT_MOST_S,
            "times_as_long": AT_LEAST,
            "spearman": SPEARMAN,
            "two_seeds": DIFFERENCE,
        },
        "whole": timed,
        "states": precise,
        "reference": peer,
    }
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
