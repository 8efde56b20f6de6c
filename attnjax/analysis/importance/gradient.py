"""Gradient-based importance."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from attnjax.model.attention import attend
from attnjax.types import Batch, Embedded, Params, Stages


def gradient(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]
) -> Float[Array, "batch length"]:
    """|sum_d e_d * dy/de_d|, y the probability of the predicted class (Jain & Wallace 2019).

    It is the derivative by the one-hot entry of the word that is there, papers 3.3. Pass
    `detached(stages)` to hold attention constant, as Jain & Wallace do.
    """
    del key
    embedded = stages.embed(params, batch)
    slope = jax.grad(lambda each: predicted(stages, params, each, batch).sum())(embedded)
    contribution = jnp.sum(embedded.text * slope.text, axis=-1)
    return jnp.where(batch.words, jnp.abs(contribution), 0)


def predicted(
    stages: Stages, params: Params, embedded: Embedded, batch: Batch
) -> Float[Array, " batch"]:
    """Probability of each example's likeliest class."""
    encoded = stages.encode(params, embedded, batch)
    _, logits = attend(stages, params, encoded, stages.score(params, encoded), batch)
    return jax.nn.softmax(logits, axis=-1).max(axis=-1)


def detached(stages: Stages) -> Stages:
    """The same model with attention weights held constant under differentiation."""

    def decode(params, encoded, weights, batch):
        return stages.decode(params, encoded, jax.lax.stop_gradient(weights), batch)

    return stages._replace(decode=decode)
