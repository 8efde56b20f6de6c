"""The states of a model, and how much their units vary: what distances of states are measured in.

A state's units are divided by their standard deviations over a fixed sample of the training split,
tokens and not texts being what counts of a state that has one vector a token. With `whiten` the
state is turned into uncorrelated directions of variance 1 instead, which no rotation changes.
"""

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from attnjax.errors import UserError
from attnjax.model import segments
from attnjax.model.attention import attention_weights
from attnjax.model.stages import pieces_of, sees_pieces
from attnjax.types import PAD, Batch, Embedded, Params, Segment, Stages

SAMPLE = 64  # training batches, evenly spaced in the order of length
ORDER = ("embedding", "layer", "encoder", "context", "logits")
VECTORS = ""  # name among states of the vectors themselves
DEAD = 1e-6  # standard deviation, in the largest unit's, at which a unit is dead
DEAD_DIRECTION = 1e-6  # the same for variances of directions, whose rounding is as large


class Spread(NamedTuple):
    """How the units of one state vary.

    weights  [units] 1 / standard deviation, 0 of dead units; or [units, units], columns that whiten
    live     how many units, or directions, count; dead  how many do not
    """

    weights: Float[Array, "units *directions"]
    live: Float[Array, ""]
    dead: Float[Array, ""]


class Sample(NamedTuple):
    """What is known from training data about one segment.

    spreads    of each state, by name
    deviation  sigma_X: root of the mean variance of the entries of vectors, of words or pieces
    centre     [embed] mean of these vectors; where words have pieces, once for each
    """

    spreads: dict[str, Spread]
    deviation: Float[Array, ""]
    centre: Float[Array, " embed"]


def states_of(
    stages: Stages, params: Params, embedded: Embedded, batch: Batch, segment: Segment
) -> dict[str, Array]:
    """The states in which a segment's words may be known, in order of depth.

    One vector a token [batch, length, units], or one a text [batch, units]. Of an encoder with
    several layers those before the last are layer_1, layer_2 and so on; of one that sees pieces of
    words the embedding, which has no units that all words share, is left out. The context is all
    that the decoder reads: of pairs with the query's summary. Of two classes of a single text the
    one trained logit counts; answers that are no candidates count like the others.
    """
    encoded = stages.encode(params, embedded, batch)
    weights = attention_weights(stages.score(params, encoded), stages.attended(batch))
    context = jnp.einsum("bl,blw->bw", weights, encoded.states)
    if encoded.query is not None:
        context = jnp.concatenate([context, encoded.query], axis=-1)
    logits = stages.decode(params, encoded, weights, batch._replace(candidates=None))
    if batch.query is None and logits.shape[-1] == 2:
        logits = logits[:, 1:]
    layers = stages.layer_states(params, embedded, batch, segment)
    last: Any = encoded.states if segment == "text" else encoded.query
    embedding = {} if sees_pieces(stages) else {"embedding": segments.values(embedded, segment)}
    return embedding | {
        **{f"layer_{place}": each for place, each in enumerate(layers[:-1], 1)},
        "encoder": last,
        "context": context,
        "logits": logits,
    }


def in_order(names: Iterable[str]) -> list[str]:
    """Names of states in order of depth: JAX hands dictionaries on in that of the alphabet.

    in_order(["context", "embedding", "layer_10", "layer_2"]) ends with "layer_10", "context"
    """

    def depth(name: str) -> tuple[int, int]:
        stem, _, number = name.partition("_")
        return ORDER.index(stem), int(number or 0)

    return sorted(names, key=depth)


def tokens_read(stages: Stages, batch: Batch, segment: Segment) -> Bool[Array, "batch length"]:
    """True on the tokens of one segment that the encoder sees, its ends included.

    Listed words and words without a piece, which have no state, are not.
    """
    real = segments.tokens(batch, segment) != PAD
    if segment == "query":
        return real
    return real & (stages.attended(batch) | ~batch.words)


def scaled(
    state: Float[Array, "batch *length units"], spread: Spread, mask: Bool[Array, "batch length"]
) -> Float[Array, "batch *length units"]:
    """The state such that squared distances are distortions: means over live units and tokens."""
    weights = spread.weights
    if weights.ndim == 2:
        values = state @ weights
    else:
        values = state * weights.reshape((1,) * (state.ndim - 1) + weights.shape)
    if state.ndim == 2:
        return values * jax.lax.rsqrt(spread.live)
    count = jnp.maximum(mask.sum(axis=-1), 1).astype(values.dtype)
    size = jax.lax.rsqrt(spread.live * count)[:, None, None]
    return jnp.where(mask[..., None], values * size, 0)


def scaled_state(
    stages: Stages,
    params: Params,
    batch: Batch,
    segment: Segment,
    name: str,
    spread: Spread,
) -> Callable[[Float[Array, "batch length embed"]], Float[Array, "batch *length units"]]:
    """One state as a function of the segment's word vectors, `scaled`."""
    embedded, mask = stages.embed(params, batch), tokens_read(stages, batch, segment)

    def state(vectors: Float[Array, "batch length embed"]) -> Array:
        moved = embedded._replace(**{segment: vectors})
        return scaled(states_of(stages, params, moved, batch, segment)[name], spread, mask)

    return state


class Moments(NamedTuple):
    """count, mean [units], and sums of squares [units] or products [units, units] about it."""

    count: Any
    mean: Any
    squares: Any


def moments(
    values: Float[Array, "samples units"], real: Bool[Array, " samples"], products: bool
) -> Moments:
    """Those of the real samples."""
    count = real.sum().astype(values.dtype)
    mean = jnp.where(real[:, None], values, 0).sum(axis=0) / jnp.maximum(count, 1)
    centred = jnp.where(real[:, None], values - mean[None], 0)
    squares = centred.T @ centred if products else jnp.square(centred).sum(axis=0)
    return Moments(count, mean, squares)


def joined(one: Moments, other: Moments) -> Moments:
    """The moments of both samples together, in float64 (Chan et al. 1979)."""
    one, other = (
        Moments(*(np.asarray(each, np.float64) for each in part)) for part in (one, other)
    )
    share = other.count / max(one.count + other.count, 1)
    delta = other.mean - one.mean
    product = np.multiply.outer(delta, delta) if one.squares.ndim == 2 else delta**2
    return Moments(
        one.count + other.count,
        one.mean + share * delta,
        one.squares + other.squares + product * one.count * share,
    )


def spread_of(found: Moments, name: str, dtype: Any) -> Spread:
    """How the units vary; raises UserError where fewer than 2 samples, or constant ones, tell."""
    if found.count < 2:
        raise UserError(
            f"information: the training sample has {int(found.count)} vector of the state "
            f"'{name}', and at least 2 are needed to know how it varies; train on more texts"
        )
    variances, directions = found.squares / found.count, None
    if variances.ndim == 2:
        variances, directions = np.linalg.eigh(variances)
    level = DEAD**2 if directions is None else DEAD_DIRECTION
    live = variances > level * variances.max()
    if not live.any():
        raise UserError(
            f"information: the state '{name}' is the same for all {int(found.count)} vectors of "
            "the training sample, so no word can be known in it; the model has learnt nothing: "
            "train it otherwise, or leave information out of the analysis"
        )
    inverse = np.where(live, 1 / np.sqrt(np.where(live, variances, 1)), 0)
    weights = inverse if directions is None else directions * inverse[None, :]
    counts = live.sum(), (~live).sum()
    return Spread(jnp.asarray(weights, dtype), *(jnp.asarray(each, dtype) for each in counts))


@cache  # one function for each form: methods and questions of one form share what it has learnt
def fit_sample(whiten: bool) -> Callable[..., dict[str, Sample]]:
    """Makes (stages, params, batches, key) -> segment -> Sample, over a fixed training sample."""

    def fit(
        stages: Stages, params: Params, batches: Iterable[Batch], key: Key[Array, ""]
    ) -> dict[str, Sample]:
        del key
        collect = jax.jit(partial(_moments_of_batch, stages, whiten))
        total: Any = None
        every = list(batches)
        for batch in every[:: -(-len(every) // SAMPLE) or 1]:
            found = jax.device_get(collect(params, batch))
            total = found if total is None else _each_joined(total, found)
        dtype = params["embed"]["table"].dtype
        return {segment: _sample(states, dtype) for segment, states in total.items()}

    return fit


def _each_joined(one: Any, other: Any) -> Any:
    return jax.tree.map(joined, one, other, is_leaf=lambda leaf: isinstance(leaf, Moments))


def _sample(states: dict[str, Moments], dtype: Any) -> Sample:
    spreads = {name: spread_of(each, name, dtype) for name, each in states.items() if name}
    count, mean, squares = states[VECTORS]
    deviation = np.sqrt(np.mean(squares / count))
    return Sample(spreads, *(jnp.asarray(each, dtype) for each in (deviation, mean)))


def _moments_of_batch(
    stages: Stages, products: bool, params: Params, batch: Batch
) -> dict[str, dict[str, Moments]]:
    embedded, here = stages.embed(params, batch), batch.weight > 0
    names: tuple[Segment, ...] = ("text",) if batch.query is None else ("text", "query")
    found: dict[str, dict[str, Moments]] = {}
    for segment in names:
        mask = tokens_read(stages, batch, segment) & here[:, None]
        found[segment] = {VECTORS: _of_vectors(stages, params, embedded, mask, segment)}
        for name, state in states_of(stages, params, embedded, batch, segment).items():
            flat = state.reshape(-1, state.shape[-1])
            real = mask.reshape(-1) if state.ndim == 3 else here
            found[segment][name] = moments(flat, real, products)
    return found


def _of_vectors(
    stages: Stages,
    params: Params,
    embedded: Embedded,
    mask: Bool[Array, "batch length"],
    segment: Segment,
) -> Moments:
    """Those of the vectors that are disturbed: of the tokens, or of their pieces."""
    vectors = segments.values(embedded, segment)
    if not sees_pieces(stages):
        return moments(vectors.reshape(-1, vectors.shape[-1]), mask.reshape(-1), False)
    pieces, there = pieces_of(params, vectors)
    real = mask[..., None] & there
    return moments(pieces.reshape(-1, pieces.shape[-1]), real.reshape(-1), False)
