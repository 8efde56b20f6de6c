"""Information bottleneck attribution: noise in a text's states, as much as the prediction bears."""

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from attnjax.analysis.adam import at_rest, descend
from attnjax.analysis.importance.method import Method
from attnjax.analysis.information.measure import drawn
from attnjax.analysis.information.states import DEAD, joined, moments
from attnjax.config import AnalysisConfig
from attnjax.errors import UserError
from attnjax.model.attention import attend, forward
from attnjax.types import Batch, Encoded, Params, Stages

START = 5.0  # alpha of every unit: 0.993 of the state passes
RATE = 1.0  # of Adam


class Noise(NamedTuple):
    """What takes a state's place: per unit, over the words of the training texts."""

    mean: Float[Array, " units"]
    deviation: Float[Array, " units"]


def fit_noise(
    stages: Stages, params: Params, batches: Iterable[Batch], key: Key[Array, ""]
) -> Noise:
    """Mean and deviation of every unit of the encoder's states; raises UserError of constant ones.

    A unit that hardly varies has a deviation of DEAD times the largest.
    """
    del key

    @jax.jit
    def collect(params: Params, batch: Batch) -> Any:
        states = stages.encode(params, stages.embed(params, batch), batch).states
        # Listed words, and those without a piece, have no state.
        real = (stages.attended(batch) & (batch.weight > 0)[:, None]).reshape(-1)
        return moments(states.reshape(-1, states.shape[-1]), real, False)

    total: Any = None
    for batch in batches:
        found = jax.device_get(collect(params, batch))
        total = found if total is None else joined(total, found)
    deviation = np.sqrt(total.squares / max(total.count, 1))
    if not deviation.max() > 0:
        raise UserError(
            "bottleneck: the encoder's states are the same for all words of the training texts; "
            "the model has learnt nothing: train it otherwise, or leave bottleneck out of "
            "analysis.methods"
        )
    dtype = params["embed"]["table"].dtype
    deviation = np.maximum(deviation, DEAD * deviation.max())
    return Noise(jnp.asarray(total.mean, dtype), jnp.asarray(deviation, dtype))


def information(
    alpha: Float[Array, "batch length units"], offset: Float[Array, "batch length units"]
) -> Float[Array, "batch length units"]:
    """KL of what is let through from the noise, in nats, >= 0: of each unit.

    With share s = sigmoid(alpha) of the state and 1 - s of the noise N(m, d^2) it is
    -1/2 (1 + log v - mu^2 - v), mu = s (z - m) / d, v = (1 - s)^2; offset  (z - m) / d
    """
    left = 2 * jax.nn.log_sigmoid(-alpha)  # log v, which stays finite
    return -(1 + left - jnp.square(jax.nn.sigmoid(alpha) * offset) - jnp.exp(left)) / 2


@cache  # equal settings are one function: what is compiled for it is compiled once
def bottleneck(price: float, steps: int, draws: int) -> Any:
    """Makes find: nats that the best bottleneck lets through of each word's state, >= 0.

    Of each unit of each word a share passes and noise takes the rest, such that cross entropy of
    the predicted class plus price times the mean information of a unit is least (Schulz et al.,
    arXiv:2001.00396, eq. 6, the version for each sample). Scores and attention see the same.
    """

    def find(
        stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], fitted: Noise
    ) -> Float[Array, "batch length"]:
        trace, seen = forward(stages, params, batch), stages.attended(batch)
        words = seen[..., None]
        encoded, classes = trace.encoded, trace.logits.argmax(axis=-1)
        mean, deviation = fitted.mean[None, None], fitted.deviation[None, None]
        offset = (encoded.states - mean) / deviation
        count = jnp.maximum(seen.sum(axis=-1), 1).astype(offset.dtype) * offset.shape[-1]

        def told(alpha: Array) -> Array:
            return jnp.where(words, information(alpha, offset), 0)

        def entropy(alpha: Array, number: Any) -> Float[Array, " batch"]:
            share = jax.nn.sigmoid(alpha)
            noise = drawn(jax.random.normal, key, batch.rows, number, offset)
            through = mean + deviation * (share * offset + (1 - share) * noise)
            states = jnp.where(words, through, encoded.states)
            return -_log_probability(stages, params, encoded, states, batch, classes)

        def slope(alpha: Array, step: Any) -> Array:
            def add(total: Any, number: Any) -> Any:
                own = jax.grad(lambda each: entropy(each, step * draws + number).sum())(alpha)
                return total + own, None

            numbers = jnp.arange(draws, dtype=jnp.int32)
            total = jax.lax.scan(add, jnp.zeros_like(alpha), numbers)[0]
            paid = jax.grad(lambda each: (told(each).sum(axis=(1, 2)) / count).sum())(alpha)
            return total / draws + price * paid

        def move(state: Any, step: Any) -> Any:
            alpha, moments = state
            return descend(alpha, moments, slope(alpha, step), step, RATE), None

        start = jnp.full_like(offset, START), at_rest(offset)
        (alpha, _), _ = jax.lax.scan(move, start, jnp.arange(steps, dtype=jnp.int32))
        return told(alpha).sum(axis=-1)

    return find


def _log_probability(
    stages: Stages, params: Params, encoded: Encoded, states: Array, batch: Batch, classes: Array
) -> Float[Array, " batch"]:
    moved = encoded._replace(states=states)
    _, logits = attend(stages, params, moved, stages.score(params, moved), batch)
    found = jax.nn.log_softmax(logits, axis=-1)
    return jnp.take_along_axis(found, classes[:, None], axis=-1)[:, 0]


def _tuned(method: Method, config: AnalysisConfig) -> Method:
    settings = config.bottleneck_price, config.bottleneck_steps, config.bottleneck_draws
    return method._replace(find=bottleneck(*settings))


_DEFAULT = AnalysisConfig()
BOTTLENECK = Method(
    bottleneck(_DEFAULT.bottleneck_price, _DEFAULT.bottleneck_steps, _DEFAULT.bottleneck_draws),
    fit=fit_noise,
    tuned=_tuned,
    passes=lambda config, words: (
        1 + config.bottleneck_steps * config.bottleneck_draws,
        config.bottleneck_steps * config.bottleneck_draws,
    ),
    reference="Schulz et al. 2020, arXiv:2001.00396",
)
