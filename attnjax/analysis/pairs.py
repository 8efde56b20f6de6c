"""Agreement of explanations that are lists of ragged rows: between methods, chance and runs."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from attnjax.analysis.agreement import kendall_p_value, measures
from attnjax.data.batches import bucket, padded_lengths
from attnjax.runtime import quick_compile

Ragged = Sequence[np.ndarray]
FEW = 2**28  # comparisons of words up to which another length to compile does not pay
LENGTHS = 3  # padded lengths in use beyond, one compilation each
DRAWS = 5  # random orders of each row: one alone leaves a small analysis a floor beside 0
LONG = 64  # words from which on one order is enough
VALUES = 2**15  # of one compiled call: the arrays that its loops go through fit a cache


def agree(
    pairs: Mapping[str, tuple[Ragged, Ragged]], top_k: int
) -> dict[str, dict[str, np.ndarray]]:
    """Every measure of every pair of explanations, row by row.

    pairs  name -> (a, b): one array of values over the words for each example, a[i] as long as b[i]
    Returns name -> measure -> [rows], and "p_value" (of Kendall's tau) among the measures; NaN
    where undefined.
    """
    flat = [(a, b) for first, second in pairs.values() for a, b in zip(first, second, strict=True)]
    if not flat:
        return {name: {} for name in pairs}
    sizes = np.array([len(a) for a, _ in flat])
    padded_sizes = np.maximum(sizes, 1).tolist()
    few = len(flat) * max(padded_sizes) ** 2 <= FEW
    lengths = padded_lengths(padded_sizes, 1 if few else LENGTHS)
    buckets = np.array([bucket(size, lengths) for size in padded_sizes])
    collected: dict[str, np.ndarray] = {}
    for padded in lengths:
        members, rows = np.flatnonzero(buckets == padded), max(1, VALUES // padded)
        for start in range(0, len(members), rows):
            chosen = members[start : start + rows]
            mask = np.zeros((rows, padded), bool)
            mask[: len(chosen)] = np.arange(padded) < sizes[chosen, None]
            both = np.zeros((2, rows, padded), flat[0][0].dtype)
            for side in (0, 1):
                both[side, mask] = np.concatenate([flat[row][side] for row in chosen])
            found = jax.device_get(_compiled(top_k)(both[0], both[1], mask))
            for name, values in found.items():
                column = collected.setdefault(name, np.full(len(flat), np.nan))
                column[chosen] = values[: len(chosen)]
    results, start = {}, 0
    for name, (first, _) in pairs.items():
        results[name] = {
            measure: collected[measure][start : start + len(first)]
            for measure in (*measures(top_k), "p_value")
        }
        start += len(first)
    return results


@cache
def _compiled(top_k: int) -> Any:
    table = {**measures(top_k), "p_value": kendall_p_value}

    def every(a: Array, b: Array, mask: Array) -> dict[str, Any]:
        return {name: each(a, b, mask) for name, each in table.items()}

    return jax.jit(every, compiler_options=quick_compile())


def chance(
    pairs: Mapping[str, tuple[Ragged, Ragged]], top_k: int, seed: int, numbers: Sequence[int]
) -> dict[str, dict[str, np.ndarray]]:
    """`agree` with the second of each pair in random order: what agreement is worth nothing.

    Each figure is the mean over DRAWS orders, of rows of more than LONG words that of one alone:
    chance varies little there, and they take most of the time. "p_value" is that of one order.
    """
    short = {
        name: [row for row, values in enumerate(second) if len(values) <= LONG]
        for name, (_, second) in pairs.items()
    }

    def drawn(name: str, draw: int) -> tuple[Ragged, Ragged]:
        first, second = pairs[name]
        rows = short[name] if draw else range(len(second))
        order = shuffled(
            [second[row] for row in rows], (seed, draw), [numbers[row] for row in rows]
        )
        return [first[row] for row in rows], order

    # One call for all draws: they share its padded lengths, and so its compiled programs.
    found = agree(
        {f"{name} {draw}": drawn(name, draw) for name in pairs for draw in range(DRAWS)}, top_k
    )
    results = {name: found[f"{name} 0"] for name in pairs}
    for name, measured in results.items():
        for measure, values in measured.items():
            if measure != "p_value":
                further = [found[f"{name} {draw}"][measure] for draw in range(1, DRAWS)]
                values[short[name]] = np.mean([values[short[name]], *further], axis=0)
    return results


def shuffled(rows: Ragged, seed: tuple[int, ...], numbers: Sequence[int]) -> list[np.ndarray]:
    """The same values in random order.

    numbers  one a row; the order depends on (number, seed) alone
    """
    each = zip(numbers, rows, strict=True)
    return [np.random.default_rng([number, *seed]).permutation(row) for number, row in each]
