"""How far two rankings of a text's words agree: one figure per example, jit- and vmap-able.

Every measure takes arrays [batch, length] and the mask of positions that count, ignores whatever
stands elsewhere, and returns [batch] in [-1, 1]; NaN where it is undefined (fewer than two
positions, or all values equal), never 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Rows = Float[Array | np.ndarray, "batch length"]
Mask = Bool[Array | np.ndarray, "batch length"]


def kendall_tau(a: Rows, b: Rows, mask: Mask) -> Float[Array, " batch"]:
    """Kendall's tau-b, ties counted as `scipy.stats.kendalltau` does.

    kendall_tau([[1, 2, 3]], [[1, 3, 2]], [[True] * 3]) == [1/3]: two pairs agree, one does not.
    """

    def row(a, b, mask):
        pairs = mask[:, None] & mask[None, :]
        order_a = jnp.where(pairs, jnp.sign(a[:, None] - a[None, :]), 0)
        order_b = jnp.where(pairs, jnp.sign(b[:, None] - b[None, :]), 0)
        untied = jnp.sqrt(jnp.sum(jnp.abs(order_a))) * jnp.sqrt(jnp.sum(jnp.abs(order_b)))
        return _ratio(jnp.sum(order_a * order_b), untied)

    # One row's pairs at a time: length 4,096 would otherwise need gigabytes.
    return jax.lax.map(lambda each: row(*each), (a, b, mask), batch_size=_chunk(a))


def pearson(a: Rows, b: Rows, mask: Mask) -> Float[Array, " batch"]:
    """Pearson's correlation, as `scipy.stats.pearsonr`."""
    a, b, mask = jnp.asarray(a), jnp.asarray(b), jnp.asarray(mask)
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


def spearman(a: Rows, b: Rows, mask: Mask) -> Float[Array, " batch"]:
    """Spearman's correlation: Pearson's of the ranks, ties sharing their mean rank."""
    return pearson(_ranks(a, mask), _ranks(b, mask), mask)


def _ranks(values: Rows, mask: Mask) -> Rows:
    """Mean ranks from 1: [[0.2, 0.9, 0.2]] -> [[1.5, 3, 1.5]]."""

    def row(values, mask):
        below = jnp.sum((values[None, :] < values[:, None]) & mask[None, :], axis=1)
        equal = jnp.sum((values[None, :] == values[:, None]) & mask[None, :], axis=1)
        return below.astype(values.dtype) + (equal.astype(values.dtype) + 1) / 2

    return jax.lax.map(lambda each: row(*each), (values, mask), batch_size=_chunk(values))


def _ratio(part, whole):
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), jnp.nan)


def _chunk(rows: Rows) -> int:
    """Rows whose pairs fit into about 64 MB together."""
    return max(1, min(rows.shape[0], 2**24 // max(rows.shape[1] ** 2, 1)))


MEASURES = {"kendall": kendall_tau, "pearson": pearson, "spearman": spearman}
