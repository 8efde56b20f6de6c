"""Influence against the whole model retrained without single texts: BiLSTM, CNN and average.

python benchmarks/influence.py --data=DIR [--texts=60] [--removals=12] [--out=FILE] [-- FLAGS]

DIR holds SST-2. Of each encoder a small model is trained on so many training texts. Removals, half
of the largest predicted effects and half at random, are retrained from the stored parameters,
held there by the damping, and compared with what the last layer's exact Hessian, all parameters
and TracIn had foretold of the loss of test texts, and all parameters of their attention: at the
stored parameters, and at those of the minimum with all texts ("settled"), where the equations'
premise holds.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import attnjax
from attnjax.analysis import influence, removals
from attnjax.analysis.all_parameters import make_places, make_quantity
from attnjax.analysis.questions.influence_all import effects_of_all
from attnjax.analysis.questions.influence_last import effects_of_last, last_layer
from attnjax.analysis.questions.influence_texts import Asked
from attnjax.analysis.rows import BUCKETS
from attnjax.data.batches import choose_shapes, collate, evaluation_batches, sample
from attnjax.data.dataset import load_dataset
from attnjax.main import main as train
from attnjax.runs.analysed import kept_checkpoints
from benchmarks.record import command_line, machine

ENCODERS = ("bilstm", "cnn", "average")
SMALL = (
    *("model.hidden_dim=16", "model.embed_dim=32", "model.embed_scale=1.0", "data.min_count=2"),
    *("train.epochs=12", "train.batch_size=8", "train.learning_rate=0.01", "analysis.examples=0"),
    *("train.weight_decay=0.0", "train.keep_heap=False"),
)


def trained(encoder: str, options: argparse.Namespace, workdir: str) -> Any:
    """A run of this encoder on few texts."""
    settings = (f"model.encoder={encoder}", f"data.train_examples={options.texts}", *SMALL)
    line = ["attnjax", "--config=sst", f"--config.data.path={options.data}"]
    line += [f"--config.{each}" for each in settings] + options.flags
    if train([*line, f"--workdir={workdir}"]):
        raise SystemExit("the training failed")
    return attnjax.load_run(workdir)


def measured(encoder: str, options: argparse.Namespace) -> dict[str, Any]:
    """Correlation and slope of every way, and the premises."""
    with tempfile.TemporaryDirectory() as workdir:
        run = trained(encoder, options, workdir)
        dataset = load_dataset(run.config)
        training, test = dataset.splits["train"], dataset.splits["test"]
        tests = test.take(sample(len(test), options.tests, 0))
        shapes = choose_shapes([training, tests], BUCKETS)
        params = jax.device_get(run.params)
        asked = Asked(run.stages, params, training, tests, shapes, 128, 3, lambda: None)
        settings = dataclasses.replace(
            run.config.analysis, influence_damping=options.damping, influence_curvature=-1
        )
        kept = kept_checkpoints(run.config, dataset, run.folder, run.params)
    batches = list(evaluation_batches(training, shapes, 128))
    settled = removals.settled(run.stages, params, batches, options.damping)
    found: dict[str, Any] = {}
    for place, at in (("stored", params), ("settled", settled)):
        there = asked._replace(params=at)
        random = np.random.default_rng(0)
        last = last_layer(there, options.damping)
        found[f"last layer, {place}"] = effects_of_last(there, settings, last, random)
        for scope, target in (("all", "loss"), ("all", "attention"), ("tracin", "loss")):
            own = dataclasses.replace(settings, influence_scope=scope, influence_target=target)
            started = time.perf_counter()
            name = ", ".join([{"all": "all parameters", "tracin": "TracIn"}[scope], target, place])
            if scope == "all" or place == "stored":  # which reads the checkpoints alone
                found[name] = effects_of_all(there, own, lambda: kept, 0, random)
            print(f"{encoder}, {name}: {time.perf_counter() - started:.0f} s", flush=True)
    rows = influence.removed(
        found["all parameters, loss, settled"].effects, options.removals, np.random.default_rng(0)
    )
    started = time.perf_counter()
    real = dict(
        zip(("loss", "attention"), both(asked, batches, options.damping, rows), strict=True)
    )
    print(f"{encoder}, retrained: {time.perf_counter() - started:.0f} s", flush=True)
    told = {}
    for name, each in found.items():
        target = "attention" if "attention" in name else "loss"
        compared = influence.compared(rows, real[target].ravel(), each.effects[rows].ravel())
        told[name] = {**each.summary, **compared._asdict()}
    return {
        "training_texts": len(training),
        "test_texts": len(tests),
        "training_loss": float(last.found.losses.mean()),
        "largest_change": float(np.abs(real["loss"]).max()),
        "ways": told,
    }


def both(asked: Asked, batches: list[Any], damping: float, rows: np.ndarray) -> np.ndarray:
    """[loss and attention, removals, tests] of the whole model retrained without single rows."""
    count = len(asked.tests)
    tests = collate(asked.tests, np.arange(count), count, asked.shapes)
    places = jax.jit(make_places(asked.stages))(asked.params, tests)
    each = [make_quantity(asked.stages, target) for target in ("loss", "attention")]

    def measure(params: Any, batch: Any) -> jax.Array:
        return jnp.stack([quantity(params, batch, places) for quantity in each])

    real, _ = removals.retrained(asked.stages, asked.params, measure, batches, tests, damping, rows)
    return real.swapaxes(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--tests", type=int, default=8)
    parser.add_argument("--removals", type=int, default=12)
    parser.add_argument("--damping", type=float, default=0.01)
    parser.add_argument("--encoders", default=",".join(ENCODERS))
    parser.add_argument("--out")
    parser.add_argument("flags", nargs="*")
    options = parser.parse_args()
    report = {
        "command": command_line(),
        "machine": machine(),
        "damping": options.damping,
        "encoders": {name: measured(name, options) for name in options.encoders.split(",")},
    }
    print(json.dumps(report, indent=1))
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
