"""Means and differences between runs: how sure they are, and what two seeds agree on.

Statistics on arrays, in NumPy and float64; what is compared with what is decided by the caller.
"Rows" number the examples; where sentences have different lengths their words stand one after the
other, and `rows` says which example each word belongs to.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from attnjax.analysis.intervals import (
    FEWEST,
    INTERVAL,
    NORMAL,
    TIE,
    UNBOUNDED,
    Range,
    mean_quantiles,
    of_difference,
    within,
)

Values = Float[np.ndarray, "_ examples"]  # one row a run

CELLS = 2**21  # resampled examples held at a time: bounds memory, changes no result
RESAMPLES = (1_000, 10_000)  # of `bootstrap`: least, and most, of few rows that are drawn at once
BLOCK = 100  # of them held in memory at once


class Difference(NamedTuple):
    """How far the mean of one set of runs lies from that of another; NaN where undefined.

    baseline, other  means over runs and examples; difference  the other's minus the baseline's
    low, high        95 % interval of the difference
    p                two-sided bootstrap p-value of no difference, in [2 / (resamples + 1), 1]
    examples         how many examples are defined in every run of both, and so were used
    """

    baseline: float
    other: float
    difference: float
    low: float
    high: float
    p: float
    examples: int


NAN = float("nan")
UNDEFINED = Difference(NAN, NAN, NAN, NAN, NAN, NAN, examples=0)


def bootstrap(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of the columns' means over resampled rows, NaN left out: `mean_quantiles`.

    columns  [rows, measures]; all measures see the same resamples.
    Returns (low, high), each [measures]; NaN for a column of fewer than 10 defined values.
    """
    rows, count = columns.shape
    ends = np.full((2, count), np.nan)
    known = np.isfinite(columns)
    enough = np.flatnonzero(known.sum(axis=0) >= FEWEST)
    if len(enough) == 0:
        return ends[0], ends[1]
    random, whole = np.random.default_rng(0), bool(known.all())
    filled = np.where(known, columns, 0.0)
    resamples = int(np.clip(CELLS // rows, *RESAMPLES)) // BLOCK * BLOCK
    means, errors = np.empty((2, resamples, count))
    centres = filled.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    squares = np.where(known, columns - centres, 0.0) ** 2
    for start in range(0, resamples, BLOCK):
        # How often each row is drawn: one count for all measures, whose means are then matmuls.
        drawn = drawn_counts(random, BLOCK, rows)
        counts = np.float64(rows)
        if not whole:
            counts = drawn @ known
            counts = np.where(counts > 0, counts, np.nan)
        block = slice(start, start + BLOCK)
        means[block] = drawn @ filled / counts
        variances = drawn @ squares / counts - (means[block] - centres) ** 2
        errors[block] = np.sqrt(np.maximum(variances, 0) / counts)
    levels = np.array(INTERVAL)
    scores = np.array([NORMAL.inv_cdf(each) for each in INTERVAL])
    for column in enough:
        drawn = np.isfinite(means[:, column])
        ends[:, column] = mean_quantiles(
            means[drawn, column],
            errors[drawn, column],
            columns[known[:, column], column],
            levels,
            scores,
        )
    return ends[0], ends[1]


def bootstrap_differences(
    pairs: Sequence[tuple[Values | None, Values]],
    resamples: int = 10_000,
    seed: int = 0,
    ranges: Sequence[Range] | None = None,
) -> list[Difference]:
    """Compares the two of each pair: values [runs, examples] of baseline and other, NaN undefined.

    ranges  of each pair's measure, see `intervals.RANGES`; None: all are unbounded
    A baseline of None is the number 0: the difference is then the other's mean. Each resample draws
    examples with replacement, the same ones for all runs (paired: Efron & Tibshirani 1993, chapter
    8); their distribution is corrected by `mean_quantiles`. Where a side has several runs (seeds),
    Student's t of `seed_error` is added on a scale that keeps the range (`within`), so that the
    interval is about training again as well: the bootstrap of two or three runs would have a
    quarter of such intervals miss. Two single runs are compared as they are, for one run says
    nothing about the next. Only examples that all runs of a pair define count. The p-value inverts
    the interval: twice the smaller share of the distribution on either side of 0, the sample itself
    counted as one more.

    With fewer than 10 such examples, means are given, and interval and p-value are NaN.
    """
    found: dict[int, Difference] = {}
    by_defined: dict[bytes, list[int]] = {}
    defined = [
        np.logical_and.reduce([np.isfinite(side).all(axis=0) for side in pair if side is not None])
        for pair in pairs
    ]
    for number, examples in enumerate(defined):
        by_defined.setdefault(np.packbits(examples).tobytes(), []).append(number)
    bounds = [UNBOUNDED] * len(pairs) if ranges is None else list(ranges)
    together = max(1, 2**24 // resamples)  # pairs whose means and errors fit into 256 MB
    for numbers in by_defined.values():
        for start in range(0, len(numbers), together):
            members = numbers[start : start + together]
            kept = [
                tuple(None if side is None else side[:, defined[k]] for side in pairs[k])
                for k in members
            ]
            limits = [bounds[k] for k in members]
            found |= zip(members, _differences(kept, limits, resamples, seed), strict=True)
    return [found[number] for number in range(len(pairs))]


def _differences(
    pairs: list[Any], ranges: list[Range], resamples: int, seed: int
) -> list[Difference]:
    """As `bootstrap_differences`, where every pair defines all of the same examples."""
    count = pairs[0][1].shape[1]
    if count == 0:
        return [UNDEFINED for _ in pairs]
    means = [(0.0 if a is None else float(a.mean()), float(b.mean())) for a, b in pairs]
    if count < FEWEST:
        return [
            UNDEFINED._replace(baseline=a, other=b, difference=b - a, examples=count)
            for a, b in means
        ]
    of_examples, of_seeds = (np.random.default_rng([seed, stream]) for stream in range(2))
    sides = [
        [0.0 if side is None else side.mean(axis=0, dtype=np.float64) for side in pair]
        for pair in pairs
    ]
    columns = np.stack([b - a for a, b in sides], axis=1)
    centres = columns.mean(axis=0)
    squares = (columns - centres) ** 2
    sampled, errors = np.empty((2, len(pairs), resamples))
    chunk = max(1, CELLS // count)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = drawn_counts(of_examples, size, count) / count
        resampled = drawn @ columns
        variances = drawn @ squares - (resampled - centres) ** 2
        block = slice(start, start + size)
        sampled[:, block] = resampled.T
        errors[:, block] = np.sqrt(np.maximum(variances, 0) / count).T
    levels = (np.arange(resamples) + 0.5) / resamples
    scores = _normal_quantiles(resamples)
    places = of_seeds.random(resamples)
    for number, (pair, (a, b)) in enumerate(zip(pairs, means, strict=True)):
        found = sampled[number], errors[number], columns[:, number]
        sampled[number] = mean_quantiles(*found, levels, scores)
        error, freedom = seed_error(*pair)
        if error > 0:
            limits = ranges[number] if pair[0] is None else of_difference(ranges[number])
            moved = sampled[number] - (b - a) + error * _t_quantiles(places, freedom)
            sampled[number] = within(b - a, moved, limits)
    edges = np.percentile(sampled, [100 * each for each in INTERVAL], axis=1)
    low, high = np.where(np.abs(edges) <= TIE, 0, edges).tolist()
    return [
        Difference(a, b, b - a, low[k], high[k], _p_value(sampled[k]), count)
        for k, (a, b) in enumerate(means)
    ]


@cache
def _normal_quantiles(count: int) -> np.ndarray:
    """Those of the middles of as many equal parts of the distribution."""
    return np.array([NORMAL.inv_cdf((k + 0.5) / count) for k in range(count)])


def seed_error(baseline: Values | None, other: Values) -> tuple[float, float]:
    """Standard error of a difference by the choice of seeds, and its degrees of freedom.

    baseline, other  [runs, examples]; None is the number 0, which no seed moves
    Of the runs' means, by Welch (1947): sqrt(s_a^2 / n_a + s_b^2 / n_b). A single run takes the
    variance of the other side's. (0, 1) where no side has two runs, or none differs.
    """
    means = [side.mean(axis=1, dtype=np.float64) for side in (baseline, other) if side is not None]
    several = [side for side in means if len(side) > 1]
    if not several:
        return 0.0, 1.0
    variances = [np.var(side if len(side) > 1 else several[0], ddof=1) for side in means]
    parts = [variance / len(side) for variance, side in zip(variances, means, strict=True)]
    total = float(sum(parts))
    if total == 0:
        return 0.0, 1.0
    if len(several) < len(means):
        return total**0.5, len(several[0]) - 1.0
    doubted = sum(part**2 / (len(side) - 1) for part, side in zip(parts, means, strict=True))
    return total**0.5, float(total**2 / doubted)


def _t_quantiles(shares: np.ndarray, freedom: float) -> np.ndarray:
    from scipy import stats  # imported late: slow to load, and two single runs do without

    return stats.t.ppf(shares, freedom)


def drawn_counts(random: np.random.Generator, size: int, count: int) -> np.ndarray:
    """How often each of `count` things is drawn in `count` draws: [size, count], rows sum to it."""
    drawn = random.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=size * count)
    return counts.reshape(size, count).astype(np.float64)


def _p_value(differences: np.ndarray) -> float:
    below = 1 + np.sum(differences <= TIE)
    above = 1 + np.sum(differences >= -TIE)
    return min(1.0, 2 * float(min(below, above)) / (len(differences) + 1))


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Holm's step-down adjustment (1979): reject where the result is at most alpha.

    The k-th smallest of m (from 0) is multiplied by m - k, and never falls below an earlier one.
    NaN (no test) stays NaN and counts for nothing. holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    """
    adjusted = np.full(p_values.shape, np.nan)
    tests = np.flatnonzero(np.isfinite(p_values))
    order = tests[np.argsort(p_values[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return adjusted


def attention_divergence(
    weights: Float[np.ndarray, "runs words"], rows: Int[np.ndarray, " words"], count: int
) -> Float[np.ndarray, " examples"]:
    """Jensen-Shannon divergence of the runs' attentions over each example's words, in nats.

    rows  [words]  the example, below `count`, of each word
    H(mean of the runs) - mean of H(run), in [0, ln runs]: for two runs the usual divergence
    (Lin 1991, eqs. 4.1 and 5.1). Attention is normalised over the words first; NaN where a run
    gives them none.
    """

    def entropy(shares: np.ndarray) -> np.ndarray:
        logs = np.log(np.where(shares > 0, shares, 1))
        return -np.bincount(rows, shares * logs, minlength=count)

    def shares(run: np.ndarray) -> np.ndarray:
        total = np.bincount(rows, run, minlength=count)
        return run / np.where(total > 0, total, np.nan)[rows]

    runs = np.stack([shares(run) for run in weights.astype(np.float64)])
    divergence = entropy(runs.mean(axis=0)) - np.mean([entropy(run) for run in runs], axis=0)
    empty = np.bincount(rows, minlength=count) == 0
    return np.where(empty, np.nan, np.clip(divergence, 0, np.log(len(runs))))


def seed_agreement(
    a: Float[np.ndarray, " words"],
    b: Float[np.ndarray, " words"],
    rows: Int[np.ndarray, " words"],
    count: int,
) -> dict[str, Float[np.ndarray, " examples"]]:
    """How far one explanation agrees between two runs: measure -> [examples], NaN undefined.

    The ceiling of agreement between different explanations: what training again leaves of it.
    rows  [words]  the example of each word, in ascending order
    """
    lengths = np.bincount(rows, minlength=count)
    starts = np.cumsum(lengths) - lengths
    padded = 2 ** np.ceil(np.log2(np.maximum(lengths, 16))).astype(int)
    found: dict[str, np.ndarray] = {}
    for length in np.unique(padded[lengths > 0]):
        members = np.flatnonzero((padded == length) & (lengths > 0))
        mask: Bool[np.ndarray, "members length"] = np.arange(length) < lengths[members, None]
        places = np.where(mask, starts[members, None] + np.arange(length), 0)
        both = (np.where(mask, each[places], 0).astype(np.float32) for each in (a, b))
        for name, values in _measure()(*both, mask).items():
            found.setdefault(name, np.full(count, np.nan))[members] = np.asarray(values)
    return found


@cache
def _measure() -> Callable[..., dict[str, Any]]:
    import jax  # imported late, like all that is slow to load: a comparison may not need it

    from attnjax.analysis.agreement import MEASURES

    return jax.jit(
        lambda a, b, mask: {name: measure(a, b, mask) for name, measure in MEASURES.items()}
    )
