"""A pretrained encoder over word pieces under a model whose positions are words.

A word's vector is that of its pieces one after another, 0 beyond the last, so that sums and norms
over a word's vector are sums over its pieces. Before it is encoded a row's pieces are laid side by
side, without gaps: a word left out takes all of its pieces with it, and places move on. The pair is
one sequence, [CLS] text [SEP] query [SEP]. A word's state is the mean of its pieces' states; from a
word attention is the mean of its pieces' rows, to a word the sum over its pieces.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnjax.geometry import Pieces
from attnjax.model import segments
from attnjax.types import PAD, SOS, Batch, Embedded, Segment


class Laid(NamedTuple):
    """Where the pieces of a batch stand, each row's side by side.

    word     number of the piece's token; those of the query come after all of the text's
    slot     which of that token's pieces it is
    real     True on pieces, False beyond the last
    segment  0 in the text, 1 in the query
    """

    word: Int[Array, "batch places"]
    slot: Int[Array, "batch places"]
    real: Bool[Array, "batch places"]
    segment: Int[Array, "batch places"]


def lay(pieces: Pieces, batch: Batch) -> Laid:
    """Lays out a batch: tokens of 1, 2 and 1 pieces have the words 0 1 1 2 and slots 0 0 1 0.

    A query's <sos> has no piece: the text's stands for both.
    """
    tokens = batch.tokens
    lengths = [tokens.shape[1]]
    if batch.query is not None:
        lengths.append(batch.query.shape[1])
        query = jnp.where(batch.query == SOS, PAD, batch.query)
        tokens = jnp.concatenate([tokens, query], axis=1)
    counts = counts_of(pieces, tokens)
    ends = jnp.cumsum(counts, axis=1, dtype=counts.dtype)
    place = jnp.arange(pieces.places(*lengths), dtype=ends.dtype)[None, :]
    word = (place[..., None] >= ends[:, None, :]).sum(axis=-1, dtype=ends.dtype)
    real = place < ends[:, -1:]
    word = jnp.where(real, word, 0)
    starts = ends - counts
    slot = jnp.where(real, place - jnp.take_along_axis(starts, word, axis=1), 0)
    return Laid(word, slot, real, (word >= lengths[0]).astype(jnp.int32))


def counts_of(pieces: Pieces, tokens: Int[Array, "batch length"]) -> Int[Array, "batch length"]:
    """How many pieces each token has.

    One of `analysis.moved`, with a vector of its own, has as many as the word that it stands for.
    """
    counts = (pieces.ids >= 0).sum(axis=1).astype("int32")
    return jnp.asarray(counts)[tokens % len(pieces.ids)]


def look_up(
    table: Float[Array, "rows width"], pieces: Pieces, tokens: Int[Array, "batch length"]
) -> Float[Array, "batch length embed"]:
    """Every token's vector: its pieces' one after another, 0 beyond its last."""
    rows = jnp.asarray(pieces.ids)[tokens]
    vectors = jnp.where((rows >= 0)[..., None], table[rows], 0)
    return vectors.reshape(*tokens.shape, -1)


def side_by_side(
    pieces: Pieces, embedded: Embedded, laid: Laid
) -> Float[Array, "batch places width"]:
    """The vectors of the pieces, where they are laid."""
    vectors = embedded.text
    if embedded.query is not None:
        vectors = jnp.concatenate([vectors, embedded.query], axis=1)
    vectors = vectors.reshape(len(vectors), -1, pieces.geometry.width)
    return jnp.take_along_axis(vectors, (laid.word * pieces.most + laid.slot)[..., None], axis=1)


def shares(
    laid: Laid, batch: Batch, segment: Segment, dtype: Any
) -> Float[Array, "batch length places"]:
    """1 / number of a token's pieces, at each of them: what means over pieces are made with."""
    length = segments.tokens(batch, segment).shape[1]
    first = 0 if segment == "text" else batch.tokens.shape[1]
    token = jnp.arange(first, first + length, dtype=laid.word.dtype)
    here = (token[None, :, None] == laid.word[:, None, :]) & laid.real[:, None, :]
    count = jnp.maximum(here.sum(axis=-1, keepdims=True), 1)
    return here.astype(dtype) / count.astype(dtype)


def states_of_words(
    states: Float[Array, "batch places width"], laid: Laid, batch: Batch, segment: Segment
) -> Float[Array, "batch length width"]:
    """The mean of each token's pieces' states; 0 of a token without a piece."""
    return jnp.einsum("blp,bpw->blw", shares(laid, batch, segment, states.dtype), states)


def matrix_of_words(
    matrix: Float[Array, "batch *many places places"], laid: Laid, batch: Batch, segment: Segment
) -> Float[Array, "batch *many length length"]:
    """From a token the mean of its pieces' rows, to a token the sum over its pieces.

    Of one segment: of pairs, rows lack what goes to the other.
    """
    means = shares(laid, batch, segment, matrix.dtype)
    sums = (means > 0).astype(matrix.dtype)
    return jnp.einsum("blp,b...pq,bmq->b...lm", means, matrix, sums)


def summary_of_query(
    states: Float[Array, "batch places width"], laid: Laid, batch: Batch
) -> Float[Array, "batch width"]:
    """The mean state of those of the query's words that have a piece."""
    means = shares(laid, batch, "query", states.dtype)
    words = (batch.query_words & (means > 0).any(axis=-1)).astype(states.dtype)
    count = jnp.maximum(words.sum(axis=1, keepdims=True), 1)
    return jnp.einsum("bl,blp,bpw->bw", words / count, means, states)
