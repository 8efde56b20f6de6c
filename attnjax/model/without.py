"""Encoding a segment once for each of its tokens left out.

A way of doing so is one function (encoder, weights, inputs, tokens, block) -> without, where
without(start) leaves out position start, start + 1, ... start + block - 1, one at a time, and
returns (states, summary, tokens left), each with a leading axis of block. `close_up` is right for
every encoder; `WITHOUT` holds the faster ways.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.model.lstm import LSTMParams, bilstm_without, final_states
from attnjax.types import PAD

Without = Callable[
    [Int[Array, ""]],
    tuple[
        Float[Array, "block batch length width"],
        Float[Array, "block batch width"],
        Int[Array, "block batch length"],
    ],
]


def delete(
    values: Int[Array, "batch length"] | Float[Array, "batch length embed"],
    position: Int[Array, ""],
) -> Int[Array, "batch length"] | Float[Array, "batch length embed"]:
    """Deletes one position from every row: [[2, 7, 8, 3]] without 1 -> [[2, 8, 3, 0]].

    The rest closes up; what comes in at the end is 0, as padding and its vector. A position past
    the end deletes nothing.
    """
    following = jnp.roll(values, -1, axis=1).at[:, -1].set(PAD)
    places = jnp.arange(values.shape[1], dtype=position.dtype).reshape(
        1, -1, *(1,) * (values.ndim - 2)
    )
    return jnp.where(places < position, values, following)


def close_up(
    encoder: Any,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    tokens: Int[Array, "batch length"],
    block: int,
) -> Without:
    """Literally: the vectors close up and are encoded anew."""

    def one(position: Int[Array, ""]) -> Any:
        left = delete(tokens, position)
        encoded = encoder.apply({"params": weights}, delete(inputs, position), left != PAD)
        return *encoded, left

    return lambda start: jax.vmap(one)(_positions(start, block))


def skip_steps(
    encoder: Any,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    tokens: Int[Array, "batch length"],
    block: int,
) -> Without:
    """For the BiLSTM: the step is skipped, states keep their places, the token left out is PAD."""
    del encoder
    mask = tokens != PAD
    without = bilstm_without(LSTMParams(**weights), inputs, mask, block)

    def edited(start: Int[Array, ""]) -> Any:
        states = without(start)
        summary = jax.vmap(final_states, in_axes=(0, None))(states, mask)
        places = jnp.arange(tokens.shape[1], dtype=start.dtype)
        left_out = _positions(start, block)[:, None] == places[None, :]
        return states, summary, jnp.where(left_out[:, None, :], PAD, tokens[None])

    return edited


def _positions(start: Int[Array, ""], block: int) -> Int[Array, " block"]:
    return start + jnp.arange(block, dtype=start.dtype)


WITHOUT = {"bilstm": skip_steps}
