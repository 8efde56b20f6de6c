"""Backward passes as data: the same values under every rule set, and what each sends back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, sentences, small_model

from attnjax.analysis.importance.path import ones_of
from attnjax.model.attention import forward
from attnjax.model.layers import ENCODERS
from attnjax.model.rules import FROZEN, HELD, PLAIN, Rules, held_act, lrp
from attnjax.types import Embedded

pytestmark = pytest.mark.usefixtures("double_precision")
EPSILON = 1e-3


def by_step(*parts):
    """A linear map that is plain, and that no shortcut knows."""
    return PLAIN.linear(*parts)


MODELS = [
    pytest.param("bilstm", "additive", False, id="bilstm"),
    pytest.param("bilstm", "dot", True, id="bilstm-pair"),
    pytest.param("cnn", "additive", True, id="cnn-pair"),
    pytest.param("cnn", "dot", False, id="cnn"),
    pytest.param("average", "additive", True, id="average-pair"),
    pytest.param("average", "dot", False, id="average"),
    pytest.param("transformer", "dot", True, id="transformer-pair"),
    pytest.param("bert", "dot", True, id="bert-pair"),
]


def model(encoder, attention="dot", pair=False, classes=2, **more):
    return small_model(encoder, attention, pair, classes, dtype=jnp.float64, **more)


def texts(pair, length=None):
    query = sentences([3, 1, 2], seed=1) if pair else None
    return batch_of(sentences([5, 2, 1]), query, length=length, dtype=np.float64)


def explained(stages, params, batch):
    """Embedded -> the score that LRP explains: the logit of the last class, summed over rows."""

    def score(embedded):
        encoded = stages.encode(params, embedded, batch)
        weights = forward(stages, params, batch).weights
        return stages.decode(params, encoded, weights, batch)[:, -1].sum()

    return score


@pytest.mark.parametrize(("encoder", "attention", "pair"), MODELS)
def test_values_are_the_same_under_every_rule_set(encoder, attention, pair):
    """The literal scan and the product of windows, too: no set below is plain beneath attention."""
    stages, params = model(encoder, attention, pair, classes=3, match_product=pair)
    batch = texts(pair, length=9)
    plain = jax.jit(lambda p, b: forward(stages, p, b))(params, batch)
    literal = Rules(linear=by_step)
    for rules in (HELD, FROZEN, lrp(EPSILON), literal):
        other = stages.under(rules)
        assert other is stages.under(rules), "what is compiled for it can be used again"
        found = jax.jit(lambda p, b, other=other: forward(other, p, b))(params, batch)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12), found, plain
        )


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_rule_set_that_changes_nothing_has_the_plain_gradient(encoder):
    """The kernel's written-out gradient against autodiff of the literal scan."""
    stages, params = model(encoder, "additive", True, match_product=True)
    batch = texts(True)
    literal = stages.under(Rules(linear=by_step))

    def slopes(stages):
        return jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(forward(stages, p, batch).logits))))

    found, expected = slopes(literal)(params), slopes(stages)(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), found, expected
    )


@pytest.mark.parametrize(("encoder", "attention", "pair"), MODELS)
def test_the_frozen_models_parts_and_biases_add_up_to_the_score(encoder, attention, pair):
    """It is affine in its inputs, so gradient times input is complete but for the biases."""
    stages, params = model(encoder, attention, pair, match_product=pair)
    frozen, batch = stages.under(FROZEN), texts(pair)
    embedded = stages.embed(params, batch)

    def score(params, embedded):
        encoded = frozen.encode(params, embedded, batch)
        weights = forward(stages, params, batch).weights
        return frozen.decode(params, encoded, jax.lax.stop_gradient(weights), batch)[:, -1].sum()

    value, (by_params, by_vectors) = jax.value_and_grad(score, (0, 1))(params, embedded)
    parts = sum(jnp.sum(g * e) for g, e in zip(by_vectors, embedded, strict=True) if e is not None)
    biases = sum(
        jnp.sum(grad * param)
        for (path, grad), param in zip(
            jax.tree_util.tree_leaves_with_path(by_params), jax.tree.leaves(params), strict=True
        )
        if {"bias", "positions", "segments"} & {getattr(each, "key", None) for each in path}
    )
    assert abs(biases) > 1e-3
    np.testing.assert_allclose(parts + biases, value, rtol=1e-10)


@pytest.mark.parametrize("rules", [FROZEN, FROZEN._replace(linear=by_step), lrp(EPSILON)])
def test_slopes_by_factors_are_gradient_times_input(rules):
    """Whether projections are multiplied, beforehand, or vectors, step by step."""
    stages, params = model("bilstm", "additive", True, match_product=True)
    other, batch = stages.under(rules), texts(True)
    shares = np.where(batch.mask, 0.2, 0.0)
    embedded = stages.embed(params, batch)

    def score(encoded):
        return other.decode(params, encoded, shares, batch)[:, -1].sum()

    def by_factor(factors):
        return score(other.quick.encode_scaled(params, embedded, batch, factors))

    slopes = jax.jit(jax.grad(lambda each: score(other.encode(params, each, batch))))(embedded)
    found = jax.jit(jax.grad(by_factor))(ones_of(embedded))
    for each, slope, vectors in zip(found, slopes, embedded, strict=True):
        np.testing.assert_allclose(each, (slope * vectors).sum(axis=-1), rtol=1e-9, atol=1e-14)


def stabilised(z, epsilon):
    return z + epsilon * np.where(z >= 0, 1.0, -1.0)


def lstm_relevance(side, vectors, relevance, epsilon):
    """Arras et al. 2017 by hand, for one direction: relevance of states -> that of the vectors.

    side  (input, recurrent, bias) of the direction, gates i, f, g, o; steps in its own order
    """
    weights, recurrent, bias = side
    steps, hidden = len(vectors), len(recurrent)
    states, cells = np.zeros((2, steps + 1, hidden))
    gates, totals = [], []
    for t in range(steps):
        totals.append(vectors[t] @ weights + states[t] @ recurrent + bias)
        i, f, g, o = np.split(totals[t], 4)
        i, f, o = (1 / (1 + np.exp(-each)) for each in (i, f, o))
        gates.append((i, f, np.tanh(g), o))
        cells[t + 1] = f * cells[t] + i * np.tanh(g)
        states[t + 1] = o * np.tanh(cells[t + 1])
    of_states = np.concatenate([np.zeros((1, hidden)), relevance])
    of_cells, of_vectors = np.zeros((steps + 1, hidden)), np.zeros_like(vectors)
    third = slice(2 * hidden, 3 * hidden)
    for t in reversed(range(steps)):
        i, f, g, _ = gates[t]
        of_cells[t + 1] += of_states[t + 1]
        share = of_cells[t + 1] / stabilised(cells[t + 1], epsilon)
        of_cells[t] = f * cells[t] * share
        source = i * g * share / stabilised(totals[t][third], epsilon)
        of_vectors[t] = vectors[t] * (weights[:, third] @ source)
        of_states[t] += states[t] * (recurrent[:, third] @ source)
    return of_vectors, states[1:]


def literal_lrp(params, vectors, attention, epsilon):
    """Relevance of one text's vectors [length, embed] to the logit z of two classes."""
    encoder = {name: np.asarray(value) for name, value in params["encode"]["text"].items()}
    decoder = {name: np.asarray(value) for name, value in params["decode"]["logits"].items()}
    sides = [tuple(encoder[name][k] for name in ("input", "recurrent", "bias")) for k in (0, 1)]
    nothing = np.zeros((len(vectors), len(sides[0][1])))
    ahead = lstm_relevance(sides[0], vectors, nothing, epsilon)[1]
    back = lstm_relevance(sides[1], vectors[::-1], nothing, epsilon)[1][::-1]
    states = np.concatenate([ahead, back], axis=1)
    context = attention @ states
    logit = context @ decoder["kernel"][:, 0] + decoder["bias"][0]
    of_context = context * decoder["kernel"][:, 0] / stabilised(logit, epsilon) * logit
    of_states = attention[:, None] * states / stabilised(context, epsilon) * of_context
    half = len(sides[0][1])
    forth = lstm_relevance(sides[0], vectors, of_states[:, :half], epsilon)[0]
    return forth + lstm_relevance(sides[1], vectors[::-1], of_states[::-1, half:], epsilon)[0][::-1]


@pytest.mark.parametrize("epsilon", [EPSILON, 0.1])
def test_lrp_equals_the_lstms_rules_by_hand(epsilon):
    stages, params = model("bilstm")
    batch = texts(False, length=9)
    embedded = stages.embed(params, batch)
    score = explained(stages.under(lrp(epsilon)), params, batch)
    relevance = np.asarray(jax.jit(jax.grad(score))(embedded).text * embedded.text)
    weights = np.asarray(forward(stages, params, batch).weights)
    for row, length in enumerate([7, 4, 3]):
        vectors = np.asarray(embedded.text[row, :length])
        expected = literal_lrp(params, vectors, weights[row, :length], epsilon)
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(relevance[row, :length], expected, rtol=0, atol=1e-12)
        assert not relevance[row, length:].any()


def test_lrp_without_epsilon_is_gradient_times_input_of_the_frozen_model():
    stages, params = model("bilstm", "additive", True, match_product=True)
    batch = texts(True)
    embedded = stages.embed(params, batch)
    slopes = [
        jax.grad(explained(stages.under(rules), params, batch))(embedded)
        for rules in (FROZEN, lrp(1e-9), lrp(EPSILON))
    ]
    frozen, near, far = (np.asarray(each.text) for each in slopes)
    np.testing.assert_allclose(near, frozen, rtol=1e-4, atol=1e-6)
    assert np.abs(far - frozen).max() > 1e-4
    assert lrp(0.0) is FROZEN


def test_an_activations_ratio_is_constant_and_its_derivative_where_nothing_comes_in():
    x = jnp.array([-2.0, 0.0, 0.5])
    slope = jax.grad(lambda x: held_act(jnp.tanh, x).sum())(x)
    np.testing.assert_allclose(slope, [np.tanh(2) / 2, 1, np.tanh(0.5) / 0.5], rtol=1e-12)


def test_held_attention_is_constant_and_all_else_is_not():
    stages, params = model("bilstm", "additive")
    batch = texts(False)
    embedded = stages.embed(params, batch)

    def through(stages):
        def score(text):
            encoded = stages.encode(params, Embedded(text, None), batch)
            weights = jax.nn.softmax(stages.score(params, encoded), axis=-1)
            return stages.decode(params, encoded, weights, batch)[:, -1].sum()

        return jax.grad(score)(embedded.text)

    weights = jax.nn.softmax(forward(stages, params, batch).scores, axis=-1)

    def by_hand(text):
        encoded = stages.encode(params, Embedded(text, None), batch)
        return stages.decode(params, encoded, weights, batch)[:, -1].sum()

    held = through(stages.under(HELD))
    np.testing.assert_allclose(held, jax.grad(by_hand)(embedded.text), rtol=1e-9, atol=1e-14)
    assert np.abs(held - through(stages)).max() > 1e-4
