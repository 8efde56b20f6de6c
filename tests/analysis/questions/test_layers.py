"""Agreement by layer and head equals Kendall's tau of what each head reads, text by text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model
from scipy import stats

from attnjax.analysis.questions.layers import LAYERS
from attnjax.analysis.questions.question import About, Given
from attnjax.config import AnalysisConfig
from attnjax.model.attention import forward

WORDS = [7, 4, 1]
ABOUT = About(None, AnalysisConfig(), ("no", "yes"), np.zeros(3, int))


def test_each_head_is_compared_with_each_importance():
    stages, params = small_model("transformer", heads=2, layers=3)
    batch, random = batch_of(sentences(WORDS)), np.random.default_rng(0)
    importance = jnp.asarray(random.normal(size=batch.tokens.shape).astype(np.float32))
    config = AnalysisConfig(methods=("gradient", "rollout"))
    ask = LAYERS.ask(stages, config, 0)

    @quick_jit
    def asked(params, batch):
        trace = forward(stages, params, batch)
        kinds = {name: {"text": importance} for name in config.methods}
        layers = stages.layers(params, trace.embedded, batch, "text")
        return ask(params, batch, Given(trace, kinds)), trace.weights, layers

    found, weights, layers = asked(params, batch)
    assert set(found["layers"]) == {"gradient"}, "not with attention"
    taus = np.asarray(found["layers"]["gradient"])
    assert taus.shape == (3, 3, 2)
    for row, words in enumerate(WORDS[:2]):
        for layer, head in np.ndindex(3, 2):
            matrix = np.asarray(layers[layer].weights[row, head])
            read = sum(weights[row, i] * matrix[i, 1 : words + 1] for i in range(words + 2))
            expected = stats.kendalltau(read, np.abs(importance[row, 1 : words + 1])).statistic
            np.testing.assert_allclose(taus[row, layer, head], expected, rtol=1e-5, atol=1e-6)
            ends = sum(
                weights[row, i] * (matrix[i, 0] + matrix[i, words + 1]) for i in range(words + 2)
            )
            share = found["off_words"][row, layer, head]
            np.testing.assert_allclose(share, ends, rtol=1e-5, atol=1e-6)
    assert np.isnan(taus[2]).all(), "of one word there is no order"
    answer = LAYERS.answer(jax.device_get(found), ABOUT)["layers"]["gradient"]
    assert answer[2][1]["mean"] == pytest.approx(taus[:2, 2, 1].mean(), rel=1e-5)
    assert answer[2][1]["undefined"] == 1


def test_an_encoder_without_self_attention_has_no_layers():
    stages, params = small_model("average")
    batch = batch_of(sentences(WORDS))
    given = Given(forward(stages, params, batch), {})
    found = jax.device_get(LAYERS.ask(stages, AnalysisConfig(), 0)(params, batch, given))
    names = AnalysisConfig().methods
    empty = {"layers": {name: [] for name in names}, "off_words": []}
    assert LAYERS.answer(found, ABOUT) == empty
