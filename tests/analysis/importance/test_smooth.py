"""SmoothGrad: its limits, and models whose smoothed gradient is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.importance.gradient import factor_slopes, vector_slopes
from attnjax.analysis.importance.smooth import smoothgrad
from attnjax.model.quick import stages_by_hand
from attnjax.types import Embedded, Encoded

KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("double_precision")


def toy(output):
    """A model whose class 1 has the probability output(sum of the vectors)."""
    stages, params = small_model("average", dtype=jnp.float64)

    def decode(params, encoded, weights, batch):
        p = output(encoded.states)
        return jnp.log(jnp.stack([1 - p, p], axis=-1))

    made = stages_by_hand(
        stages.init,
        lambda params, batch: Embedded(params["embed"]["table"][batch.tokens], None),
        lambda params, embedded, batch: Encoded(embedded.text, None),
        lambda params, encoded: jnp.zeros(encoded.states.shape[:2]),
        decode,
    )
    return made, params, batch_of(sentences([4, 2]), dtype=np.float64)


def found(form, model, sigma=0.2, samples=6):
    stages, params, batch = model
    return quick_jit(lambda p, b: smoothgrad(samples, sigma, form)(stages, p, b, KEY, "text"))(
        params, batch
    )


def test_without_noise_it_is_the_gradient():
    stages, params = small_model("average", "dot", dtype=jnp.float64)
    batch = batch_of(sentences([4, 2]), dtype=np.float64)
    product = factor_slopes(stages, params, batch, KEY).text
    norm = jnp.linalg.norm(vector_slopes(stages, params, batch, KEY).text, axis=-1)
    words = np.asarray(batch.words)
    for form, expected in (
        ("product", product),
        ("norm", norm),
        ("squared", norm),
        ("variance", 0),
    ):
        values = np.asarray(found(form, (stages, params, batch), sigma=0.0))
        np.testing.assert_allclose(
            values[words], np.broadcast_to(expected, words.shape)[words], rtol=1e-9, atol=1e-8
        )
        assert not values[~words].any()


def test_noise_in_pairs_leaves_the_gradient_of_a_quadratic_as_it_is():
    model = toy(lambda states: 0.9 - 1e-4 * jnp.square(states).sum(axis=(1, 2)))
    still, noisy = found("norm", model, sigma=0.0), found("norm", model, sigma=0.1)
    np.testing.assert_allclose(noisy, still, rtol=1e-9)
    assert (np.asarray(found("variance", model, sigma=0.1))[np.asarray(model[2].words)] > 0).all()


def test_a_linear_model_has_no_variance():
    model = toy(lambda states: 0.9 - 1e-3 * states.sum(axis=(1, 2)))
    np.testing.assert_allclose(found("variance", model), 0, atol=1e-9)


@pytest.mark.parametrize("form", ["product", "norm", "squared", "variance"])
def test_depends_on_the_row_alone(form):
    stages, params = small_model("average", "dot", dtype=jnp.float64)
    rows = sentences([4, 2])
    both = found(form, (stages, params, batch_of(rows, dtype=np.float64)))
    one = batch_of(rows[1:], length=9, dtype=np.float64)._replace(rows=jnp.array([1], jnp.int32))
    alone = found(form, (stages, params, one))
    np.testing.assert_allclose(alone[0, :4], both[1, :4], rtol=1e-9)
    assert np.asarray(both)[1, 1:3].any()
