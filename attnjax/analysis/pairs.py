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
SHORT = 64  # up to here, compiling for another padded length costs more than padding
LENGTHS = 3  # padded lengths in use beyond, one compilation each
ROWS = 1024  # of one compiled call


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
    lengths = padded_lengths(padded_sizes, 1 if max(padded_sizes) <= SHORT else LENGTHS)
    order = np.argsort(sizes, kind="stable")
    collected: dict[str, np.ndarray] = {}
    for start in range(0, len(flat), ROWS):
        chosen = order[start : start + ROWS]
        padded = bucket(padded_sizes[chosen[-1]], lengths)
        mask = np.zeros((ROWS, padded), bool)
        mask[: len(chosen)] = np.arange(padded) < sizes[chosen, None]
        both = np.zeros((2, ROWS, padded), flat[0][0].dtype)
        for side in (0, 1):
            both[side, mask] = np.concatenate([flat[row][side] for row in chosen])
        found = jax.device_get(_compiled(top_k)(both[0], both[1], mask))
        for name, values in found.items():
            collected.setdefault(name, np.full(len(flat), np.nan))[chosen] = values[: len(chosen)]
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


def shuffled(rows: Ragged, seed: int) -> list[np.ndarray]:
    """The same values in random order, by (seed, row): agreement with it is what chance gives."""
    return [np.random.default_rng([seed, row]).permutation(each) for row, each in enumerate(rows)]
