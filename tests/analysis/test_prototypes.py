"""Ascent finds known optima, and words under the prior are no worse than all there are."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import quick_jit

from attnjax.analysis.bigrams import count_bigrams, log_probability
from attnjax.analysis.prototypes import (
    RATE,
    TIE,
    Prior,
    ascend,
    climb,
    framed,
    improved,
    noise,
    relax,
)
from attnjax.analysis.questions.prototypes import nearest
from attnjax.types import EOS, SOS

WORDS, EMBED = 54, 6  # fifty words
FEW = 5  # words of a relaxed text


def table():
    vectors = np.random.default_rng(1).normal(size=(WORDS, EMBED)).astype(np.float32)
    vectors[: EOS + 1] = 0
    return vectors


def test_of_a_linear_score_each_vector_is_the_known_optimum_and_the_nearest_word_the_best():
    """f = w . mean(v): v = w sigma^2 / (n lambda)."""
    weights = jnp.asarray(np.random.default_rng(0).normal(size=EMBED).astype(np.float32))
    scale, penalty = jnp.asarray(0.4, jnp.float32), 0.2
    start = noise(jax.random.key(3), 4, (3, EMBED))

    def score(vectors):
        return vectors.mean(axis=1) @ weights

    run = quick_jit(lambda start: ascend(score, start, scale, penalty, 400))
    found = run(start)
    expected = np.broadcast_to(weights * 0.4**2 / (3 * penalty), found.shape)
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=1e-3)
    # Of words of one length the nearest is that of the largest w . e.
    words = table()
    words[EOS + 1 :] /= np.linalg.norm(words[EOS + 1 :], axis=1, keepdims=True)
    best = EOS + 1 + (words[EOS + 1 :] @ np.asarray(weights)).argmax()
    assert (nearest(np.asarray(found), words) == best).all()


def test_the_climb_is_that_of_optax_under_a_falling_rate():
    def objective(values, done):
        return jnp.sin(3 * values).sum(axis=(1, 2)) - (1 + done) * jnp.square(values).sum((1, 2))

    start = values = noise(jax.random.key(0), 2, (2, 3))
    adam = optax.scale_by_adam()
    state = adam.init(values)
    for done in jnp.arange(5) / 5:
        slopes = jax.grad(lambda values, done: objective(values, done).sum())(values, done)
        with jax.numpy_dtype_promotion("standard"):  # Optax needs it
            moves, state = adam.update(slopes, state)
        values = values + RATE * (1 - done) * moves
    found = quick_jit(lambda start: climb(objective, start, 5))(start)
    np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5)


def test_a_restart_goes_its_own_way_however_many_there_are():
    few, many = noise(jax.random.key(3), 2, (3, 4)), noise(jax.random.key(3), 5, (3, 4))
    np.testing.assert_array_equal(few, many[:2])
    assert len(np.unique(many)) == many.size
    assert not np.array_equal(few, noise(jax.random.key(4), 2, (3, 4)))

    def score(vectors):
        return jnp.sin(vectors.sum(axis=(1, 2))) + jnp.prod(vectors[:, :, 0], axis=1)

    run = quick_jit(lambda start: ascend(score, start, jnp.asarray(1, jnp.float32), 0.5, 30))
    np.testing.assert_allclose(run(few), run(many)[:2], rtol=1e-5, atol=1e-6)


def only(*places, shape=(FEW,)):
    return jnp.zeros(shape, jnp.float32).at[places].set(1)


NOTHING = Prior(only(0, 0, shape=(FEW, FEW)) * 0, only(0) * 0, only(0) * 0)


@pytest.mark.parametrize(
    ("payoff", "prior", "expected"),
    [
        (only(3), NOTHING, [3, 3]),
        (only(0) * 0, NOTHING._replace(first=only(1), last=only(4)), [1, 4]),
        (only(0) * 0, NOTHING._replace(within=only(2, 4, shape=(FEW, FEW))), [2, 4]),
    ],
    ids=["score", "ends", "pair"],
)
def test_where_one_word_alone_pays_a_climb_from_nowhere_ends_at_it(payoff, prior, expected):
    """Its share rises and all others fall in every step, whatever the temperature."""
    vectors = jnp.eye(FEW, dtype=jnp.float32)

    def score(texts):
        return texts.mean(axis=1) @ payoff

    start = jnp.zeros((1, 2, FEW), jnp.float32)
    run = quick_jit(lambda start: relax(score, vectors, prior, 0.5, start, 5))
    np.testing.assert_array_equal(run(start)[0], expected)


@pytest.mark.parametrize("weight", [0.0, 0.05, 0.3, 2.0])
def test_words_under_the_prior_are_the_best_of_all_bigrams(weight):
    """All |V|^2 texts of two words, read one and all by a score that is not linear.

    The first word is changed first, to the best before the second: of starts with every second
    word one must end at the best of all texts.
    """
    random = np.random.default_rng(5)
    vectors, mixing = table(), random.normal(size=(2 * EMBED, 8))
    out = random.normal(size=8)
    texts = [
        np.concatenate([[SOS], 4 + random.zipf(1.5, 6) % 50, [EOS]]).astype(np.int32)
        for _ in range(60)
    ]
    prior = count_bigrams(texts, WORDS)

    def read(texts):
        hidden = np.tanh(vectors[texts].reshape(len(texts), -1) @ mixing)
        return -np.logaddexp(0, -2 * hidden @ out)

    every = np.array(list(itertools.product(range(EOS + 1, WORDS), repeat=2)))
    values = read(every) + weight * log_probability(prior, framed(every))
    starts = np.stack([np.full(50, EOS + 1), np.arange(EOS + 1, WORDS)], axis=1)
    ends = [improved(read, prior, weight, text) for text in starts]
    assert max(value for _, value in ends) == pytest.approx(values.max(), abs=2 * TIE)
    for text, value in ends:  # no single change does better
        near = (every == text).any(axis=1)
        assert values[near].max() <= value + 2 * TIE
        assert value == pytest.approx(values[(every == text).all(axis=1)][0])


def test_without_a_prior_a_bag_of_words_takes_the_word_of_the_largest_product():
    vectors = table()
    products = vectors @ np.random.default_rng(2).normal(size=EMBED)
    prior = count_bigrams([np.array([SOS, 5, EOS])], WORDS)

    def read(texts):
        return -np.logaddexp(0, -products[texts].mean(axis=1))

    text, value = improved(read, prior, 0.0, np.array([9, 8, 7]))
    assert (text == EOS + 1 + products[EOS + 1 :].argmax()).all()
    assert value == pytest.approx(read(text[None])[0])
