"""Adam (Kingma & Ba, arXiv:1412.6980) for what an analysis optimises of many texts at once.

Written out, since Optax's is not for strict promotion of types.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Moments(NamedTuple):
    """Running means of the slopes and of their squares, as trees."""

    first: Any
    second: Any


def at_rest(values: Any) -> Moments:
    """The moments before the first step."""
    zeros = jax.tree.map(jnp.zeros_like, values)
    return Moments(zeros, zeros)


def descend(
    values: Any, moments: Moments, slopes: Any, taken: Any, rate: float | Float[Array, ""]
) -> tuple[Any, Moments]:
    """One step down the slopes, of size `rate` at first; taken  is how many came before it."""
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments.first, slopes)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * jnp.square(g), moments.second, slopes)

    def moved(value: Array, mean: Array, square: Array) -> Array:
        turn = (taken + 1).astype(value.dtype)
        root = jnp.sqrt(square / (1 - 0.999**turn)) + 1e-8
        return value - rate * mean / (1 - 0.9**turn) / root

    return jax.tree.map(moved, values, first, second), Moments(first, second)
