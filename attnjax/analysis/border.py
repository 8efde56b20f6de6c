"""How far the nearest class lies: the least change of the word vectors that is found to flip.

DeepFool (Moosavi-Dezfooli et al. 2016, arXiv:1511.04599, algorithm 1): step by step the margin over
the likeliest other class is taken for linear and its zero is stepped to, a little beyond; when the
class has changed, the way is shortened to where it first does. What comes out flips the prediction,
and so bounds the radius within which nothing does from above; where the margin is linear it is it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnjax.analysis.importance.target import of_classes

STEPS = 30  # at most; two classes take three or four
BEYOND = 0.02  # of a step
HALVINGS = 12  # of the way, in the end


def radius(
    logits: Callable[[Float[Array, "batch length width"]], Float[Array, "batch classes"]],
    classes: Int[Array, " batch"],
    movable: Bool[Array, "batch length width"],
    dtype: jnp.dtype,
) -> Float[Array, " batch"]:
    """L2 norm of the least change found that makes another class likelier; NaN if none is found.

    logits   (change of the vectors) -> logits, each row's of its own change
    classes  predicted without a change; movable  the entries that may change
    Worked: of the logits [0, 3 x + 4 y + 5] at x = y = 0, class 1, it is 5 / |(3, 4)| = 1.
    """

    def margin(change: Float[Array, "batch length width"]) -> Float[Array, " batch"]:
        found = logits(change)
        own = jax.nn.one_hot(classes, found.shape[-1], dtype=bool)
        return of_classes(found, classes) - jnp.where(own, -jnp.inf, found).max(axis=-1)

    def total(change: Float[Array, "batch length width"]) -> tuple[Array, Array]:
        each = margin(change)
        return each.sum(), each

    def open_(state: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        turn, _, left = state
        return (turn < STEPS) & left.any()

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        turn, change, _ = state
        (_, value), slope = jax.value_and_grad(total, has_aux=True)(change)
        slope = jnp.where(movable, slope, 0)
        size = jnp.square(slope).sum(axis=(1, 2))
        left = (value >= 0) & (size > 0) & jnp.isfinite(value)
        length = jnp.where(left, (1 + BEYOND) * value / jnp.where(left, size, 1), 0)
        # On the border itself a step has no length: the last places of the value stand in for it.
        least = jnp.finfo(dtype).eps / jnp.sqrt(jnp.where(left, size, 1))
        length = jnp.where(left, jnp.maximum(length, least), 0)
        return turn + 1, change - length[:, None, None] * slope, left

    start = jnp.zeros(movable.shape, dtype)
    everyone = jnp.ones(len(classes), bool)
    _, change, _ = jax.lax.while_loop(open_, step, (jnp.int32(0), start, everyone))
    flips = margin(change) < 0

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        near, far = ends
        middle = (near + far) / 2
        beyond = margin(middle[:, None, None] * change) < 0
        return jnp.where(beyond, near, middle), jnp.where(beyond, middle, far)

    ends = (jnp.zeros(len(classes), dtype), jnp.ones(len(classes), dtype))
    _, far = jax.lax.fori_loop(0, HALVINGS, halve, ends)
    norm = jnp.sqrt(jnp.square(change).sum(axis=(1, 2)))
    return jnp.where(flips, far * norm, jnp.nan)
