"""Masks: the known optimum of a model in which every word counts for itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.importance import mask
from attnjax.analysis.importance.mask import MASK, deleted, masks, preserved
from attnjax.analysis.importance.subsets import features
from attnjax.config import AnalysisConfig
from attnjax.model.quick import stages_by_hand
from attnjax.types import EOS, SOS, Embedded, Encoded

KEY = jax.random.key(0)
GAINS = np.array([0.10, 0.01, 0.20, 0.02, -0.05])  # of words 5 to 9, in probability


def additive():
    """p = 1/2 + sum of the gains of the words that are there; vectors are (gain, 1)."""
    stages, _ = small_model("average")
    table = np.zeros((20, 2), np.float32)
    table[5:10, 0] = GAINS
    table[5:10, 1] = 1

    def decode(params, encoded, weights, batch):
        p = 0.5 + encoded.states[..., 0].sum(axis=1)
        return jnp.log(jnp.stack([1 - p, p], axis=-1))

    toy = stages_by_hand(
        stages.init,
        lambda params, batch: Embedded(params["embed"]["table"][batch.tokens], None),
        lambda params, embedded, batch: Encoded(embedded.text, None),
        lambda params, encoded: jnp.zeros(encoded.states.shape[:2]),
        decode,
    )
    return (
        toy,
        {"embed": {"table": jnp.asarray(table)}},
        batch_of([np.array([SOS, *range(5, 10), EOS])]),
    )


@pytest.mark.parametrize(
    ("goal", "find", "expected"),
    [
        ("deletion", deleted, [1, 0, 1, 0, 0]),  # gone where it gives more than its price of 0.03
        ("preservation", preserved, [1, 0, 1, 0, 0]),
    ],
)
def test_the_optimum_where_words_add_up(goal, find, expected):
    stages, params, batch = additive()
    work = masks(0.03, 200, goal, "zero")

    def found(params, batch):
        shared = work(stages, params, batch, KEY)
        return find(stages, params, batch, KEY, "text", shared), shared

    values, shared = quick_jit(found)(params, batch)
    np.testing.assert_allclose(values[0, 1:-1], expected, atol=1e-6)
    assert not values[0, [0, -1]].any()
    kept = np.array([0, 1, 0, 1, 1]) if goal == "deletion" else np.array([1, 0, 1, 0, 0])
    np.testing.assert_allclose(shared.score, 0.5 + GAINS @ kept, rtol=1e-5)
    np.testing.assert_allclose(shared.hardened, shared.score, rtol=1e-5)


@pytest.mark.parametrize("baseline", ["mean", "unknown"])
def test_other_baselines_stand_in_the_place_of_the_word(baseline):
    """Every word has its price's worth of 0 to gain: the mask reaches p of the baseline's text."""
    stages, params, batch = additive()
    table = np.asarray(params["embed"]["table"])
    instead = table[1:].mean(axis=0)[0] if baseline == "mean" else 0.0
    shared = quick_jit(lambda p, b: masks(0.0, 200, "deletion", baseline)(stages, p, b, KEY))(
        params, batch
    )
    best = np.minimum(GAINS, instead).sum()
    np.testing.assert_allclose(shared.score, 0.5 + best, atol=1e-5)


@pytest.mark.parametrize(("starts", "left"), [((0.9,), 1), ((0.9, 0.5, 0.1), 0)])
def test_the_best_of_several_starts(monkeypatch, starts, left):
    """Where the probability is saturated no word alone is worth its price: a poor minimum."""
    stages, params, batch = additive()

    def decode(params, encoded, weights, batch):
        kept = encoded.states[..., 1].sum(axis=1)
        return jnp.stack([jnp.zeros_like(kept), 6 * (kept - 2.5)], axis=-1)

    toy = stages._replace(decode=decode, under=lambda rules: toy)
    monkeypatch.setattr(mask, "STARTS", starts)
    work = masks.__wrapped__(0.03, 200, "deletion", "zero")  # not what other starts were kept for
    shared = quick_jit(lambda p, b: work(toy, p, b, KEY))(params, batch)
    np.testing.assert_allclose(shared.score, left, atol=0.01)


def test_each_text_is_optimised_by_itself():
    stages, params = small_model("average", "dot", pair=True)
    method = MASK.under(AnalysisConfig(mask_steps=20, mask_price=0.0))
    batch = batch_of(sentences([5, 2]), sentences([2, 3], seed=1))
    compiled = quick_jit(lambda p, b: method.shared(stages, p, b, KEY))
    both = compiled(params, batch)
    one = compiled(params, batch_of(sentences([5, 2])[1:], sentences([2, 3], seed=1)[1:], length=9))
    words = np.asarray(features(batch))[1]
    alone = np.asarray(one.keep)[0, [1, 2, 10, 11, 12]]
    np.testing.assert_allclose(alone, np.asarray(both.keep)[1][words], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.score[0], both.score[1], rtol=1e-5)
    assert (alone < 1).any()
