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
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from attnjax.model.attention import attention_weights
from attnjax.perturb.norms import gaussian
from attnjax.types import Batch, Encoded, Params, Stages

BINS = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))  # of maximum attention
UNROLLED = 16  # comparisons of random keys that one turn of the loop makes for every word
NEVER = 2**30  # above every random key
NOWHERE = -1e9  # logit off the words: weight exactly 0
FACTORS = 4  # sums of two weights whose product fits a float32 with room below
SCALE = 2.0**28  # (2 * SCALE) ** FACTORS < 2 ** 127


class Adversary(NamedTuple):
    """Settings of adversarial attention; the defaults are those of Jain & Wallace's code.

    adversaries    attentions sought per example, K
    steps          of the optimizer, AMSGrad with this learning_rate
    margin         change of the output that costs nothing while optimising
    weight         cost of each unit of change beyond the margin
    epsilon        largest change of the output that a reported attention may cause
    """

    adversaries: int = 5
    steps: int = 500
    learning_rate: float = 0.01
    margin: float = 0.01
    weight: float = 500.0
    epsilon: float = 0.05


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

    def change(number: Int[Array, ""]) -> Float[Array, " batch"]:
        ranks = _random_ranks(batch.words, batch.rows, key, number)
        shuffled = jnp.where(batch.words, jnp.take_along_axis(compact, ranks, axis=-1), 0)
        return _total_variation(attended.probabilities(shuffled), attended.output)

    median = jnp.median(jax.lax.map(change, jnp.arange(count)), axis=0)
    return {
        # One word has one permutation: 0, not what rounding leaves.
        "median_change": jnp.where(batch.words.sum(axis=-1) > 1, median, 0),
        "max_attention": attended.weights.max(axis=-1),
    }


def _random_ranks(
    words: Bool[Array, "batch length"],
    rows: Int[Array, " batch"],
    key: Key[Array, ""],
    number: Int[Array, ""],
) -> Int[Array, "batch length"]:
    """Ranks 0, 1, ... of random numbers among each row's words: a random permutation of them.

    Counting the smaller numbers takes length^2 comparisons, which vectorise; sorting does not,
    and is slower up to about 1,000 words.
    """
    length = words.shape[-1]

    def draw(row: Int[Array, ""]) -> Array:
        return jax.random.bits(jax.random.fold_in(jax.random.fold_in(key, row), number), (length,))

    numbers = jnp.where(words, (jax.vmap(draw)(rows) >> 3).astype(jnp.int32), NEVER)
    places = jnp.arange(length)
    whole = -(-length // UNROLLED) * UNROLLED
    others = jnp.pad(numbers, ((0, 0), (0, whole - length)), constant_values=NEVER)

    def count_smaller(turn: Int[Array, ""], ranks: Array) -> Array:
        block = jax.lax.dynamic_slice_in_dim(others, turn * UNROLLED, UNROLLED, axis=1)
        for place in range(UNROLLED):
            # Of equal numbers the earlier word's counts as smaller, so that no rank comes twice.
            tie = (turn * UNROLLED + place < places).astype(numbers.dtype)[None, :]
            ranks = ranks + (block[:, place : place + 1] < numbers + tie).astype(numbers.dtype)
        return ranks

    return jax.lax.fori_loop(0, whole // UNROLLED, count_smaller, jnp.zeros_like(numbers))


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

    Returns, over the candidates whose change is at most epsilon and the model's own attention
    max_jsd           [batch], the largest JSD from the model's attention, in [0, ln 2]
    output_change     [batch], total variation that this attention causes, at most epsilon
    attention         [batch, length], this attention itself
    and of every candidate, whether its change is small or not
    candidates_jsd, candidates_change  [batch, K]
    """
    attended = _attend(stages, params, batch)
    words, original = batch.words.T[None], attended.weights.T[None]
    # [K, length, batch]: sums over words run in order, one example a vector lane. They are the
    # same to the last bit under any padding, which 500 steps would otherwise blow up.
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
        weights = _softmax(logits, present)
        changes, pull = jax.vjp(change, weights)
        (cost,) = pull(jnp.where(changes > settings.margin, settings.weight, 0.0))
        return descent(logits, weights, original, cost)

    logits = amsgrad(gradient, start, settings.steps, settings.learning_rate)
    candidates = _softmax(logits, present)
    changes, divergences = change(candidates), _jensen_shannon(candidates, original)
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


def descent(
    logits: Float[Array, "K length batch"],
    weights: Float[Array, "K length batch"],
    original: Float[Array, "one length batch"],
    cost: Float[Array, "K length batch"],
) -> Float[Array, "K length batch"]:
    """Gradient by the logits of what `adversarial` minimises.

    weights  softmax of the logits; cost  gradient of the penalty by the weights

    dJSD[p, q]/dp = log(p / (p + q)) / 2 up to a constant, which the softmax's Jacobian
    p (g - sum p g) removes; log p is the logit, again up to a constant; and the sum over the other
    candidates j of log(p_i + p_j) is one logarithm of a product.
    """
    others = len(weights) - 1
    pairs = 1 / (others + 1) / max(others, 1)
    tiny = jnp.finfo(weights.dtype).tiny  # off the words: 0 * log(tiny), not 0 * log(0)
    slope = (1 + pairs * others) * logits - jnp.log(jnp.maximum(weights + original, tiny))
    if others:
        slope = slope - pairs * _log_sums(weights)
    slope = slope / 2 - cost
    return weights * (jnp.sum(weights * slope, axis=1, keepdims=True) - slope)


def _log_sums(weights: Float[Array, "K length batch"]) -> Float[Array, "K length batch"]:
    """sum_{j != i} log(a_i + a_j) for every candidate i, up to a constant.

    Weights so small that a product of FACTORS sums underflows (1e-17) get too large a value here;
    the gradient multiplies it by that weight.
    """
    scaled = [each * SCALE for each in weights]
    tiny = jnp.finfo(weights.dtype).tiny

    def row(i: int) -> Float[Array, "length batch"]:
        sums = [scaled[i] + each for j, each in enumerate(scaled) if j != i]
        products = [
            reduce(jnp.multiply, sums[start : start + FACTORS])
            for start in range(0, len(sums), FACTORS)
        ]
        return reduce(jnp.add, [jnp.log(jnp.maximum(each, tiny)) for each in products])

    return jnp.stack([row(i) for i in range(len(scaled))])


def amsgrad(
    gradient: Callable[[Array], Array], start: Array, steps: int, learning_rate: float
) -> Array:
    """Minimises by `torch.optim.Adam(amsgrad=True)`, which the reference uses.

    `optax.amsgrad` corrects the bias of the second moment before it takes the largest; and what
    `attnjax.train` optimises with lies beside this layer, not below it.
    """
    b1, b2, epsilon = 0.9, 0.999, 1e-8

    def step(taken: Int[Array, ""], state: tuple[Array, ...]) -> tuple[Array, ...]:
        here, first, second, largest = state
        slope = gradient(here)
        first = b1 * first + (1 - b1) * slope
        second = b2 * second + (1 - b2) * slope * slope
        largest = jnp.maximum(largest, second)
        power = (taken + 1).astype(here.dtype)
        size = learning_rate / (1 - b1**power)
        here = here - size * first / (jnp.sqrt(largest / (1 - b2**power)) + epsilon)
        return here, first, second, largest

    zeros = jnp.zeros_like(start)
    return jax.lax.fori_loop(0, steps, step, (start, zeros, zeros, zeros))[0]


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


def _softmax(
    logits: Float[Array, "K length batch"], present: Float[Array, "one one batch"]
) -> Float[Array, "K length batch"]:
    """Over the words; zeros where a row has none."""
    exponentials = jnp.exp(logits - jnp.max(logits, axis=1, keepdims=True))
    return exponentials * (present / jnp.sum(exponentials, axis=1, keepdims=True))


def _jensen_shannon(
    a: Float[Array, "K length batch"], b: Float[Array, "one length batch"]
) -> Float[Array, "K batch"]:
    """Jensen-Shannon divergence over the words, in nats."""
    tiny = jnp.finfo(a.dtype).tiny
    middle = jnp.log(jnp.maximum((a + b) / 2, tiny))
    parts = a * (jnp.log(jnp.maximum(a, tiny)) - middle)
    parts = parts + b * (jnp.log(jnp.maximum(b, tiny)) - middle)
    return jnp.clip(jnp.sum(parts, axis=1) / 2, 0, np.log(2))


def _total_variation(
    a: Float[Array, "... classes"], b: Float[Array, "... classes"]
) -> Float[Array, "..."]:
    return jnp.sum(jnp.abs(a - b), axis=-1) / 2
