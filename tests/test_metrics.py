"""Scores against their textbook definitions."""

import numpy as np
import pytest

from attnjax.metrics import scores


def test_binary_scores_by_hand():
    labels = np.array([1, 1, 0, 0, 1])
    positive = np.array([0.9, 0.4, 0.6, 0.1, 0.7])
    found = scores(labels, np.stack([1 - positive, positive], axis=1), np.full(5, 0.25))
    # predictions 1 0 1 0 1: two true positives, one false positive, one false negative
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found["micro_f1"] == pytest.approx(3 / 5)
    assert found["auc"] == pytest.approx(5 / 6)  # of the 6 pairs, 0.4 < 0.6 is the wrong one
    assert found["loss"] == 0.25
    assert found["examples"] == 5


def test_multi_class_f1_is_macro_and_auc_does_not_exist():
    probabilities = np.eye(3)[[0, 1, 1]]
    found = scores(np.array([0, 1, 2]), probabilities, np.zeros(3))
    assert found["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found["auc"] is None


def test_auc_of_a_single_class_does_not_exist():
    assert scores(np.array([1, 1]), np.full((2, 2), 0.5), np.zeros(2))["auc"] is None
