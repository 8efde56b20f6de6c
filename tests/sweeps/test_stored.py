"""What a sweep's folder says of its finished points."""

import json

import pytest
from etils import epath

from attnjax.config import RunConfig, changed, to_dict
from attnjax.data.dataset import Dataset
from attnjax.errors import UserError
from attnjax.sweeps.points import Point
from attnjax.sweeps.stored import row_of

CONFIG = changed(RunConfig(), {"train.monitor": "accuracy", "adversary.epsilon": 2.0})
POINT = Point("point_0", CONFIG, {"epsilon": 2.0})
DATASET = Dataset._make(Dataset._fields)  # nothing of it is asked for
RESULTS = {
    "config": to_dict(CONFIG),
    "test": {"accuracy": 0.75},
    "analysis": {"agreement": {"attention~gradient": {"kendall": {"mean": 0.5}}}},
    "best": {"step": 3, "validation": {"accuracy": 0.5}},
    "failed": False,
    "failed_step": None,
}


def row(tmp_path, **results):
    (tmp_path / "point_0").mkdir()
    (tmp_path / "point_0" / "results.json").write_text(json.dumps({**RESULTS, **results}))
    return row_of(epath.Path(tmp_path), POINT, DATASET)


def test_a_row_has_the_scores_of_the_point_whatever_it_was_analysed_with(tmp_path):
    config = to_dict(changed(CONFIG, {"analysis.examples": 7, "train.keep_heap": False}))
    found = row(tmp_path, config=config)
    assert (found["validation"], found["accuracy"], found["kendall"]) == (0.5, 0.75, 0.5)
    assert (found["pearson"], found["best_step"], found["epsilon"]) == (None, 3, 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": to_dict(RunConfig())}, "is of another run, with train.monitor='auto' and not"),
        ({"config": {"sed": 1}}, "configuration in .*results.json: config has no field 'sed'"),
        ({"best": {"step": 3}}, "it has no 'best.validation'"),
        ({"failed": None}, "'failed' is no bool"),
        ({"analysis": {"agreement": 3}}, "'analysis.agreement' is no dict"),
        ({"test": {"accuracy": "high"}}, "'test.accuracy' is no number"),
    ],
)
def test_results_that_are_not_the_points_are_one_line(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        row(tmp_path, **changes)
    assert "point_0/results.json" in str(caught.value)
