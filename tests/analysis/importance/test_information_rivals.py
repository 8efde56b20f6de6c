"""Rivals of the information measure: the whitened Jacobian norm, and the information bottleneck."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.importance import METHODS
from attnjax.analysis.importance.bottleneck import Noise, bottleneck, fit_noise, information
from attnjax.analysis.information.states import fit_sample
from attnjax.config import AnalysisConfig
from attnjax.model.attention import forward
from attnjax.model.rules import Rules

KEY = jax.random.key(0)
LINEAR = Rules(act=lambda function, x: x)


def corpus(dtype=np.float32):
    return batch_of(sentences([3 + n % 5 for n in range(30)], seed=5), dtype=dtype)


def test_of_a_linear_state_the_norm_is_that_of_its_matrix(double_precision):
    """States x W, one a token: each word moves its own alone, and a text's mean over n tokens."""
    stages, params = small_model("average", "dot", dtype=jnp.float64)
    stages, batch = stages.under(LINEAR), batch_of(sentences([4, 2]), dtype=np.float64)
    fitted = fit_sample(False)(stages, params, [corpus(np.float64)], KEY)
    config = AnalysisConfig(information_state="encoder", information_probes=0)
    method = METHODS["jacobian_norm"].under(config)
    found = quick_jit(lambda params: method(stages, params, batch, KEY, "text", fitted))(params)
    spread = fitted["text"].spreads["encoder"]
    kernel = params["encode"]["text"]["project"]["kernel"]
    norm = np.linalg.norm(np.asarray(kernel) * np.asarray(spread.weights)[None])
    for row, words in enumerate((4, 2)):
        expected = norm / np.sqrt(float(spread.live) * (words + 2))
        np.testing.assert_allclose(found[row, 1 : 1 + words], expected, rtol=1e-10)
    assert not np.asarray(found)[:, 0].any()


def test_it_is_what_the_linearised_measure_is_made_of():
    stages, params = small_model("bilstm")
    batch = batch_of(sentences([5, 3]))
    fitted = fit_sample(False)(stages, params, [corpus()], KEY)

    def told(name):
        method = METHODS[name].under(AnalysisConfig())
        run = quick_jit(lambda params: method(stages, params, batch, KEY, "text", fitted))
        return np.asarray(run(params))

    norm, retained = told("jacobian_norm"), told("information")
    tokens, rate = np.array([[7], [5]]), AnalysisConfig().information_rate
    variance = float(fitted["text"].deviation) ** 2
    expected = np.log1p(variance * 2 * tokens * norm**2 / rate) / 2
    np.testing.assert_allclose(retained, expected, rtol=1e-4)


def test_information_is_the_divergence_of_two_normal_distributions(double_precision):
    alpha, offset = (np.random.default_rng(0).normal(0, 3, (2, 3, 4)) for _ in range(2))
    share = 1 / (1 + np.exp(-alpha))
    mean, deviation = share * offset, 1 - share
    expected = np.log(1 / deviation) + (deviation**2 + mean**2) / 2 - 1 / 2
    found = information(jnp.asarray(alpha), jnp.asarray(offset))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    whole = jnp.full((1, 1, 1), 400.0)
    assert float(information(whole, jnp.ones_like(whole))[0, 0, 0]) == pytest.approx(400, rel=0.01)
    assert float(information(-whole, jnp.ones_like(whole))[0, 0, 0]) == 0


def test_noise_is_that_of_the_states_of_words():
    stages, params = small_model("average")
    batch = corpus()
    found = fit_noise(stages, params, [batch_of(sentences([3, 2], seed=8)), batch], KEY)
    both = [batch_of(sentences([3, 2], seed=8)), batch]
    states = np.concatenate(
        [np.asarray(forward(stages, params, each).encoded.states)[each.words] for each in both]
    )
    np.testing.assert_allclose(found.mean, states.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.deviation, states.std(axis=0), rtol=1e-4)


def test_the_dearer_information_is_the_less_comes_through_and_words_that_matter_keep_more():
    stages, params = small_model("average", "dot", classes=2)
    batch = batch_of(sentences([6, 4]))
    noise = fit_noise(stages, params, [corpus()], KEY)
    totals = []
    for price in (0.0, 0.1, 10.0):
        method = bottleneck(price, 8, 4)
        run = quick_jit(lambda params, method=method: method(stages, params, batch, KEY, noise))
        found = np.asarray(run(params))
        assert (found >= 0).all()
        assert not found[:, 0].any()
        totals.append(found.sum())
    start = information(jnp.full((1, 1, 1), 5.0), jnp.zeros((1, 1, 1)))
    width = noise.mean.shape[0]
    assert totals[0] > totals[1] > totals[2]
    assert totals[2] < float(start[0, 0, 0]) * width * 10 / 5


def test_a_model_that_reads_nothing_keeps_nothing():
    """No attention to gain by: with any price every unit is closed as far as the steps reach."""
    stages, params = small_model("average", "dot", classes=2)
    flat = dict(params) | {"decode": jax.tree.map(jnp.zeros_like, params["decode"])}
    batch = batch_of(sentences([6, 4]))
    noise = Noise(jnp.zeros(4), jnp.ones(4))
    method = bottleneck(0.1, 15, 2)
    found = quick_jit(lambda params: method(stages, params, batch, KEY, noise))(flat)
    assert float(found.max()) < 0.05
