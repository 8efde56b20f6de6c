"""Patterns: the signal's direction where the weights show the distractor's, and literal sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, sentences, small_model

from attnjax.analysis.importance import patterns
from attnjax.analysis.importance.patterns import (
    PATTERN_ATTRIBUTION,
    PATTERN_NET,
    Moments,
    moments,
    pattern,
)
from attnjax.errors import UserError
from attnjax.model.attention import forward

KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("double_precision")


def test_the_pattern_is_the_signal_where_the_weights_cancel_a_distractor():
    """x = s (1, 0) + d (1, 1); w = (1, -1) reads s: its pattern is (1, 0)."""
    random = np.random.default_rng(0)
    signal, distractor = random.normal(size=(2, 100_000))
    x = signal[:, None] * np.array([1, 0]) + distractor[:, None] * np.array([1, 1])
    w, real = np.array([[1.0], [-1.0]]), jnp.ones(len(x), bool)
    for bias in (None, jnp.zeros(1)):
        found = pattern(moments(jnp.asarray(x), jnp.asarray(w), bias, real), jnp.asarray(w))
        np.testing.assert_allclose(found[:, 0], [1, 0], atol=0.02)
        np.testing.assert_allclose((w * np.asarray(found)).sum(), 1, rtol=1e-12)


def test_sums_by_hand_and_batches_add_up():
    random = np.random.default_rng(1)
    x, w, b = random.normal(size=(400, 3)), random.normal(size=(3, 2)), np.array([0.2, -0.1])
    real = random.random(400) < 0.9
    parts = [
        moments(*map(jnp.asarray, (x[s], w, b, real[s]))) for s in (slice(150), slice(150, 400))
    ]
    found = np.asarray(pattern(Moments(*map(sum, zip(*parts, strict=True))), jnp.asarray(w)))
    for neuron in range(2):
        y = x[real] @ w[:, neuron]
        on = y + b[neuron] > 0
        crossed = (x[real][on] * y[on, None]).mean(axis=0)
        direction = crossed - x[real][on].mean(axis=0) * y.mean()
        np.testing.assert_allclose(
            found[:, neuron], direction / (w[:, neuron] @ direction), rtol=1e-9
        )


def test_a_neuron_that_is_hardly_ever_active_has_no_pattern():
    x, w = jnp.ones((500, 2)), jnp.ones((2, 1))
    assert not pattern(moments(x, w, jnp.array([-9.0]), jnp.ones(500, bool)), w).any()


@pytest.mark.parametrize("pair", [False, True])
def test_weights_in_the_place_of_patterns_give_the_gradient(pair, monkeypatch):
    """PatternNet with a = w is the gradient with attention held, times w x of single texts."""
    stages, params = small_model("cnn", "dot", pair, dtype=jnp.float64)
    query = sentences([3, 2], seed=1) if pair else None
    batch = batch_of(sentences([4, 6]), query, dtype=np.float64)
    monkeypatch.setattr(patterns, "pattern", lambda found, w: w)
    monkeypatch.setattr(patterns, "FEWEST", 1)
    fitted = PATTERN_NET.fit(stages, params, [batch], KEY)
    clean = forward(stages, params, batch)
    classes = clean.logits.argmax(axis=-1)

    def score(embedded):
        encoded = stages.encode(params, embedded, batch)
        logits = stages.decode(params, encoded, clean.weights, batch)
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum()

    bias = params["decode"]["logits"]["bias"]
    value = jnp.take_along_axis(clean.logits - bias[None], classes[:, None], axis=1)[:, 0]
    value = jnp.ones_like(value) if pair else value
    slope = jax.grad(score)(clean.embedded)
    for segment in ("text", "query") if pair else ("text",):
        found = PATTERN_NET(stages, params, batch, KEY, segment, fitted)
        expected = np.linalg.norm(getattr(slope, segment), axis=-1) * abs(value)[:, None]
        words = np.asarray(batch.words if segment == "text" else batch.query_words)
        np.testing.assert_allclose(np.asarray(found)[words], expected[words], rtol=1e-9, atol=1e-14)
        signed = PATTERN_ATTRIBUTION(stages, params, batch, KEY, segment, fitted)
        assert np.isfinite(signed).all()
        assert not np.asarray(signed)[~words].any()


def many(pair=False):
    """Random texts, and queries, enough for patterns."""
    query = sentences([3, 2] * 60, seed=1) if pair else None
    return batch_of(sentences([4, 6, 1, 2] * 30), query, dtype=np.float64)


def explained(method, stages, params, batch, segment="text"):
    fitted = method.fit(stages, params, [batch], KEY)
    return np.asarray(method(stages, params, batch, KEY, segment, fitted))


@pytest.mark.parametrize("method", [PATTERN_NET, PATTERN_ATTRIBUTION])
def test_it_does_not_matter_which_of_two_classes_is_called_the_first(method):
    stages, params = small_model("cnn", classes=2, dtype=jnp.float64)
    batch, mirrored = many(), params | {"decode": jax.tree.map(jnp.negative, params["decode"])}
    classes, swapped = (forward(stages, p, batch).logits.argmax(-1) for p in (params, mirrored))
    assert 0 < classes.sum() < len(classes)
    np.testing.assert_array_equal(swapped, 1 - classes)
    found = explained(method, stages, params, batch)
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(explained(method, stages, mirrored, batch), found, rtol=1e-9)


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("method", [PATTERN_NET, PATTERN_ATTRIBUTION])
def test_what_is_added_to_every_logit_changes_nothing(method, pair):
    stages, params = small_model("cnn", "dot", pair, dtype=jnp.float64)
    batch, logits = many(pair), params["decode"]["logits"]
    lower = params["decode"] | {"logits": logits | {"bias": logits["bias"] - 8}}
    for segment in ("text", "query") if pair else ("text",):
        found = explained(method, stages, params, batch, segment)
        moved = explained(method, stages, params | {"decode": lower}, batch, segment)
        np.testing.assert_allclose(moved, found, rtol=1e-7, atol=1e-12)


def test_too_few_texts_are_refused_and_neurons_without_a_pattern_are_counted(caplog):
    stages, params = small_model("cnn", classes=2, dtype=jnp.float64)
    with pytest.raises(UserError, match="patterns need 100 training texts or more, and there are"):
        PATTERN_NET.fit(stages, params, [batch_of(sentences([4] * 99), dtype=np.float64)], KEY)
    bank = params["encode"]["text"]["convolution_3"]
    dead = params["encode"]["text"] | {"convolution_3": bank | {"bias": bank["bias"] - 1e3}}
    PATTERN_NET.fit(stages, params | {"encode": {"text": dead}}, [many()], KEY)
    assert "patterns: 1 of 5 neurons have none" in caplog.text
