"""Relevance of the LSTM, and integrals along a path, against values that others computed."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit

from attnjax.analysis.importance import propagation
from attnjax.analysis.importance.path import integrals
from attnjax.config import ModelConfig
from attnjax.model.rules import lrp
from attnjax.model.stages import build_stages

FOLDER = Path(__file__).parents[2] / "golden"
KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("double_precision")


def test_relevance_of_the_lstm():
    """By the code of Arras et al. (`golden/make_arras.py`), all texts in one padded batch."""
    golden = np.load(FOLDER / "arras.npz")
    config = ModelConfig(encoder="bilstm", attention="dot", embed_dim=7, hidden_dim=6)
    stages = build_stages(config, words=30, classes=2, pair=False)
    encoder = {each: golden[f"enc_{each}"] for each in ("input", "recurrent", "bias")}
    params = {
        "embed": {"table": golden["E"]},
        "encode": {"text": encoder},
        "score": {"vector": golden["v"]},
        "decode": {"logits": {"kernel": golden["w_dec"][:, None], "bias": golden["b_dec"][None]}},
    }
    names = ("short", "mid", "long")
    batch = batch_of([golden[f"{name}_ids"] for name in names], length=14, dtype=np.float64)
    work = propagation.relevances(lrp(float(golden["eps"])))
    params = jax.tree.map(jnp.asarray, params)
    found = quick_jit(lambda p, b: work(stages, p, b, KEY))(params, batch)
    for row, name in enumerate(names):
        score, count = golden[f"{name}_z"], len(golden[f"{name}_ids"])
        np.testing.assert_allclose(found.score[row], abs(score), rtol=1e-10)
        # Of class 0 it is -z that is explained.
        expected = np.sign(score) * golden[f"{name}_R"].sum(axis=-1)
        np.testing.assert_allclose(found.tokens.text[row, :count], expected, atol=1e-12)
        np.testing.assert_array_equal(found.tokens.text[row, count:], 0)


def test_integrated_gradients_of_a_logit():
    """captum's 200 points (`golden/make_captum.py`), of a probability that is linear in the logit.

    ReLUs bend the path, so that neither rule of so many points is exact.
    """
    from test_captum import GOLDEN, model

    stages, params, batch = model()
    slope = 0.05

    def decode(params, encoded, weights, batch):
        logit = stages.decode(params, encoded, weights, batch)[:, 1]
        share = 0.5 + slope * logit
        return jnp.log(jnp.stack([1 - share, share], axis=-1))

    linear = stages._replace(decode=decode)
    found = quick_jit(lambda p, b: integrals(1e-5)(linear, p, b, KEY))(params, batch)
    logit = GOLDEN["z"]
    assert np.abs(slope * logit).max() < 0.4  # it is a probability
    expected = np.sign(logit) * slope * GOLDEN["integrated_gradients_200"].sum(axis=-1)
    np.testing.assert_allclose(found.contributions.text, expected, atol=2e-4 * slope)
    assert np.abs(expected).max() > 100 * 2e-4 * slope
