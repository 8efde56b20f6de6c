"""Texts beside a text: other vectors for its words, which go wherever the words go."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attnjax.errors import UserError
from attnjax.model.rules import Rules
from attnjax.model.stages import (
    entries_of,
    mean_vectors,
    sees_pieces,
    vocabulary_size,
    word_vectors,
)
from attnjax.types import EOS, UNK, Batch, Embedded, Params, Stages

RADIUS = 0.02  # of a disturbance, in the range of all word vectors' entries


class Moved(NamedTuple):
    """Texts whose words have vectors of their own.

    tokens   [batch, length]: V (k + 1) + w, V being the size of the vocabulary, has the row's k-th
             vector, and has the place of the word w in all else; what is below V is looked up
    vectors  [batch, length, embed]
    """

    tokens: Int[Array, "batch length"]
    vectors: Float[Array, "batch length embed"]


def with_own_vectors(stages: Stages, vectors: Float[Array, "batch length embed"]) -> Stages:
    """The model, under every set of rules, that reads the vectors of `Moved`, wherever they go."""

    def embed(params: Params, batch: Batch) -> Embedded:
        words = vocabulary_size(stages, params)
        if len(batch.tokens) != len(vectors):  # the vectors of all words, for example
            return stages.embed(params, batch)
        own = batch.tokens >= words
        embedded = stages.embed(params, batch._replace(tokens=batch.tokens % words))
        place = jnp.where(own, batch.tokens // words - 1, 0)
        mine = jnp.take_along_axis(vectors, place[..., None], axis=1)
        return embedded._replace(text=jnp.where(own[..., None], mine, embedded.text))

    def under(rules: Rules) -> Stages:
        return with_own_vectors(stages.under(rules), vectors)

    return stages._replace(embed=embed, under=under)


def words_of(batch: Batch) -> np.ndarray:
    """`Batch.words` of a batch on the host."""
    tokens = np.asarray(batch.tokens)
    return (tokens == UNK) | (tokens > EOS)


def own_words(batch: Batch, vocabulary: int) -> Int[Array, "batch length"]:
    """Tokens with an own vector for every word: [2, 9, 7, 3] -> [2, 2V + 9, 3V + 7, 3].

    Raises UserError where so many words and places have no numbers.
    """
    if vocabulary * (batch.tokens.shape[1] + 2) > np.iinfo(np.int32).max:
        raise UserError(
            f"texts of {batch.tokens.shape[1]:,} tokens over {vocabulary:,} words are too long for "
            "the question continuity; cut them by --config.data.max_length, or leave it out"
        )
    places = jnp.arange(1, 1 + batch.tokens.shape[1], dtype=batch.tokens.dtype)
    return jnp.where(batch.words, vocabulary * places[None, :] + batch.tokens, batch.tokens)


def make_blank(stages: Stages) -> Callable[..., Moved]:
    """Builds (params, batch, ()) -> the texts as they are: what programs take that move none."""

    def blank(params: Params, batch: Batch, given: Any) -> Moved:
        del given
        return Moved(batch.tokens, jnp.zeros_like(stages.embed(params, batch).text))

    return blank


def make_disturbed(stages: Stages, seed: int) -> Callable[..., tuple[Moved, Array]]:
    """Builds ((params, number), batch, ()) -> texts, and the norm [batch] of what was added.

    Every entry of every word's vector moves at random, by at most RADIUS times the range of all
    word vectors' entries; drawn by (seed, row, number, position). Of words that are made of pieces
    those of the pieces' vectors.
    """

    def disturbed(params: Any, batch: Batch, given: Any) -> tuple[Moved, Array]:
        del given
        params, number = params
        words = vocabulary_size(stages, params)
        pieces = sees_pieces(stages)
        table = params["embed"]["table"] if pieces else word_vectors(stages, params, words)
        vectors = stages.embed(params, batch).text
        radius = RADIUS * (table.max() - table.min())

        def of_row(row: Array) -> Array:
            own = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), row), number)
            return jax.random.uniform(own, vectors.shape[1:], vectors.dtype, -1.0, 1.0)

        there = entries_of(stages, params, vectors, batch.words)
        delta = jnp.where(there, radius * jax.vmap(of_row)(batch.rows), 0)
        far = jnp.sqrt(jnp.square(delta).sum(axis=(1, 2)))
        return Moved(own_words(batch, words), vectors + delta), far

    return disturbed


def make_replaced(stages: Stages, seed: int) -> Callable[..., tuple[Moved, Array]]:
    """Builds ((params, number), batch, ()) -> texts, and how far [batch] the one word moved.

    One word of each text, drawn by (seed, row, number), gives place to the word that is nearest to
    it: of the highest cosine between their vectors. Of words made of pieces it is that between the
    means, and a word gives place to one of no more pieces.
    """

    def replaced(params: Any, batch: Batch, given: Any) -> tuple[Moved, Array]:
        del given
        params, number = params
        words = vocabulary_size(stages, params)
        table, pieces = mean_vectors(stages, params, words)
        place = _chosen(jax.random.key(seed), number, batch)
        chosen = jnp.take_along_axis(batch.tokens, place[:, None], axis=1)[:, 0]
        new = _nearest(table, pieces, chosen)
        here = jnp.arange(batch.tokens.shape[1])[None, :] == place[:, None]
        here = here & batch.words
        after = batch._replace(tokens=jnp.where(here, new[:, None], batch.tokens))
        moved = Moved(own_words(after, words), stages.embed(params, after).text)
        gap = jnp.linalg.norm(table[new] - table[chosen], axis=-1)
        return moved, jnp.where(here.any(axis=1), gap, 0)

    return replaced


def _chosen(key: Any, number: Array, batch: Batch) -> Int[Array, " batch"]:
    """The place of one word of each text, each as likely."""
    width = batch.words.shape[1]

    def of_row(row: Array) -> Array:
        own = jax.random.fold_in(jax.random.fold_in(key, row), number)
        return jax.random.uniform(own, (width,), jnp.float32)

    return jnp.where(batch.words, jax.vmap(of_row)(batch.rows), -1).argmax(axis=1)


def _nearest(
    table: Float[Array, "words embed"], pieces: Int[Array, " words"], ids: Int[Array, " batch"]
) -> Array:
    """The id of the nearest other word of no more pieces, itself where there is no other."""
    size = jnp.linalg.norm(table, axis=1, keepdims=True)
    unit = table / jnp.where(size > 0, size, 1)
    close = jnp.einsum("be,we->bw", unit[ids], unit)
    every = jnp.arange(len(table), dtype=ids.dtype)[None, :]
    fits = (every > EOS) & (every != ids[:, None]) & (pieces[None, :] <= pieces[ids][:, None])
    close = jnp.where(fits, close, -jnp.inf)
    return jnp.where(jnp.isfinite(close.max(axis=1)), close.argmax(axis=1).astype(ids.dtype), ids)
