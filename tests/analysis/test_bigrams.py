"""The add-half bigram model: by hand, and as a distribution."""

import numpy as np

from attnjax.analysis.bigrams import among, count_bigrams, following, log_probability, preceding

TEXTS = [np.array(each, np.int32) for each in ([2, 4, 5, 3], [2, 4, 4, 3], [2, 6, 3])]


def test_probabilities_by_hand():
    model = count_bigrams(TEXTS, 8)  # <unk>, <eos> and four words may follow: 6 tokens
    assert model.support == 6
    first = np.log(2.5 / 6) + np.log(1.5 / 6) + np.log(1.5 / 4)  # <sos> 4, 4 5, 5 <eos>
    second = np.log(0.5 / 6) + np.log(0.5 / 3) + np.log(0.5 / 6)  # <sos> 7, 7 4, 4 unseen 6
    second += np.log(1.5 / 4)
    found = log_probability(model, np.array([[2, 4, 5, 3, 0], [2, 7, 4, 6, 3]]))
    np.testing.assert_allclose(found, [first, second])
    assert log_probability(model, np.zeros((0, 5), np.int32)).shape == (0,)


def test_what_follows_a_token_sums_to_one_and_columns_and_blocks_agree():
    model = count_bigrams(TEXTS, 8)
    rows = np.stack([following(model, token) for token in range(8)])
    np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1)
    assert np.isneginf(rows[:, [0, 2]]).all(), "padding and <sos> follow nothing"
    for token in (1, 3, 4, 7):
        np.testing.assert_allclose(preceding(model, token), rows[:, token])
    words = np.array([4, 5, 7])
    np.testing.assert_allclose(among(model, words), rows[np.ix_(words, words)])
