"""Integrated gradients by a fixed number of points, and by panels that split: error, points, time.

python benchmarks/completeness.py --workdir=RUN [--examples=200] [--out=FILE]

RUN is a trained run of attnjax. Error is |sum of all contributions - (p(e) - p(0))|, which is 0 for
the exact integral. Fixed points are Gauss and Legendre's nodes over the whole path, as other tools
take them. Time is of all examples, compiled before, median of alternating rounds.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import attnjax
from attnjax.analysis.importance.path import integrals, logits_by_factors, ones_of
from attnjax.analysis.importance.target import probability_of
from attnjax.data.batches import choose_shapes, map_rows, sample
from attnjax.data.dataset import load_dataset
from attnjax.types import Batch, Params, Stages
from benchmarks.record import command_line, machine

FIXED = (32, 128)
CHUNK = 128
MANY = 0.05  # an error above it is counted


def fixed(points: int) -> Callable[..., tuple[Any, Any]]:
    """(stages, params, batch, key) -> (error, points) of so many nodes on the whole path."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    table = np.stack([(nodes + 1) / 2, weights / 2], axis=1)

    def integrate(stages: Stages, params: Params, batch: Batch, key: Any) -> tuple[Any, Any]:
        del key
        embedded = stages.embed(params, batch)
        ones = ones_of(embedded)
        outputs = logits_by_factors(stages, params, embedded, batch)
        full = outputs(ones)
        classes = full.argmax(axis=-1)

        def probability(factors: Any) -> jax.Array:
            return probability_of(outputs(factors), classes)

        def add(total: Any, node: Any) -> tuple[Any, None]:
            factors = jax.tree.map(lambda one: node[0] * one, ones)
            slope = jax.grad(lambda each: probability(each).sum())(factors)
            return jax.tree.map(lambda a, b: a + node[1] * b, total, slope), None

        zeros = jax.tree.map(jnp.zeros_like, ones)
        found, _ = jax.lax.scan(add, zeros, jnp.asarray(table, full.dtype))
        total = sum(each.sum(axis=-1) for each in jax.tree.leaves(found))
        error = jnp.abs(total - (probability(ones) - probability(zeros)))
        return error, jnp.full(error.shape, points)

    return integrate


def split(completeness: float) -> Callable[..., tuple[Any, Any]]:
    """The same of panels that split until that error."""

    def integrate(*given: Any) -> tuple[Any, Any]:
        found = integrals(completeness)(*given)
        return found.error, found.points

    return integrate


def measured(call: Callable[..., Any], params: Params, batch: Batch) -> Any:
    """What the compiled function gives, on the host."""
    return jax.device_get(call(params, batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    options = parser.parse_args()
    run = attnjax.load_run(options.workdir)
    test = load_dataset(run.config).splits["test"]
    rows = test.take(sample(len(test), options.examples, 0))
    shapes = choose_shapes([rows], 4)
    ways = {f"{points} points": fixed(points) for points in FIXED}
    completeness = run.config.analysis.completeness
    ways[f"panels, error below {completeness:g}"] = split(completeness)
    key = jax.random.key(0)
    calls = {
        name: jax.jit(lambda params, batch, way=way: way(run.stages, params, batch, key))
        for name, way in ways.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for round_ in range(options.rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            error, points = map_rows(
                lambda batch, call=call: jax.device_get(call(run.params, batch)),
                rows,
                shapes,
                CHUNK,
            )
            if round_:  # the first compiles
                seconds[name].append(time.perf_counter() - started)
            found[name] = np.array(error), np.array(points)
    report = {
        "command": command_line(),
        "machine": machine(),
        "examples": len(rows),
        "scale": run.config.model.embed_scale,
        "ways": {
            name: {
                "points": float(np.mean(points)),
                "error_mean": float(np.mean(error)),
                "error_median": float(np.median(error)),
                "error_largest": float(np.max(error)),
                "share_above": float(np.mean(error > MANY)),
                "seconds": statistics.median(seconds[name]),
            }
            for name, (error, points) in found.items()
        },
    }
    print(json.dumps(report, indent=1))
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
