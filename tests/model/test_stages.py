"""The stages of every encoder and attention: exact masks, explicit perturbations, shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import WORDS, batch_of, sentences, small_model

from attnjax.config import ModelConfig
from attnjax.model import attention as attention_module
from attnjax.model.layers import ATTENTIONS, ENCODERS
from attnjax.model.lstm import final_states
from attnjax.model.stages import build_stages, word_vectors
from attnjax.types import Embedded, Perturbation

forward = jax.jit(attention_module.forward, static_argnums=0)

MODELS = [
    pytest.param(encoder, attention, pair, id=f"{encoder}-{attention}-{'pair' if pair else 'one'}")
    for encoder in ENCODERS
    for attention in ATTENTIONS
    for pair in (False, True)
    if encoder == "average" or attention == "additive"  # attention sees states, whoever made them
]


@pytest.mark.parametrize(("encoder", "attention", "pair"), MODELS)
def test_example_depends_on_neither_padding_nor_batch_mates(encoder, attention, pair):
    stages, params = small_model(encoder, attention, pair)
    rows, query = sentences([5, 2, 1]), sentences([3, 1, 2], seed=1) if pair else None
    batch = batch_of(rows, query)
    whole = forward(stages, params, batch)
    for row in range(3):
        alone = batch_of(
            rows[row : row + 1],
            None if query is None else query[row : row + 1],
            length=11,
            query_length=9 if pair else None,
        )
        trace = forward(stages, params, alone)
        length = len(rows[row])
        np.testing.assert_allclose(trace.logits[0], whole.logits[row], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            trace.weights[0, :length], whole.weights[row, :length], rtol=1e-5, atol=1e-7
        )
        assert not trace.weights[0, length:].any()
        assert not trace.encoded.states[0, length:].any()


@pytest.mark.parametrize(("encoder", "attention", "pair"), MODELS)
def test_attention_is_a_distribution_over_words_alone(encoder, attention, pair):
    stages, params = small_model(encoder, attention, pair)
    batch = batch_of(sentences([5, 2, 1]), sentences([3, 1, 2]) if pair else None)
    weights = np.asarray(forward(stages, params, batch).weights)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-6)
    assert not weights[~np.asarray(batch.words)].any()
    assert (weights[np.asarray(batch.words)] > 0).all()
    assert not weights[:, 0].any(), "<sos> gets no attention"


@pytest.mark.parametrize(("encoder", "attention", "pair"), MODELS)
def test_every_parameter_matters(encoder, attention, pair):
    stages, params = small_model(encoder, attention, pair)
    batch = batch_of(sentences([5, 4, 6]), sentences([3, 5, 2], seed=1) if pair else None)
    slope = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(forward(stages, p, batch).logits[:, 1:]))))(
        params
    )
    used = np.unique(np.asarray(batch.tokens)[np.asarray(batch.words)])
    for path, leaf in jax.tree_util.tree_leaves_with_path(slope):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all(), name
        if "table" in name:
            assert not leaf[0].any(), "padding has no vector to train"
            assert leaf[used].any(axis=1).all()
        else:
            assert leaf.any(), name


def test_binary_logits_are_a_logistic_unit():
    stages, params = small_model(classes=2)
    trace = forward(stages, params, batch_of(sentences([4, 2])))
    assert params["decode"]["logits"]["kernel"].shape == (8, 1)
    assert not trace.logits[:, 0].any()
    np.testing.assert_allclose(
        trace.probabilities[:, 1], 1 / (1 + np.exp(-trace.logits[:, 1])), rtol=1e-6
    )


def test_impossible_answers_get_probability_zero():
    stages, params = small_model(pair=True)
    allowed = jnp.array([[True, False, True], [False, False, True]])
    batch = batch_of(sentences([4, 2]), sentences([2, 2]))._replace(candidates=allowed)
    probabilities = np.asarray(forward(stages, params, batch).probabilities)
    assert not probabilities[~np.asarray(allowed)].any()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("pair", "classes", "product"),
    [(False, 2, False), (False, 3, True), (True, 2, False), (True, 2, True), (True, 4, False)],
)
@pytest.mark.parametrize("candidates", [False, True])
def test_reading_many_attentions_equals_decoding_each(pair, classes, product, candidates):
    stages, params = small_model("average", pair=pair, classes=classes, match_product=product)
    batch = batch_of(sentences([5, 2]), sentences([3, 1]) if pair else None)
    if candidates:
        batch = batch._replace(candidates=jnp.arange(2)[:, None] != jnp.arange(classes)[None, :])
    encoded = stages.encode(params, stages.embed(params, batch), batch)
    weights = jax.random.normal(jax.random.key(0), (3, 2, *batch.tokens.shape))
    found = stages.quick.read(params, encoded, batch)(weights)
    for place in np.ndindex(3, 2):
        expected = stages.decode(params, encoded, weights[place], batch)
        np.testing.assert_allclose(found[place], expected, rtol=1e-5, atol=1e-6)


def test_perturbations_are_added_where_they_say():
    stages, params = small_model()
    batch = batch_of(sentences([4, 2]))
    clean = forward(stages, params, batch)
    delta = jnp.where(batch.words, jnp.arange(6.0)[None, :], 0)
    shifted = forward(stages, params, batch, Perturbation(score=delta))
    np.testing.assert_array_equal(shifted.scores, clean.scores + delta)
    np.testing.assert_array_equal(shifted.encoded.states, clean.encoded.states)
    noise = Embedded(jnp.ones_like(clean.embedded.text), None)
    moved = forward(stages, params, batch, Perturbation(embed=noise))
    np.testing.assert_array_equal(moved.embedded.text, clean.embedded.text + 1)
    assert (moved.logits != clean.logits).any()


def test_normalized_vectors_have_mean_0_and_variance_1_under_the_frequencies():
    random = np.random.default_rng(0)
    table = random.normal(3.0, 2.0, size=(WORDS, 6)).astype(np.float32)
    frequencies = random.dirichlet(np.ones(WORDS)).astype(np.float32)
    config = ModelConfig(embed_dim=6, hidden_dim=4, normalize_embeddings=True)
    stages = build_stages(config, words=WORDS, classes=2, pair=False, frequencies=frequencies)
    params = stages.init(jax.random.key(0))
    params = {**params, "embed": {"table": jnp.asarray(table)}}
    found = np.asarray(word_vectors(stages, params, WORDS))
    mean = (frequencies[:, None] * table).sum(axis=0)
    variance = (frequencies[:, None] * (table - mean) ** 2).sum(axis=0)
    expected = (table - mean) / np.sqrt(variance + 1e-6)
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-4, atol=1e-5)
    assert not found[0].any(), "padding stays zero"
    batch = batch_of(sentences([3]))
    np.testing.assert_allclose(
        stages.embed(params, batch).text[0], found[np.asarray(batch.tokens[0])], rtol=1e-6
    )


def test_a_shared_encoder_reads_the_query_with_the_texts_weights():
    config = ModelConfig(embed_dim=6, hidden_dim=4, share_encoder=True)
    stages = build_stages(config, words=WORDS, classes=3, pair=True)
    params = stages.init(jax.random.key(0))
    assert set(params["encode"]) == {"text"}
    rows = sentences([4, 2])
    batch = batch_of(rows, rows)
    encoded = forward(stages, params, batch).encoded
    np.testing.assert_allclose(
        encoded.query, final_states(encoded.states, batch.mask), rtol=1e-6, atol=1e-7
    )


def test_the_decoder_can_see_the_product_of_both_sequences():
    stages, params = small_model(pair=True, match_product=True)
    assert "product" not in small_model(match_product=True)[1]["decode"], "one sequence has none"
    trace = forward(stages, params, batch_of(sentences([4, 2]), sentences([3, 1])))
    context = np.einsum("bl,blw->bw", trace.weights, trace.encoded.states)
    query = np.asarray(trace.encoded.query)
    decode = params["decode"]
    hidden = np.tanh(
        context @ decode["context"]["kernel"]
        + decode["context"]["bias"][None]
        + query @ decode["query"]["kernel"]
        + decode["query"]["bias"][None]
        + (context * query) @ decode["product"]["kernel"]
    )
    logits = hidden @ decode["logits"]["kernel"] + decode["logits"]["bias"][None]
    np.testing.assert_allclose(trace.logits, logits, rtol=1e-5, atol=1e-6)
