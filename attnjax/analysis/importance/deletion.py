"""Importance by deleting words."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from attnjax.model.attention import forward
from attnjax.types import PAD, Batch, Params, Stages


def leave_one_out(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]
) -> Float[Array, "batch length"]:
    """Total variation between the output and the output without the word (papers 3.3).

    The word is really deleted: the text closes up and is one token shorter.
    """
    del key
    whole = forward(stages, params, batch).probabilities

    def distance(position: Int[Array, ""]) -> Float[Array, " batch"]:
        shorter = batch._replace(tokens=without(batch.tokens, position))
        probabilities = forward(stages, params, shorter).probabilities
        return jnp.abs(probabilities - whole).sum(axis=-1) / 2

    distances = jax.lax.map(distance, jnp.arange(batch.tokens.shape[1]))
    return jnp.where(batch.words, distances.T, 0)


def without(
    tokens: Int[Array, "batch length"], position: Int[Array, ""]
) -> Int[Array, "batch length"]:
    """Deletes one position from every row: [[2, 7, 8, 3]] without 1 -> [[2, 8, 3, 0]]."""
    following = jnp.pad(tokens[:, 1:], ((0, 0), (0, 1)), constant_values=PAD)
    return jnp.where(jnp.arange(tokens.shape[1])[None, :] < position, tokens, following)
