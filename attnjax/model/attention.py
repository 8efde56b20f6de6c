"""Masked softmax attention, and the forward pass that strings the stages together."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnjax.types import Batch, Encoded, Params, Perturbation, Stages, Trace


@jax.custom_jvp
def attention_weights(
    scores: Float[Array, "*many length"], words: Bool[Array, "*many length"]
) -> Float[Array, "*many length"]:
    """Softmax of the scores over words (Bahdanau et al., arXiv:1409.0473, eq. 6).

    scores  unnormalised, in nats; words  True where attention may fall.
    Returns weights that sum to 1 over words and are exactly 0 elsewhere; a row without any
    word gets zeros, never NaN, in values and in gradients.
    """
    shifted = scores - jax.lax.stop_gradient(
        jnp.max(scores, axis=-1, keepdims=True, where=words, initial=jnp.finfo(scores.dtype).min)
    )
    # The inner `where` keeps exp finite off the words, so that gradients stay finite as well.
    exponentials = jnp.where(words, jnp.exp(jnp.where(words, shifted, 0.0)), 0.0)
    total = jnp.sum(exponentials, axis=-1, keepdims=True)
    return exponentials / jnp.where(total > 0, total, 1.0)


@attention_weights.defjvp
def _change_of_weights(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """da = a (ds - sum a ds), and what rounding leaves of its sum goes to the largest weight.

    So the gradient by the scores is exactly 0 where that by the weights is the same for all words:
    no technique follows the noise of rounding.
    """
    weights, change = _of_softmax(attention_weights(*primals), tangents[0])
    largest = jnp.argmax(weights, axis=-1, keepdims=True)
    places = jax.lax.broadcasted_iota(largest.dtype, weights.shape, weights.ndim - 1)
    left = jnp.sum(change, axis=-1, keepdims=True)
    return weights, change - jnp.where(places == largest, left, 0)


@jax.custom_jvp
def inner_weights(
    scores: Float[Array, "*many length"], words: Bool[Array, "*many length"]
) -> Float[Array, "*many length"]:
    """The same for self-attention: a backward pass keeps the weights, and no other array.

    Its gradient is exactly 0 for a single token alone; places tell any others apart.
    """
    return attention_weights(scores, words)


@inner_weights.defjvp
def _change_of_inner_weights(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _of_softmax(inner_weights(*primals), tangents[0])


def _of_softmax(weights: Array, change: Array) -> tuple[Array, Array]:
    """The weights, and how they change with the scores."""
    moved = weights * change
    return weights, moved - weights * jnp.sum(moved, axis=-1, keepdims=True)


def attend(
    stages: Stages,
    params: Params,
    encoded: Encoded,
    scores: Float[Array, "batch length"],
    batch: Batch,
) -> tuple[Float[Array, "batch length"], Float[Array, "batch classes"]]:
    """The head after the scores: returns (attention weights, logits)."""
    weights = attention_weights(scores, stages.attended(batch))
    return weights, stages.decode(params, encoded, weights, batch)


def forward(
    stages: Stages, params: Params, batch: Batch, perturbation: Perturbation | None = None
) -> Trace:
    """Runs embed -> encode -> score -> decode and keeps every intermediate.

    The perturbation, if any, scales and shifts the word vectors, disturbs self-attention, and
    shifts the unnormalised scores. A batch that brings its encoding is not encoded again: then only
    the scores can be disturbed, and no gradient reaches the encoder.
    """
    perturbation = perturbation or Perturbation()
    embedded = stages.embed(params, batch)
    if perturbation.factor is not None:
        embedded = jax.tree.map(jnp.multiply, embedded, perturbation.factor)
    if perturbation.embed is not None:
        embedded = jax.tree.map(jnp.add, embedded, perturbation.embed)
    if batch.encoded is not None:
        if any(each is not None for each in perturbation._replace(score=None)):
            raise ValueError("what is encoded already cannot be disturbed on the way to its states")
        encoded = batch.encoded
    elif perturbation.inner is None:
        encoded = stages.encode(params, embedded, batch)
    else:
        encoded = stages.encode(params, embedded, batch, inner=perturbation.inner)
    scores = stages.score(params, encoded)
    if perturbation.score is not None:
        scores = scores + perturbation.score
    weights, logits = attend(stages, params, encoded, scores, batch)
    return Trace(embedded, encoded, scores, weights, logits)
