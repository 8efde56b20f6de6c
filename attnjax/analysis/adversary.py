"""The optimisation behind adversarial attention: candidates far from a given attention.

Arrays are [K, length, batch]: one example a vector lane, and sums over words run in order, so that
padding does not regroup them; hundreds of steps would blow up the difference.
"""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

NOWHERE = -1e9  # logit off the words: weight exactly 0
FACTORS = 4  # sums of two weights whose product fits a float32 with room below
SCALE = 2.0**28  # (2 * SCALE) ** FACTORS < 2 ** 127


class Adversary(NamedTuple):
    """Settings of adversarial attention; the defaults are those of Jain & Wallace's code.

    adversaries    attentions sought per example, K
    steps          of the optimizer, AMSGrad with this learning_rate
    margin         change of the output that costs nothing while optimising
    weight         cost of each unit of change beyond the margin
    epsilon        largest change of the output that a reported attention may cause
    """

    adversaries: int = 5
    steps: int = 500
    learning_rate: float = 0.01
    margin: float = 0.01
    weight: float = 500.0
    epsilon: float = 0.05


def descent(
    logits: Float[Array, "K length batch"],
    weights: Float[Array, "K length batch"],
    original: Float[Array, "one length batch"],
    cost: Float[Array, "K length batch"],
) -> Float[Array, "K length batch"]:
    """Gradient by the logits of what `adversarial` minimises.

    weights  softmax of the logits; cost  gradient of the penalty by the weights

    dJSD[p, q]/dp = log(p / (p + q)) / 2 up to a constant, which the softmax's Jacobian
    p (g - sum p g) removes; log p is the logit, again up to a constant; and the sum over the other
    candidates j of log(p_i + p_j) is one logarithm of a product.
    """
    others = len(weights) - 1
    pairs = 1 / (others + 1) / max(others, 1)
    tiny = jnp.finfo(weights.dtype).tiny  # off the words: 0 * log(tiny), not 0 * log(0)
    slope = (1 + pairs * others) * logits - jnp.log(jnp.maximum(weights + original, tiny))
    if others:
        slope = slope - pairs * _log_sums(weights)
    slope = slope / 2 - cost
    return weights * (jnp.sum(weights * slope, axis=1, keepdims=True) - slope)


def _log_sums(weights: Float[Array, "K length batch"]) -> Float[Array, "K length batch"]:
    """sum_{j != i} log(a_i + a_j) for every candidate i, up to a constant.

    Weights so small that a product of FACTORS sums underflows (1e-17) get too large a value here;
    the gradient multiplies it by that weight.
    """
    scaled = [each * SCALE for each in weights]
    tiny = jnp.finfo(weights.dtype).tiny

    def row(i: int) -> Float[Array, "length batch"]:
        sums = [scaled[i] + each for j, each in enumerate(scaled) if j != i]
        products = [
            reduce(jnp.multiply, sums[start : start + FACTORS])
            for start in range(0, len(sums), FACTORS)
        ]
        return reduce(jnp.add, [jnp.log(jnp.maximum(each, tiny)) for each in products])

    return jnp.stack([row(i) for i in range(len(scaled))])


def amsgrad(
    gradient: Callable[[Array], Array], start: Array, steps: int, learning_rate: float
) -> Array:
    """Minimises by `torch.optim.Adam(amsgrad=True)`, which the reference uses.

    `optax.amsgrad` corrects the bias of the second moment before it takes the largest; and what
    `attnjax.train` optimises with lies beside this layer, not below it.
    """
    b1, b2, epsilon = 0.9, 0.999, 1e-8

    def step(taken: Int[Array, ""], state: tuple[Array, ...]) -> tuple[Array, ...]:
        here, first, second, largest = state
        slope = gradient(here)
        first = b1 * first + (1 - b1) * slope
        second = b2 * second + (1 - b2) * slope * slope
        largest = jnp.maximum(largest, second)
        power = (taken + 1).astype(here.dtype)
        size = learning_rate / (1 - b1**power)
        here = here - size * first / (jnp.sqrt(largest / (1 - b2**power)) + epsilon)
        return here, first, second, largest

    zeros = jnp.zeros_like(start)
    return jax.lax.fori_loop(0, steps, step, (start, zeros, zeros, zeros))[0]


def softmax(
    logits: Float[Array, "K length batch"], present: Float[Array, "one one batch"]
) -> Float[Array, "K length batch"]:
    """Over the words; zeros where a row has none."""
    exponentials = jnp.exp(logits - jnp.max(logits, axis=1, keepdims=True))
    return exponentials * (present / jnp.sum(exponentials, axis=1, keepdims=True))


def jensen_shannon(
    a: Float[Array, "K length batch"], b: Float[Array, "one length batch"]
) -> Float[Array, "K batch"]:
    """Jensen-Shannon divergence over the words, in nats."""
    tiny = jnp.finfo(a.dtype).tiny
    middle = jnp.log(jnp.maximum((a + b) / 2, tiny))
    parts = a * (jnp.log(jnp.maximum(a, tiny)) - middle)
    parts = parts + b * (jnp.log(jnp.maximum(b, tiny)) - middle)
    return jnp.clip(jnp.sum(parts, axis=1) / 2, 0, np.log(2))
