"""Texts beside a text: other vectors for its words, which go wherever the words go."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attnjax.model.rules import Rules
from attnjax.model.stages import vocabulary_size, word_vectors
from attnjax.types import EOS, UNK, Batch, Embedded, Params, Stages

RADIUS = 0.02  # of a disturbance, in the range of all word vectors' entries


def with_own_vectors(stages: Stages, vectors: Float[Array, "batch length embed"]) -> Stages:
    """The model, under every set of rules, that reads some words' vectors here.

    vectors  of each row: the token with the id V + k, V being the size of the vocabulary, has the
    row's k-th, wherever in the text it stands. All other tokens are looked up.
    """

    def embed(params: Params, batch: Batch) -> Embedded:
        words = vocabulary_size(stages, params)
        if len(batch.tokens) != len(vectors):  # the vectors of all words, for example
            return stages.embed(params, batch)
        own = batch.tokens >= words
        embedded = stages.embed(params, batch._replace(tokens=jnp.where(own, UNK, batch.tokens)))
        place = jnp.where(own, batch.tokens - words, 0)
        mine = jnp.take_along_axis(vectors, place[..., None], axis=1)
        return embedded._replace(text=jnp.where(own[..., None], mine, embedded.text))

    def under(rules: Rules) -> Stages:
        return with_own_vectors(stages.under(rules), vectors)

    return stages._replace(embed=embed, under=under)


def words_of(batch: Batch) -> np.ndarray:
    """`Batch.words` of a batch on the host."""
    tokens = np.asarray(batch.tokens)
    return (tokens == UNK) | (tokens > EOS)


def own_words(batch: Batch, vocabulary: int) -> Batch:
    """The batch, on the host, with every word of the text an own one: [2, 9, 7, 3] -> [2, V + 1,
    V + 2, 3].
    """
    tokens: Any = np.asarray(batch.tokens)
    places = vocabulary + np.arange(tokens.shape[1], dtype=tokens.dtype)
    return batch._replace(tokens=np.where(words_of(batch), places[None, :], tokens))


def make_blank(stages: Stages) -> Callable[..., Array]:
    """Builds (params, batch, ()) -> own vectors of no word: what programs take that need none."""

    def blank(params: Params, batch: Batch, given: Any) -> Float[Array, "batch length embed"]:
        del given
        return jnp.zeros_like(stages.embed(params, batch).text)

    return blank


def make_disturbed(stages: Stages, seed: int) -> Callable[..., tuple[Array, Array]]:
    """Builds ((params, number), batch, ()) -> vectors, and the norm [batch] of what was added.

    Every entry of every word's vector moves at random, by at most RADIUS times the range of all
    word vectors' entries; drawn by (seed, row, number, position).
    """

    def disturbed(params: Any, batch: Batch, given: Any) -> tuple[Array, Array]:
        del given
        params, number = params
        table = word_vectors(stages, params, vocabulary_size(stages, params))
        vectors = stages.embed(params, batch).text
        radius = RADIUS * (table.max() - table.min())

        def of_row(row: Array) -> Array:
            own = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), row), number)
            return jax.random.uniform(own, vectors.shape[1:], vectors.dtype, -1.0, 1.0)

        delta = jnp.where(batch.words[..., None], radius * jax.vmap(of_row)(batch.rows), 0)
        return vectors + delta, jnp.sqrt(jnp.square(delta).sum(axis=(1, 2)))

    return disturbed


def make_replaced(stages: Stages, seed: int) -> Callable[..., tuple[Array, Array]]:
    """Builds ((params, number), batch, ()) -> vectors, and how far [batch] the one word moved.

    One word of each text, drawn by (seed, row, number), gives place to the word that is nearest to
    it: of the highest cosine between their vectors.
    """

    def replaced(params: Any, batch: Batch, given: Any) -> tuple[Array, Array]:
        del given
        params, number = params
        table = word_vectors(stages, params, vocabulary_size(stages, params))
        vectors = stages.embed(params, batch).text
        place = _chosen(jax.random.key(seed), number, batch)
        chosen = jnp.take_along_axis(batch.tokens, place[:, None], axis=1)[:, 0]
        old = table[chosen]
        new = table[_nearest(table, chosen)]
        here = jnp.arange(vectors.shape[1])[None, :] == place[:, None]
        here = here & batch.words
        moved = jnp.where(here[..., None], new[:, None, :], vectors)
        far = jnp.where(here.any(axis=1), jnp.linalg.norm(new - old, axis=-1), 0)
        return moved, far

    return replaced


def _chosen(key: Any, number: Array, batch: Batch) -> Int[Array, " batch"]:
    """The place of one word of each text, each as likely."""
    width = batch.words.shape[1]

    def of_row(row: Array) -> Array:
        own = jax.random.fold_in(jax.random.fold_in(key, row), number)
        return jax.random.uniform(own, (width,), jnp.float32)

    return jnp.where(batch.words, jax.vmap(of_row)(batch.rows), -1).argmax(axis=1)


def _nearest(table: Float[Array, "words embed"], ids: Int[Array, " batch"]) -> Array:
    """The id of the nearest other word to each, itself where there is no other."""
    size = jnp.linalg.norm(table, axis=1, keepdims=True)
    unit = table / jnp.where(size > 0, size, 1)
    close = jnp.einsum("be,we->bw", unit[ids], unit)
    every = jnp.arange(len(table), dtype=ids.dtype)[None, :]
    close = jnp.where((every > EOS) & (every != ids[:, None]), close, -jnp.inf)
    return jnp.where(jnp.isfinite(close.max(axis=1)), close.argmax(axis=1).astype(ids.dtype), ids)
