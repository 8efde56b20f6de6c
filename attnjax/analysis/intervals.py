"""Intervals of means: from how many examples, corrected for skewness, inside a measure's range."""

from math import erf
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

FEWEST = 10  # examples; an interval from fewer means nothing, however it is computed
INTERVAL = (0.025, 0.975)
SKEWED = 0.5  # skewness from which on values are; below, BCa and the bootstrap-t hardly differ
TIE = 1e-7  # differences below this are the rounding of float32, not differences
NORMAL = NormalDist()  # of the standard library: scipy takes most of a second to load

Range = tuple[float, float]
UNBOUNDED: Range = (-np.inf, np.inf)
POSITIVE: Range = (0.0, np.inf)
RANGES: dict[str, Range] = {
    "accuracy": (0.0, 1.0),
    "kendall": (-1.0, 1.0),
    "pearson": (-1.0, 1.0),
    "spearman": (-1.0, 1.0),
    "top_k_kendall": (0.0, 1.0),
    "top_k_overlap": (0.0, 1.0),
    "jensen_shannon": (0.0, float(np.log(2))),
    "max_jsd": (0.0, float(np.log(2))),
    "median_change": (0.0, 1.0),
    "comprehensiveness": (-1.0, 1.0),
    "sufficiency": (-1.0, 1.0),
    "aopc": (-1.0, 1.0),
    "aopc_least_first": (-1.0, 1.0),
    "average_precision": (0.0, 1.0),
    "f1": (0.0, 1.0),
    "iou": (0.0, 1.0),
    **dict.fromkeys(("decode", "score", "encode", "embed"), (-1.0, 1.0)),  # of randomisation
    **dict.fromkeys(("infidelity_scaled", "flip"), (0.0, 1.0)),
    **dict.fromkeys(("max_sensitivity", "lipschitz", "replacement", "infidelity"), POSITIVE),
    **dict.fromkeys(("changed_words", "distance", "radius"), POSITIVE),
}


def range_of(measure: str) -> Range:
    """The values that a measure can take; what is not in the table is unbounded.

    A part of the results before the name, as in comparisons, changes nothing:
    range_of("plausibility_iou") == range_of("iou") == (0, 1)
    """
    return RANGES.get(measure, RANGES.get(measure.partition("_")[2], UNBOUNDED))


def of_difference(bounds: Range) -> Range:
    """The range of a difference of two values of one measure: (0, 1) -> (-1, 1)."""
    low, high = bounds
    return (low - high, high - low) if np.isfinite([low, high]).all() else UNBOUNDED


def within(
    centre: float, deviations: Float[np.ndarray, " draws"], bounds: Range
) -> Float[np.ndarray, " draws"]:
    """centre + deviations, bent so that no value leaves the range; small deviations stay.

    g^-1(g(centre) + g'(centre) d), with g the logit of the place in a range of two ends (from -1
    to 1 that is twice Fisher's z), the logarithm of the distance from the only end, or nothing.
    At an end itself nothing is left to either side, and the centre is returned.
    within(0.9, [0.01, 0.5], (0, 1)) == [0.9095, 0.9996]
    """
    low, high = bounds
    if np.isinf(low) and np.isinf(high):
        return centre + deviations
    if np.isinf(low):
        return -within(-centre, -deviations, (-high, np.inf))
    distance, width = centre - low, high - low
    if distance <= 0 or centre >= high:
        return np.full_like(deviations, centre)
    with np.errstate(over="ignore"):  # infinitely far on the scale is the end of the range
        if np.isinf(high):
            return low + distance * np.exp(deviations / distance)
        share = distance / width
        odds = (1 - share) / share * np.exp(-deviations / (width * share * (1 - share)))
        return low + width / (1 + odds)


def bca_quantiles(
    means: Float[np.ndarray, " resamples"],
    values: Float[np.ndarray, " examples"],
    scores: Float[np.ndarray, " wanted"],
) -> Float[np.ndarray, " wanted"]:
    """Quantiles of the bias-corrected and accelerated bootstrap of a mean (BCa, Efron 1987).

    means  of resamples of the values; scores  standard normal quantiles of the wanted levels
    The bootstrap of few and skewed values is too narrow, and so is BCa: levels are expanded by
    t_{n-1} / z * sqrt(n / (n - 1)) as well (Hesterberg 2015, arXiv:1411.5279, section 4.6).
    `benchmarks/coverage.py` has the coverage of each.
    """
    values = values.astype(np.float64)
    centre = values.mean()
    spread = values - centre
    square = float(np.sum(spread**2))
    if square == 0:
        return np.full(scores.shape, centre)
    tie = min(TIE, 1e-3 * square**0.5 / len(values))  # resamples as they are: a mean's rounding
    below = np.mean(means < centre - tie) / 2 + np.mean(means <= centre + tie) / 2
    least = 0.5 / len(means)
    bias = NORMAL.inv_cdf(float(np.clip(below, least, 1 - least)))
    acceleration = float(np.sum(spread**3)) / 6 / square**1.5
    moved = bias + expansion(len(values)) * scores
    moved = bias + moved / np.maximum(1 - acceleration * moved, 1e-3)
    return _quantiles(means, np.array([0.5 * (1 + erf(each / 2**0.5)) for each in moved.tolist()]))


def mean_quantiles(
    means: Float[np.ndarray, " resamples"],
    errors: Float[np.ndarray, " resamples"],
    values: Float[np.ndarray, " examples"],
    levels: Float[np.ndarray, " wanted"],
    scores: Float[np.ndarray, " wanted"],
) -> Float[np.ndarray, " wanted"]:
    """Quantiles of a mean: `bca_quantiles`, on the long side of skewed values no nearer than t's.

    means, errors  of resamples of the values, and their standard errors: s / sqrt(n), 0 where all
    drawn are equal; levels, scores  those wanted, and their standard normal quantiles
    Of few and skewed values BCa's long end is too near as well. That of the bootstrap-t (Efron &
    Tibshirani 1993, section 12.5), centre - t_{1 - level} * error, takes into account that a
    resample without the largest values has a small deviation as well. It may lie anywhere, and is
    kept among the values, so that no quantile leaves the measure's range.
    """
    found = bca_quantiles(means, values, scores)
    values = values.astype(np.float64)
    centre = values.mean()
    error, skewness = float(values.std()) / len(values) ** 0.5, skewness_of(values)
    far = (scores > 0) == (skewness > 0)
    if abs(skewness) < SKEWED or not far.any():
        return found
    spread = errors > 1e-3 * error  # all drawn are equal, or nearly: such resamples tell nothing
    t = np.where(spread, (means - centre) / np.where(spread, errors, 1.0), 0.0)
    reach = np.clip(centre - error * _quantiles(t, 1 - levels[far]), values.min(), values.max())
    found[far] = (np.maximum if skewness > 0 else np.minimum)(found[far], reach)
    return found


def _quantiles(
    values: Float[np.ndarray, " values"], levels: Float[np.ndarray, " wanted"]
) -> Float[np.ndarray, " wanted"]:
    """`np.quantile`, whose time grows with the number of levels more than a sort takes."""
    ordered = np.sort(values)
    return np.interp(levels * (len(ordered) - 1), np.arange(len(ordered)), ordered)


def skewness_of(values: Float[np.ndarray, " examples"]) -> float:
    """The mean cube of the standardised values; 0 where all are equal."""
    spread = values.astype(np.float64) - values.mean(dtype=np.float64)
    square = float(np.mean(spread**2))
    return float(np.mean(spread**3)) / square**1.5 if square > 0 else 0.0


def expansion(count: int) -> float:
    """t / z of the ends of a 95 % interval from `count` values, times sqrt(n / (n - 1)).

    Student's quantile by its expansion in 1 / (n - 1) (Abramowitz & Stegun 26.7.5), right to 1e-4
    from 10 values on.
    """
    z, f = NORMAL.inv_cdf(INTERVAL[1]), count - 1
    t = (
        z
        + (z**3 + z) / (4 * f)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * f**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * f**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * f**4)
    )
    return t / z * (count / f) ** 0.5
