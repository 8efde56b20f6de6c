"""What does each state know of a word beyond its concept? Asked by replacing words.

A word x_i of a concept c is replaced by random words of the vocabulary, and by random words of c.
With log p(x'|s) = -||state(x_i <- x') - s||^2 in standard deviations, a mean over live units (and
tokens), and constants,

    word    A_i = log p(x_i|s) - mean over random x' of log p(x'|s)
    concept A_c = mean over x' of c of log p(x'|s) - the same
    beyond  r = A_i - A_c

(Guan et al., ICML 2019). Exact but for the sample of words: one forward pass a replacement. Where
words are made of pieces, those of one piece stand for the others: a batch has room for them.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from attnjax.analysis.findings import describe
from attnjax.analysis.information.states import (
    Sample,
    fit_sample,
    in_order,
    scaled,
    states_of,
    tokens_read,
)
from attnjax.analysis.questions.question import About, Given, Names, Question
from attnjax.config import AnalysisConfig
from attnjax.errors import UserError
from attnjax.model.stages import mean_vectors, sees_pieces
from attnjax.types import Batch, Params, Stages

WORDS = 12  # that replace one, at most: of a concept, and of all words


class Learnt(NamedTuple):
    """What the question is asked with.

    sample  of the text's states; members  concept -> [words of the vocabulary], True on its own
    others  concept -> [at most WORDS] ids that stand for it; random  the same of any words
    """

    sample: Sample
    members: dict[str, Bool[Array, " vocabulary"]]
    others: dict[str, Int[Array, " words"]]
    random: Int[Array, " words"]


def fit_concepts(config: AnalysisConfig, names: Names) -> Callable[..., Learnt]:
    """Makes (stages, params, batches, key) -> Learnt; the words are the same for every seed."""

    def fit(
        stages: Stages, params: Params, batches: Iterable[Batch], key: Key[Array, ""]
    ) -> Learnt:
        lexicon = names.concepts
        assert lexicon is not None, "checked with the configuration"
        sample = fit_sample(config.information_whiten)(stages, params, batches, key)["text"]
        size = 1 + int(lexicon.words.max())
        fits = _fitting(stages, params, size)

        def drawn(ids: np.ndarray) -> Int[Array, " words"]:
            """All of few, each as often; a draw hangs on these words alone, not on other lists."""
            ids = ids[fits[ids]]
            if len(ids) > WORDS:
                ids = np.random.default_rng(0).choice(ids, WORDS, replace=False)
            return jnp.asarray(ids, jnp.int32)

        for name, ids in lexicon.concepts.items():
            if not fits[ids].any():
                raise UserError(
                    f"analysis.concepts: no known word of '{name}' is one piece to this model, and "
                    "only such can stand for others; add a commoner word, or leave the list out"
                )
        members = {
            name: jnp.asarray(np.isin(np.arange(size), ids))
            for name, ids in lexicon.concepts.items()
        }
        others = {name: drawn(ids) for name, ids in lexicon.concepts.items()}
        return Learnt(sample, members, others, drawn(lexicon.words))

    return fit


def _fitting(stages: Stages, params: Params, size: int) -> Bool[np.ndarray, " words"]:
    """Of the first words which may stand in any word's place."""
    if not sees_pieces(stages):
        return np.ones(size, bool)
    return np.asarray(mean_vectors(stages, params, size)[1]) == 1


def make_concepts(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask(params, batch, given) -> {"concepts": concept -> state -> ..., "known": ...}.

    concepts  "word", "concept" and "beyond": means over the text's words of that concept, NaN
              without any
    known     concept -> [batch], how many words stand for it, the same for all rows
    """
    del config, seed

    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        learnt: Learnt = given.fitted
        distances = distances_of(stages, params, batch, learnt.sample)
        random = distances(learnt.random)
        found: dict[str, Any] = {}
        for name, others in learnt.others.items():
            own = distances(others)
            here = batch.words & learnt.members[name][batch.tokens]
            found[name] = {
                state: _means(random[state], own[state], here) for state in learnt.sample.spreads
            }
        known = {
            name: jnp.broadcast_to(each.sum(), batch.rows.shape)
            for name, each in learnt.members.items()
        }
        return {"concepts": found, "known": known}

    return ask


def distances_of(
    stages: Stages, params: Params, batch: Batch, sample: Sample
) -> Callable[[Int[Array, " words"]], dict[str, Float[Array, "batch length"]]]:
    """ids -> state -> the mean squared distance, over the ids, with each word replaced by one."""
    mask = tokens_read(stages, batch, "text")

    def states(tokens: Int[Array, "batch length"]) -> dict[str, Array]:
        changed = batch._replace(tokens=tokens)
        embedded = stages.embed(params, changed)
        every = states_of(stages, params, embedded, changed, "text")
        return {name: scaled(every[name], each, mask) for name, each in sample.spreads.items()}

    base = states(batch.tokens)

    def distances(ids: Int[Array, " words"]) -> dict[str, Float[Array, "batch length"]]:
        def at(place: Array) -> dict[str, Float[Array, " batch"]]:
            there = batch.words & (jnp.arange(batch.tokens.shape[1]) == place)[None, :]

            def add(total: Any, other: Array) -> Any:
                new = states(jnp.where(there, other.astype(batch.tokens.dtype), batch.tokens))
                change = jax.tree.map(_squared, new, base)
                return jax.tree.map(jnp.add, total, change), None

            nothing = {name: jnp.zeros(len(mask), each.dtype) for name, each in base.items()}
            return jax.lax.scan(add, nothing, ids)[0]

        found = jax.lax.map(at, jnp.arange(batch.tokens.shape[1]))
        return {name: each.T / len(ids) for name, each in found.items()}

    return distances


def _squared(one: Array, other: Array) -> Float[Array, " batch"]:
    return jnp.square(one - other).reshape(len(one), -1).sum(axis=-1)


def _means(
    random: Float[Array, "batch length"],
    own: Float[Array, "batch length"],
    here: Bool[Array, "batch length"],
) -> dict[str, Float[Array, " batch"]]:
    count = here.sum(axis=-1)

    def mean(values: Array) -> Array:
        total = jnp.where(here, values, 0).sum(axis=-1)
        return jnp.where(count > 0, total / jnp.maximum(count, 1).astype(total.dtype), jnp.nan)

    word, beyond = mean(random), mean(own)
    return {"word": word, "concept": word - beyond, "beyond": beyond}


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """Of each concept and state what is known of the word, of its concept, and beyond that."""
    del about
    concepts = found["concepts"]
    states = in_order(next(iter(concepts.values())))
    return {
        "concepts": {
            "states": states,
            "by_concept": {
                name: {
                    "known_words": int(found["known"][name][0]),
                    "by_state": [describe(concepts[name][state]) for state in states],
                }
                for name in sorted(concepts)
            },
        }
    }


CONCEPTS = Question(
    make_concepts,
    _answer,
    empty={"concepts": None},
    record=("concepts",),
    fit=fit_concepts,
    wanted=lambda config: bool(config.concepts),
)
