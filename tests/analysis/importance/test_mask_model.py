"""The learnt mask: on texts it has not seen, between no mask and the best of each text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model
from test_mask import GAINS, additive

from attnjax.analysis.importance.mask import masks, objective, probability_under
from attnjax.analysis.importance.mask_model import (
    Settings,
    deleted,
    initial,
    make_fit,
    masked,
    preserved,
)
from attnjax.analysis.importance.subsets import features
from attnjax.types import EOS, SOS

KEY = jax.random.key(0)
PRICE = 0.03


def objectives(stages, params, batch, head, goal):
    """Means: of the mask that changes nothing, of the head's, and of the best of each text."""

    def found(params, batch):
        probability = probability_under(stages, params, batch, "zero")
        best = masks(PRICE, 200, goal, "zero")(stages, params, batch, KEY).keep
        ones = jnp.ones(features(batch).shape, jnp.float32)
        return [
            objective(keep, probability(keep), batch, PRICE, goal).mean()
            for keep in (ones, masked(stages, params, batch, head), best)
        ]

    return [float(each) for each in quick_jit(found)(params, batch)]


@pytest.mark.parametrize(("goal", "find"), [("deletion", deleted), ("preservation", preserved)])
def test_where_words_add_up_the_head_learns_which_are_worth_their_price(goal, find):
    stages, params, _ = additive()
    random = np.random.default_rng(0)

    def texts(count):
        rows = [random.permutation(np.arange(5, 10))[:3] for _ in range(count)]
        return batch_of([np.array([SOS, *words, EOS], np.int32) for words in rows])

    training, batch = [texts(8) for _ in range(4)], texts(20)
    head = make_fit(Settings(PRICE, 300, goal, "zero"))(stages, params, training, KEY)
    ones, learnt, best = objectives(stages, params, batch, head, goal)
    assert best <= learnt + 1e-5
    assert learnt < best + 0.2 * (ones - best)
    values = np.asarray(find(stages, params, batch, KEY, head))
    assert not values[:, [0, -1]].any()
    # Of a word that is worth more than its price both goals say 1, of others 0.
    worth = GAINS[np.asarray(batch.tokens)[:, 1:-1] - 5] > PRICE
    assert np.mean((values[:, 1:-1] > 0.5) == worth) > 0.9


def test_on_held_out_texts_it_tells_words_apart():
    """It does better than every mask that treats all words alike."""
    stages, params = small_model("bilstm", classes=2)
    rows = sentences(np.random.default_rng(1).integers(3, 9, 160), seed=2)
    training = [batch_of(rows[k : k + 16], length=10) for k in range(0, 128, 16)]
    held_out = batch_of(rows[128:], length=10)
    head = make_fit(Settings(0.01, 150, "deletion", "zero"))(stages, params, training, KEY)

    def found(params, batch):
        probability = probability_under(stages, params, batch, "zero")
        alike = [jnp.where(features(batch), share, 1.0) for share in np.linspace(0, 1, 11)]
        masks = [masked(stages, params, batch, head), *alike]
        return [
            objective(keep, probability(keep), batch, 0.01, "deletion").mean() for keep in masks
        ]

    learnt, *constant = quick_jit(found)(params, held_out)
    assert learnt < min(constant) - 0.005


def test_the_seed_decides_and_a_text_that_only_fills_a_batch_teaches_nothing():
    stages, params = small_model("average", "dot", pair=True)
    text, query = sentences([5, 2, 4]), sentences([2, 3, 2], seed=1)
    both = batch_of(text, query)
    fit = make_fit(Settings(PRICE, 20, "deletion", "zero"))
    assert fit is make_fit(Settings(PRICE, 20, "deletion", "zero"))

    def learnt(batch, key=KEY):
        return np.concatenate([np.ravel(each) for each in fit(stages, params, [batch, both], key)])

    one = batch_of(text[:1], query[:1], length=7, query_length=5)
    filled = both._replace(weight=jnp.asarray([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(learnt(filled), learnt(one), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(learnt(both), learnt(both))
    assert np.abs(learnt(both) - learnt(filled)).max() > 1e-3
    assert np.abs(learnt(both) - learnt(both, jax.random.key(1))).max() > 0.1


def test_the_query_is_left_as_it_is():
    stages, params = small_model("average", "dot", pair=True)
    batch = batch_of(sentences([5, 2]), sentences([2, 3], seed=1))
    head = make_fit(Settings(PRICE, 3, "deletion", "zero"))(stages, params, [batch], KEY)
    keep = np.asarray(masked(stages, params, batch, head))
    assert keep.shape == features(batch).shape
    assert (keep[:, batch.tokens.shape[1] :] == 1).all()
    assert (keep[~np.asarray(features(batch))] == 1).all()
    assert (keep[:, : batch.tokens.shape[1]][np.asarray(batch.words)] < 1).all()


def test_a_first_batch_of_one_word_does_not_stop_the_network():
    stages, params, _ = additive()
    single = [batch_of([np.array([SOS, word, EOS], np.int32)]) for word in (5, 6, 7, 8)]
    settings = Settings(PRICE, 30, "deletion", "zero")
    for batches in (single, single[:1]):
        head = make_fit(settings)(stages, params, batches, KEY)
        assert np.abs(np.asarray(head.kernel)).max() > 0
    words = jnp.ones((1, 3), bool)
    equal = initial(KEY, jnp.ones((1, 3, 4), jnp.float32), words, 2)
    assert (np.asarray(equal.kernel) != 0).all()
