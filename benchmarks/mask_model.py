"""The learnt mask beside the mask of each text: what they minimise, their AOPC, and what they cost.

python benchmarks/mask_model.py --data=DIR [--seeds=3] [--examples=200] [--steps=300]
    [--mask_steps=300] [--encoder=bilstm] [--hidden=128] [--train=-1] [--epochs=4] [--out=FILE]

DIR has SST's {train,validation,test}.jsonl(.gz). Of each seed a run of configs/sst.py is trained,
and test texts are explained by both, with the floor of a random order. The objective is the price
of the words taken + the probability that is left (deletion): of the mask that takes nothing
("none"), of the head on texts it has not seen, and of each text's own optimisation. Times are of
the compiled programs, those of learning with compiling.
"""

import argparse
import json
import logging
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import attnjax
from attnjax.analysis.importance import method_named
from attnjax.analysis.importance.mask import hardened, objective, probability_under
from attnjax.analysis.importance.subsets import features
from attnjax.data.batches import choose_shapes, map_rows, sample
from attnjax.data.dataset import load_dataset
from attnjax.runs.analysed import training_rows
from benchmarks.record import command_line, machine
from configs.sst import get_config

METHODS = ("mask", "mask_model")
GOAL, BASELINE, CHUNK = "deletion", "zero", 128


def trained(options: argparse.Namespace, seed: int, folder: str) -> Any:
    """A run whose test texts are explained by both methods."""
    config: Any = get_config()
    config.data.path, config.data.train_examples, config.seed = options.data, options.train, seed
    config.train.epochs, config.analysis.examples = options.epochs, options.examples
    config.model.encoder, config.model.hidden_dim = options.encoder, options.hidden
    config.analysis.methods, config.analysis.questions = METHODS, ("faithfulness", "agreement")
    config.analysis.mask_model_steps, config.analysis.mask_steps = options.steps, options.mask_steps
    return attnjax.train(config, folder)


def learning_seconds(run: Any, dataset: Any) -> float:
    """Of the head, with compiling."""
    learn = method_named("mask_model").under(run.config.analysis).fit
    assert learn is not None
    started = time.perf_counter()
    batches = training_rows(run.config, dataset)
    jax.block_until_ready(learn(run.stages, run.params, batches, jax.random.key(0)))
    return time.perf_counter() - started


def objectives(run: Any, rows: Any) -> dict[str, dict[str, float]]:
    """Way -> the objective, that of the hardened mask, the probability left, the share taken."""
    price, stages = run.config.analysis.mask_price, run.stages

    def judged(params: Any, batch: Any, keep: Any) -> dict[str, Any]:
        probability, words = probability_under(stages, params, batch, BASELINE), features(batch)
        left, hard = probability(keep), hardened(keep)
        taken = jnp.sum(1 - keep, axis=-1, where=words) / jnp.maximum(words.sum(axis=-1), 1)
        return {
            "objective": objective(keep, left, batch, price, GOAL),
            "hardened": objective(hard, probability(hard), batch, price, GOAL),
            "left": left,
            "taken": taken,
        }

    judge, shapes = jax.jit(judged), choose_shapes([rows], 2)
    found: dict[str, dict[str, float]] = {}
    for name in ("none", *METHODS):
        taken = {each["id"]: each["importance"].get(name) for each in run.examples()}

        def told(batch: Any, taken: Any = taken) -> Any:
            keep = np.ones(batch.tokens.shape, np.float32)
            for place, row in enumerate(np.asarray(batch.rows).tolist()):
                if (values := taken.get(row)) is not None:  # 1 - m of each word
                    keep[place, 1 : 1 + len(values)] -= np.asarray(values, np.float32)
            return jax.device_get(judge(run.params, batch, keep))

        values = map_rows(told, rows, shapes, CHUNK)
        found[name] = {measure: float(np.mean(each)) for measure, each in values.items()}
    return found


def measured(run: Any) -> dict[str, Any]:
    """Both methods' objectives, faithfulness and cost."""
    dataset = load_dataset(run.config)
    test = dataset.splits["test"]
    rows = test.take(sample(len(test), run.config.analysis.examples, run.config.data.seed))
    found: dict[str, Any] = objectives(run, rows)
    found["mask_model"]["learning_seconds"] = learning_seconds(run, dataset)
    faithful, cost = run.results["analysis"]["faithfulness"], run.results["cost"]
    for name in ("random", *METHODS):
        one = found.setdefault(name, {})
        for measure in ("aopc", "comprehensiveness", "sufficiency"):
            one[measure] = faithful[name][measure]["mean"]
        if name in cost:
            one["milliseconds_per_text"] = 1000 * cost[name]["seconds_per_example"]
    gain = found["none"]["objective"] - found["mask"]["objective"]
    learnt = found["none"]["objective"] - found["mask_model"]["objective"]
    found["mask_model"]["share_of_gain"] = learnt / gain
    return {"accuracy": run.results["test"]["accuracy"], "ways": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--encoder", default="bilstm")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--train", type=int, default=-1)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--mask_steps", type=int, default=300)
    parser.add_argument("--out")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    runs = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measured(trained(options, seed, folder)))
        print(json.dumps(runs[-1]), flush=True)
    means = {
        way: {
            measure: statistics.fmean(each["ways"][way][measure] for each in runs)
            for measure in runs[0]["ways"][way]
        }
        for way in runs[0]["ways"]
    }
    report = {
        "command": command_line(),
        "machine": machine(),
        "means": means,
        "runs": runs,
    }
    print(json.dumps(means, indent=1))
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
