"""Which validation is the best, when a run ends, and what its log holds."""

import numpy as np
import pytest

from attnjax.config import changed, from_config_dict
from attnjax.data.batches import EncodedSplit, Shapes
from attnjax.data.dataset import Dataset
from attnjax.data.vocabulary import SPECIALS, Vocabulary
from attnjax.errors import UserError
from attnjax.training.selection import (
    exhausted,
    fallback,
    monitored,
    scores_if_finite,
    selected,
    step_means,
)


def test_means_are_over_labelled_examples_or_all_rows():
    sums = {"loss": 6.0, "clean_loss": 3.0, "correct": 2.0, "flipped": 2.0}
    found = step_means({**sums, "examples": 4.0, "rows": 8.0})
    assert found == {"loss": 1.5, "accuracy": 0.5, "clean_loss": 0.75, "flipped": 0.25}


@pytest.mark.parametrize(
    ("monitor", "values", "kept"),
    [
        ("auc", [0.5, 0.7, 0.7, 0.6, 0.8], [0, 1, 1, 1, 4]),  # an equal one is no better
        ("loss", [0.5, 0.7, 0.4, 0.4, 0.6], [0, 0, 2, 2, 2]),
    ],
)
def test_the_best_validation_so_far(monitor, values, kept):
    best, stale, place = None, 0, 0
    for number, value in enumerate(values):
        better, best, stale = selected({monitor: value}, monitor, best, stale)
        place = number if better else place
        assert (place, stale) == (kept[number], number - kept[number])
        assert abs(best) == values[place]
        assert [exhausted(stale, patience) for patience in (0, 2)] == [False, stale >= 2]


def test_a_metric_that_does_not_exist_is_one_line():
    with pytest.raises(UserError, match="the validation split has no auc; choose another"):
        selected({"auc": None}, "auc", None, 0)


def test_a_run_whose_loss_is_not_finite_has_no_scores():
    labels, probabilities = np.array([0, 1]), np.eye(2)
    assert scores_if_finite(labels, probabilities, np.array([0.0, np.nan])) is None
    assert scores_if_finite(labels, probabilities, np.array([0.5, 0.0]))["loss"] == 0.25


_EMPTY = (np.zeros(4, np.float32), Shapes((8,), ()), None, {})


@pytest.mark.parametrize(
    ("classes", "validation", "monitor", "told"),
    [(2, [0, 1, 1], "auc", False), (2, [1, 1], "accuracy", True), (3, [1, 1], "accuracy", False)],
)
def test_auto_takes_a_measure_that_exists(classes, validation, monitor, told):
    raw = {"task": "classification", "data": {"source": "files", "path": "x"}}
    config = from_config_dict(raw)
    split = EncodedSplit([], None, np.array(validation, np.int32), None)
    names = ("a", "b", "c")[:classes]
    dataset = Dataset({"validation": split}, {}, Vocabulary(SPECIALS), names, *_EMPTY)
    assert monitored(config, dataset) == monitor
    assert bool(fallback(config, dataset)) == told
    config = changed(config, {"train.monitor": "auc"})
    if monitor == "auc":
        assert monitored(config, dataset) == "auc"
    else:
        with pytest.raises(UserError, match="the validation split has no auc"):
            fallback(config, dataset)
