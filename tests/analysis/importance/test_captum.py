"""Backward passes against captum and zennit, and by hand: `golden/make_captum.py` says how."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit

from attnjax.analysis.importance import activation, propagation
from attnjax.analysis.importance.target import class_logit
from attnjax.config import ModelConfig
from attnjax.model.rules import DECONVOLUTION, GUIDED, Z_PLUS, lrp
from attnjax.model.stages import build_stages

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "captum.npz")
KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("double_precision")


@cache
def model():
    """The CNN of the golden values, with the word vectors that it was given: two texts of 9."""
    config = ModelConfig(encoder="cnn", attention="additive", embed_dim=5, hidden_dim=12)
    stages = build_stages(config, words=22, classes=2, pair=False)
    table = np.concatenate([np.zeros((4, 5)), GOLDEN["x"].reshape(18, 5)])
    banks = {
        f"convolution_{width}": {
            "kernel": GOLDEN[f"convs.{number}.weight"].transpose(2, 1, 0),
            "bias": GOLDEN[f"convs.{number}.bias"],
        }
        for number, width in enumerate((1, 3, 5, 7))
    }
    params = {
        "embed": {"table": table},
        "encode": {"text": banks},
        "score": {
            "states": {"kernel": GOLDEN["W.weight"].T, "bias": GOLDEN["W.bias"]},
            "score": {"kernel": GOLDEN["v.weight"].T},
        },
        "decode": {"logits": {"kernel": GOLDEN["out.weight"].T, "bias": GOLDEN["out.bias"]}},
    }
    batch = batch_of(np.arange(4, 22).reshape(2, 9), dtype=np.float64)
    return stages, jax.tree.map(jnp.asarray, params), batch


def slopes(rules):
    stages, params, batch = model()
    return quick_jit(lambda p, b: propagation.slopes(rules)(stages, p, b, KEY).text)(params, batch)


def relevance_vectors(rules):
    stages, params, batch = model()

    @quick_jit
    def found(params, batch):
        embedded = stages.embed(params, batch)
        logit = class_logit(stages.under(rules), params, batch)
        return embedded.text * jax.grad(lambda each: logit(each).sum())(embedded).text

    return found(params, batch)


def test_the_model_is_that_of_the_golden_values():
    stages, params, batch = model()
    logit = class_logit(stages, params, batch)(stages.embed(params, batch))
    np.testing.assert_allclose(logit, GOLDEN["z"][:, 0], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "rules"), [("guided_backprop", GUIDED), ("deconvolution", DECONVOLUTION)]
)
def test_what_a_relu_hands_back(name, rules):
    np.testing.assert_allclose(slopes(rules), GOLDEN[name], rtol=1e-10, atol=1e-15)


def test_relevance_by_the_epsilon_rule():
    found = relevance_vectors(lrp(1e-3))
    np.testing.assert_allclose(found, GOLDEN["lrp_epsilon"], rtol=1e-9, atol=1e-14)


def test_relevance_by_the_z_plus_rule_in_the_convolutions():
    epsilon = lrp(1e-3)

    def linear(*parts):
        rules = Z_PLUS if parts[0][0].ndim == 3 else epsilon
        return rules.linear(*parts)

    found = relevance_vectors(epsilon._replace(linear=linear))
    np.testing.assert_allclose(found, GOLDEN["lrp_zplus"], rtol=1e-9, atol=1e-13)


def test_grad_cam():
    stages, params, batch = model()
    found = quick_jit(lambda p, b: activation.GRAD_CAM(stages, p, b, KEY))(params, batch)
    np.testing.assert_allclose(found, GOLDEN["grad_cam"][:, 0], rtol=1e-9, atol=1e-14)
    guided = np.linalg.norm(GOLDEN["guided_backprop"], axis=-1)
    both = quick_jit(lambda p, b: activation.GUIDED_GRAD_CAM(stages, p, b, KEY))(params, batch)
    expected = np.maximum(GOLDEN["grad_cam"][:, 0], 0) * guided
    np.testing.assert_allclose(both, expected, rtol=1e-9, atol=1e-14)
