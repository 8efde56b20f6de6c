"""Masked softmax: exact zeros, no NaN, and the same values as the softmax of the kept words."""

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.model.attention import attention_weights

SCORES = jnp.array([[1.0, -2.0, 0.5, 3.0], [200.0, 150.0, 0.0, -50.0], [1.0, 1.0, 1.0, 1.0]])
WORDS = jnp.array([[True, False, True, True], [True, True, False, False], [False] * 4])


def test_equals_softmax_of_the_words_alone():
    weights = attention_weights(SCORES, WORDS)
    for row in (0, 1):
        kept = np.asarray(SCORES[row])[np.asarray(WORDS[row])].astype(np.float64)
        expected = np.exp(kept - kept.max()) / np.exp(kept - kept.max()).sum()
        found = np.asarray(weights[row])[np.asarray(WORDS[row])]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not np.asarray(weights)[~np.asarray(WORDS)].any()


def test_row_without_words_gives_zeros_and_finite_gradients():
    weights = attention_weights(SCORES, WORDS)
    np.testing.assert_array_equal(weights[2], 0.0)
    slope = jax.grad(lambda s: jnp.sum(attention_weights(s, WORDS) ** 2))(SCORES)
    assert np.isfinite(slope).all()
    assert not np.asarray(slope)[~np.asarray(WORDS)].any()


def test_unbounded_scores_off_the_words_leak_nothing():
    wild = jnp.where(WORDS, SCORES, jnp.array([jnp.inf, jnp.nan, 1e38, -jnp.inf])[None, :])
    np.testing.assert_array_equal(attention_weights(wild, WORDS), attention_weights(SCORES, WORDS))
    slope = jax.grad(lambda s: jnp.sum(attention_weights(s, WORDS) ** 2))(wild)
    assert np.isfinite(slope).all()
