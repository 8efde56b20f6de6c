"""Gradient-based importance.

sum_d e_d * dy/de_d is the derivative of y by a factor of the token's vector e, at 1. One number a
token is quicker to differentiate by than a vector, see `Quick.encode_scaled`.
"""

from functools import partial
from operator import attrgetter

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from attnjax.analysis.importance.method import Method, counted, of_words
from attnjax.analysis.importance.path import (
    Path,
    integrals,
    logits_by_factors,
    ones_of,
)
from attnjax.analysis.importance.target import predicted_probability, read_logits
from attnjax.config import AnalysisConfig
from attnjax.types import Batch, Embedded, Factors, Params, Segment, Stages

BOTH: tuple[Segment, ...] = ("text", "query")


def factor_slopes(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Factors:
    """dy/df of one factor f = 1 a token's vector, y the probability of the predicted class."""
    del key
    embedded = stages.embed(params, batch)
    logits = logits_by_factors(stages, params, embedded, batch)
    return jax.grad(lambda factors: predicted_probability(logits(factors)).sum())(ones_of(embedded))


def vector_slopes(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Embedded:
    """dy/de of every token's vector, y the probability of the predicted class."""
    del key

    def predicted(embedded: Embedded) -> Float[Array, ""]:
        encoded = stages.encode(params, embedded, batch)
        return predicted_probability(read_logits(stages, params, encoded, batch)).sum()

    return jax.grad(predicted)(stages.embed(params, batch))


def completeness_error(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Path
) -> Float[Array, " batch"]:
    """|sum of all signed integrated gradients - (p(e) - p(0))|: 0 for the exact integral.

    The sum runs over every token of both segments, <sos> and <eos> included.
    """
    del stages, params, batch, key
    return shared.error


# |sum_d e_d * dy/de_d|, y the probability of the predicted class: the derivative by the one-hot
# entry of the word that is there, papers 3.3.
GRADIENT = Method(
    of_words(jnp.abs),
    segments=BOTH,
    holds_attention=True,
    shared=factor_slopes,
    passes=counted(1, 1),
    reference="Jain & Wallace 2019, arXiv:1902.10186",
)
# The same with its sign.
GRADIENT_X_INPUT = GRADIENT._replace(find=of_words(jnp.asarray), signed=True)
# L2 norm of dy/de: unlike `gradient` it asks how much any change of the word would matter.
GRADIENT_NORM = Method(
    of_words(partial(jnp.linalg.norm, axis=-1)),
    segments=BOTH,
    holds_attention=True,
    shared=vector_slopes,
    passes=counted(1, 1),
    reference="Li et al. 2016, arXiv:1506.01066",
)
# |sum_d e_d * integral of dp/de_d along a * e, a from 0 to 1| (eq. 1), p the probability of the
# class predicted at the full input; the baseline is the zero vector in the place of every token of
# both segments. It needs the whole model: with attention held constant the contributions would no
# longer add up to the change of p. The path is cut finer where they do not, until
# `analysis.completeness`; rounding may tip a row into one cut more, which moves it by less.
INTEGRATED_GRADIENTS = Method(
    of_words(jnp.abs, attrgetter("contributions")),
    segments=BOTH,
    exactness=completeness_error,
    shared=integrals(AnalysisConfig().completeness),
    tuned=lambda method, config: method._replace(shared=integrals(config.completeness)),
    passes=counted(2, 0),
    points=lambda shared: shared.points,
    reference="Sundararajan et al. 2017, arXiv:1703.01365",
)
INTEGRATED_GRADIENTS_SIGNED = INTEGRATED_GRADIENTS._replace(
    find=of_words(jnp.asarray, attrgetter("contributions")), signed=True
)
