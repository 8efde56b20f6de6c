"""Self-attention shuffled head by head equals what one gets by hand, text by text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.questions.question import About, Given
from attnjax.analysis.questions.self_attention import (
    SELF_ATTENTION_QUESTION,
    shuffled_heads,
    shuffles,
)
from attnjax.config import AnalysisConfig
from attnjax.model.attention import forward
from attnjax.types import Inner, Perturbation

pytestmark = pytest.mark.usefixtures("double_precision")
WORDS, COUNT, SEED = [5, 2, 3], 3, 4


def model():
    """Whose second layer's first head attends to all tokens alike."""
    stages, params = small_model("transformer", heads=2, dtype=jnp.float64)
    query = params["encode"]["text"]["layers"]["query"]
    for name in ("kernel", "bias"):
        query[name] = query[name].at[1, ..., :2].set(0)
    return stages, params


def single(row):
    rows = sentences(WORDS)
    one = batch_of(rows[row : row + 1], dtype=np.float64)
    return one._replace(rows=jnp.array([row], jnp.int32))


def test_the_change_is_that_of_one_head_shuffled_by_hand():
    """By factors that turn each weight of one row into another of the same row."""
    stages, params = model()
    config = AnalysisConfig(head_permutations=COUNT)
    ask = SELF_ATTENTION_QUESTION.ask(stages, config, SEED)
    batch = batch_of(sentences(WORDS), length=9, dtype=np.float64)

    @quick_jit
    def asked(params, batch):
        return ask(params, batch, Given(forward(stages, params, batch), {}))["change"]

    found = np.asarray(asked(params, batch))
    assert found.shape == (3, 2, 2)
    np.testing.assert_allclose(found[:, 1, 0], 0, atol=1e-14)
    assert (found[:, [0, 0, 1], [0, 1, 1]] > 1e-5).all()
    probabilities = jax.jit(
        lambda params, one, factor: (
            forward(stages, params, one, Perturbation(inner=Inner(factor=factor))).probabilities
        )
    )
    for row in (0, 1):
        one = single(row)
        layers = stages.layers(params, stages.embed(params, one), one, "text")
        weights = np.stack([each.weights for each in layers])
        clean = np.asarray(probabilities(params, one, np.ones_like(weights)))
        for layer, head in np.ndindex(2, 2):
            changes = []
            for number in range(COUNT):
                place = jnp.array([layer, head, number], jnp.int32)
                orders = np.asarray(shuffles(one.mask, one.rows, jax.random.key(SEED), place))[0]
                factor = np.ones_like(weights)
                for token, order in enumerate(orders):
                    own = weights[layer, 0, head, token]
                    factor[layer, 0, head, token] = own[order] / own
                moved = np.asarray(probabilities(params, one, factor))
                changes.append(np.abs(moved - clean).sum() / 2)
            np.testing.assert_allclose(
                found[row, layer, head], np.median(changes), rtol=1e-9, atol=1e-14
            )


def test_orders_are_of_the_text_s_tokens_and_the_row_s_own():
    key, place = jax.random.key(SEED), jnp.array([1, 0, 2], jnp.int32)
    batch = batch_of(sentences([5, 5, 3]), length=12)
    orders = np.asarray(shuffles(batch.mask, batch.rows, key, place))
    for row, words in enumerate([5, 5, 3]):
        size = words + 2
        for order in orders[row, :size, :size]:
            np.testing.assert_array_equal(np.sort(order), np.arange(size))
    assert len(np.unique(orders[0, :7, :7], axis=0)) > 5, "each token has an order of its own"
    assert (orders[0] != orders[1]).any()
    alone = single(0)
    short = np.asarray(shuffles(alone.mask, alone.rows, key, place))
    np.testing.assert_array_equal(short[0], orders[0, :7, :7])
    others = [jnp.array(each, jnp.int32) for each in ([0, 0, 2], [1, 1, 2], [1, 0, 1])]
    assert all(
        (np.asarray(shuffles(batch.mask, batch.rows, key, each)) != orders).any() for each in others
    )


def test_orders_leave_out_what_the_layers_do_not_see():
    """Of models with listed words, which lie between the others."""
    real = np.ones((2, 9), bool)
    real[0, [2, 5, 6]] = real[1, 8] = False
    place = jnp.array([1, 0, 2], jnp.int32)
    rows = jnp.arange(2, dtype=jnp.int32)
    orders = np.asarray(shuffles(jnp.asarray(real), rows, jax.random.key(SEED), place))
    for row in range(2):
        (places,) = np.nonzero(real[row])
        for order in orders[row][np.ix_(places, places)]:
            np.testing.assert_array_equal(np.sort(order), places)


def test_the_answer_has_a_summary_of_each_head():
    found = {"change": np.arange(12.0).reshape(3, 2, 2) / 20}
    about = About(None, AnalysisConfig(head_permutations=7), ("no", "yes"), np.zeros(3, int))  # pyright: ignore
    answer = SELF_ATTENTION_QUESTION.answer(found, about)["self_attention"]
    assert answer["permutations"] == 7
    means = [[each["mean"] for each in heads] for heads in answer["median_change"]]
    np.testing.assert_allclose(means, [[0.2, 0.25], [0.3, 0.35]])
    assert SELF_ATTENTION_QUESTION.wanted(AnalysisConfig())
    assert not SELF_ATTENTION_QUESTION.wanted(AnalysisConfig(head_permutations=0))


def test_an_encoder_without_self_attention_has_no_heads():
    stages, params = small_model("average", dtype=jnp.float64)
    batch = batch_of(sentences(WORDS), dtype=np.float64)
    trace = forward(stages, params, batch)
    found = shuffled_heads(stages, params, batch, trace, jax.random.key(0), 2)
    assert found.shape == (3, 0, 0)
