"""Importance by deleting words."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from attnjax.analysis.importance.method import Method
from attnjax.model import segments
from attnjax.model.attention import attend, forward
from attnjax.types import Batch, Params, Segment, Stages, Trace


def leave_one_out(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Trace,
) -> Float[Array, "batch length"]:
    """Total variation between the output and the output without the word (papers 3.3), in [0, 1].

    The word is really deleted: the sequence closes up and is one token shorter. What is left of a
    one-word text gets no attention at all, which is defined.
    shared  `forward`
    """
    del key
    words, probabilities = segments.words(batch, segment), shared.probabilities
    without = stages.quick.encode_without(params, shared.embedded, batch, segment)

    def distance(position: Int[Array, ""]) -> Float[Array, " batch"]:
        encoded, left = without(position)
        shorter = segments.with_tokens(batch, segment, left)
        _, logits = attend(stages, params, encoded, stages.score(params, encoded), shorter)
        return jnp.abs(jax.nn.softmax(logits, axis=-1) - probabilities).sum(axis=-1) / 2

    def add(position: Int[Array, ""], distances: Float[Array, "length batch"]) -> Array:
        return distances.at[position].set(distance(position))

    # One position after the other, so that memory stays that of one pass; none after the last word.
    end = jnp.max(jnp.where(words, jnp.arange(1, words.shape[1] + 1), 0))
    distances = jnp.zeros(words.shape[::-1], probabilities.dtype)
    return jnp.where(words, jax.lax.fori_loop(0, end, add, distances).T, 0)


LEAVE_ONE_OUT = Method(
    leave_one_out,
    segments=("text", "query"),
    shared=forward,
    reference="Jain & Wallace 2019, arXiv:1902.10186",
)
