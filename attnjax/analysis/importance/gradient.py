"""Gradient-based importance.

sum_d e_d * dy/de_d is the derivative of y by a factor of the token's vector e, at 1. One number a
token is quicker to differentiate by than a vector, see `Quick.encode_scaled`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from attnjax.analysis.importance.method import Method, counted
from attnjax.analysis.importance.path import (
    Path,
    class_probabilities,
    integrals,
    ones_of,
    read_classes,
)
from attnjax.config import AnalysisConfig
from attnjax.model import segments
from attnjax.types import Batch, Embedded, Factors, Params, Segment, Stages

BOTH: tuple[Segment, ...] = ("text", "query")


def factor_slopes(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Factors:
    """dy/df of one factor f = 1 a token's vector, y the probability of the predicted class."""
    del key
    embedded = stages.embed(params, batch)
    probability = class_probabilities(stages, params, embedded, batch)
    return jax.grad(lambda factors: probability(factors).max(axis=-1).sum())(ones_of(embedded))


def vector_slopes(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Embedded:
    """dy/de of every token's vector, y the probability of the predicted class."""
    del key

    def predicted(embedded: Embedded) -> Float[Array, ""]:
        encoded = stages.encode(params, embedded, batch)
        return read_classes(stages, params, encoded, batch).max(axis=-1).sum()

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


def gradient_x_input(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Factors,
) -> Float[Array, "batch length"]:
    """sum_d e_d * dy/de_d, y the probability of the predicted class: `gradient` with its sign.

    shared  `factor_slopes`
    """
    del stages, params, key
    return jnp.where(segments.words(batch, segment), segments.values(shared, segment), 0)


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
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Path,
) -> Float[Array, "batch length"]:
    """|sum_d e_d * integral of dp/de_d along a * e, a from 0 to 1| (arXiv:1703.01365, eq. 1).

    p is the probability of the class predicted at the full input; the baseline is the zero vector
    in the place of every token of both segments. It needs the whole model: with attention held
    constant the contributions would no longer add up to the change of p. The path is cut finer
    where they do not, until `analysis.completeness`; rounding may tip a row into one cut more,
    which moves it by less than that.
    shared  `path.integrals`
    """
    del stages, params, key
    words = segments.words(batch, segment)
    return jnp.where(words, jnp.abs(segments.values(shared.contributions, segment)), 0)


def integrated_gradients_signed(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Path,
) -> Float[Array, "batch length"]:
    """`integrated_gradients` with its sign: + raises the predicted class's probability.

    shared  `path.integrals`
    """
    del stages, params, key
    words = segments.words(batch, segment)
    return jnp.where(words, segments.values(shared.contributions, segment), 0)


def completeness_error(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Path
) -> Float[Array, " batch"]:
    """|sum of all signed integrated gradients - (p(e) - p(0))|: 0 for the exact integral.

    The sum runs over every token of both segments, <sos> and <eos> included.
    """
    del stages, params, batch, key
    return shared.error


GRADIENT = Method(
    gradient,
    segments=BOTH,
    holds_attention=True,
    shared=factor_slopes,
    passes=counted(1, 1),
    reference="Jain & Wallace 2019, arXiv:1902.10186",
)
GRADIENT_X_INPUT = GRADIENT._replace(find=gradient_x_input, signed=True)
GRADIENT_NORM = Method(
    gradient_norm,
    segments=BOTH,
    holds_attention=True,
    shared=vector_slopes,
    passes=counted(1, 1),
    reference="Li et al. 2016, arXiv:1506.01066",
)
INTEGRATED_GRADIENTS = Method(
    integrated_gradients,
    segments=BOTH,
    exactness=completeness_error,
    shared=integrals(AnalysisConfig().completeness),
    tuned=lambda method, config: method._replace(shared=integrals(config.completeness)),
    passes=counted(2, 0),
    points=lambda shared: shared.points,
    reference="Sundararajan et al. 2017, arXiv:1703.01365",
)
INTEGRATED_GRADIENTS_SIGNED = INTEGRATED_GRADIENTS._replace(
    find=integrated_gradients_signed, signed=True
)
