"""Counterfactual attention: does the output need the attention that the model computed?

Jain & Wallace (arXiv:1902.10186), section 4.2: permuted attention, adversarial attention, and the
uniform attention of Wiegreffe & Pinter (arXiv:1908.04626). States stay as they are; only the
weights that average them change. A text is encoded once, and since attention enters the output
through sum_t a_t h_t alone, `Stages.read` turns each further attention into dot products.

A figure depends on (parameters, example, key, settings) alone: random numbers are drawn by the
example's row in the split and the word's position. Differences of outputs are total variations,
half the sum of |differences| of class probabilities, in [0, 1]; for two classes that is |p - p'|.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from attnjax.analysis.adversary import (
    NOWHERE,
    Adversary,
    amsgrad,
    descent,
    jensen_shannon,
    softmax,
)
from attnjax.model.attention import attention_weights
from attnjax.perturb.norms import gaussian
from attnjax.types import Batch, Encoded, Params, Stages

BINS = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))  # of maximum attention
UNROLLED = 16  # comparisons of random values that one turn of the loop makes for every word
TOGETHER = 5  # permutations of a text that are drawn at once
PLACE_BITS = 14  # of a random value, or more for longer texts
NEVER = 2**31 - 1  # above every random value


class Attended(NamedTuple):
    """One encoding: its attention, its output, and the output that other attentions would give."""

    weights: Float[Array, "batch length"]
    output: Float[Array, "batch classes"]
    probabilities: Callable[
        [Float[Array, "*many batch length"]], Float[Array, "*many batch classes"]
    ]


def permutation(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], count: int
) -> dict[str, Float[Array, " batch"]]:
    """Jain & Wallace's algorithm 2: the output when attention is shuffled among the words.

    count  random permutations of each example, all equally likely, the identity included
    median_change  median total variation, 0 where there is one word; max_attention  in [0, 1]
    """
    attended = _attend(stages, params, batch)
    first_words = jnp.argsort(~batch.words, axis=-1, stable=True)
    compact = jnp.take_along_axis(attended.weights, first_words, axis=-1)
    keys = jax.vmap(partial(jax.random.fold_in, key))(batch.rows)

    def changes_of(numbers: Int[Array, " many"]) -> Float[Array, "many batch"]:
        ranks = _random_ranks(batch.words, keys, numbers)
        shuffled = jnp.take_along_axis(compact[None], ranks, axis=-1)
        shuffled = jnp.where(batch.words[None], shuffled, 0)
        return _total_variation(attended.probabilities(shuffled), attended.output[None])

    turns = -(-count // TOGETHER)
    numbers = jnp.arange(turns * TOGETHER).reshape(turns, TOGETHER)
    changes = jax.lax.map(changes_of, numbers).reshape(turns * TOGETHER, -1)
    median = jnp.median(changes[:count], axis=0)
    return {
        # One word has one permutation: 0, not what rounding leaves.
        "median_change": jnp.where(batch.words.sum(axis=-1) > 1, median, 0),
        "max_attention": attended.weights.max(axis=-1),
    }


def _random_ranks(
    words: Bool[Array, "batch length"], keys: Key[Array, " batch"], numbers: Int[Array, " many"]
) -> Int[Array, "many batch length"]:
    """Ranks 0, 1, ... of random values among each row's words: random permutations of them.

    keys  one a row; numbers  of the permutations. A value's last bits are its place, so that no two
    are equal; the 18 bits before are random, and equal for one pair of words in 2^18. Counting the
    smaller values takes length^2 comparisons, which vectorise; sorting does not, and takes 5 times
    as long for 20 words and 3 times for 240.
    """
    length = words.shape[-1]

    def draw(number: Int[Array, ""], key: Key[Array, ""]) -> Array:
        return jax.random.bits(jax.random.fold_in(key, number), (length,), jnp.uint32)

    places = jnp.arange(length, dtype=jnp.int32)
    drawn = jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(numbers, keys)
    last = max(PLACE_BITS, length.bit_length())  # padding must not change it for usual texts
    values = jax.lax.bitcast_convert_type(drawn, jnp.int32) >> last << last | places[None, None]
    values = jnp.where(words[None], values, NEVER)
    whole = -(-length // UNROLLED) * UNROLLED
    others = jnp.pad(values, ((0, 0), (0, 0), (0, whole - length)), constant_values=NEVER)

    def count_smaller(turn: Int[Array, ""], ranks: Array) -> Array:
        block = jax.lax.dynamic_slice_in_dim(others, turn * UNROLLED, UNROLLED, axis=2)
        for other in jnp.split(block, UNROLLED, axis=2):
            ranks = ranks + (other < values).astype(ranks.dtype)
        return ranks

    longest = jnp.max(jnp.where(words, places + 1, 0))  # behind it nothing is smaller
    turns = (longest + UNROLLED - 1) // UNROLLED
    return jax.lax.fori_loop(0, turns, count_smaller, jnp.zeros_like(values))


def adversarial(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], settings: Adversary
) -> dict[str, Float[Array, "batch ..."]]:
    """Jain & Wallace's algorithm 3: attentions far from the model's that leave its output alone.

    Each example seeks K attentions a_i = softmax(l_i) over its words, from
    l_i = log(1/n) + 3 N(0, 1), that maximise (papers 3.5, with JSD in nats and a the model's)

        sum_i JSD[a_i, a] + 1/(K(K-1)) sum_{i<j} JSD[a_i, a_j]
            - weight * sum_i max(0, change_i - margin)

    The released code differs in the pairs' weight, 2/K^2 (a mean over all K^2 ordered pairs), in
    measuring change by the full sum of |differences| for question answering and inference, and in
    1e-10 inside its logarithms.

    Rounding may tip a candidate across the margin's edge a step earlier or later, so differences
    of 1e-7 in the states (another batch size) can show as 5e-4 in one candidate in a thousand.

    Returns, over the candidates whose change is at most epsilon and the model's own attention
    max_jsd           [batch], the largest JSD from the model's attention, in [0, ln 2]
    output_change     [batch], total variation that this attention causes, at most epsilon
    attention         [batch, length], this attention itself
    and of every candidate, whether its change is small or not
    candidates_jsd, candidates_change  [batch, K]
    """
    attended = _attend(stages, params, batch)
    words, original = batch.words.T[None], attended.weights.T[None]
    # Drawn as [batch, length, K]: words keep their numbers when padding is added.
    like = jnp.zeros((*batch.words.shape, settings.adversaries), original.dtype)
    noise = jnp.moveaxis(gaussian(like, batch.rows, key), (2, 1, 0), (0, 1, 2))
    count = jnp.sum(words, axis=1, keepdims=True).astype(original.dtype)
    start = jnp.where(words, 3 * noise - jnp.log(jnp.maximum(count, 1)), NOWHERE)
    present = (count > 0).astype(original.dtype)

    def change(weights: Float[Array, "K length batch"]) -> Float[Array, "K batch"]:
        return _total_variation(
            attended.probabilities(weights.swapaxes(1, 2)), attended.output[None]
        )

    def gradient(logits: Float[Array, "K length batch"]) -> Float[Array, "K length batch"]:
        weights = softmax(logits, present)
        changes, pull = jax.vjp(change, weights)
        (cost,) = pull((changes > settings.margin).astype(changes.dtype) * settings.weight)
        return descent(logits, weights, original, cost)

    logits = amsgrad(gradient, start, settings.steps, settings.learning_rate)
    candidates = softmax(logits, present)
    changes, divergences = change(candidates), jensen_shannon(candidates, original)
    # The model's own attention comes first: where nothing is farther away, it is the answer.
    every = jnp.concatenate([original, candidates])
    changes_all = jnp.concatenate([jnp.zeros_like(changes[:1]), changes])
    divergences_all = jnp.concatenate([jnp.zeros_like(divergences[:1]), divergences])
    allowed = jnp.where(changes_all <= settings.epsilon, divergences_all, -1)
    best = jnp.argmax(allowed, axis=0)[None]
    return {
        "max_jsd": jnp.take_along_axis(divergences_all, best, axis=0)[0],
        "output_change": jnp.take_along_axis(changes_all, best, axis=0)[0],
        "attention": jnp.take_along_axis(every, best[:, None], axis=0)[0].T,
        "candidates_jsd": divergences.T,
        "candidates_change": changes.T,
    }


def uniform(stages: Stages, params: Params, batch: Batch) -> Float[Array, "batch classes"]:
    """Class probabilities with attention 1/n on each of a text's n words."""
    encoded = stages.encode(params, stages.embed(params, batch), batch)
    words = batch.words.astype(encoded.states.dtype)
    weights = words / jnp.maximum(words.sum(axis=-1, keepdims=True), 1)
    return jax.nn.softmax(stages.decode(params, encoded, weights, batch), axis=-1)


def bins(max_attention: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """Splits the values of examples by maximum attention into the four of `BINS`.

    An edge belongs to the bin above it, and 1 to the last:
    bins([0.1, 0.25, 1.0], [7, 8, 9]) == [[7], [8], [], [9]]
    """
    number = np.digitize(max_attention, [low for low, _ in BINS[1:]])
    return [np.asarray(values)[number == each] for each in range(len(BINS))]


def _attend(stages: Stages, params: Params, batch: Batch) -> Attended:
    encoded = stages.encode(params, stages.embed(params, batch), batch)
    weights = attention_weights(stages.score(params, encoded), batch.words)
    logits = _readout(stages, params, encoded, batch)

    def probabilities(weights):
        return jax.nn.softmax(logits(weights), axis=-1)

    return Attended(weights, probabilities(weights), probabilities)


def _readout(stages: Stages, params: Params, encoded: Encoded, batch: Batch):
    """Weights [..., batch, length] -> logits [..., batch, classes]."""
    if stages.read is not None:
        return stages.read(params, encoded, batch)

    def decode(weights):
        if weights.ndim > 2:
            return jax.vmap(decode)(weights)
        return stages.decode(params, encoded, weights, batch)

    return decode


def _total_variation(
    a: Float[Array, "... classes"], b: Float[Array, "... classes"]
) -> Float[Array, "..."]:
    return jnp.sum(jnp.abs(a - b), axis=-1) / 2
