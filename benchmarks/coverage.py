"""How often 95 % intervals hold the mean that they are about, by simulation.

python benchmarks/coverage.py [--trials=1000] [--oracle=100] [--out=FILE]

Over examples: samples of skewed and of usual quantities, by the percentile bootstrap and by
`attnjax.analysis.statistics.bootstrap`. Its BCa quantiles are compared with the ends of
`scipy.stats.bootstrap(method="BCa")` at the expanded level on the first --oracle samples. Over
seeds: runs of a known condition by `bootstrap_differences`, plain and on the scale that keeps the
range. Coverage of 1,000 samples has a standard error of 0.007 at 0.95. JSON:
benchmarks/results/coverage.json.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from attnjax.analysis.intervals import bca_quantiles, expansion, range_of
from attnjax.analysis.statistics import bootstrap, bootstrap_differences
from benchmarks.record import command_line, machine

Draw = Callable[[np.random.Generator, int], np.ndarray]

EXAMPLES: dict[str, tuple[Draw, float]] = {  # draw(random, count), and the true mean
    "lognormal, sigma 1.5": (lambda r, n: r.lognormal(0, 1.5, n), math.exp(1.5**2 / 2)),
    "lognormal, sigma 1": (lambda r, n: r.lognormal(0, 1, n), math.exp(0.5)),
    "beta(0.3, 3), as output changes": (lambda r, n: r.beta(0.3, 3, n), 0.3 / 3.3),
    "2 beta(4, 2) - 1, as tau": (lambda r, n: 2 * r.beta(4, 2, n) - 1, 1 / 3),
    "right in 90 %": (lambda r, n: (r.random(n) < 0.9).astype(float), 0.9),
}
COUNTS = (10, 20, 50, 200)
SEEDS = {  # mean and deviation of the runs' accuracies
    "accuracy 0.9, seeds differ by 0.01": (0.9, 0.01),
    "accuracy 0.9, seeds differ by 0.05": (0.9, 0.05),
    "accuracy 0.5, seeds differ by 0.1": (0.5, 0.1),
}
RUNS = (2, 3, 5)
TESTED = 400  # examples of each run


def over_examples(draw: Draw, truth: float, count: int, trials: int, oracle: int) -> dict[str, Any]:
    """Coverage and median width of percentiles, BCa and ours, and how far BCa is from scipy's."""
    random = np.random.default_rng([count, trials])
    scores = stats.norm.ppf([0.025, 0.975])
    held, widths, apart = np.zeros(3), [], []
    for trial in range(trials):
        values = draw(random, count)
        means = values[random.integers(count, size=(1_000, count))].mean(axis=1)
        low, high = bootstrap(values[:, None])
        bca = bca_quantiles(means, values, scores)
        ends = np.array([np.percentile(means, [2.5, 97.5]), bca, [low[0], high[0]]])
        held += (ends[:, 0] <= truth) & (truth <= ends[:, 1])
        widths.append(ends[:, 1] - ends[:, 0])
        if trial < oracle and values.std() > 0:
            level = 1 - 2 * stats.norm.sf(stats.norm.ppf(0.975) * expansion(count))
            theirs = stats.bootstrap(
                (values,), np.mean, confidence_level=level, method="BCa", rng=random
            ).confidence_interval
            apart.append(np.abs(bca - theirs).max() / (theirs.high - theirs.low))
    ways = ("percentile", "bca", "ours")
    width = np.median(widths, axis=0).tolist()
    return {
        "examples": count,
        **dict(zip(ways, (held / trials).tolist(), strict=True)),
        **{f"median_width_{way}": each for way, each in zip(ways, width, strict=True)},
        "median_distance_from_scipys_bca": float(np.median(apart)) if apart else None,
    }


def over_seeds(mean: float, deviation: float, runs: int, trials: int) -> dict[str, Any]:
    """Coverage of the condition's mean, and how many intervals leave 0 to 1."""
    random = np.random.default_rng([runs, trials])
    held, outside = np.zeros(2), np.zeros(2)
    for _ in range(trials):
        # Seeds by a beta distribution, so that none leaves the range; the test set is fixed.
        size = mean * (1 - mean) / deviation**2 - 1
        accuracies = random.beta(mean * size, (1 - mean) * size, runs)
        values = (random.random((runs, TESTED)) < accuracies[:, None]).astype(float)
        pair = None, values
        found = (
            bootstrap_differences([pair], 1_000)[0],
            *bootstrap_differences([pair], 1_000, ranges=[range_of("accuracy")]),
        )
        held += [each.low <= mean <= each.high for each in found]
        outside += [each.low < 0 or each.high > 1 for each in found]
    (plain, kept), (plain_outside, kept_outside) = (held / trials), (outside / trials)
    return {
        "runs": runs,
        "plain": float(plain),
        "keeps_range": float(kept),
        "plain_outside": float(plain_outside),
        "keeps_range_outside": float(kept_outside),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--oracle", type=int, default=100)
    parser.add_argument("--out", default="benchmarks/results/coverage.json")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "command": command_line(),
        "machine": machine(),
        "trials": options.trials,
        "examples": {},
        "seeds": {},
    }
    for name, (draw, truth) in EXAMPLES.items():
        rows = [
            over_examples(draw, truth, count, options.trials, options.oracle) for count in COUNTS
        ]
        found["examples"][name] = rows
        for row in rows:
            print(f"{name}, n = {row['examples']}: {row['percentile']:.3f} -> {row['ours']:.3f}")
    for name, (mean, deviation) in SEEDS.items():
        rows = [over_seeds(mean, deviation, runs, options.trials) for runs in RUNS]
        found["seeds"][name] = rows
        for row in rows:
            print(f"{name}, {row['runs']} runs: {row['plain']:.3f} -> {row['keeps_range']:.3f}")
    with open(options.out, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
