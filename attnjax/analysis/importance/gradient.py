"""Gradient-based importance.

sum_d e_d * dy/de_d is the derivative of y by a factor of the token's vector e, at 1. One number a
token is quicker to differentiate by than a vector, see `Quick.encode_scaled`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from attnjax.analysis.importance.method import Method
from attnjax.model import segments
from attnjax.model.attention import attend
from attnjax.types import Batch, Embedded, Encoded, Factors, Params, Segment, Stages

POINTS = 32  # on the path of integrated gradients
BOTH: tuple[Segment, ...] = ("text", "query")


def factor_slopes(stages: Stages, params: Params, batch: Batch) -> Factors:
    """dy/df of one factor f = 1 a token's vector, y the probability of the predicted class."""
    embedded = stages.embed(params, batch)
    probability = _by_factors(stages, params, embedded, batch)
    return jax.grad(lambda factors: probability(factors).max(axis=-1).sum())(_ones(embedded))


def vector_slopes(stages: Stages, params: Params, batch: Batch) -> Embedded:
    """dy/de of every token's vector, y the probability of the predicted class."""

    def predicted(embedded: Embedded) -> Float[Array, ""]:
        encoded = stages.encode(params, embedded, batch)
        return _probabilities(stages, params, encoded, batch).max(axis=-1).sum()

    return jax.grad(predicted)(stages.embed(params, batch))


def gradient(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Factors,
) -> Float[Array, "batch length"]:
    """|sum_d e_d * dy/de_d|, y the probability of the predicted class (Jain & Wallace 2019).

    It is the derivative by the one-hot entry of the word that is there, papers 3.3.
    shared  `factor_slopes`
    """
    del stages, params, key
    words = segments.words(batch, segment)
    return jnp.where(words, jnp.abs(segments.values(shared, segment)), 0)


def gradient_norm(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Embedded,
) -> Float[Array, "batch length"]:
    """L2 norm of dy/de, y the probability of the predicted class (Li et al., arXiv:1506.01066).

    Unlike `gradient` it asks how much any change of the word would matter.
    shared  `vector_slopes`
    """
    del stages, params, key
    words = segments.words(batch, segment)
    return jnp.where(words, jnp.linalg.norm(segments.values(shared, segment), axis=-1), 0)


def integrated_gradients(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], segment: Segment
) -> Float[Array, "batch length"]:
    """|sum_d e_d * integral of dp/de_d along a * e, a from 0 to 1| (arXiv:1703.01365, eq. 1).

    p is the probability of the class predicted at the full input; the baseline is the zero vector
    in the place of every token of both segments. It needs the whole model: with attention held
    constant the contributions would no longer add up to the change of p. `completeness_error` says
    by how much `POINTS` points miss that sum.
    """
    del key
    words = segments.words(batch, segment)
    embedded = stages.embed(params, batch)
    contributions = _integral(_predicted_class(stages, params, embedded, batch), embedded)
    return jnp.where(words, jnp.abs(segments.values(contributions, segment)), 0)


def completeness_error(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]
) -> Float[Array, " batch"]:
    """|sum of all signed integrated gradients - (p(e) - p(0))|: 0 for the exact integral.

    The sum runs over every token of both segments, <sos> and <eos> included.
    """
    del key
    embedded = stages.embed(params, batch)
    probability = _predicted_class(stages, params, embedded, batch)
    total = sum(each.sum(axis=-1) for each in jax.tree.leaves(_integral(probability, embedded)))
    ones = _ones(embedded)
    change = probability(ones) - probability(jax.tree.map(jnp.zeros_like, ones))
    return jnp.abs(total - change)


GRADIENT = Method(
    gradient,
    segments=BOTH,
    holds_attention=True,
    shared=factor_slopes,
    reference="Jain & Wallace 2019, arXiv:1902.10186",
)
GRADIENT_NORM = Method(
    gradient_norm,
    segments=BOTH,
    holds_attention=True,
    shared=vector_slopes,
    reference="Li et al. 2016, arXiv:1506.01066",
)
INTEGRATED_GRADIENTS = Method(
    integrated_gradients,
    segments=BOTH,
    exactness=completeness_error,
    reference="Sundararajan et al. 2017, arXiv:1703.01365",
)


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
        encoded = stages.quick.encode_scaled(params, embedded, batch, factors)
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
