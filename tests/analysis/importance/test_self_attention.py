"""Attention of many layers and heads, each against its equation in loops."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.importance import METHODS, method_named
from attnjax.analysis.importance.attention import contributions
from attnjax.config import from_config_dict
from attnjax.errors import UserError
from attnjax.model.attention import attend, forward
from attnjax.model.rules import ATTENTION_LRP
from attnjax.types import EOS, SOS, UNK, Inner

pytestmark = pytest.mark.usefixtures("double_precision")
KEY = jax.random.key(0)
OWN = [name for name in METHODS if "transformer" in method_named(name).encoders]
WORDS = [2, 1]  # of the texts: so many tokens more <sos> and <eos> have


def model(norm="pre"):
    return small_model("transformer", heads=2, norm=norm, dtype=jnp.float64)


def texts():
    return batch_of(sentences(WORDS), dtype=np.float64)


def traced(stages, params, batch):
    """(forward pass, layers) as NumPy arrays."""
    trace = forward(stages, params, batch)
    layers = stages.layers(params, trace.embedded, batch, "text")
    return jax.tree.map(np.asarray, (trace, layers))


def explain(name, stages, params, batch):
    find = quick_jit(lambda params, batch: method_named(name)(stages, params, batch, KEY))
    return np.asarray(find(params, batch))


def check(found, matrices, weights):
    """Of each text: the words' columns of its matrix, in the mean that attention takes."""
    for row, words in enumerate(WORDS):
        expected = np.zeros(found.shape[1])
        for j in range(1, words + 1):
            expected[j] = sum(weights[row, i] * matrices[row][i, j] for i in range(words + 2))
        assert row or expected.any()
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-12)


def test_rollout_sums_over_all_paths():
    stages, params = model()
    trace, layers = traced(stages, params, texts())
    matrices = []
    for row, words in enumerate(WORDS):
        length = words + 2
        steps = [
            (each.weights[row, :, :length, :length].mean(axis=0) + np.eye(length)) / 2
            for each in layers
        ]
        matrix = np.zeros((length, length))
        for j, k, i in product(range(length), repeat=3):  # from input j through k to output i
            matrix[i, j] += steps[1][i, k] * steps[0][k, j]
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
        matrices.append(matrix)
    check(explain("rollout", stages, params, texts()), matrices, trace.weights)


def test_the_last_layers_attention():
    stages, params = model()
    trace, layers = traced(stages, params, texts())
    matrices = layers[-1].weights.mean(axis=1)
    check(explain("attention_last", stages, params, texts()), matrices, trace.weights)


def parts_of(layer, row, i, j):
    """What token i takes from token j, without and with what stands beside self-attention."""
    taken = sum(
        layer.weights[row, head, i, j] * layer.values[row, head, j]
        for head in range(layer.weights.shape[1])
    )
    return taken, taken + (layer.inputs[row, i] if i == j else 0)


def test_norms_of_what_is_taken():
    stages, params = model()
    trace, layers = traced(stages, params, texts())
    matrices = [
        np.array(
            [
                [np.linalg.norm(parts_of(layers[-1], row, i, j)[0]) for j in range(words + 2)]
                for i in range(words + 2)
            ]
        )
        for row, words in enumerate(WORDS)
    ]
    check(explain("norm_attention", stages, params, texts()), matrices, trace.weights)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_alti_by_the_distance_to_what_each_token_gives(norm):
    """The parts, through the layer norm that follows, and the biases sum to what it gives."""
    stages, params = model(norm)
    trace, layers = traced(stages, params, texts())
    weights = jax.tree.map(np.asarray, params["encode"]["text"]["layers"])
    matrices = []
    for row, words in enumerate(WORDS):
        length, carried = words + 2, np.eye(words + 2)
        for number, layer in enumerate(layers):
            matrix = np.zeros((length, length))
            for i in range(length):
                parts = [parts_of(layer, row, i, j)[1] for j in range(length)]
                bias = weights["output"]["bias"][number]
                whole = sum(parts) + bias
                if norm == "post":
                    scale = weights["attention_norm"]["scale"][number]
                    scale = scale / np.sqrt(np.var(whole) + 1e-5)
                    parts = [(each - each.mean()) * scale for each in parts]
                    shift = weights["attention_norm"]["bias"][number]
                    whole = sum(parts) + (bias - bias.mean()) * scale + shift
                np.testing.assert_allclose(whole, layer.attended[row, i], rtol=0, atol=1e-10)
                for j in range(length):
                    lost = np.abs(whole).sum() - np.abs(whole - parts[j]).sum()
                    matrix[i, j] = max(0, lost)
            carried = matrix / matrix.sum(axis=1, keepdims=True) @ carried
        matrices.append(carried)
    check(explain("alti", stages, params, texts()), matrices, trace.weights)


def test_alti_keeps_what_stands_beside_a_weight_of_zero():
    """A token's weight on itself may be 0 in every head, and still it has its own inputs."""
    stages, params = model("pre")
    _, layers = traced(stages, params, texts())
    layer = layers[0]
    weights = layer.weights.copy()
    weights[1, :, 0, 0] = 0
    given = jax.tree.map(jnp.asarray, layer._replace(weights=weights))
    found = np.asarray(contributions(given))
    whole = layer.attended[1, 0]
    expected = [
        max(0, np.abs(whole).sum() - np.abs(whole - part).sum())
        for part in (
            parts_of(layer._replace(weights=weights), 1, 0, j)[1] for j in range(WORDS[1] + 2)
        )
    ]
    assert expected[0] > 0
    np.testing.assert_allclose(found[1, 0, :3], np.array(expected) / sum(expected), rtol=1e-10)
    assert not found[1, 3:].any()
    assert not found[1, :, 3:].any()


def test_gradients_of_attention_by_finite_differences():
    stages, params = model()
    batch = texts()
    trace, layers = traced(stages, params, batch)
    predicted = trace.logits.argmax(axis=1)

    @quick_jit
    def logits(factor, shares):
        encoded = stages.encode(params, trace.embedded, batch, inner=Inner(factor=factor))
        weights, _ = attend(stages, params, encoded, stages.score(params, encoded), batch)
        return stages.decode(params, encoded, weights * shares, batch)

    shape, step = (len(layers), *layers[0].weights.shape), 1e-5
    whole, flat = np.ones(shape), np.ones(trace.weights.shape)
    products, read = np.zeros(shape), np.zeros(flat.shape)

    def moved(row, ahead, behind):
        return (ahead - behind)[row, predicted[row]] / (2 * step)

    for row, words in enumerate(WORDS):
        length = words + 2
        for place in product(range(2), [row], range(2), range(length), range(length)):
            change = np.zeros(shape)
            change[place] = step
            products[place] = moved(row, logits(whole + change, flat), logits(whole - change, flat))
        for i in range(length):
            change = np.zeros(flat.shape)
            change[row, i] = step
            read[row, i] = moved(row, logits(whole, flat + change), logits(whole, flat - change))
    found = explain("gradient_attention", stages, params, batch)
    for row, words in enumerate(WORDS):
        length = words + 2
        carried = np.eye(length)
        for layer in range(2):
            own = np.maximum(products[layer, row, :, :length, :length], 0).mean(axis=0)
            carried = carried + own @ carried
        expected = np.maximum(read[row, :length], 0) @ carried
        expected[[0, -1]] = 0
        np.testing.assert_allclose(found[row, :length], expected, rtol=1e-6, atol=1e-8)


def test_attention_lrp_of_two_tokens_by_hand():
    """o = sum_j a_j v_j of one query over two tokens; q, k and v are multiples of x."""
    rules, x = ATTENTION_LRP, np.array([1.5, -0.5])

    def output(x):
        q, k, v = (factor * x[:, None] for factor in (0.7, 1.1, -2.0))
        weights = jax.nn.softmax(rules.match(q, k), axis=-1)
        return rules.mix(weights, v)[0, 0]

    found = x * jax.grad(output)(jnp.asarray(x))
    q, k, v = 0.7 * x, 1.1 * x, -2.0 * x
    scores = q[0] * k
    shares = np.exp(scores) / np.exp(scores).sum()
    of_values = shares * v / 2
    of_shares = shares * v / 2
    of_scores = scores * (of_shares - shares * of_shares.sum())
    expected = of_values + of_scores / 2
    expected[0] += of_scores.sum() / 2  # the query's
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", OWN)
def test_no_word_and_unknown_words_are_defined(name):
    stages, params = model()
    rows = [np.array(each, np.int32) for each in ([], [SOS, EOS], [SOS, UNK, UNK, EOS])]
    found = explain(name, stages, params, batch_of(rows, dtype=np.float64))
    assert np.isfinite(found).all()
    assert not found[:2].any()
    if name != "gradient_attention":  # of whose two words none may speak for the class
        assert (found[2, 1:3] != 0).all()


@pytest.mark.parametrize("name", OWN)
def test_they_are_refused_where_there_is_no_self_attention(name):
    asked = {"model": {"encoder": "bilstm"}, "analysis": {"methods": (name,)}}
    with pytest.raises(UserError, match=f"'{name}' is defined for the encoders transformer"):
        from_config_dict(asked)
