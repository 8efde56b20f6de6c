"""Dropout in layers of self-attention, and layers that are computed again for the backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.config import from_config_dict
from attnjax.errors import UserError
from attnjax.losses import Context, count_examples, make_gradients
from attnjax.model.attention import forward
from attnjax.model.dropout import (
    ATTENDED,
    NARROWED,
    dropped,
    dropped_attention,
    folded,
    of_layers,
    row_keys,
)
from attnjax.model.transformer import EPSILON, sinusoids
from attnjax.types import HParams, Inner, Perturbation

KEY, RATE = jax.random.key(5), 0.3
LENGTHS = [5, 2, 3]


def keys_of(batch, key=KEY):
    return Inner(keys=row_keys(batch.rows, key))


def texts(pair=False, which=slice(None), **more):
    rows, query = sentences(LENGTHS)[which], sentences([3, 1, 4], seed=1)[which]
    batch = batch_of(rows, query if pair else None, dtype=np.float64, **more)
    return batch._replace(rows=jnp.arange(3, dtype=jnp.int32)[which])


@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_so_many_entries_are_dropped_and_the_mean_stays(rate):
    keys = row_keys(jnp.arange(40, dtype=jnp.int32), KEY)
    values = dropped(jnp.ones((40, 20, 30)), keys, ATTENDED, rate)
    weights = dropped_attention(jnp.ones((40, 4, 12, 12)), keys, rate)
    for found in (np.asarray(values), np.asarray(weights)):
        np.testing.assert_allclose(np.unique(found), [0, 1 / (1 - rate)], rtol=1e-6)
        assert abs((found == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / found.size)
        assert abs(np.corrcoef(found[0].ravel(), found[1].ravel())[0, 1]) < 0.2, "rows differ"
    other = dropped(jnp.ones((40, 20, 30)), keys, NARROWED, rate)
    assert (np.asarray(other) != np.asarray(values)).mean() > rate * (1 - rate), "so do parts"
    layers = of_layers(keys, 3)
    assert len(np.unique(jax.random.key_data(layers).reshape(-1, 2), axis=0)) == 120


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("encoder", "pair"), [("transformer", True), ("bert", False)])
def test_what_is_dropped_is_the_row_s_own(encoder, pair):
    """Neither padding nor batch mates change it; another step's key does."""
    stages, params = small_model(encoder, pair=pair, heads=2, dropout=RATE, dtype=jnp.float64)

    def encoded(batch, key=KEY):
        embedded = stages.embed(params, batch)
        return stages.encode(params, embedded, batch, inner=keys_of(batch, key))

    batch = texts(pair)
    whole, other = encoded(batch), encoded(batch, jax.random.key(6))
    plain = stages.encode(params, stages.embed(params, batch), batch)
    for row in range(3):
        more = {"length": 9, **({"query_length": 8} if pair else {})}
        alone = encoded(texts(pair, slice(row, row + 1), **more))
        count = LENGTHS[row] + 2
        found = np.asarray(alone.states[0, :count])
        np.testing.assert_allclose(found, whole.states[row, :count], atol=1e-12)
        for different in (plain, other):
            assert np.abs(found - np.asarray(different.states[row, :count])).max() > 1e-3
        if pair:
            np.testing.assert_allclose(alone.query[0], whole.query[row], atol=1e-12)
            assert np.abs(np.asarray(alone.query[0] - plain.query[row])).max() > 1e-3


@pytest.mark.usefixtures("double_precision")
def test_layers_equal_the_equations_with_what_is_dropped():
    stages, params = small_model("transformer", heads=2, dropout=RATE, dtype=jnp.float64)
    batch = texts(which=slice(0, 1))
    inner = keys_of(batch)
    found = stages.encode(params, stages.embed(params, batch), batch, inner=inner).states[0]
    weights = params["encode"]["text"]
    layers = weights["layers"]

    def affine(part, x):
        return x @ part["kernel"] + part.get("bias", 0)

    def norm(part, x):
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON)
        return scaled * part["scale"] + part["bias"]

    embedded = np.asarray(stages.embed(params, batch).text)[0]
    with jax.numpy_rank_promotion("allow"):
        x = affine(weights["project"], embedded)
        x = x + sinusoids(*x.shape) * weights["positions"]
        for k in range(2):
            own = jax.tree.map(lambda leaf, k=k: leaf[k], layers)
            keys = folded(inner.keys, k)
            source = norm(own["attention_norm"], x)
            query, key, value = (affine(own[each], source) for each in ("query", "key", "value"))
            parts = [slice(0, 2), slice(2, 4)]
            attention = [jax.nn.softmax(query[:, s] @ key[:, s].T / np.sqrt(2)) for s in parts]
            attention = dropped_attention(jnp.stack(attention)[None], keys, RATE)[0]
            mixed = [each @ value[:, s] for each, s in zip(attention, parts, strict=True)]
            attended = affine(own["output"], jnp.concatenate(mixed, axis=-1))
            x = x + dropped(attended[None], keys, ATTENDED, RATE)[0]
            wide = jax.nn.gelu(
                affine(own["wide"], norm(own["feedforward_norm"], x)), approximate=False
            )
            x = x + dropped(affine(own["narrow"], wide)[None], keys, NARROWED, RATE)[0]
        expected = norm(weights["norm"], x)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("technique", ["none", "attention_at", "word_at", "inner_ivat"])
def test_clean_and_perturbed_passes_drop_the_same(technique):
    """A perturbation of norm 0 gives the clean loss, which is not that of the whole model."""
    config = from_config_dict(
        {
            "task": "classification",
            "data": {"source": "files", "path": "x"},
            "model": {"encoder": "transformer", "heads": 2, "dropout": RATE},
            "adversary": {"technique": technique},
        }
    )
    stages, params = small_model("transformer", heads=2, dropout=RATE, dtype=jnp.float64)
    batch = texts()
    hparams = HParams(*(jnp.asarray(each, jnp.float64) for each in (0.1, 0.0, 1.0, 0.0)))
    context = Context(batch, hparams, KEY, count_examples(batch))
    gradient, sums = quick_jit(make_gradients(config, stages))(params, context)
    inner = keys_of(batch, jax.random.fold_in(KEY, 2))
    logits = forward(stages, params, batch, Perturbation(inner=inner)).logits
    expected = -np.asarray(jax.nn.log_softmax(logits))[np.arange(3), batch.labels].sum()
    np.testing.assert_allclose(sums["clean_loss"], expected, rtol=1e-12)
    if technique.endswith("vat"):
        np.testing.assert_allclose(sums["perturbed_loss"], 0, atol=1e-12)
    elif technique != "none":
        np.testing.assert_allclose(sums["perturbed_loss"], expected, rtol=1e-12)
    plain = np.asarray(jax.nn.log_softmax(forward(stages, params, batch).logits))
    assert abs(plain[np.arange(3), batch.labels].sum() + expected) > 1e-3
    assert np.isfinite([float(jnp.sum(each)) for each in jax.tree.leaves(gradient)]).all()


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("encoder", ["transformer", "bert"])
def test_layers_computed_again_give_the_same_in_less_memory(encoder):
    """With dropout, whose draws must come again as they were."""
    batch = batch_of(sentences([18] * 8), dtype=np.float64)
    found, memory = [], []
    for again in (False, True):
        more = {"layers": 6} if encoder == "transformer" else {}
        shared = {"heads": 2, "hidden_dim": 8, "dropout": RATE, "dtype": jnp.float64}
        stages, params = small_model(encoder, rematerialize=again, **shared, **more)

        def loss(params, stages=stages):
            perturbation = Perturbation(inner=keys_of(batch))
            return forward(stages, params, batch, perturbation).logits[:, 0].sum()

        compiled = quick_jit(jax.value_and_grad(loss)).lower(params).compile()
        found.append(compiled(params))
        memory.append(compiled.memory_analysis().temp_size_in_bytes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), *found)
    assert memory[1] < 0.8 * memory[0]


@pytest.mark.parametrize(("name", "value"), [("dropout", 0.1), ("rematerialize", True)])
def test_encoders_without_self_attention_refuse(name, value):
    with pytest.raises(UserError, match=f"model.{name}={value} is about layers .* transformer, b"):
        from_config_dict({"model": {"encoder": "cnn", name: value}})
