"""Counterfactual attention: does the output need the attention that the model computed?

Permuted attention (Jain & Wallace, arXiv:1902.10186, section 4.2) and the uniform attention of
Wiegreffe & Pinter (arXiv:1908.04626). States stay as they are; only the weights that average them
change. A text is encoded once, and since attention enters the output through sum_t a_t h_t alone,
`Quick.read` turns each further attention into dot products.

A figure depends on (parameters, example, key, settings) alone: random numbers are drawn by the
example's row in the split and the word's position. Differences of outputs are total variations,
half the sum of |differences| of class probabilities, in [0, 1]; for two classes that is |p - p'|.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from attnjax.analysis.findings import describe
from attnjax.analysis.questions.question import About, Given, Question
from attnjax.config import AnalysisConfig
from attnjax.losses import cross_entropy
from attnjax.metrics import scores
from attnjax.types import Batch, Params, Stages, Trace

BINS = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))  # of maximum attention
UNROLLED = 16  # comparisons of random values that one turn of the loop makes for every word
TOGETHER = 5  # permutations of a text that are drawn at once
PLACE_BITS = 14  # of a random value, or more for longer texts
NEVER = 2**31 - 1  # above every random value


def permutation(
    stages: Stages, params: Params, batch: Batch, trace: Trace, key: Key[Array, ""], count: int
) -> dict[str, Float[Array, " batch"]]:
    """Jain & Wallace's algorithm 2: the output when attention is shuffled among the words.

    count  random permutations of each example, all equally likely, the identity included
    median_change  median total variation, 0 where there is one word; max_attention  in [0, 1]
    """
    output_of = outputs(stages, params, batch, trace)
    words = stages.attended(batch)
    first_words = jnp.argsort(~words, axis=-1, stable=True)
    compact = jnp.take_along_axis(trace.weights, first_words, axis=-1)
    keys = jax.vmap(partial(jax.random.fold_in, key))(batch.rows)
    output = output_of(trace.weights)[None]

    def changes_of(numbers: Int[Array, " many"]) -> Float[Array, "many batch"]:
        ranks = random_permutations(words, keys, numbers)
        shuffled = jnp.take_along_axis(compact[None], ranks, axis=-1)
        shuffled = jnp.where(words[None], shuffled, 0)
        return total_variation(output_of(shuffled), output)

    turns = -(-count // TOGETHER)
    numbers = jnp.arange(turns * TOGETHER).reshape(turns, TOGETHER)
    changes = jax.lax.map(changes_of, numbers).reshape(turns * TOGETHER, -1)
    median = jnp.median(changes[:count], axis=0)
    return {
        # One word has one permutation: 0, not what rounding leaves.
        "median_change": jnp.where(words.sum(axis=-1) > 1, median, 0),
        "max_attention": trace.weights.max(axis=-1),
    }


def random_permutations(
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


def uniform(
    stages: Stages, params: Params, batch: Batch, trace: Trace
) -> Float[Array, "batch classes"]:
    """Class probabilities with attention 1/n on each of a text's n words."""
    words = stages.attended(batch).astype(trace.weights.dtype)
    weights = words / jnp.maximum(words.sum(axis=-1, keepdims=True), 1)
    return jax.nn.softmax(stages.decode(params, trace.encoded, weights, batch), axis=-1)


def bins(max_attention: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """Splits the values of examples by maximum attention into the four of `BINS`.

    An edge belongs to the bin above it, and 1 to the last:
    bins([0.1, 0.25, 1.0], [7, 8, 9]) == [[7], [8], [], [9]]
    """
    number = np.digitize(max_attention, [low for low, _ in BINS[1:]])
    return [np.asarray(values)[number == each] for each in range(len(BINS))]


def outputs(
    stages: Stages, params: Params, batch: Batch, trace: Trace
) -> Callable[[Float[Array, "*many batch length"]], Float[Array, "*many batch classes"]]:
    """Attention weights -> class probabilities over the states that are there."""
    logits = stages.quick.read(params, trace.encoded, batch)
    return lambda weights: jax.nn.softmax(logits(weights), axis=-1)


def total_variation(
    a: Float[Array, "... classes"], b: Float[Array, "... classes"]
) -> Float[Array, "..."]:
    """Half the sum of |differences| of class probabilities, 0..1."""
    return jnp.sum(jnp.abs(a - b), axis=-1) / 2


def _ask_permutation(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        key = jax.random.key(seed)
        found = permutation(stages, params, batch, given.trace, key, config.permutations)
        return {"permutation": found}

    return ask


def _answer_permutation(found: dict[str, Any], about: About) -> dict[str, Any]:
    largest, change = (found["permutation"][name] for name in ("max_attention", "median_change"))
    parts = [
        {
            "max_attention": list(edges),
            "examples": len(values),
            **describe({"median_change": values}),
        }
        for edges, values in zip(BINS, bins(largest, change), strict=True)
    ]
    whole = describe({"median_change": change})
    return {"permutation": {"permutations": about.config.permutations, **whole, "bins": parts}}


def _ask_uniform(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    del config, seed

    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        flat = uniform(stages, params, batch, given.trace)
        logits = jnp.log(jnp.maximum(flat, jnp.finfo(flat.dtype).tiny))
        return {"probabilities": flat, "loss": cross_entropy(logits, batch.labels)}

    return ask


def _answer_uniform(found: dict[str, Any], about: About) -> dict[str, Any]:
    return {"uniform_attention": scores(about.truth, found["probabilities"], found["loss"])}


PERMUTATION = Question(
    _ask_permutation,
    _answer_permutation,
    empty={"permutation": None},
    record=("permutation",),
    wanted=lambda config: config.permutations > 0,
    pools=True,
)
UNIFORM = Question(_ask_uniform, _answer_uniform, empty={}, pools=True)
