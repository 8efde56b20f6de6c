"""LIME against scikit-learn's ridge regression, Shapley values against all orders."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model
from sklearn.linear_model import Ridge

from attnjax.analysis.importance import subsets
from attnjax.analysis.importance.subsets import (
    features,
    output_of,
    random_ranks,
    regression,
    shapley_values,
)
from attnjax.model.attention import forward
from attnjax.types import PAD

KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("double_precision")


def small(pair=False, lengths=(5, 2)):
    stages, params = small_model("average", "dot", pair, dtype=jnp.float64)
    query = sentences([3, 1], seed=1) if pair else None
    return stages, params, batch_of(sentences(lengths), query, dtype=np.float64)


def restricted(batch, keep):
    """The batch with those words alone, row by row."""

    def closed(tokens, words, keep):
        rows = np.zeros_like(tokens)
        for row, ids in enumerate(np.asarray(tokens)):
            left = ids[(ids != PAD) & (np.asarray(keep[row]) | ~np.asarray(words[row]))]
            rows[row, : len(left)] = left
        return jnp.asarray(rows)

    length = batch.tokens.shape[1]
    left = batch._replace(tokens=closed(batch.tokens, batch.words, keep[:, :length]))
    if batch.query is None:
        return left
    return left._replace(query=closed(batch.query, batch.query_words, keep[:, length:]))


@pytest.mark.parametrize("pair", [False, True])
def test_the_output_of_a_subset_is_that_of_the_shorter_text(pair):
    stages, params, batch = small(pair)
    output = jax.jit(lambda p, b, keep: output_of(stages, p, b)(keep))
    plain = jax.jit(lambda p, b: forward(stages, p, b).logits)
    words = np.asarray(features(batch))
    random = np.random.default_rng(0)
    for keep in (words, np.zeros_like(words), words & (random.random(words.shape) < 0.5)):
        expected = plain(params, restricted(batch, keep))
        np.testing.assert_allclose(output(params, batch, keep), expected, rtol=1e-12)


def test_orders_are_random_and_depend_on_the_row_alone():
    _, _, batch = small(pair=True)
    orders = quick_jit(
        lambda batch: jax.vmap(lambda number: random_ranks(KEY, number, batch))(jnp.arange(600))
    )
    ranks = np.asarray(orders(batch))
    words = np.asarray(features(batch))
    for row in range(2):
        mine = ranks[:, row][:, words[row]]
        assert (np.sort(mine, axis=1) == np.arange(words[row].sum())).all()
        shares = [(mine == rank).mean(axis=0) for rank in range(mine.shape[1])]
        assert np.abs(np.array(shares) - 1 / mine.shape[1]).max() < 0.09  # 4 standard errors
    other = jax.tree.map(lambda each: each[::-1], batch)
    assert (np.asarray(orders(other))[:, 0][:, words[1]] == ranks[:, 1][:, words[1]]).all()


@pytest.mark.parametrize("pair", [False, True])
def test_lime_is_the_weighted_ridge_regression_of_its_samples(pair, monkeypatch):
    stages, params, batch = small(pair)
    words, samples = np.asarray(features(batch)), []
    accumulate = subsets._accumulate

    def seen(sums, kept, value, weight):
        jax.debug.callback(lambda *each: samples.append(each), kept, value, weight, ordered=True)
        return accumulate(sums, kept, value, weight)

    monkeypatch.setattr(subsets, "_accumulate", seen)
    found = quick_jit(lambda p, b: regression(41)(stages, p, b, KEY))(params, batch)
    jax.effects_barrier()
    kept, value, weight = (np.stack(each).astype(float) for each in zip(*samples, strict=True))
    assert kept.shape == (41, *words.shape)
    assert (kept[0] == words).all()
    whole = np.asarray(forward(stages, params, batch).probabilities)
    classes = whole.argmax(axis=-1)
    value = value + whole[np.arange(2), classes]  # what is summed is the fall from the whole text
    for row in range(2):
        on = words[row]
        sizes = kept[1:, row][:, on].sum(axis=1)
        assert set(sizes) == set(range(on.sum()))  # every size but the whole text, in 40 samples
        expected = Ridge(alpha=1.0).fit(
            kept[:, row][:, on], value[:, row], sample_weight=weight[:, row]
        )
        # What the callback was given is in float32.
        np.testing.assert_allclose(found.weights[row][on], expected.coef_, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(found.intercept[row], expected.intercept_, rtol=1e-5)
        determination = expected.score(kept[:, row][:, on], value[:, row], weight[:, row])
        np.testing.assert_allclose(found.determination[row], determination, rtol=1e-4)
        distance = 100 * (1 - np.sqrt(sizes / on.sum()))
        np.testing.assert_allclose(
            weight[1:, row], np.sqrt(np.exp(-(distance**2) / 625)), rtol=1e-5
        )
        one = restricted(batch, kept[7].astype(bool))
        output = forward(stages, params, one).probabilities[row, classes[row]]
        np.testing.assert_allclose(value[7, row], output, rtol=1e-6)


def test_limes_sums_do_not_cancel_where_a_prediction_is_sure():
    """float32 beside float64, of probabilities within 1e-4 of 1: R^2 had no digit, weights one."""
    stages, params, batch = small()
    decode = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.at[1].add(8) if "bias" in jax.tree_util.keystr(path) else leaf,
        params["decode"],
    )
    params = {**params, "decode": decode}
    run = quick_jit(lambda p, b: regression(300)(stages, p, b, KEY))
    wide = jax.tree.map(np.asarray, run(params, batch))
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, batch.weight))
    found = jax.tree.map(np.asarray, run(narrow[0], batch._replace(weight=narrow[1])))
    words = np.asarray(features(batch))
    scale = np.abs(wide.weights[words]).max()
    np.testing.assert_allclose(
        found.weights[words] / scale, wide.weights[words] / scale, rtol=0, atol=2e-3
    )
    np.testing.assert_allclose(found.determination, wide.determination, rtol=0, atol=2e-3)


def test_shapley_values_of_all_orders_are_those_of_the_definition(monkeypatch):
    stages, params, batch = small(lengths=(3, 3))
    words = np.asarray(features(batch))
    orders = jnp.asarray(list(permutations(range(3))), jnp.int32)

    def ranks(key, number, batch):
        del key
        whole = jnp.full(words.shape, 9, jnp.int32).at[:, 1:4].set(orders[number][None])
        return jnp.where(features(batch), whole, 9)

    monkeypatch.setattr(subsets, "random_ranks", ranks)
    work = shapley_values.__wrapped__(12)  # six pairs: an order and its reverse
    found = quick_jit(lambda p, b: work(stages, p, b, KEY))(params, batch)
    whole = forward(stages, params, batch).probabilities
    classes = np.asarray(whole.argmax(axis=-1))
    value = quick_jit(lambda p, b: forward(stages, p, b).probabilities)

    def worth(chosen):
        keep = np.zeros_like(words)
        keep[:, [1 + each for each in chosen]] = True
        return np.asarray(value(params, restricted(batch, keep)))[np.arange(2), classes]

    expected = np.zeros((2, 3))
    for order in permutations(range(3)):
        for place, word in enumerate(order):
            expected[:, word] += (worth(order[: place + 1]) - worth(order[:place])) / 6
    np.testing.assert_allclose(found.values[:, 1:4], expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(expected.sum(axis=1), worth((0, 1, 2)) - worth(()), rtol=1e-10)


def test_sampled_shapley_values_sum_to_what_the_words_change():
    stages, params, batch = small(pair=True)
    found = quick_jit(lambda p, b: shapley_values(4)(stages, p, b, KEY))(params, batch)
    none = restricted(batch, jnp.zeros_like(features(batch)))
    whole, bare = (forward(stages, params, each).probabilities for each in (batch, none))
    classes = whole.argmax(axis=-1)[:, None]
    change = jnp.take_along_axis(whole - bare, classes, axis=1)[:, 0]
    np.testing.assert_allclose(found.values.sum(axis=1), change, rtol=1e-10)
    assert (np.asarray(found.error)[np.asarray(features(batch))] >= 0).all()
    assert np.isfinite(found.error).all()
