"""Gradient-based importance.

sum_d e_d * dy/de_d is the derivative of y by a factor of the token's vector e, at 1. One number a
token is quicker to differentiate by than a vector, see `Stages.encode_scaled`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from attnjax.analysis.importance import segments
from attnjax.model.attention import attend
from attnjax.types import Batch, Embedded, Encoded, Factors, Params, Segment, Stages

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
    embedded = stages.embed(params, batch)
    probability = _by_factors(stages, params, embedded, batch)
    slope = jax.grad(lambda factors: probability(factors).max(axis=-1).sum())(_ones(embedded))
    return jnp.where(words, jnp.abs(segments.values(slope, segment)), 0)


def gradient_norm(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], segment: Segment = "text"
) -> Float[Array, "batch length"]:
    """L2 norm of dy/de, y the probability of the predicted class (Li et al., arXiv:1506.01066).

    Unlike `gradient` it asks how much any change of the word would matter. `detached(stages)`
    holds attention constant.
    """
    del key
    words = segments.words(batch, segment)

    def predicted(embedded: Embedded) -> Float[Array, ""]:
        encoded = stages.encode(params, embedded, batch)
        return _probabilities(stages, params, encoded, batch).max(axis=-1).sum()

    slope = jax.grad(predicted)(stages.embed(params, batch))
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
    contributions = _integral(_predicted_class(stages, params, embedded, batch), embedded)
    return jnp.where(words, jnp.abs(segments.values(contributions, segment)), 0)


def completeness_error(stages: Stages, params: Params, batch: Batch) -> Float[Array, " batch"]:
    """|sum of all signed integrated gradients - (p(e) - p(0))|: 0 for the exact integral.

    The sum runs over every token of both segments, <sos> and <eos> included.
    """
    embedded = stages.embed(params, batch)
    probability = _predicted_class(stages, params, embedded, batch)
    total = sum(each.sum(axis=-1) for each in jax.tree.leaves(_integral(probability, embedded)))
    ones = _ones(embedded)
    change = probability(ones) - probability(jax.tree.map(jnp.zeros_like, ones))
    return jnp.abs(total - change)


def detached(stages: Stages) -> Stages:
    """The same model with attention weights held constant under differentiation."""

    def decode(params, encoded, weights, batch):
        return stages.decode(params, encoded, jax.lax.stop_gradient(weights), batch)

    return stages._replace(decode=decode)


def _probabilities(
    stages: Stages, params: Params, encoded: Encoded, batch: Batch
) -> Float[Array, "batch classes"]:
    _, logits = attend(stages, params, encoded, stages.score(params, encoded), batch)
    return jax.nn.softmax(logits, axis=-1)


def _ones(embedded: Embedded) -> Factors:
    """A factor of 1 for each token."""
    return Factors(
        *jax.tree.map(lambda vectors: jnp.ones(vectors.shape[:-1], vectors.dtype), embedded)
    )


def _by_factors(
    stages: Stages, params: Params, embedded: Embedded, batch: Batch
) -> Callable[[Factors], Float[Array, "batch classes"]]:
    """Factors of the tokens' vectors -> class probabilities."""

    def probabilities(factors: Factors) -> Float[Array, "batch classes"]:
        if stages.encode_scaled is None:
            like: Any = Embedded(*factors)
            scaled = jax.tree.map(lambda e, f: e * f[..., None], embedded, like)
            encoded = stages.encode(params, scaled, batch)
        else:
            encoded = stages.encode_scaled(params, embedded, factors, batch)
        return _probabilities(stages, params, encoded, batch)

    return probabilities


def _predicted_class(
    stages: Stages, params: Params, embedded: Embedded, batch: Batch
) -> Callable[[Factors], Float[Array, " batch"]]:
    """Factors -> probability of the class that is likeliest where all are 1."""
    probabilities = _by_factors(stages, params, embedded, batch)
    found = probabilities(_ones(embedded)).argmax(axis=-1)[:, None]
    return lambda factors: jnp.take_along_axis(probabilities(factors), found, axis=1)[:, 0]


def _integral(probability: Callable[[Factors], Float[Array, " batch"]], embedded: Embedded) -> Any:
    """Signed contributions of the tokens, [batch, length] in either segment.

    At place a of the straight path from zero, a token contributes the derivative by its factor,
    all factors being a; the integral is taken by Gauss-Legendre quadrature. One point after the
    other, so that memory stays that of one pass.
    """
    slope = jax.grad(lambda factors: probability(factors).sum())
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    dtype, ones = embedded.text.dtype, _ones(embedded)
    points = jnp.asarray((nodes + 1) / 2, dtype), jnp.asarray(weights / 2, dtype)

    def add(total: Any, point: Any) -> Any:
        place, weight = point
        here = slope(jax.tree.map(lambda each: place * each, ones))
        return jax.tree.map(lambda t, s: t + weight * s, total, here), None

    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, ones), points)[0]
