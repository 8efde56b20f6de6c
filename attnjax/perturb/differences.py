"""Directions of the interpretable techniques: differences to other words, or to other scores.

Sato et al. (arXiv:1805.02917) restrict a word's perturbation to directions d_k towards other words
and look for the worst weights alpha: r_t = sum_k alpha_tk d_tk. The gradient by alpha at zero is
d_tk . g_t, g the gradient by r, so the step is a linear map of g; the maps below apply it.

For attention (Kitada & Iyatomi, arXiv:2009.12064) the directions are the differences of scores
inside the sentence, d_tk = a_t - a_k, normalised; then r_t = u_t^2 g_t with u_t = ||d_t||. What
that means depends on the axes of normalisation:

  differences over the word, alpha over the sentence   u_t = 1: r = epsilon g / ||g||, which is
                                                       Attention AT exactly (words tied with all
                                                       others, u_t = 0, excepted)
  differences over the sentence, alpha over it too     r_t ~ g_t * sum_k (a_t - a_k)^2: words whose
                                                       score stands out move further; the default
  alpha over the word                                  r_t ~ sign(g_t) u_t: the size of the gradient
                                                       no longer counts
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def score_direction(
    gradient: Float[Array, "*rows length"],
    scores: Float[Array, "*rows length"],
    words: Bool[Array, "*rows length"],
    difference_axis: str = "sentence",
    alpha_axis: str = "sentence",
) -> Float[Array, "*rows length"]:
    """Attention iAT's step for a gradient by the scores, up to length, in O(length).

    sum_k (a_t - a_k)^2 = n c_t^2 + sum_k c_k^2 with c the centred scores, so that the
    length x length matrix of differences is never built.
    Scores 0, 1, 5 and g = 1, 1, 1: squares 26, 17, 41, hence steps in the ratio 26 : 17 : 41.
    """
    squares = _squares(scores, words)
    if difference_axis == "word":
        squares = (squares > 0).astype(scores.dtype)
    if alpha_axis == "word":
        return jnp.sign(gradient) * jnp.sqrt(squares)
    return gradient * squares


def score_start(
    scores: Float[Array, "*rows length"],
    words: Bool[Array, "*rows length"],
    difference_axis: str = "sentence",
) -> Float[Array, "*rows length"]:
    """Where attention iVAT starts, up to length: sum_k d_tk, all alpha alike.

    The differences over the sentence sum to n c_t, c the centred scores; over the word to
    n c_t / u_t, u_t = ||d_t||, 0 where a word is tied with all others.
    Scores 0, 1, 5: -2, -1, 3; over the word -2 / sqrt(26), -1 / sqrt(17), 3 / sqrt(41).
    """
    centred = centred_scores(scores, words)
    if difference_axis == "sentence":
        return centred
    squares = _squares(scores, words)
    return centred * jnp.where(squares > 0, jax.lax.rsqrt(jnp.where(squares > 0, squares, 1)), 0)


def _squares(
    scores: Float[Array, "*rows length"], words: Bool[Array, "*rows length"]
) -> Float[Array, "*rows length"]:
    """sum_k (a_t - a_k)^2 of each word, 0 elsewhere."""
    centred = centred_scores(scores, words)
    count = words.sum(axis=-1, keepdims=True).astype(scores.dtype)
    squares = count * jnp.square(centred) + jnp.sum(jnp.square(centred), axis=-1, keepdims=True)
    return jnp.where(words, squares, 0)


def centred_scores(
    scores: Float[Array, "*rows length"], words: Bool[Array, "*rows length"]
) -> Float[Array, "*rows length"]:
    """a_t minus the mean over words: exactly 0 where all scores are equal."""
    highest = jnp.max(jnp.where(words, scores, -jnp.inf), axis=-1, keepdims=True)
    below = jnp.where(words, scores - highest, 0)  # their mean rounds nothing that is equal
    count = jnp.maximum(words.sum(axis=-1, keepdims=True), 1).astype(scores.dtype)
    mean = jnp.sum(below, axis=-1, keepdims=True) / count
    return jnp.where(words, below - mean, 0)


def word_directions(
    table: Float[Array, "words embed"],
    vectors: Float[Array, "batch length embed"],
    tokens: Int[Array, "batch length"],
    neighbours: Int[Array, "words nearest"],
) -> Float[Array, "batch length nearest embed"]:
    """Unit vectors from each word to its nearest words; zero towards a word of the same vector."""
    towards = table[neighbours[tokens]] - vectors[:, :, None, :]
    square = jnp.sum(jnp.square(towards), axis=-1, keepdims=True)
    return towards * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


def along_directions(
    gradient: Float[Array, "batch length embed"],
    directions: Float[Array, "batch length nearest embed"],
    alpha_axis: str = "sentence",
) -> Float[Array, "batch length embed"]:
    """Word iAT's step: sum_k alpha_k d_k with alpha_k = d_k . g, up to length.

    alpha_axis="sentence": alpha is normalised over the whole sentence, as in Sato et al.'s
    equation, whose alpha has norm epsilon; here r itself is rescaled to norm epsilon afterwards, as
    every perturbation is, so that the length of alpha does not count. alpha_axis="word" gives every
    word's alpha unit length first, as their code does, which rescales r as well.
    """
    alpha = jnp.einsum("blke,ble->blk", directions, gradient)
    if alpha_axis == "word":
        square = jnp.sum(jnp.square(alpha), axis=-1, keepdims=True)
        alpha = alpha * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)
    return jnp.einsum("blk,blke->ble", alpha, directions)


def nearest_words(
    table: Float[Array, "words embed"],
    count: int,
    first: int,
    budget: int = 2**25,
    of: Int[Array, " some"] | None = None,
) -> Int[Array, "some nearest"]:
    """The `count` nearest words by cosine, of every word, itself and special tokens left out.

    first   id of the first real word: those before it are special
    of      ids of the words whose nearest are wanted, all without it
    budget  similarities held at once; 2^25 of them are 128 MB, so that 100,000 words fit
    """
    square = jnp.sum(jnp.square(table), axis=-1, keepdims=True)
    unit = table * jax.lax.rsqrt(jnp.maximum(square, 1e-30))
    words = table.shape[0]

    def nearest(word: Int[Array, ""]) -> Int[Array, " nearest"]:
        similarity, every = unit @ unit[word], jnp.arange(words, dtype=word.dtype)
        allowed = (every != word) & (every >= first)
        return jax.lax.top_k(jnp.where(allowed, similarity, -jnp.inf), count)[1]

    wanted = jnp.arange(words) if of is None else of
    return jax.lax.map(nearest, wanted, batch_size=max(1, budget // words))
