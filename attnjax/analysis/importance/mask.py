"""Meaningful-perturbation masks: the fewest words whose loss changes the prediction."""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from attnjax.analysis.importance.method import Method, Shared
from attnjax.analysis.importance.subsets import BOTH, features, of_segment
from attnjax.analysis.importance.target import class_probability
from attnjax.config import AnalysisConfig
from attnjax.model.stages import vocabulary_size, word_vectors
from attnjax.types import UNK, Batch, Embedded, Params, Segment, Stages

RATE = 0.1  # of Adam, as in the released code
START = 0.9


class Masks(NamedTuple):
    """The best mask of each example, [batch, features] in [0, 1], and how well it does.

    keep      1 keeps the word as it is, 0 puts the baseline in its place; 1 off the words
    score     [batch] the predicted class's probability under it
    hardened  [batch] the same where each word is kept or not, whichever is nearer
    """

    keep: Float[Array, "batch features"]
    score: Float[Array, " batch"]
    hardened: Float[Array, " batch"]


@cache  # equal settings are one function: what is compiled for it is compiled once
def masks(price: float, steps: int, goal: str, baseline: str) -> Shared:
    """Makes the work of the masks of Fong & Vedaldi (arXiv:1704.03296, eq. 3), for words.

    A word's vector is m e + (1 - m) e'. Deletion: minimise price * sum (1 - m) + p(m);
    preservation: price * sum m - p(m); p is the predicted class's probability. Projected Adam from
    0.9; the best iterate is kept. All texts of a batch are optimised at once, each by itself.
    price     of a word, in probability; steps  of the optimizer
    goal      "deletion" or "preservation"
    baseline  e': "zero", the "mean" of all words' vectors, or that of the "unknown" word
    """

    def shared(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Masks:
        del key
        words, embedded = features(batch), stages.embed(params, batch)
        probability = class_probability(stages, params, batch)
        instead = _baseline(baseline, stages, params)
        length = batch.tokens.shape[1]

        def mixed(keep: Float[Array, "batch features"]) -> Embedded:
            def mix(vectors: Array, kept: Array) -> Array:
                return kept[..., None] * vectors + (1 - kept[..., None]) * instead[None, None, :]

            query = embedded.query
            return Embedded(
                mix(embedded.text, keep[:, :length]),
                None if query is None else mix(query, keep[:, length:]),
            )

        def objective(keep: Float[Array, "batch features"]) -> Float[Array, " batch"]:
            score = probability(mixed(keep))
            if goal == "deletion":
                return price * jnp.sum(1 - keep, axis=-1, where=words) + score
            return price * jnp.sum(keep, axis=-1, where=words) - score

        def step(number: Any, state: Any) -> Any:
            keep, mean, square, best, kept = state
            value, pull = jax.vjp(objective, keep)
            better = value < best
            best, kept = jnp.where(better, value, best), jnp.where(better[:, None], keep, kept)
            (slope,) = pull(jnp.ones_like(value))
            turn = (number + 1).astype(slope.dtype)
            mean = 0.9 * mean + 0.1 * slope
            square = 0.999 * square + 0.001 * jnp.square(slope)
            root = jnp.sqrt(square / (1 - 0.999**turn)) + 1e-8
            moved = jnp.clip(keep - RATE * mean / (1 - 0.9**turn) / root, 0, 1)
            return jnp.where(words, moved, 1), mean, square, best, kept

        dtype = embedded.text.dtype
        keep = jnp.where(words, START, 1).astype(dtype)
        nothing = jnp.zeros(words.shape, dtype)
        worst = jnp.full(len(keep), jnp.inf, dtype)
        state = jax.lax.fori_loop(0, steps, step, (keep, nothing, nothing, worst, keep))
        last, _, _, best, kept = state
        kept = jnp.where((objective(last) < best)[:, None], last, kept)
        hard = (kept >= 0.5).astype(dtype)
        return Masks(kept, probability(mixed(kept)), probability(mixed(hard)))

    return shared


def _baseline(name: str, stages: Stages, params: Params) -> Float[Array, " embed"]:
    table = word_vectors(stages, params, vocabulary_size(stages, params))
    if name == "mean":
        return table[UNK:].mean(axis=0)
    return table[UNK] if name == "unknown" else jnp.zeros_like(table[UNK])


def deleted(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Masks,
) -> Float[Array, "batch length"]:
    """1 - m of each word: how far the best mask deletes it, in [0, 1].

    shared  `masks` of the goal deletion
    """
    del stages, params, key
    return of_segment(jnp.where(features(batch), 1 - shared.keep, 0), batch, segment)


def preserved(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Masks,
) -> Float[Array, "batch length"]:
    """m of each word: how far the best mask keeps it, in [0, 1].

    shared  `masks` of the goal preservation
    """
    del stages, params, key
    return of_segment(jnp.where(features(batch), shared.keep, 0), batch, segment)


def softness(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Masks
) -> Float[Array, " batch"]:
    """|p under the mask - p under the hardened mask|: what half-deleted words make of it."""
    del stages, params, batch, key
    return jnp.abs(shared.score - shared.hardened)


def _tuned(method: Method, config: AnalysisConfig) -> Method:
    work = masks(config.mask_price, config.mask_steps, config.mask_goal, config.mask_baseline)
    return method._replace(
        shared=work, find=deleted if config.mask_goal == "deletion" else preserved
    )


MASK = Method(
    deleted,
    segments=BOTH,
    exactness=softness,
    shared=masks(0.03, 300, "deletion", "zero"),
    apart=True,
    tuned=_tuned,
    passes=lambda config, words: (4 + config.mask_steps, config.mask_steps),
    reference="Fong & Vedaldi 2017, arXiv:1704.03296",
)
