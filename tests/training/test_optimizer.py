"""AMSGrad with L2 inside the gradient, re-derived in float64, and the learning-rate schedules."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small_model

from attnjax.config import TrainConfig, from_config_dict
from attnjax.errors import UserError
from attnjax.model.layers import ENCODERS
from attnjax.training.optimizer import decayed_apart, layer_rates, make_optimizer, make_schedule

PARAMS = {
    "embed": {"table": jnp.array([0.5, -1.0])},
    "encode": {"w": jnp.array([2.0, -3.0])},
    "score": {"w": jnp.array([1.0, 4.0])},
    "decode": {"w": jnp.array([-0.5, 0.25])},
}
GRADS = [np.array([0.3, -2.0]), np.array([-0.1, 0.0]), np.array([0.02, 1.0])]


@pytest.mark.parametrize("part", list(PARAMS))
def test_updates_equal_the_literal_recursion(part):
    decay = 0.1
    optimizer = make_optimizer(TrainConfig(weight_decay=decay))
    state = optimizer.init(PARAMS)
    params = PARAMS
    name = next(iter(PARAMS[part]))
    weight = np.asarray(PARAMS[part][name], np.float64)
    first = second = largest = np.zeros(2)
    for t, grad in enumerate(GRADS, start=1):
        grads = jax.tree.map(lambda _, g=grad: jnp.asarray(g, jnp.float32), params)
        updates, state = optimizer.update(grads, state, params)
        params = jax.tree.map(lambda p, u: p - 0.01 * u, params, updates)
        # Reddi et al. 2018 as torch.optim.Adam computes it; L2 enters before the moments
        total = grad + (decay * weight if part in ("encode", "decode") else 0.0)
        first = 0.9 * first + 0.1 * total
        second = 0.999 * second + 0.001 * total**2
        largest = np.maximum(largest, second)
        spread = np.sqrt(largest / (1 - 0.999**t))
        weight = weight - 0.01 * first / (1 - 0.9**t) / (spread + 1e-8)
        np.testing.assert_allclose(params[part][name], weight, rtol=1e-5)


def test_decay_shrinks_weights_that_have_no_gradient():
    optimizer = make_optimizer(TrainConfig(optimizer="sgd", weight_decay=0.1))
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = optimizer.update(zeros, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["encode"]["w"], 0.1 * PARAMS["encode"]["w"], rtol=1e-6)
    assert not updates["score"]["w"].any()


def test_clipping_bounds_the_global_norm():
    optimizer = make_optimizer(TrainConfig(optimizer="sgd", weight_decay=0.0, gradient_clip=0.5))
    grads = jax.tree.map(lambda p: 100.0 * p, PARAMS)
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    norm = np.sqrt(sum(float(jnp.sum(u**2)) for u in jax.tree.leaves(updates)))
    assert norm == pytest.approx(0.5, rel=1e-5)


def test_schedules():
    def factors(attends=False, **settings):
        schedule = make_schedule(TrainConfig(**settings), 10, attends)
        return [float(schedule(jnp.int32(step))) for step in (0, 1, 5, 9, 10)]

    assert factors() == [1.0] * 5
    linear = [1.0, 0.9, 0.5, 0.1, 0.0]
    np.testing.assert_allclose(factors(schedule="linear"), linear, atol=1e-7)
    np.testing.assert_allclose(factors(attends=True), linear, atol=1e-7)
    assert factors(attends=True, schedule="constant") == [1.0] * 5
    cosine = [(1 + np.cos(np.pi * step / 10)) / 2 for step in (0, 1, 5, 9, 10)]
    np.testing.assert_allclose(factors(schedule="cosine"), cosine, atol=1e-7)
    np.testing.assert_allclose(factors(warmup_steps=2), [0.5, 1.0, 1.0, 1.0, 1.0], atol=1e-7)


@pytest.mark.usefixtures("double_precision")
def test_ten_steps_equal_torch():
    golden = np.load(pathlib.Path(__file__).parents[1] / "golden" / "amsgrad.npz")
    optimizer = make_optimizer(TrainConfig(weight_decay=0.1))
    params = {"encode": jnp.asarray(golden["start"])}
    state = optimizer.init(params)
    for gradient, expected in zip(golden["gradients"], golden["path"], strict=True):
        updates, state = optimizer.update({"encode": jnp.asarray(gradient)}, state, params)
        params = jax.tree.map(lambda p, u: p - 0.01 * u, params, updates)
        np.testing.assert_allclose(params["encode"], expected, rtol=1e-12)


def of_layers(tree, layers):
    """{(layer, name): array}: unstacked, 0 for what comes before the first, None for the rest."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name, array = jax.tree_util.keystr(path), np.asarray(leaf)
        if "['layers']" in name:
            found |= {(k + 1, name): array[k] for k in range(layers)}
        else:
            before = "embed" in name or ("encode" in name and "['text']['norm']" not in name)
            found[0 if before else None, name] = array
    return found


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    ("encoder", "norm", "optimizer"), [("transformer", "pre", "adamw"), ("bert", "post", "sgd")]
)
def test_each_layer_has_a_learning_rate_of_its_own(encoder, norm, optimizer):
    """Two steps beside an optimizer for each layer apart, with that layer's learning rate."""
    decay, rate, layers = 0.6, 0.01, 2
    more = {"norm": norm} if encoder == "transformer" else {}
    _, params = small_model(encoder, dtype=jnp.float64, heads=2, layers=layers, **more)
    settings = {"optimizer": optimizer, "weight_decay": 0.1 if optimizer == "adamw" else 0.0}
    slowed = make_optimizer(TrainConfig(layer_decay=decay, **settings))
    alike = make_optimizer(TrainConfig(**settings))
    random = np.random.default_rng(1)

    def drawn(leaf):
        return jnp.asarray(random.normal(size=leaf.shape))

    gradients = [jax.tree.map(drawn, params) for _ in range(2)]

    def after(optimizer, params, rate):
        state = optimizer.init(params)
        with jax.numpy_dtype_promotion("standard"):  # Optax's own arithmetic is not strict
            for gradient in gradients:
                updates, state = optimizer.update(gradient, state, params)
                params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return params

    found = of_layers(after(slowed, params, rate), layers)
    start = of_layers(params, layers)
    for k in (0, 1, 2, None):
        share = 1 if k is None else decay ** (2 - k)
        alone = of_layers(after(alike, params, rate * share), layers)
        assert any(layer == k for layer, _ in found)
        for (layer, name), value in found.items():
            if layer == k:
                np.testing.assert_allclose(value, alone[layer, name], rtol=1e-12, err_msg=name)
                assert (value != start[layer, name]).any(), name


def test_an_encoder_without_layers_has_no_rates_of_layers():
    with pytest.raises(UserError, match="no parameters 'layers'"):
        layer_rates(small_model("cnn")[1], 0.5)


@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_adamw_decays_neither_biases_nor_layer_norms(encoder):
    _, params = small_model(encoder, heads=2)
    marks = jax.tree_util.tree_leaves_with_path(decayed_apart(params))
    for path, mark in marks:
        name = jax.tree_util.keystr(path)
        outside = "encode" not in name and "decode" not in name
        spared = outside or "bias" in name or "norm" in name
        assert mark != spared, name
    assert any(mark for _, mark in marks)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "train.layer_decay=0.9 is about layers of self-attention, which the encoder 'bilstm'"),
        (
            {"model": {"encoder": "bert", "pretrained": "x", "freeze_encoder": True}},
            "model.freeze_encoder=True that they do not",
        ),
        (
            {
                "model": {"encoder": "transformer"},
                "analysis": {"questions": ["influence"], "influence_scope": "tracin"},
            },
            "tracin takes one learning rate",
        ),
    ],
)
def test_rates_of_layers_are_refused_where_none_learns(changes, message):
    with pytest.raises(UserError, match=message):
        from_config_dict({"train": {"layer_decay": 0.9}, **changes})
