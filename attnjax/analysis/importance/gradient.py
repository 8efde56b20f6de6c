"""Gradient-based importance."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from attnjax.analysis.importance import segments
from attnjax.model.attention import attend
from attnjax.types import Batch, Embedded, Params, Segment, Stages

POINTS = 32  # on the path of integrated gradients


def gradient(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], segment: Segment = "text"
) -> Float[Array, "batch length"]:
    """|sum_d e_d * dy/de_d|, y the probability of the predicted class (Jain & Wallace 2019).

    It is the derivative by the one-hot entry of the word that is there, papers 3.3. Pass
    `detached(stages)` to hold attention constant, as Jain & Wallace do.
    """
    del key
    words = segments.words(batch, segment)
    embedded, slope = _slope(stages, params, batch)
    contribution = segments.values(_contributions(embedded, slope), segment)
    return jnp.where(words, jnp.abs(contribution), 0)


def gradient_norm(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], segment: Segment = "text"
) -> Float[Array, "batch length"]:
    """L2 norm of dy/de, y the probability of the predicted class (Li et al., arXiv:1506.01066).

    Unlike `gradient` it asks how much any change of the word would matter. `detached(stages)`
    holds attention constant.
    """
    del key
    words = segments.words(batch, segment)
    _, slope = _slope(stages, params, batch)
    norms = jnp.linalg.norm(segments.values(slope, segment), axis=-1)
    return jnp.where(words, norms, 0)


def integrated_gradients(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], segment: Segment = "text"
) -> Float[Array, "batch length"]:
    """|sum_d e_d * integral of dp/de_d along a * e, a from 0 to 1| (arXiv:1703.01365, eq. 1).

    p is the probability of the class predicted at the full input; the baseline is the zero vector
    in the place of every token of both segments. Give it the whole model, not `detached(stages)`:
    with attention held constant the contributions would no longer add up to the change of p.
    `completeness_error` says by how much `POINTS` points miss that sum.
    """
    del key
    words = segments.words(batch, segment)
    embedded = stages.embed(params, batch)
    slope = _mean_slope(_predicted_class(stages, params, embedded, batch), embedded)
    contribution = segments.values(_contributions(embedded, slope), segment)
    return jnp.where(words, jnp.abs(contribution), 0)


def completeness_error(stages: Stages, params: Params, batch: Batch) -> Float[Array, " batch"]:
    """|sum of all signed integrated gradients - (p(e) - p(0))|: 0 for the exact integral.

    The sum runs over every token of both segments, <sos> and <eos> included.
    """
    embedded = stages.embed(params, batch)
    probability = _predicted_class(stages, params, embedded, batch)
    contributions = _contributions(embedded, _mean_slope(probability, embedded))
    total = sum(each.sum(axis=-1) for each in jax.tree.leaves(contributions))
    change = probability(embedded) - probability(jax.tree.map(jnp.zeros_like, embedded))
    return jnp.abs(total - change)


def probabilities(
    stages: Stages, params: Params, embedded: Embedded, batch: Batch
) -> Float[Array, "batch classes"]:
    """Class probabilities as a function of the word vectors."""
    encoded = stages.encode(params, embedded, batch)
    _, logits = attend(stages, params, encoded, stages.score(params, encoded), batch)
    return jax.nn.softmax(logits, axis=-1)


def detached(stages: Stages) -> Stages:
    """The same model with attention weights held constant under differentiation."""

    def decode(params, encoded, weights, batch):
        return stages.decode(params, encoded, jax.lax.stop_gradient(weights), batch)

    return stages._replace(decode=decode)


def _slope(stages: Stages, params: Params, batch: Batch) -> tuple[Embedded, Embedded]:
    """The word vectors, and the derivative of the likeliest class's probability by them."""
    embedded = stages.embed(params, batch)

    def predicted(each: Embedded) -> Float[Array, ""]:
        return probabilities(stages, params, each, batch).max(axis=-1).sum()

    return embedded, jax.grad(predicted)(embedded)


def _predicted_class(
    stages: Stages, params: Params, embedded: Embedded, batch: Batch
) -> Callable[[Embedded], Float[Array, " batch"]]:
    """Vectors -> probability of the class that is likeliest at `embedded`."""
    found = probabilities(stages, params, embedded, batch).argmax(axis=-1)[:, None]

    def probability(each: Embedded) -> Float[Array, " batch"]:
        return jnp.take_along_axis(probabilities(stages, params, each, batch), found, axis=1)[:, 0]

    return probability


def _mean_slope(
    probability: Callable[[Embedded], Float[Array, " batch"]], embedded: Embedded
) -> Embedded:
    """Mean derivative on the straight path from zero, by Gauss-Legendre quadrature.

    One point after the other, so that memory stays that of one pass.
    """
    slope = jax.grad(lambda each: probability(each).sum())
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    dtype = embedded.text.dtype
    points = jnp.asarray((nodes + 1) / 2, dtype), jnp.asarray(weights / 2, dtype)

    def add(total: Any, point: Any) -> Any:
        place, weight = point
        here = slope(jax.tree.map(lambda e: place * e, embedded))
        return jax.tree.map(lambda t, s: t + weight * s, total, here), None

    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, embedded), points)[0]


def _contributions(embedded: Embedded, slope: Embedded) -> Any:
    """sum_d e_d * slope_d of every token, [batch, length] in either segment."""
    return jax.tree.map(lambda e, s: jnp.sum(e * s, axis=-1), embedded, slope)
