"""What is explained, where the model is nearly sure: float32 has the digits that float64 has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.analysis.importance.target import fall, predicted_probability, probability_of

SURE = [0.3, 4.0, 12.0, 18.0, 40.0]


def logits_of(margin, classes):
    """Rows whose first, second or last class leads by about that margin."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(3, classes))
    leading = np.array([0, 1, classes - 1])
    logits[np.arange(3), leading] = logits.max(axis=1) + margin
    return logits, leading


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("margin", SURE)
def test_the_derivative_keeps_its_digits(margin, classes):
    logits, leading = logits_of(margin, classes)
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    own = np.eye(classes)[leading]
    others = (p * (1 - own)).sum(axis=1)
    expected = p[np.arange(3), leading][:, None] * np.where(own, others[:, None], -p)
    single = jnp.asarray(logits, jnp.float32)
    found = jax.grad(lambda each: predicted_probability(each).sum())(single)
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    probability = probability_of(single, jnp.asarray(leading))
    np.testing.assert_allclose(probability, p[np.arange(3), leading], rtol=1e-6)


def others(logits, leading):
    """1 - p of the leading class, in float64."""
    powers = np.exp(logits.astype(float) - logits.max(axis=1, keepdims=True))
    rest = np.where(np.eye(logits.shape[1])[leading], 0, powers)
    return rest.sum(axis=1) / powers.sum(axis=1)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("margin", SURE)
def test_a_fall_keeps_its_digits(margin, classes):
    """From sure to as sure, from sure to unsure, and back."""
    before, leading = logits_of(margin, classes)
    for change in (0.1, -0.5, margin, -margin):
        after = before.copy()
        after[np.arange(3), leading] -= change
        exact = [others(each.astype(np.float32), leading) for each in (before, after)]
        given = [jnp.asarray(each, jnp.float32) for each in (before, after)]
        found = fall(*given, jnp.asarray(leading))
        np.testing.assert_allclose(found, exact[1] - exact[0], rtol=1e-4)


def test_of_answers_that_are_no_candidates_none_counts():
    """And one candidate alone is certain: nothing raises its probability."""
    logits = jnp.array([[0.3, -jnp.inf, 1.0], [-jnp.inf, 2.0, -jnp.inf]], jnp.float32)
    classes = jnp.array([2, 1])
    odds = 1 / (1 + np.exp(-0.7))
    np.testing.assert_allclose(probability_of(logits, classes), [odds, 1], rtol=1e-6)
    slope = jax.grad(lambda each: probability_of(each, classes).sum())(logits)
    expected = odds * (1 - odds) * np.array([-1, 0, 1])
    np.testing.assert_allclose(slope, [expected, [0, 0, 0]], rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(fall(logits, logits, classes), 0, atol=1e-7)
