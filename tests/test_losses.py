"""Cross entropy and class weights against literal definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, sentences, small_model

from attnjax.config import RunConfig
from attnjax.losses import balanced_class_weights, cross_entropy, make_gradients
from attnjax.model.attention import forward
from attnjax.types import HParams

HPARAMS = HParams(*(jnp.float32(0) for _ in HParams._fields))


def test_cross_entropy_equals_its_definition():
    logits = np.array([[1.0, -2.0, 0.5], [0.0, 300.0, 0.0]], np.float32)
    expected = [np.log(np.exp([1, -2, 0.5]).sum()) + 2.0, 300.0]
    found = cross_entropy(jnp.asarray(logits), jnp.array([1, 0]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_balanced_class_weights():
    np.testing.assert_allclose(balanced_class_weights([0, 0, 0, 1], 2), [2 / 3, 2.0], rtol=1e-6)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 3.0]])
def test_gradient_is_that_of_the_mean_loss_over_real_examples(weights):
    stages, params = small_model()
    weights = None if weights is None else jnp.asarray(weights, jnp.float32)
    rows = sentences([5, 2, 3, 4])
    batch = batch_of(rows)._replace(weight=jnp.array([1.0, 1.0, 1.0, 0.0]))
    gradients = make_gradients(RunConfig(), stages, weights)
    found, sums = gradients(params, batch, HPARAMS, jax.random.key(0), jnp.float32(3))

    def literal(params):
        losses = []
        for row in range(3):
            logits = forward(stages, params, batch_of(rows[row : row + 1])).logits[0]
            label = row % 2
            scale = 1.0 if weights is None else weights[label]
            losses.append(-scale * jax.nn.log_softmax(logits)[label])
        return sum(losses) / 3

    loss, expected = jax.value_and_grad(literal)(params)
    np.testing.assert_allclose(sums["loss"] / 3, loss, rtol=1e-6)
    assert float(sums["examples"]) == 3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected
    )
