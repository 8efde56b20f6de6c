"""Norms of perturbations, example by example: a perturbation is any tree of [batch, ...] arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

Delta = Any  # a tree of arrays that share their first axis, the batch
TINY = 1e-30  # squared norms below this count as zero: no direction to follow


def norms(delta: Delta) -> Float[Array, " batch"]:
    """L2 norm of each example's part over all leaves and positions; its gradient is never NaN."""
    square = sum(
        jnp.sum(jnp.square(leaf), axis=tuple(range(1, leaf.ndim)))
        for leaf in jax.tree.leaves(delta)
    )
    return jnp.where(square > TINY, jnp.sqrt(jnp.where(square > TINY, square, 1.0)), 0.0)


def rescale(delta: Delta, size: Float[Array, ""] | Float[Array, " batch"] | float) -> Delta:
    """Gives each example's part the L2 norm `size`; what is zero stays zero.

    rescale([[3, 4], [0, 0]], 10) == [[6, 8], [0, 0]]
    """
    # Dividing by the largest entry first keeps squares of tiny gradients above zero.
    largest = jax.tree.reduce(
        jnp.maximum,
        jax.tree.map(lambda leaf: jnp.max(jnp.abs(leaf), axis=tuple(range(1, leaf.ndim))), delta),
    )
    delta = _times(delta, 1 / jnp.where(largest > 0, largest, 1.0))
    length = norms(delta)
    return _times(delta, jnp.where(length > 0, size / jnp.where(length > 0, length, 1.0), 0.0))


def project(delta: Delta, size: Float[Array, ""]) -> Delta:
    """Shortens whatever is longer than `size` to it: the nearest point of the L2 ball."""
    length = norms(delta)
    return _times(delta, jnp.where(length > size, size / jnp.where(length > 0, length, 1.0), 1.0))


def gaussian(like: Delta, rows: Int[Array, " batch"], key: Key[Array, ""]) -> Delta:
    """Standard normal noise that depends on (key, the example's row, position) alone.

    The same example gets the same noise under any padding, batch or device.
    """
    leaves, tree = jax.tree.flatten(like)

    def draw(row: Int[Array, ""]) -> list[Array]:
        keys = jax.random.split(jax.random.fold_in(key, row), len(leaves))
        return [
            jax.random.normal(each, leaf.shape[1:], leaf.dtype)
            for each, leaf in zip(keys, leaves, strict=True)
        ]

    return jax.tree.unflatten(tree, jax.vmap(draw)(rows))


def gaussian_pairs(
    like: Float[Array, "batch *more length length"], rows: Int[Array, " batch"], key: Key[Array, ""]
) -> Float[Array, "batch *more length length"]:
    """`gaussian` for pairs of positions: a longer padding leaves each pair its number.

    Pairs are counted in growing squares: 00, then 01 10 11, then 02 12 20 21 22.
    """
    batch, *more, length, _ = like.shape
    start, end = np.indices((length, length))
    place = np.where(start < end, end**2 + start, start**2 + start + end)
    noise = gaussian(jax.ShapeDtypeStruct((batch, length**2, *more), like.dtype), rows, key)
    return jnp.moveaxis(noise[:, place], (1, 2), (-2, -1))


def dropout(like: Delta, rows: Int[Array, " batch"], key: Key[Array, ""], rate: float) -> Delta:
    """Factors that drop each entry with probability `rate` and scale the rest to keep the mean.

    Like `gaussian`, a function of (key, row, position) alone.
    """
    noise = gaussian(like, rows, key)
    threshold = jax.scipy.special.ndtri(jnp.float32(rate))  # P(noise < threshold) = rate
    return jax.tree.map(
        lambda z: jnp.where(z < threshold.astype(z.dtype), 0, 1 / (1 - rate)).astype(z.dtype), noise
    )


def keep(delta: Delta, mask: Delta) -> Delta:
    """Zero wherever the mask, a tree of booleans over the leading axes, is False."""
    return jax.tree.map(lambda leaf, on: jnp.where(widen(on, leaf), leaf, 0), delta, mask)


def widen(values: Array, like: Array) -> Array:
    """Adds trailing axes of size 1 until `values` has as many axes as `like`."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def _times(delta: Delta, factor: Float[Array, " batch"]) -> Delta:
    return jax.tree.map(lambda leaf: leaf * widen(factor, leaf).astype(leaf.dtype), delta)
