"""Counterfactual attention: literal versions, the closed-form gradient, bounds, invariance."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model
from scipy.spatial.distance import jensenshannon

from attnjax.analysis.questions.adversary import Adversary, adversarial
from attnjax.analysis.questions.counterfactual import (
    bins,
    permutation,
    random_permutations,
    uniform,
)
from attnjax.model.attention import forward
from attnjax.model.quick import literal
from attnjax.types import PAD

KEY = jax.random.key(5)
LENGTHS = [5, 1, 9, 2, 3]
FEW = Adversary(steps=40, learning_rate=0.1)  # reaches the margin within the steps


def traced(function, stages, *settings):
    """A question's computation, given the forward pass that it starts from."""
    return lambda p, b: function(stages, p, b, forward(stages, p, b), *settings)


def seek(stages, params, batch, settings=FEW, jit=quick_jit):
    found = jit(traced(adversarial, stages, KEY, settings))(params, batch)
    return {name: np.asarray(values) for name, values in found.items()}


def permute(stages, params, batch, count, jit=quick_jit):
    found = jit(traced(permutation, stages, KEY, count))(params, batch)
    return {name: np.asarray(values) for name, values in found.items()}


def keys_of(batch):
    return jax.vmap(partial(jax.random.fold_in, KEY))(batch.rows)


def total_variation(a, b):
    return np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).sum(axis=-1) / 2


def decode(stages, params, batch, weights):
    """Probabilities under any attention, through the stage that training uses."""
    encoded = forward(stages, params, batch).encoded
    return jax.nn.softmax(stages.decode(params, encoded, jnp.asarray(weights), batch))


@pytest.mark.parametrize(("pair", "classes"), [(False, 2), (True, 3)])
def test_permutation_equals_shuffling_one_by_one(pair, classes):
    stages, params = small_model("average", pair=pair, classes=classes)
    batch = batch_of(sentences(LENGTHS), sentences([2] * 5, seed=1) if pair else None, length=12)
    found = permute(stages, params, batch, 6)
    trace = forward(stages, params, batch)
    weights = np.asarray(trace.weights)
    changes = []
    for ranks in np.asarray(random_permutations(batch.words, keys_of(batch), jnp.arange(6))):
        shuffled = np.zeros_like(weights)
        for row, words in enumerate(np.asarray(batch.words)):
            places = np.flatnonzero(words)
            assert sorted(ranks[row, places]) == list(range(len(places)))
            for place in places:
                shuffled[row, place] = weights[row, places[ranks[row, place]]]
        output = decode(stages, params, batch, shuffled)
        changes.append(total_variation(output, trace.probabilities))
    expected = np.median(changes, axis=0)
    assert expected[0] > 1e-4
    np.testing.assert_allclose(found["median_change"], expected, atol=1e-6)
    np.testing.assert_allclose(found["max_attention"], weights.max(axis=1), rtol=1e-6)
    assert found["median_change"][1] == 0  # one word
    assert found["max_attention"][1] == 1


def test_every_permutation_is_equally_likely():
    batch = batch_of(sentences([4]))
    draw = jax.jit(partial(random_permutations, batch.words, keys_of(batch)))
    ranks = np.asarray(draw(jnp.arange(4800)))[:, 0, 1:5]
    _, counts = np.unique(ranks, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 58  # chi squared, 23 degrees: p = 1e-4


def test_examples_are_shuffled_independently():
    batch = batch_of(sentences([20, 20]))
    (ranks,) = np.asarray(random_permutations(batch.words, keys_of(batch), jnp.arange(1)))
    assert (ranks[0] != ranks[1]).sum() > 10
    (again,) = random_permutations(batch.words, keys_of(batch)[::-1], jnp.arange(1))
    np.testing.assert_array_equal(again[::-1], ranks)


@pytest.mark.usefixtures("double_precision")
def test_random_permutations_depend_on_neither_padding_nor_precision():
    short, long = (batch_of(sentences([20, 3]), length=length) for length in (22, 300))
    with jax.enable_x64(False):
        single = random_permutations(short.words, keys_of(short), jnp.arange(8))
    for batch in (short, long):
        ranks = np.asarray(random_permutations(batch.words, keys_of(batch), jnp.arange(8)))
        np.testing.assert_array_equal(ranks[:, :, :22], single)
        assert sorted(ranks[0, 0, 1:21]) == list(range(20))


def test_equal_random_numbers_still_give_a_permutation(monkeypatch):
    batch = batch_of(sentences([6, 2, 20]))
    monkeypatch.setattr(jax.random, "bits", lambda key, shape, kind: jnp.zeros(shape, kind))
    (ranks,) = np.asarray(random_permutations(batch.words, keys_of(batch), jnp.arange(1)))
    for row, words in zip(ranks, np.asarray(batch.words), strict=True):
        np.testing.assert_array_equal(row[words], np.arange(words.sum()))


@pytest.mark.parametrize(
    ("pair", "classes", "read"), [(False, 2, True), (False, 3, False), (True, 3, True)]
)
def test_adversarial_attention_is_far_and_changes_nothing(pair, classes, read):
    stages, params = small_model("average", pair=pair, classes=classes)
    if not read:
        stages = stages._replace(quick=literal(stages.embed, stages.encode, stages.decode))
    batch = batch_of(sentences(LENGTHS), sentences([2] * 5, seed=1) if pair else None)
    found = seek(stages, params, batch)
    trace = forward(stages, params, batch)
    attention, original = found["attention"], np.asarray(trace.weights)
    assert not attention[~np.asarray(batch.words)].any()
    np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-6)
    moved = total_variation(decode(stages, params, batch, attention), trace.probabilities)
    assert (found["output_change"] <= FEW.epsilon).all()
    np.testing.assert_allclose(moved, found["output_change"], atol=1e-6)
    distance = jensenshannon(attention.astype(float), original.astype(float), axis=1) ** 2
    np.testing.assert_allclose(found["max_jsd"], distance, atol=1e-6)
    allowed = found["candidates_change"] <= FEW.epsilon
    best = np.where(allowed, found["candidates_jsd"], 0).max(axis=1)
    np.testing.assert_array_equal(found["max_jsd"], best)
    assert (found["max_jsd"][[0, 2]] > 0.1).all()
    assert found["max_jsd"][1] == 0  # one word
    np.testing.assert_array_equal(attention[1], original[1])


def test_the_models_own_attention_is_always_a_candidate():
    """No change allowed at all: only itself is left wherever the words' states differ."""
    stages, params = small_model("average", classes=2)
    batch = batch_of(sentences(LENGTHS))
    found = seek(stages, params, batch, FEW._replace(epsilon=0.0, steps=3))
    trace = forward(stages, params, batch)
    exact = (found["candidates_change"] == 0).any(axis=1)
    assert not exact[[0, 2, 3, 4]].any()
    assert not found["max_jsd"][~exact].any()
    assert not found["output_change"].any()
    np.testing.assert_allclose(
        found["attention"][~exact], np.asarray(trace.weights)[~exact], rtol=1e-6
    )


def test_optimisation_reaches_attentions_that_random_ones_do_not():
    stages, params = small_model("average", classes=2)
    batch = batch_of(sentences([8] * 6))
    start, end = (
        seek(stages, params, batch, FEW._replace(steps=steps)) for steps in (1, FEW.steps)
    )
    allowed = [found["candidates_change"] <= FEW.epsilon for found in (start, end)]
    assert allowed[1].mean() > 0.8 > allowed[0].mean()
    assert end["max_jsd"].mean() > start["max_jsd"].mean() + 0.02


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("method", ["permutation", "adversarial"])
def test_depends_on_neither_padding_nor_batch_mates_nor_order(method, pair):
    classes = 3 if pair else 2
    stages, params = small_model("average", pair=pair, classes=classes)
    rows = sentences(LENGTHS)
    query = sentences([3, 1, 2, 4, 2], seed=1) if pair else None

    def explain(batch):
        if method == "permutation":
            return permute(stages, params, batch, 7, jax.jit)
        return seek(stages, params, batch, Adversary(), jax.jit)

    together = explain(batch_of(rows, query))

    def compare(order, length):
        batch = batch_of(
            [rows[i] for i in order], query and [query[i] for i in order], length=length
        )
        found = explain(batch._replace(rows=jnp.asarray(order, jnp.int32)))
        for name, values in found.items():
            for place, row in enumerate(order):
                one, other = values[place], together[name][row]
                if name == "attention":
                    shared = min(len(one), len(other))
                    assert not one[shared:].any()
                    one, other = one[:shared], other[:shared]
                # Steps of an optimizer carry rounding on: README of benchmarks, limits.
                close = 1e-5 if method == "adversarial" else 1e-6
                np.testing.assert_allclose(one, other, atol=close, err_msg=name)

    compare([3], None)
    compare([2], 40)
    compare([4, 1, 0, 3, 2], 17)


def test_rows_without_words_and_equal_attention_are_defined():
    stages, params = small_model("average", "uniform", classes=2)
    empty = np.array([PAD, PAD, PAD, PAD])
    batch = batch_of([*sentences([4, 2]), empty])
    batch = batch._replace(rows=jnp.array([0, 1, -1]))
    sought = seek(stages, params, batch)
    shuffled = permute(stages, params, batch, 3)
    for name, values in (sought | shuffled).items():
        assert np.isfinite(values).all(), name
        assert (np.abs(values[2]) < 1e-6).all(), name
    assert sought["max_jsd"][0] > 0.1
    # Equal weights look the same in any order.
    assert (shuffled["median_change"] < 1e-6).all()
    np.testing.assert_allclose(shuffled["max_attention"], [0.25, 0.5, 0])


def test_uniform_equals_the_attention_free_model():
    stages, params = small_model("average", classes=3)
    free, _ = small_model("average", "uniform", classes=3)
    batch = batch_of(sentences(LENGTHS))
    expected = forward(free, params | {"score": {}}, batch).probabilities
    np.testing.assert_allclose(traced(uniform, stages)(params, batch), expected, atol=1e-6)


def test_bins():
    found = bins(np.array([0.1, 0.25, 0.0, 1.0, 0.75, 0.5]), np.arange(6))
    assert [list(each) for each in found] == [[0, 2], [1], [5], [3, 4]]
