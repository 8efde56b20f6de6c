"""Summaries: what is undefined is counted and never enters."""

import numpy as np
import pytest

from attnjax.analysis.findings import by_class, describe


def test_what_is_undefined_is_counted_and_left_out():
    values = np.array([0.2, np.nan, 0.6, np.nan])
    found = describe({"kendall": values, "p_value": np.array([0.01, np.nan, 0.5, np.nan])})
    assert found["kendall"]["mean"] == pytest.approx(0.4)
    assert found["kendall"]["std"] == pytest.approx(0.2)
    assert found["kendall"]["undefined"] == 2
    assert found["kendall"]["significant_fraction"] == 0.5
    assert "p_value" not in found


def test_a_measure_defined_nowhere_has_no_numbers():
    found = describe({"kendall": np.full(3, np.nan), "p_value": np.full(3, np.nan)})["kendall"]
    assert found == {
        "mean": None,
        "std": None,
        "ci95": None,
        "undefined": 3,
        "significant_fraction": None,
    }


def test_no_row_at_all():
    found = describe({"median_change": np.zeros(0)})["median_change"]
    assert found == {"mean": None, "std": None, "ci95": None, "undefined": 0}


def test_one_defined_row_has_a_mean_and_no_interval():
    found = describe({"pearson": np.array([0.5, np.nan, np.nan])})["pearson"]
    assert (found["mean"], found["ci95"]) == (0.5, None)


@pytest.mark.parametrize(("rows", "known"), [(9, False), (10, True)])
def test_fewer_than_ten_examples_have_no_interval(rows, known):
    """In a class and in a bin too, which `describe` as well; what is undefined counts for none."""
    values = np.concatenate([np.linspace(0.2, 0.8, rows), np.full(5, np.nan)])
    found = describe({"pearson": values})["pearson"]
    assert found["std"] is not None
    assert (found["ci95"] is not None) == known
    found = by_class({"pearson": values}, np.arange(rows + 5) % 2, ("no", "yes"))
    assert [each["pearson"]["ci95"] for each in found.values()] == [None, None]


def test_classes_are_those_that_were_predicted():
    measures = {"pearson": np.array([1.0, 0.0, 0.5])}
    found = by_class(measures, np.array([0, 0, 2]), ("no", "maybe", "yes"))
    assert list(found) == ["no", "yes"]
    assert found["no"]["pearson"]["mean"] == 0.5
    assert found["yes"]["pearson"]["mean"] == 0.5
