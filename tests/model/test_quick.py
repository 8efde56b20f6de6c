"""Leaving tokens out: every way equals encoding the shorter sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.model.layers import ENCODERS
from attnjax.model.quick import WITHOUT, close_up, delete, edit
from attnjax.types import EOS, PAD, SOS

# Where words have pieces, they are what closes up: see test_bert.
METHODS = [(name, close_up) for name in ENCODERS if name != "bert"] + list(WITHOUT.items())


def test_delete():
    tokens = jnp.array([[SOS, 7, 8, EOS], [SOS, 9, EOS, 0]])
    np.testing.assert_array_equal(
        delete(tokens, jnp.int32(1)), [[SOS, 8, EOS, 0], [SOS, EOS, 0, 0]]
    )
    vectors = jnp.arange(6.0).reshape(1, 3, 2)
    np.testing.assert_array_equal(delete(vectors, jnp.int32(0)), [[[2, 3], [4, 5], [0, 0]]])


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("name", "method"), METHODS)
def test_states_and_summary_equal_the_shorter_sequence(name, method):
    encoder = ENCODERS[name](4)
    rows = sentences([4, 2])
    tokens = batch_of(rows, length=7).tokens
    inputs = jax.random.normal(jax.random.key(0), (20, 3), jnp.float64)[tokens]
    weights = encoder.init(jax.random.key(1), inputs.astype(jnp.float32), tokens != PAD)["params"]
    weights = jax.tree.map(lambda w: w.astype(jnp.float64), weights)
    without = method(encoder, weights, inputs, tokens)
    states, summary, left = quick_jit(lambda: jax.lax.map(without, jnp.arange(7)))()

    @quick_jit
    def run(inputs):
        return encoder.apply({"params": weights}, inputs, jnp.ones(inputs.shape[:2], bool))

    for position in range(7):
        for row, ids in enumerate(rows):
            kept = np.flatnonzero(np.arange(len(ids)) != position)
            expected, end = run(inputs[row : row + 1, kept])
            places = np.flatnonzero(left[position, row])
            np.testing.assert_array_equal(left[position, row, places], ids[kept])
            np.testing.assert_allclose(states[position, row, places], expected[0], atol=1e-14)
            np.testing.assert_allclose(summary[position, row], end[0], atol=1e-14)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_kept_closes_up_and_is_encoded_so(name):
    stages, params = small_model(name, "dot", True, dtype=jnp.float64)
    texts, queries = sentences([4, 2, 5]), sentences([3, 1, 2], seed=1)
    batch = batch_of(texts, queries, length=8, dtype=np.float64)
    random = np.random.default_rng(0)
    stay, asked = (
        np.asarray(mask) & (random.random(mask.shape) < 0.6)
        for mask in (batch.mask, batch.query_mask)
    )
    stay[1], asked[:, 0] = batch.mask[1], True
    stay[:, 0] = True

    @quick_jit
    def found(params, batch):
        kept = stages.quick.encode_kept(params, stages.embed(params, batch), batch)
        return kept(jnp.asarray(stay), jnp.asarray(asked)), kept(jnp.asarray(stay), None)

    (both, closed), (one, alone) = found(params, batch)
    for row in range(3):
        left = texts[row][stay[row, : len(texts[row])]]
        query = queries[row][asked[row, : len(queries[row])]]
        for encoded, batch_left, words in ((both, closed, query), (one, alone, queries[row])):
            shorter = batch_of([left], [words], dtype=np.float64)
            plain = stages.encode(params, stages.embed(params, shorter), shorter)
            np.testing.assert_array_equal(batch_left.tokens[row, : len(left)], left)
            assert not batch_left.tokens[row, len(left) :].any()
            np.testing.assert_array_equal(batch_left.query[row, : len(words)], words)
            states = encoded.states[row]
            np.testing.assert_allclose(states[: len(left)], plain.states[0], atol=1e-14)
            assert not np.asarray(states[len(left) :]).any()
            np.testing.assert_allclose(encoded.query[row], plain.query[0], atol=1e-14)


def test_edits_close_up():
    batch = batch_of([[SOS, 7, 8, EOS]], length=5)
    places, tokens = (jnp.array(each, jnp.int32) for each in ([[1, 2], [2, 5]], [[PAD, 9], [6, 9]]))
    found = edit(batch, jnp.array([0, 0]), places, tokens)
    np.testing.assert_array_equal(found.batch.tokens, [[SOS, 9, EOS, 0, 0], [SOS, 7, 6, EOS, 0]])
    np.testing.assert_array_equal(found.order, [[0, 2, 3, 1, 4], [0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(found.real.sum(axis=1), [3, 4])
    np.testing.assert_array_equal(found.places, [[5, 1], [2, 5]])


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("pair", [False, True])
def test_edited_texts_are_encoded_as_if_they_had_always_been_so(name, pair):
    stages, params = small_model(name, "dot", pair, dtype=jnp.float64)
    texts = sentences([4, 2, 5])
    queries = sentences([3, 1, 2], seed=1) if pair else None
    batch = batch_of(texts, queries, length=8, dtype=np.float64)
    # Each row more than once: one word new, one gone, one of each, two new, nothing.
    edits = [
        (2, [(3, 9), (8, 7)]),
        (0, [(2, PAD), (8, 0)]),
        (2, [(1, PAD), (4, 6)]),
        (0, [(1, 8), (4, 5)]),
        (2, [(5, PAD), (1, PAD)]),
        (1, [(8, 3), (9, PAD)]),
    ]
    rows = np.array([row for row, _ in edits], np.int32)
    places, tokens = np.moveaxis(np.array([each for _, each in edits], np.int32), 2, 0)

    @quick_jit
    def found(params, batch):
        edited = stages.quick.encode_edited(params, stages.embed(params, batch), batch)
        return edited(jnp.asarray(rows), jnp.asarray(places), jnp.asarray(tokens))

    encoded, closed = found(params, batch)
    for place, (row, changes) in enumerate(edits):
        ids = list(texts[row])
        for at, token in changes:
            ids[at : at + 1] = [token] if at < len(ids) else []
        ids = np.array([each for each in ids if each != PAD])
        asked = [queries[row]] if pair else None
        shorter = batch_of([ids], asked, dtype=np.float64)
        plain = stages.encode(params, stages.embed(params, shorter), shorter)
        np.testing.assert_array_equal(closed.tokens[place, : len(ids)], ids)
        assert not closed.tokens[place, len(ids) :].any()
        states = encoded.states[place]
        np.testing.assert_allclose(states[: len(ids)], plain.states[0], atol=1e-14)
        assert not np.asarray(states[len(ids) :]).any()
        if pair:
            np.testing.assert_allclose(encoded.query[place], plain.query[0], atol=1e-14)
