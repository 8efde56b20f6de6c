"""The optimisation behind adversarial attention: its gradient, divergence and optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit
from scipy.spatial.distance import jensenshannon

from attnjax.analysis.questions.adversary import amsgrad, descent, jensen_shannon
from attnjax.model.attention import attention_weights
from attnjax.training.optimizer import scale_by_amsgrad


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("adversaries", [1, 2, 5, 7])
def test_closed_form_gradient_equals_autodiff_of_the_objective(adversaries):
    """Of the literal objective, papers 3.5, over the words alone."""
    random = np.random.default_rng(0)
    words = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], bool)
    logits = jnp.asarray(np.where(words, 3 * random.normal(size=(adversaries, 3, 5)), -1e9))
    original = attention_weights(jnp.asarray(random.normal(size=(3, 5))), jnp.asarray(words))
    values = jnp.asarray(random.normal(size=(3, 5)))

    def outputs(weights):
        return jax.nn.sigmoid(jnp.sum(weights * values[None], axis=-1))

    def penalty(weights):
        change = jnp.abs(outputs(weights) - jax.nn.sigmoid((original * values).sum(-1))[None])
        return 500 * jnp.sum(jnp.maximum(change - 0.01, 0))

    def divergence(p, q):
        middle = (p + q) / 2
        return jnp.sum(p * jnp.log(p / middle) + q * jnp.log(q / middle)) / 2

    def objective(logits):
        weights = jax.nn.softmax(logits, axis=-1)
        total = penalty(weights)
        for row, on in enumerate(words):
            for i in range(adversaries):
                total -= divergence(weights[i, row, on], original[row, on])
                for j in range(i + 1, adversaries):
                    pair = divergence(weights[i, row, on], weights[j, row, on])
                    total -= pair / (adversaries * (adversaries - 1))
        return total

    weights = jax.nn.softmax(logits, axis=-1)
    lanes = [jnp.swapaxes(x, 1, 2) for x in (logits, weights, jax.grad(penalty)(weights))]
    found = descent(lanes[0], lanes[1], original.T[None], lanes[2])
    expected = quick_jit(jax.grad(objective))(logits)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found.swapaxes(1, 2), expected, rtol=1e-9, atol=1e-12)
    assert not np.asarray(found.swapaxes(1, 2))[:, ~words].any()


def test_optimizer_is_the_one_of_training():
    """On slopes that fade, so that the largest second moment is not the latest."""

    def step(_, carried):
        here, state = carried
        update, state = scale.update(jnp.exp(here), state)
        return here - 0.05 * update, state

    start = jnp.array([2.0, 0.5])
    scale = scale_by_amsgrad()
    expected, state = jax.lax.fori_loop(0, 400, step, (start, scale.init(start)))
    assert (np.asarray(state.largest) > 1.2 * np.asarray(state.second)).all()
    found = amsgrad(jnp.exp, start, 400, 0.05)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_jensen_shannon_equals_scipy():
    random = np.random.default_rng(0)
    a, b = random.dirichlet(np.full(6, 0.2), (2, 50)).astype(np.float32)
    a[0], b[0], a[1] = np.eye(6)[0], np.eye(6)[1], b[1]
    found = jensen_shannon(jnp.asarray(a.T[None]), jnp.asarray(b.T[None]))[0]
    np.testing.assert_allclose(found, jensenshannon(a, b, axis=1) ** 2, atol=1e-6)
    np.testing.assert_allclose(found[:2], [np.log(2), 0], atol=1e-7)
