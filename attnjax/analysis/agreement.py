"""How far two explanations of a text agree: one figure per example, jit- and vmap-able.

Every measure takes arrays [batch, length] of any kind of number and the mask of positions that
count, computes in float32 unless one of them is float64, ignores whatever stands elsewhere, and
returns [batch]; NaN, never 0, where a row has no answer, which each measure says of itself, and
where a value that counts is NaN. `measures` is the table of all.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

Values = Shaped[Array | np.ndarray, "batch length"]  # bool and whole numbers too
Mask = Shaped[Array | np.ndarray, "batch length"]
Measure = Callable[[Values, Values, Mask], Float[Array, " batch"]]

EXACT = 33  # the longest row whose p-value is always exact where nothing is tied, as in scipy


def kendall_tau(a: Values, b: Values, mask: Mask) -> Float[Array, " batch"]:
    """Kendall's tau-b, -1..1, ties counted as `scipy.stats.kendalltau` does.

    NaN: fewer than two positions, or all values of a or of b equal.
    kendall_tau([[1, 2, 3]], [[1, 3, 2]], [[True] * 3]) == [1/3]: two pairs agree, one does not.
    """
    pairs = _count_pairs(*_floats(a, b, mask))
    untied = jnp.sqrt(pairs.all - pairs.a.pairs) * jnp.sqrt(pairs.all - pairs.b.pairs)
    return jnp.clip(_ratio(pairs.score, untied), -1, 1)


def kendall_p_value(a: Values, b: Values, mask: Mask) -> Float[Array, " batch"]:
    """Two-sided p-value of Kendall's tau-b, 0..1: `scipy.stats.kendalltau(method="auto")`.

    From the exact distribution where no values are tied and the row has at most 33 positions, or
    all pairs agree (or disagree) but at most one; else from the normal distribution with the
    variance corrected for ties. In float32 a p-value below 1e-38 is 0.
    NaN: where kendall_tau is.
    """
    pairs = _count_pairs(*_floats(a, b, mask))
    size, ties_a, ties_b = pairs.size, pairs.a, pairs.b
    ordered = size * (size - 1)
    variance = (
        (ordered * (2 * size + 5) - ties_a.variance - ties_b.variance) / 18
        + 2 * ties_a.pairs * ties_b.pairs / jnp.maximum(ordered, 1)
        + ties_a.triples * ties_b.triples / jnp.maximum(9 * ordered * (size - 2), 1)
    )
    distance = jnp.abs(pairs.score) / jnp.sqrt(jnp.where(variance > 0, variance, 1))
    normal = jax.scipy.special.erfc(distance / 2**0.5)

    # Whole numbers, exact in float32 up to 5,792 positions; p-values of longer rows are normal.
    fewer = ((pairs.all - jnp.abs(pairs.score)) / 2).astype(jnp.int32)  # of agreeing, disagreeing
    length = size.astype(jnp.int32)
    table, factorials = (jnp.asarray(each, size.dtype) for each in _exact_p_values())
    short = table[jnp.minimum(length, EXACT), jnp.minimum(fewer, table.shape[1] - 1)]
    long = 2 * factorials[jnp.clip(length - fewer, 0, len(factorials) - 1)]
    exact = jnp.where(length <= EXACT, short, long)

    untied = (ties_a.pairs == 0) & (ties_b.pairs == 0)
    p_value = jnp.where(untied & ((length <= EXACT) | (fewer <= 1)), exact, normal)
    defined = (pairs.all > ties_a.pairs) & (pairs.all > ties_b.pairs)
    return jnp.where(defined, p_value, jnp.nan)


class _Ties(NamedTuple):
    """Of one ranking [batch]: tied pairs, and sums over groups of n equal values.

    triples  n (n - 1) (n - 2);  variance  n (n - 1) (2 n + 5)
    """

    pairs: Float[Array, " batch"]
    triples: Float[Array, " batch"]
    variance: Float[Array, " batch"]


class _Pairs(NamedTuple):
    """Of two rankings [batch]: positions, pairs of them, agreeing less disagreeing pairs, ties."""

    size: Float[Array, " batch"]
    all: Float[Array, " batch"]
    score: Float[Array, " batch"]
    a: _Ties
    b: _Ties


@jax.jit
def _count_pairs(a: Values, b: Values, mask: Mask) -> _Pairs:
    size = jnp.sum(mask, axis=-1).astype(a.dtype)
    size = jnp.where(_any_nan(a, b, mask), jnp.nan, size)
    # Nothing is below, above or equal to NaN: a pair with a position off the mask drops out.
    a, b = jnp.where(mask, a, jnp.nan), jnp.where(mask, b, jnp.nan)

    def compare(here, there):
        (a, b), (other_a, other_b) = here, there
        agree = _order(a, other_a) * _order(b, other_b)
        return agree, (a == other_a).astype(jnp.int32), (b == other_b).astype(jnp.int32)

    def ties(others) -> _Ties:
        others = others.astype(a.dtype)  # how many other positions have this one's value
        sums = others, others * (others - 1), others * (2 * others + 7)
        pairs, triples, variance = (jnp.sum(each, axis=-1) for each in sums)
        return _Ties(pairs / 2, triples, variance)

    agree, others_a, others_b = _against_others(compare, a, b)
    score = jnp.sum(agree, axis=-1).astype(a.dtype) / 2  # each pair was met from both its ends
    return _Pairs(size, size * (size - 1) / 2, score, ties(others_a), ties(others_b))


def _against_others(compare: Callable[..., tuple[Array, ...]], *rows: Array) -> tuple[Array, ...]:
    """Sums whole numbers compare(rows, rows of another position) over a row's other positions.

    [batch, length] arrays -> [batch, length] arrays. One rotation of the rows at a time: all pairs
    of a text of 4,096 words would need gigabytes, and what fits into cache is 10 times as fast.
    """
    length = rows[0].shape[1]
    twice = [jnp.concatenate([each, each], axis=1) for each in rows]

    def step(shift, sums):
        others = [jax.lax.dynamic_slice_in_dim(each, shift, length, axis=1) for each in twice]
        return tuple(map(jnp.add, sums, compare(rows, others)))

    shapes = jax.eval_shape(compare, rows, rows)
    zeros = tuple(jnp.zeros(each.shape, each.dtype) for each in shapes)
    return jax.lax.fori_loop(1, length, step, zeros, unroll=4)


def _order(a: Array, b: Array) -> Array:
    """1 where a is the higher, -1 where b is, 0 where neither."""
    return (a > b).astype(jnp.int32) - (a < b).astype(jnp.int32)


@cache
def _exact_p_values() -> tuple[np.ndarray, np.ndarray]:
    """(p-values by length up to 33 and the rarer direction's number of pairs, 1 / n! by n).

    A random order has c inversions with probability counts[c] / n!, Mahonian numbers: the next
    element can be put in front of 0 to n earlier ones. scipy calls 1 / 171! and below 0.
    """
    most = EXACT * (EXACT - 1) // 4
    table = np.ones((EXACT + 1, most + 1))
    counts = [1]  # Python's integers are exact
    for length in range(2, EXACT + 1):
        wider = [0] * (len(counts) + length - 1)
        for inversions, count in enumerate(counts):
            for passed in range(length):
                wider[inversions + passed] += count
        counts, total = wider, 0
        for inversions in range(length * (length - 1) // 4 + 1):
            total += counts[inversions]
            table[length, inversions] = min(1.0, 2 * total / math.factorial(length))
    return table, np.array([1 / math.factorial(n) for n in range(171)] + [0.0])


@jax.jit
def pearson(a: Values, b: Values, mask: Mask) -> Float[Array, " batch"]:
    """Pearson's correlation, -1..1, as `scipy.stats.pearsonr`.

    NaN: fewer than two positions, or all values of a or of b equal.
    """
    a, b, mask = _floats(a, b, mask)
    if a.shape[1] == 0:
        return jnp.full(a.shape[0], jnp.nan, a.dtype)
    count = jnp.maximum(mask.sum(axis=-1, keepdims=True), 1).astype(a.dtype)

    def centred(values):
        values = jnp.where(mask, values, 0)
        scale = jnp.max(jnp.abs(values), axis=-1, keepdims=True)
        values = values / jnp.where(scale > 0, scale, 1)  # squares of tiny gradients vanish
        mean = values.sum(axis=-1, keepdims=True) / count
        first = jnp.take_along_axis(values, jnp.argmax(mask, axis=-1)[:, None], axis=-1)
        constant = jnp.all((values == first) | ~mask, axis=-1, keepdims=True)
        return jnp.where(mask & ~constant, values - mean, 0)

    a, b = centred(a), centred(b)
    norm = jnp.sqrt(jnp.sum(a * a, axis=-1)) * jnp.sqrt(jnp.sum(b * b, axis=-1))
    return jnp.clip(_ratio(jnp.sum(a * b, axis=-1), norm), -1, 1)


def spearman(a: Values, b: Values, mask: Mask) -> Float[Array, " batch"]:
    """Spearman's correlation, -1..1: Pearson's of the ranks, ties sharing their mean rank.

    NaN: where pearson is.
    """
    a, b, mask = _floats(a, b, mask)
    return pearson(_ranks(a, mask), _ranks(b, mask), mask)


@jax.jit
def _ranks(values: Values, mask: Mask) -> Values:
    """Mean ranks from 1: [[0.2, 0.9, 0.2]] -> [[1.5, 3, 1.5]]; NaN off the mask, and for NaN."""
    values = jnp.where(mask, values, jnp.nan)

    def compare(here, there):
        (values,), (others,) = here, there
        return (2 * (others < values).astype(jnp.int32) + (others == values).astype(jnp.int32),)

    (halves,) = _against_others(compare, values)
    return jnp.where(jnp.isnan(values), jnp.nan, halves.astype(values.dtype) / 2 + 1)


def top_k_kendall(a: Values, b: Values, mask: Mask, k: int = 10) -> Float[Array, " batch"]:
    """Kendall distance of the two lists of k highest words, 0 the same list (Fagin et al. 2003).

    Jain & Wallace's code with p = 1/2, papers 3.3: A and B are the two sets of top words, Z what
    they share, z its size, and

        d = ((1 - tau(a_Z, b_Z)) / 2 * z^2 + #{i in Z, j in A - B: a_i < a_j}
             + #{i in Z, j in B - A: b_i < b_j} + C(k - z, 2)) / (2 k - z)^2

    with the first term 0 where tau is undefined. 1 is the same words in reversed order. As that
    code has no term for pairs of one word of A - B and one of B - A, lists that share no word are
    only (k - 1) / 8 k apart: read it beside `top_k_overlap`.
    Where a row has fewer than k positions, k is their number. Among equal values the earlier
    position is the higher. NaN: no position.
    """
    a, b, mask = _floats(a, b, mask)
    top_a, top_b = _top(a, mask, k), _top(b, mask, k)
    same = _same(top_a, top_b)
    shared_a, shared_b = same.any(axis=2), same.any(axis=1)
    other = jnp.take_along_axis(b, top_a.place, axis=1)  # b of A's words
    tau = kendall_tau(top_a.values, other, shared_a)

    def outranked(top: _Top, shared):
        """Pairs of a shared word and a higher one that the other list lacks."""
        pairs = shared[:, :, None] & (top.real & ~shared)[:, None, :]
        return _count(pairs & (top.values[:, :, None] < top.values[:, None, :]), tau.dtype)

    size, common = _count(top_a.real, tau.dtype), _count(shared_a, tau.dtype)
    reversed_pairs = jnp.where(jnp.isnan(tau), 0, (1 - tau) / 2 * common**2)
    missing = (size - common) * (size - common - 1) / 2
    cross = outranked(top_a, shared_a) + outranked(top_b, shared_b)
    distance = _ratio(reversed_pairs + cross + missing, (2 * size - common) ** 2)
    return jnp.where(_any_nan(a, b, mask), jnp.nan, distance)


def top_k_overlap(a: Values, b: Values, mask: Mask, k: int = 10) -> Float[Array, " batch"]:
    """Share of the k highest words that both have, 0..1.

    Where a row has fewer than k positions, k is their number, so that the share is 1. Among equal
    values the earlier position is the higher. NaN: no position.
    """
    a, b, mask = _floats(a, b, mask)
    top_a, top_b = _top(a, mask, k), _top(b, mask, k)
    same = _same(top_a, top_b)
    share = _ratio(_count(same, a.dtype), _count(top_a.real, a.dtype))
    return jnp.where(_any_nan(a, b, mask), jnp.nan, share)


class _Top(NamedTuple):
    """The highest words: their values and places [batch, k], real False beyond a row's words."""

    values: Float[Array, "batch k"]
    place: Int[Array, "batch k"]
    real: Bool[Array, "batch k"]


@partial(jax.jit, static_argnames="k")
def _top(values: Values, mask: Mask, k: int) -> _Top:
    k = min(k, values.shape[1])
    values = jnp.where(values == 0, 0, values)  # top_k puts -0.0 below 0.0
    highest, place = jax.lax.top_k(jnp.where(mask, values, -jnp.inf), k)  # the earlier among equals
    return _Top(highest, place, jnp.arange(k)[None, :] < mask.sum(axis=1, keepdims=True))


def _same(a: _Top, b: _Top) -> Bool[Array, "batch k k"]:
    """Whether a's word [:, i, :] is b's [:, :, j]."""
    real = a.real[:, :, None] & b.real[:, None, :]
    return (a.place[:, :, None] == b.place[:, None, :]) & real


def jensen_shannon(a: Values, b: Values, mask: Mask) -> Float[Array, " batch"]:
    """Jensen-Shannon divergence of the two as distributions, in nats: 0 the same, ln 2 disjoint.

    JSD(p, q) = KL(p | m) / 2 + KL(q | m) / 2 with m = (p + q) / 2, each row divided by its sum.
    NaN: a row of a or of b that sums to 0 or has a negative value, no position.
    """

    def normalised(values):
        values = jnp.where(mask, values, 0)
        total = jnp.sum(values, axis=-1, keepdims=True)
        proper = (total > 0) & jnp.all(values >= 0, axis=-1, keepdims=True)
        return jnp.where(proper, values / jnp.where(proper, total, 1), jnp.nan)

    def divergence(part, middle):
        present = part > 0
        quotient = jnp.where(present, part / jnp.where(present, middle, 1), 1)
        return jnp.sum(part * jnp.log(quotient), axis=-1)

    a, b, mask = _floats(a, b, mask)
    a, b = normalised(a), normalised(b)
    middle = (a + b) / 2
    apart = jnp.clip((divergence(a, middle) + divergence(b, middle)) / 2, 0, math.log(2))
    return jnp.where(jnp.any(mask, axis=-1), apart, jnp.nan)


def measures(top_k: int) -> dict[str, Measure]:
    """Every measure by its name; top_k  how many words the top-k measures look at."""
    return {
        "kendall": kendall_tau,
        "pearson": pearson,
        "spearman": spearman,
        "top_k_kendall": partial(top_k_kendall, k=top_k),
        "jensen_shannon": jensen_shannon,
        "top_k_overlap": partial(top_k_overlap, k=top_k),
    }


def _floats(a, b, mask):
    """Both in one type that counts and shares are exact in; human rationales are often 0 and 1."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    kind = jnp.float64 if jnp.float64 in (a.dtype, b.dtype) else jnp.float32
    return a.astype(kind), b.astype(kind), jnp.asarray(mask, bool)


def _count(found, kind):
    return found.sum(axis=tuple(range(1, found.ndim))).astype(kind)


def _any_nan(a, b, mask):
    return jnp.any((jnp.isnan(a) | jnp.isnan(b)) & mask, axis=-1)


def _ratio(part, whole):
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), jnp.nan)


MEASURES = {"kendall": kendall_tau, "pearson": pearson, "spearman": spearman}
