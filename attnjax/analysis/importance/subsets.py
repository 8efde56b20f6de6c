"""Importance by the output of many subsets of the words: LIME and Shapley values.

The words of both segments are the features of one example: [batch, features], first the text's
places, then the query's. A subset's other words are really deleted, and each segment closes up;
<sos> and <eos> always stay. Random numbers are drawn by (key, row, number, segment, position).
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from attnjax.analysis.importance.method import Method, Shared
from attnjax.analysis.importance.target import fall, predicted, probability_of, read_logits
from attnjax.config import AnalysisConfig
from attnjax.types import Batch, Params, Segment, Stages

KERNEL_WIDTH = 25.0  # of lime_text's exponential kernel, on distances of 0 to 100
RIDGE = 1.0  # lime's penalty, on all but the intercept


def features(batch: Batch) -> Bool[Array, "batch features"]:
    """True on the words of both segments."""
    words = [batch.words] if batch.query is None else [batch.words, batch.query_words]
    return jnp.concatenate(words, axis=-1)


def output_of(
    stages: Stages, params: Params, batch: Batch
) -> Callable[[Bool[Array, "batch features"]], Float[Array, "batch classes"]]:
    """Builds output(keep): logits of the examples with those of their words alone."""
    length = batch.tokens.shape[1]
    kept = stages.quick.encode_kept(params, stages.embed(params, batch), batch)

    def output(keep: Bool[Array, "batch features"]) -> Float[Array, "batch classes"]:
        text, query = keep[:, :length] | (batch.mask & ~batch.words), None
        if batch.query is not None:
            query = keep[:, length:] | (batch.query_mask & ~batch.query_words)
        encoded, left = kept(text, query)
        return read_logits(stages, params, encoded, left)

    return output


def random_ranks(
    key: Key[Array, ""], number: Int[Array, "*batch"], batch: Batch
) -> Int[Array, "batch features"]:
    """Each word's place in a random order of the row's words, from 0; off the words the largest.

    number  of the order, the same of all rows or one of each
    """
    words = features(batch)
    widths = [batch.words.shape[1]] + ([] if batch.query is None else [batch.query.shape[1]])

    def of_row(row: Int[Array, ""], number: Int[Array, ""]) -> Array:
        own = jax.random.fold_in(jax.random.fold_in(key, row), number)
        drawn = [
            jax.random.bits(jax.random.fold_in(own, place), (width,), jnp.uint32)
            for place, width in enumerate(widths)
        ]
        return jnp.concatenate(drawn)

    drawn = jax.vmap(of_row)(batch.rows, jnp.broadcast_to(number, batch.rows.shape))
    order = jnp.lexsort((drawn, ~words), axis=-1)
    return jnp.argsort(order, axis=-1).astype(jnp.int32)


def of_segment(
    values: Float[Array, "batch features"], batch: Batch, segment: Segment
) -> Float[Array, "batch length"]:
    """The features of one segment, by position."""
    length = batch.tokens.shape[1]
    return values[:, :length] if segment == "text" else values[:, length:]


class Regression(NamedTuple):
    """LIME's linear model of each text.

    weights    [batch, features] change of the probability that a word's presence brings
    intercept  [batch]; determination  [batch] R^2 of the weighted samples
    """

    weights: Float[Array, "batch features"]
    intercept: Float[Array, " batch"]
    determination: Float[Array, " batch"]


@cache  # equal settings are one function: what is compiled for it is compiled once
def regression(samples: int) -> Shared:
    """Makes LIME's work, as lime_text does it (Ribeiro et al., arXiv:1602.04938).

    The first sample is the text itself; of every other a number of words from 1 to all, each as
    likely, is deleted, a subset of that size at random. Samples weigh sqrt(exp(-D^2 / 25^2)),
    D = 100 (1 - sqrt(share of words left)); a ridge regression of the predicted class's
    probability with an intercept and all words, penalty 1, gives the weights. Samples stream by:
    memory does not grow with their number. A row's come in order of their length, so that all rows
    of a batch are short at the same time.
    """

    def shared(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Regression:
        words, output = features(batch), output_of(stages, params, batch)
        # What is left of the whole text's probability: sums of what lies near 1 would cancel.
        whole = output(words)
        classes = whole.argmax(axis=-1)
        count = words.sum(axis=-1)

        def size_of(row: Int[Array, ""], of: Int[Array, ""], number: Int[Array, ""]) -> Array:
            own = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, 1), row), number)
            share = jax.random.uniform(own, (), jnp.float32)
            size = 1 + jnp.floor(share * of.astype(jnp.float32)).astype(jnp.int32)
            return jnp.where(number == 0, 0, jnp.minimum(size, of.astype(jnp.int32)))

        numbers = jnp.arange(samples)
        sizes = jax.vmap(jax.vmap(size_of, (0, 0, None)), (None, None, 0))(
            batch.rows, count, numbers
        )
        turns = jnp.argsort(sizes, axis=0)

        def add(sums: Any, turn: tuple[Array, Array]) -> Any:
            number, deleted = turn
            keep = words & (random_ranks(key, number, batch) >= deleted[:, None])
            value = -fall(whole, output(keep), classes)
            return _accumulate(sums, keep.astype(value.dtype), value, proximity(keep, count)), None

        dtype = jax.eval_shape(output, words).dtype
        rows, width = words.shape
        shapes = ((rows, width, width), (rows, width), (rows, width), (rows,), (rows,), (rows,))
        nothing = tuple(jnp.zeros(shape, dtype) for shape in shapes)
        deleted = jnp.take_along_axis(sizes, turns, axis=0)
        sums, _ = jax.lax.scan(add, nothing, (turns, deleted))
        found = solved(sums)
        return found._replace(intercept=found.intercept + probability_of(whole, classes))

    return shared


def proximity(
    keep: Bool[Array, "batch features"], count: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Weight of a sample, in (0, 1]: lime's exponential kernel of the cosine distance."""
    kept, of = (each.astype(jnp.float32) for each in (keep.sum(axis=-1), count))
    left = kept / jnp.maximum(of, 1)
    distance = 100 * (1 - jnp.sqrt(left))
    return jnp.sqrt(jnp.exp(-jnp.square(distance / KERNEL_WIDTH)))


def _accumulate(sums: Any, kept: Array, value: Array, weight: Array) -> Any:
    """Adds one sample a text to its normal equations."""
    weight = weight.astype(value.dtype)
    weighted = kept * weight[:, None]
    new = (
        jnp.einsum("bi,bj->bij", weighted, kept),
        weighted * value[:, None],
        weighted,
        weight,
        weight * value,
        weight * value * value,
    )
    return jax.tree.map(jnp.add, sums, new)


def solved(sums: Any) -> Regression:
    """The ridge regression of the sums of w x x', w x y, w x, w, w y and w y^2."""
    products, crossed, features_sum, total, values, squares = sums
    means, mean = features_sum / total[:, None], values / total
    centred = products - total[:, None, None] * means[:, :, None] * means[:, None, :]
    cross = crossed - total[:, None] * means * mean[:, None]
    ridge = RIDGE * jnp.eye(means.shape[1], dtype=means.dtype)[None]
    weights = _solution(centred + ridge, cross)
    spread = squares - total * jnp.square(mean)
    missed = (
        spread
        - 2 * jnp.sum(weights * cross, axis=-1)
        + jnp.einsum("bi,bij,bj->b", weights, centred, weights)
    )
    determination = 1 - missed / jnp.where(spread > 0, spread, jnp.nan)
    return Regression(weights, mean - jnp.sum(means * weights, axis=-1), determination)


def _solution(
    matrices: Float[Array, "batch n n"], right: Float[Array, "batch n"]
) -> Float[Array, "batch n"]:
    """x of A x = b, A positive definite: by elimination, which then needs no pivots.

    jnp.linalg would hand a batch to threads that the devices of a CPU share, and each device's call
    waits there for the other's: two of them never end (JAX 0.10).
    """

    def eliminate(place: Int[Array, ""], rows: Float[Array, "batch n m"]) -> Array:
        row = rows[:, place] / rows[:, place, place][:, None]
        column = rows[:, :, place].at[:, place].set(0)
        return (rows - column[:, :, None] * row[:, None, :]).at[:, place].set(row)

    both = jnp.concatenate([matrices, right[..., None]], axis=-1)
    return jax.lax.fori_loop(0, right.shape[-1], eliminate, both)[..., -1]


def lime(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Regression,
) -> Float[Array, "batch length"]:
    """The weight of each word, at its position, in LIME's linear model; signed.

    shared  `regression`
    """
    del stages, params, key
    weights = jnp.where(features(batch), shared.weights, 0)
    return of_segment(weights, batch, segment)


def unexplained(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Regression
) -> Float[Array, " batch"]:
    """1 - R^2: the share of the samples' variance that the linear model leaves."""
    del stages, params, batch, key
    return 1 - shared.determination


def with_another(
    moments: tuple[Array, Array], new: Array, number: Int[Array, ""]
) -> tuple[Array, Array]:
    """Mean and sum of squared deviations of `number` arrays and a new one (Welford 1962).

    With squares of deviations nothing cancels, however small they are beside the mean.
    """
    mean, squares = moments
    away = new - mean
    mean = mean + away / (number + 1).astype(new.dtype)
    return mean, squares + away * (new - mean)


class Sampled(NamedTuple):
    """Shapley values [batch, features] and the standard error of each."""

    values: Float[Array, "batch features"]
    error: Float[Array, "batch features"]


@cache
def shapley_values(orders: int) -> Shared:
    """Makes the work of Shapley values: the mean over random orders of what a word's coming adds.

    The predicted class's probability of the words that have come so far, the others deleted
    (Strumbelj & Kononenko 2010; Castro et al. 2009). Each order is followed by its reverse, which
    is one draw of their mean: `orders` even, at least 4. Whatever the orders, the values sum to
    p(all words) - p(no word).
    """

    def shared(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Sampled:
        words, output = features(batch), output_of(stages, params, batch)
        classes = predicted(stages, params, batch)
        most = jnp.max(words.sum(axis=-1))
        nobody = output(jnp.zeros_like(words))

        def gains(ranks: Int[Array, "batch features"]) -> Float[Array, "batch features"]:
            def come(number: Int[Array, ""], state: Any) -> Any:
                found, before = state
                after = output(words & (ranks <= number))
                new = words & (ranks == number)
                return jnp.where(new, -fall(before, after, classes)[:, None], found), after

            empty = jnp.zeros(words.shape, nobody.dtype)
            return jax.lax.fori_loop(0, most.astype(jnp.int32), come, (empty, nobody))[0]

        def add(moments: Any, number: Int[Array, ""]) -> Any:
            ranks = random_ranks(key, number, batch)
            last = words.sum(axis=-1).astype(jnp.int32)[:, None] - 1
            return with_another(moments, (gains(ranks) + gains(last - ranks)) / 2, number), None

        nothing = jnp.zeros(words.shape, nobody.dtype)
        pairs = -(-orders // 2)
        (mean, squares), _ = jax.lax.scan(add, (nothing, nothing), jnp.arange(pairs))
        return Sampled(mean, jnp.sqrt(squares / pairs / max(pairs - 1, 1)))

    return shared


def shapley(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Sampled,
) -> Float[Array, "batch length"]:
    """Each word's Shapley value, signed, in probability.

    shared  `shapley_values`
    """
    del stages, params, key
    return of_segment(jnp.where(features(batch), shared.values, 0), batch, segment)


def standard_error(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Sampled
) -> Float[Array, " batch"]:
    """Mean over the words of the standard error of their Shapley values."""
    del stages, params, key
    words = features(batch)
    count = jnp.maximum(words.sum(axis=-1), 1).astype(shared.error.dtype)
    return jnp.sum(shared.error, axis=-1, where=words) / count


BOTH: tuple[Segment, ...] = ("text", "query")


def _lime(method: Method, config: AnalysisConfig) -> Method:
    return method._replace(shared=regression(config.lime_samples))


def _shapley(method: Method, config: AnalysisConfig) -> Method:
    return method._replace(shared=shapley_values(config.shapley_orders))


LIME = Method(
    lime,
    signed=True,
    segments=BOTH,
    exactness=unexplained,
    shared=regression(1000),
    apart=True,
    tuned=_lime,
    passes=lambda config, words: (1 + config.lime_samples, 0),
    reference="Ribeiro et al. 2016, arXiv:1602.04938",
)
SHAPLEY = Method(
    shapley,
    signed=True,
    segments=BOTH,
    exactness=standard_error,
    shared=shapley_values(20),
    apart=True,
    tuned=_shapley,
    passes=lambda config, words: (2 + 2 * -(-config.shapley_orders // 2) * words, 0),
    reference="Strumbelj & Kononenko 2010",
)
