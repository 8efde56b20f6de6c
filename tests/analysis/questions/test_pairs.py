"""Agreement of ragged rows: every row gets what it gets alone, wherever it stands."""

import numpy as np
import pytest
from scipy import stats

from attnjax.analysis.questions import agreement
from attnjax.analysis.questions.agreement import DRAWS, LONG, agree, chance, shuffled


def ragged(lengths, seed):
    random = np.random.default_rng(seed)
    return [random.random(length).astype(np.float32) for length in lengths]


@pytest.mark.parametrize("few", [0, agreement.FEW])
@pytest.mark.parametrize("values", [1, 70, agreement.VALUES])
def test_each_row_of_each_pair_stands_in_its_place(monkeypatch, few, values):
    """However many padded lengths there are, and however many rows a compiled call has."""
    monkeypatch.setattr(agreement, "FEW", few)
    monkeypatch.setattr(agreement, "VALUES", values)
    lengths = [5, 2, 30, 1, 9]
    a, b, c = (ragged(lengths, seed) for seed in range(3))
    found = agree({"a~b": (a, b), "b~c": (b, c)}, top_k=3)
    for name, first, second in (("a~b", a, b), ("b~c", b, c)):
        assert np.isnan(found[name]["kendall"][3])
        for row in (0, 1, 2, 4):
            expected = stats.kendalltau(first[row], second[row])
            np.testing.assert_allclose(found[name]["kendall"][row], expected.statistic, rtol=1e-5)
            np.testing.assert_allclose(found[name]["p_value"][row], expected.pvalue, rtol=1e-3)
            expected = stats.pearsonr(first[row], second[row]).statistic
            np.testing.assert_allclose(found[name]["pearson"][row], expected, rtol=1e-4)


def test_no_pair_and_no_row():
    assert agree({}, 3) == {}
    assert agree({"a~b": ([], [])}, 3) == {"a~b": {}}


def test_shuffling_keeps_the_values_and_depends_on_seed_and_row_alone():
    rows = ragged([8, 8, 20], 0)
    once, other = shuffled(rows, (0, 0), range(3)), shuffled(rows, (0, 1), range(3))
    again = shuffled(rows[2:], (0, 0), [2])
    for row, values in enumerate(rows):
        np.testing.assert_array_equal(np.sort(once[row]), np.sort(values))
    np.testing.assert_array_equal(once[2], again[0])
    assert any((a != b).any() for a, b in zip(once, other, strict=True))


def test_chance_is_the_mean_over_random_orders():
    rows, numbers = ragged([8, 1, LONG, LONG + 1], 0), [4, 5, 6, 7]
    found = chance({"a~b": (rows, rows)}, 3, 7, numbers)["a~b"]
    draws = [
        agree({"a~b": (rows, shuffled(rows, (7, draw), numbers))}, 3)["a~b"]
        for draw in range(DRAWS)
    ]
    for name in ("kendall", "pearson", "top_k_overlap", "jensen_shannon"):
        expected = np.mean([each[name] for each in draws], axis=0)
        expected[3] = draws[0][name][3]
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found["p_value"], draws[0]["p_value"], rtol=1e-6)
    assert np.isnan(found["kendall"][1])
    assert len({each["kendall"][2] for each in draws}) > 1


def test_chance_of_long_rows_alone_and_of_none():
    rows = ragged([LONG + 3, LONG + 9], 0)
    found = chance({"a~b": (rows, rows)}, 3, 7, [4, 5])
    expected = agree({"a~b": (rows, shuffled(rows, (7, 0), [4, 5]))}, 3)
    np.testing.assert_array_equal(found["a~b"]["pearson"], expected["a~b"]["pearson"])
    assert chance({}, 3, 7, []) == {}
