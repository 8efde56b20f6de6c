"""Backward passes against captum and zennit, and by hand: `golden/make_captum.py` says how."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit

from attnjax.analysis.importance import activation, method_named, propagation
from attnjax.analysis.importance.target import class_logit
from attnjax.config import ModelConfig
from attnjax.model.rules import DECONVOLUTION, GUIDED, W_SQUARE, Z_PLUS, lrp
from attnjax.model.stages import build_stages

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "captum.npz")
KEY = jax.random.key(0)
CONFIG = ModelConfig(encoder="cnn", attention="additive", embed_dim=5, hidden_dim=12)
pytestmark = pytest.mark.usefixtures("double_precision")


@cache
def model():
    """The CNN of the golden values, with the word vectors that it was given: two texts of 9."""
    stages = build_stages(CONFIG, words=22, classes=2, pair=False)
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


@pytest.mark.parametrize(("name", "first"), [("lrp_zplus", Z_PLUS), ("lrp_w2", W_SQUARE)])
def test_relevance_by_a_rule_of_the_convolutions_own(name, first):
    epsilon = lrp(1e-3)

    def linear(*parts):
        return (first if parts[0][0].ndim == 3 else epsilon).linear(*parts)

    found = relevance_vectors(epsilon._replace(linear=linear))
    np.testing.assert_allclose(found, GOLDEN[name], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ["deep_taylor", "deep_taylor_w2"])
def test_deep_taylor_shares_out_a_score_above_zero_and_no_other(name, sign):
    """All of it goes to words; where the predicted class's logit is not above 0, nothing does."""
    _, params, batch = model()
    stages = build_stages(CONFIG, words=22, classes=3, pair=False)
    kernel = jnp.asarray(np.random.default_rng(0).uniform(0.1, 1, (12, 3)))
    bias = jnp.full(3, -0.0) if sign > 0 else jnp.full(3, -50.0)
    params = params | {"decode": {"logits": {"kernel": kernel, "bias": bias}}}
    method = method_named(name)

    @quick_jit
    def found(params, batch):
        shared = method.work(stages, params, batch, KEY)
        extras = {"shared": shared}
        error = method.exactness(stages, params, batch, KEY, **extras)
        return method.find(stages, params, batch, KEY, segment="text", **extras), shared, error

    values, shared, error = found(params, batch)
    assert (np.sign(shared.score) == sign).all()
    if sign > 0:
        np.testing.assert_allclose(values.sum(axis=1), shared.score, rtol=1e-10)
        np.testing.assert_allclose(error, 0, atol=1e-10)
        assert (np.asarray(values) >= 0).all()
    else:
        np.testing.assert_array_equal(values, 0)
        assert np.isnan(error).all()


def test_grad_cam():
    stages, params, batch = model()
    found = quick_jit(lambda p, b: activation.GRAD_CAM(stages, p, b, KEY))(params, batch)
    np.testing.assert_allclose(found, GOLDEN["grad_cam"][:, 0], rtol=1e-9, atol=1e-14)
    guided = np.linalg.norm(GOLDEN["guided_backprop"], axis=-1)
    both = quick_jit(lambda p, b: activation.GUIDED_GRAD_CAM(stages, p, b, KEY))(params, batch)
    expected = np.maximum(GOLDEN["grad_cam"][:, 0], 0) * guided
    np.testing.assert_allclose(both, expected, rtol=1e-9, atol=1e-14)
