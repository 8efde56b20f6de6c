"""Encoding a segment once for each of its tokens left out.

A way of doing so is one function (encoder, weights, inputs, tokens) -> without, where
without(position) is (states, summary, tokens left) of the rows that lack this position. `close_up`
is right for every encoder; `WITHOUT` holds the faster ways.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.model.lstm import LSTMParams, bilstm_without, final_states
from attnjax.types import PAD

Without = Callable[
    [Int[Array, ""]],
    tuple[
        Float[Array, "batch length width"], Float[Array, "batch width"], Int[Array, "batch length"]
    ],
]


def delete(
    values: Int[Array, "batch length"] | Float[Array, "batch length embed"],
    position: Int[Array, ""],
) -> Int[Array, "batch length"] | Float[Array, "batch length embed"]:
    """Deletes one position from every row: [[2, 7, 8, 3]] without 1 -> [[2, 8, 3, 0]].

    The rest closes up; what comes in at the end is 0, as padding and its vector.
    """
    following = jnp.roll(values, -1, axis=1).at[:, -1].set(PAD)
    places = jnp.arange(values.shape[1], dtype=position.dtype)
    return jnp.where(places.reshape(1, -1, *(1,) * (values.ndim - 2)) < position, values, following)


def close_up(
    encoder: Any,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    tokens: Int[Array, "batch length"],
) -> Without:
    """Literally: the vectors close up and are encoded anew."""

    def without(position: Int[Array, ""]) -> Any:
        left = delete(tokens, position)
        encoded = encoder.apply({"params": weights}, delete(inputs, position), left != PAD)
        return *encoded, left

    return without


def skip_steps(
    encoder: Any,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    tokens: Int[Array, "batch length"],
) -> Without:
    """For the BiLSTM: the step is skipped, states keep their places, the token left out is PAD."""
    del encoder
    mask = tokens != PAD
    rest = bilstm_without(LSTMParams(**weights), inputs, mask)

    def without(position: Int[Array, ""]) -> Any:
        states = rest(position)
        left_out = jnp.arange(tokens.shape[1], dtype=position.dtype) == position
        left = jnp.where(left_out[None, :], PAD, tokens)
        return states, final_states(states, mask), left

    return without


WITHOUT = {"bilstm": skip_steps}
