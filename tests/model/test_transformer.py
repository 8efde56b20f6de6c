"""The Transformer encoder against the equations written out in NumPy, one text at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model
from scipy.special import erf

from attnjax.config import from_config_dict
from attnjax.errors import UserError
from attnjax.model.attention import forward
from attnjax.model.rules import FROZEN
from attnjax.model.transformer import EPSILON, sinusoids
from attnjax.types import Inner

pytestmark = pytest.mark.usefixtures("double_precision")
LENGTHS = [5, 2, 1]
NORMS = ["pre", "post"]


def model(norm="pre", dtype=jnp.float64, **more):
    return small_model("transformer", "additive", dtype=dtype, heads=2, norm=norm, **more)


def texts(**more):
    return batch_of(sentences(LENGTHS), dtype=np.float64, **more)


def layer_norm(x, weights):
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
    return centred / deviation * weights["scale"] + weights["bias"]


def affine(x, weights):
    return x @ weights["kernel"] + weights.get("bias", 0)


def literal_states(weights, vectors, pre, heads=2):
    """Word vectors of one text [length, embed] -> (states, attention of each layer)."""
    x = affine(vectors, weights["project"])
    length, width = x.shape
    for place in range(length):
        for column in range(width):
            angle = place / 10000 ** (2 * (column // 2) / width)
            x[place, column] += weights["positions"] * (np.cos if column % 2 else np.sin)(angle)
    attentions = []
    for number in range(len(weights["layers"]["key"]["kernel"])):
        own = jax.tree.map(lambda leaf, k=number: leaf[k], weights["layers"])
        source = layer_norm(x, own["attention_norm"]) if pre else x
        mixed, attention = np.zeros((length, width)), np.zeros((heads, length, length))
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            q, k, v = (affine(source, own[name])[:, part] for name in ("query", "key", "value"))
            for i in range(length):
                scores = np.array([q[i] @ k[j] for j in range(length)]) / np.sqrt(width // heads)
                shares = np.exp(scores) / np.exp(scores).sum()
                attention[head, i] = shares
                mixed[i, part] = sum(shares[j] * v[j] for j in range(length))
        x = x + affine(mixed, own["output"])
        x = x if pre else layer_norm(x, own["attention_norm"])
        wide = affine(layer_norm(x, own["feedforward_norm"]) if pre else x, own["wide"])
        x = x + affine(wide * (1 + erf(wide / np.sqrt(2))) / 2, own["narrow"])
        x = x if pre else layer_norm(x, own["feedforward_norm"])
        attentions.append(attention)
    return layer_norm(x, weights["norm"]) if pre else x, attentions


@pytest.mark.parametrize("norm", NORMS)
def test_states_and_attention_equal_the_equations(norm):
    """On rows with padding; every layer's parts sum to what its layer norm is given."""
    stages, params = model(norm, layers=3)
    batch = texts(length=14)
    embedded = stages.embed(params, batch)
    encoded = stages.encode(params, embedded, batch)
    layers = stages.layers(params, embedded, batch, "text")
    assert len(layers) == 3
    alone = stages.layer_states(params, embedded, batch, "text")
    for layer, states in zip(layers, alone, strict=True):
        np.testing.assert_allclose(states, layer.states, rtol=0, atol=1e-12)
    weights = jax.tree.map(np.asarray, params["encode"]["text"])
    for row, words in enumerate(LENGTHS):
        length = words + 2
        vectors = np.asarray(embedded.text[row, :length])
        states, attentions = literal_states(weights, vectors, norm == "pre")
        np.testing.assert_allclose(encoded.states[row, :length], states, rtol=0, atol=1e-12)
        assert not encoded.states[row, length:].any()
        for layer, expected in zip(layers, attentions, strict=True):
            found = np.asarray(layer.weights[row])
            np.testing.assert_allclose(found[:, :length, :length], expected, rtol=0, atol=1e-12)
            np.testing.assert_allclose(found[:, :length].sum(axis=-1), 1, rtol=1e-12)
            assert not found[:, length:].any()
            assert not found[..., length:].any()
            scores = np.asarray(layer.scores[row])
            shares = np.exp(scores[:, :length, :length])
            shares /= shares.sum(axis=-1, keepdims=True)
            np.testing.assert_allclose(shares, expected, rtol=0, atol=1e-12)
            assert not scores[:, length:].any()
            assert not scores[..., length:].any()
    for number, layer in enumerate(layers):
        parts = jnp.einsum("bhij,bhjw->biw", layer.weights, layer.values) + layer.inputs
        bias = weights["layers"]["output"]["bias"][number][None, None]
        total = jnp.where(batch.mask[..., None], parts + bias, 0)
        np.testing.assert_allclose(total, layer.sums, rtol=0, atol=1e-10)
    last = np.asarray(layers[-1].states[0, :7])
    np.testing.assert_allclose(
        layer_norm(last, weights["norm"]) if norm == "pre" else last,
        encoded.states[0, :7],
        rtol=1e-12,
        atol=1e-12,
    )


def test_padding_changes_nothing():
    stages, params = model(pair=True)
    rows, query = sentences(LENGTHS), sentences([3, 1, 2], seed=1)
    short = forward(stages, params, batch_of(rows, query, dtype=np.float64))
    padded = batch_of(rows, query, length=16, query_length=14, dtype=np.float64)
    long = forward(stages, params, padded)
    np.testing.assert_allclose(long.logits, short.logits, rtol=0, atol=1e-13)
    np.testing.assert_allclose(long.encoded.query, short.encoded.query, rtol=0, atol=1e-13)
    wild = long.embedded._replace(text=jnp.where(padded.mask[..., None], long.embedded.text, 1e6))
    np.testing.assert_array_equal(
        stages.encode(params, wild, padded).states, long.encoded.states, "nor what stands there"
    )


@pytest.mark.parametrize("norm", NORMS)
def test_the_frozen_encoder_is_affine(norm):
    """Vectors, biases and positions add up to any linear reading of the states."""
    stages, params = model(norm)
    frozen, batch = stages.under(FROZEN), texts()
    reader = jax.random.normal(jax.random.key(0), (4,), jnp.float64)

    def read(params, embedded):
        return (frozen.encode(params, embedded, batch).states @ reader).sum()

    embedded = stages.embed(params, batch)
    slopes = quick_jit(jax.value_and_grad(read, (0, 1)))
    value, (by_params, by_vectors) = slopes(params, embedded)
    parts = jnp.sum(by_vectors.text * embedded.text)
    for (path, slope), leaf in zip(
        jax.tree_util.tree_leaves_with_path(by_params), jax.tree.leaves(params), strict=True
    ):
        if path[-1].key in ("bias", "positions"):
            parts += jnp.sum(slope * leaf)
    np.testing.assert_allclose(parts, value, rtol=1e-10)


def test_self_attention_is_disturbed_where_it_says():
    """Scores that tell one word apart, and factors of all weights."""
    stages, params = model()
    batch = texts()
    embedded = stages.embed(params, batch)
    clean = stages.encode(params, embedded, batch).states
    weights = stages.layers(params, embedded, batch, "text")[0].weights
    zeros = jnp.zeros((2, *weights.shape))
    same = stages.encode(params, embedded, batch, inner=Inner(zeros, zeros + 1)).states
    np.testing.assert_array_equal(same, clean)
    shifted = Inner(score=zeros.at[1, 0, 1, 2, 3].set(2.0))
    moved = stages.encode(params, embedded, batch, inner=shifted).states
    changed = np.abs(moved - clean).sum(axis=-1) > 0
    assert changed[0, 2]
    assert changed.sum() == 1, "in the last layer one query's row moves its own state alone"
    slope = jax.grad(
        lambda factor: (
            stages.encode(params, embedded, batch, inner=Inner(factor=factor)).states[0, 2].sum()
        )
    )(zeros + 1)
    assert (slope[1, 0, :, 2] != 0).any()
    assert not slope[1, 0, :, :2].any()


def test_places_are_told_apart_and_odd_widths_have_them():
    found = sinusoids(50, 5)
    assert found.shape == (50, 5)
    np.testing.assert_array_equal(found[0], [0, 1, 0, 1, 0])
    distances = np.linalg.norm(found[:, None] - found[None], axis=-1) + np.eye(50)
    assert distances.min() > 0.1


def test_heads_must_share_the_width_evenly():
    model = {"encoder": "transformer", "hidden_dim": 10, "heads": 4}
    with pytest.raises(UserError, match=r"hidden_dim=10 must be a multiple of model\.heads=4"):
        from_config_dict({"model": model})
    from_config_dict({"model": {**model, "encoder": "average"}})
