"""Agreement of ragged rows: every row gets what it gets alone, wherever it stands."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from attnjax.analysis.agreement import measures
from attnjax.analysis.questions import agreement
from attnjax.analysis.questions.agreement import (
    AGREEMENT,
    DRAWS,
    LONG,
    agree,
    chance,
    measure_pairs,
    shuffled,
)
from attnjax.analysis.questions.question import About, Study
from attnjax.config import AnalysisConfig

NAMES = ("attention", "gradient", "norm")
METHODS = ("gradient", "rollout", "lrp", "alti")  # of both kinds, in no order
MEASURED = {*measures(3), "p_value"}


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
    means, single = chance({"a~b": (rows, rows)}, 3, 7, numbers)
    found = means["a~b"]
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
    for name, values in single["a~b"].items():
        np.testing.assert_allclose(values, draws[0][name], rtol=1e-6, atol=1e-7)


def test_the_floor_spreads_as_one_random_order_does():
    """A mean over five orders spreads less than half as much as what it is a floor to."""
    rows = ragged([8] * 200, 0)
    others = ragged([8] * 200, 1)  # as far apart as random orders are
    about = About(study_of(attention=rows), AnalysisConfig(), ("no",), np.zeros(200, int))
    study = study_of(attention=rows, other=others)
    found = AGREEMENT.answer(measure_pairs(study, AnalysisConfig(), 0), about)["agreement"]
    pair = found["attention~other"]
    for each in (pair, pair["by_class"]["no"]):
        assert each["floor"]["kendall"]["std"] == pytest.approx(each["kendall"]["std"], rel=0.15)
        low, high = each["floor"]["kendall"]["ci95"]
        assert high - low < 0.6 * np.subtract(*each["kendall"]["ci95"][::-1])
        assert 0 < each["floor"]["kendall"]["significant_fraction"] < 0.12


def test_chance_of_long_rows_alone_and_of_none():
    rows = ragged([LONG + 3, LONG + 9], 0)
    found, _ = chance({"a~b": (rows, rows)}, 3, 7, [4, 5])
    expected = agree({"a~b": (rows, shuffled(rows, (7, 0), [4, 5]))}, 3)
    np.testing.assert_array_equal(found["a~b"]["pearson"], expected["a~b"]["pearson"])
    assert chance({}, 3, 7, []) == ({}, {})


def study_of(**explanations):
    count = len(explanations["attention"])
    probabilities = np.full((count, 2), 0.5)
    predictions, numbers = np.zeros(count, int), np.arange(count)
    return Study({"text": explanations}, {}, {}, predictions, probabilities, numbers)


@pytest.mark.parametrize(
    ("wanted", "full"),
    [
        (("attention",), {"attention~gradient", "attention~norm"}),
        (("all",), {"attention~gradient", "attention~norm", "gradient~norm"}),
        (("gradient~norm",), {"gradient~norm"}),
        (("norm~gradient", "norm~attention"), {"gradient~norm", "attention~norm"}),
        ((), set()),
    ],
)
def test_the_pairs_that_are_wanted_are_measured_in_full(wanted, full):
    """Of the others Kendall's tau is; what is measured is the same either way, the floor too."""
    lengths = [5, 3, 8]
    study = study_of(**{n: ragged(lengths, k) for k, n in enumerate(NAMES)})
    config = AnalysisConfig(pairs=wanted, top_k=3)
    found = measure_pairs(study, config, 0)
    every = measure_pairs(study, dataclasses.replace(config, pairs=("all",)), 0)
    assert set(found["agreement"]) == set(found["floor"]["agreement"]) == set(every["agreement"])
    for part, whole in (
        (found["agreement"], every["agreement"]),
        (found["floor"]["agreement"], every["floor"]["agreement"]),
    ):
        for pair, measured in part.items():
            assert set(measured) == (MEASURED if pair in full else {"kendall", "p_value"})
            for name, values in measured.items():
                np.testing.assert_array_equal(values, whole[pair][name])


def test_every_kind_of_attention_is_measured_against_every_importance():
    study = study_of(**{n: ragged([5, 3], k) for k, n in enumerate(("attention", *METHODS))})
    config = AnalysisConfig(methods=METHODS, top_k=3)
    found = measure_pairs(study, config, 0)["agreement"]
    full = {pair for pair, measured in found.items() if set(measured) == MEASURED}
    kinds = ("attention", "rollout", "alti")
    assert full == {f"{kind}~{each}" for kind in kinds for each in ("gradient", "lrp")}
    assert set(found) - full == {
        "attention~rollout",
        "attention~alti",
        "rollout~alti",
        "gradient~lrp",
    }


def test_results_say_of_each_pair_what_was_measured():
    study = study_of(**{n: ragged([5, 3, 8], k) for k, n in enumerate(NAMES)})
    config = AnalysisConfig(top_k=3)
    about = About(study, config, ("no", "yes"), np.zeros(3, int))
    answer = AGREEMENT.answer(measure_pairs(study, config, 0), about)
    full, rest = (answer["agreement"][pair] for pair in ("attention~norm", "gradient~norm"))
    assert set(full) == {*measures(3), "floor", "by_class"}
    assert set(rest) == {"kendall", "floor", "by_class"}
    assert set(rest["floor"]) == {"kendall"}
    assert set(rest["by_class"]["no"]) == {"kendall", "floor"}
    assert "significant_fraction" in rest["kendall"]


def test_signed_importances_agree_by_their_magnitudes():
    a = ragged([6, 4], 0)
    signs = [np.where(np.arange(len(each)) % 2, -1, 1).astype(np.float32) for each in a]
    signed = [each * sign for each, sign in zip(a, signs, strict=True)]
    study = study_of(attention=a, signed=signed)
    found = measure_pairs(study, AnalysisConfig(top_k=3), 0)["agreement"]["attention~signed"]
    np.testing.assert_allclose(found["kendall"], 1, rtol=1e-6)
    np.testing.assert_allclose(found["jensen_shannon"], 0, atol=1e-7)
