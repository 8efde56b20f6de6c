"""Importance by deleting words."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from attnjax.analysis.importance import segments
from attnjax.model.attention import attend, forward
from attnjax.model.without import delete
from attnjax.types import Batch, Encoded, Params, Segment, Stages


def leave_one_out(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], segment: Segment = "text"
) -> Float[Array, "batch length"]:
    """Total variation between the output and the output without the word (papers 3.3), in [0, 1].

    The word is really deleted: the sequence closes up and is one token shorter. What is left of a
    one-word text gets no attention at all, which is defined.
    """
    del key
    words = segments.words(batch, segment)
    whole = forward(stages, params, batch)
    without: Any
    if stages.encode_without is None:
        without = _encode_anew(stages, params, batch, segment)
    else:
        without = stages.encode_without(params, whole.embedded, batch, segment)

    def distance(position: Int[Array, ""]) -> Float[Array, " batch"]:
        encoded, left = without(position)
        shorter = segments.with_tokens(batch, segment, left)
        _, logits = attend(stages, params, encoded, stages.score(params, encoded), shorter)
        return jnp.abs(jax.nn.softmax(logits, axis=-1) - whole.probabilities).sum(axis=-1) / 2

    def add(position: Int[Array, ""], distances: Float[Array, "length batch"]) -> Array:
        return distances.at[position].set(distance(position))

    # One position after the other, so that memory stays that of one pass; none after the last word.
    end = jnp.max(jnp.where(words, jnp.arange(1, words.shape[1] + 1), 0))
    distances = jnp.zeros(words.shape[::-1], whole.probabilities.dtype)
    return jnp.where(words, jax.lax.fori_loop(0, end, add, distances).T, 0)


def _encode_anew(stages: Stages, params: Params, batch: Batch, segment: Segment) -> Any:
    """What `Stages.encode_without` does, for any model: embeds and encodes the shorter sequence."""

    def without(position: Int[Array, ""]) -> tuple[Encoded, Int[Array, "batch length"]]:
        left = delete(segments.tokens(batch, segment), position)
        shorter = segments.with_tokens(batch, segment, left)
        return stages.encode(params, stages.embed(params, shorter), shorter), left

    return without
