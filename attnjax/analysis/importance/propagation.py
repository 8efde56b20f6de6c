"""Importance by backward passes of their own: relevance, guided backpropagation, deconvolution.

Each is `jax.grad` of the same model under other `model.rules.Rules`, of the explained logit
(`target`). Guided backpropagation and deconvolution change what a ReLU sends back; where there is
none they would be the gradient under another name, so that they are refused there.
"""

from functools import cache, partial
from operator import attrgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from attnjax.analysis.importance.method import Method, Shared, counted, of_words
from attnjax.analysis.importance.path import ones_of
from attnjax.analysis.importance.target import class_logit, predicted_logit
from attnjax.config import AnalysisConfig
from attnjax.model.attention import attend
from attnjax.model.rules import DECONVOLUTION, GUIDED, W_SQUARE, Z_PLUS, Rules, lrp
from attnjax.types import Batch, Embedded, Factors, Params, Segment, Stages

BOTH: tuple[Segment, ...] = ("text", "query")


class Relevances(NamedTuple):
    """Relevance of every token of either segment, and the score [batch] that it shares out."""

    tokens: Factors
    score: Float[Array, " batch"]


@cache  # equal rules give one function: what is compiled for it is compiled once
def relevances(rules: Rules) -> Shared:
    """The work of every method that propagates relevance under these rules.

    A token's relevance is sum_d e_d * g_d, where g is the gradient of the score under the rules:
    the derivative by a factor of its vector, at 1.
    """

    def shared(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Relevances:
        del key
        explained = stages.under(rules)
        embedded = stages.embed(params, batch)

        def logit(factors: Factors) -> Float[Array, " batch"]:
            encoded = explained.quick.encode_scaled(params, embedded, batch, factors)
            scores = explained.score(params, encoded)
            return predicted_logit(attend(explained, params, encoded, scores, batch)[1], batch)

        score, pull = jax.vjp(logit, ones_of(embedded))
        (tokens,) = pull(jnp.ones_like(score))
        return Relevances(tokens, score)

    return shared


def lost(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Relevances
) -> Float[Array, " batch"]:
    """|1 - sum of all relevances / score|: what went to biases and to the stabiliser.

    The sum runs over every token of both segments, <sos> and <eos> included. NaN where the score
    is 0.
    """
    del stages, params, batch, key
    total = sum(each.sum(axis=-1) for each in jax.tree.leaves(shared.tokens))
    return jnp.abs(1 - total / jnp.where(shared.score == 0, jnp.nan, shared.score))


def positive(shared: Relevances) -> Factors:
    """The relevances, and 0 of every token where the score is not above 0.

    There deep Taylor has no root to expand at; `lost_of_positive` is NaN of such an example, which
    counts them.
    """
    above = (shared.score > 0)[:, None]
    return jax.tree.map(lambda each: jnp.where(above, each, 0), shared.tokens)


def lost_of_positive(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Relevances
) -> Float[Array, " batch"]:
    """`lost`, and NaN where the score is not above 0."""
    found = lost(stages, params, batch, key, shared)
    return jnp.where(shared.score > 0, found, jnp.nan)


@cache
def slopes(rules: Rules) -> Shared:
    """The gradient of the explained logit by every token's vector, under these rules."""

    def shared(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Embedded:
        del key
        logit = class_logit(stages.under(rules), params, batch)
        return jax.grad(lambda embedded: logit(embedded).sum())(stages.embed(params, batch))

    return shared


# L2 norm of what comes back to each word's vector; of `slopes`.
slope_norm = of_words(partial(jnp.linalg.norm, axis=-1))
# The words' relevances, signed: + speaks for the predicted class; in units of the logit. Of
# `relevances`.
relevance = of_words(jnp.asarray, attrgetter("tokens"))


def _with_epsilon(method: Method, config: AnalysisConfig) -> Method:
    return method._replace(shared=relevances(lrp(config.lrp_epsilon)))


LRP = Method(
    relevance,
    signed=True,
    segments=BOTH,
    exactness=lost,
    shared=relevances(lrp(0.0)),
    apart=True,
    tuned=_with_epsilon,
    passes=counted(1, 1),
    reference="Bach et al. 2015; Arras et al. 2017, arXiv:1706.07206",
)
DEEP_TAYLOR = Method(
    of_words(jnp.asarray, positive),
    signed=True,
    segments=BOTH,
    exactness=lost_of_positive,
    shared=relevances(Z_PLUS),
    apart=True,
    passes=counted(1, 1),
    encoders=("cnn",),
    reference="Montavon et al. 2017, arXiv:1512.02479",
)
DEEP_TAYLOR_W2 = DEEP_TAYLOR._replace(shared=relevances(W_SQUARE))
GUIDED_BACKPROP = Method(
    slope_norm,
    segments=BOTH,
    shared=slopes(GUIDED),
    passes=counted(1, 1),
    encoders=("cnn",),
    reference="Springenberg et al. 2015, arXiv:1412.6806",
)
DECONVOLUTION_NETWORK = Method(
    slope_norm,
    segments=BOTH,
    shared=slopes(DECONVOLUTION),
    apart=True,
    passes=counted(1, 1),
    encoders=("cnn",),
    reference="Zeiler & Fergus 2014, arXiv:1311.2901",
)
