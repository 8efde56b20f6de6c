"""The command line of a sweep: ranges, combinations, and what is refused."""

import dataclasses

import numpy as np
import pytest

from attnjax.config import AdversaryConfig, RunConfig, flatten, to_dict
from attnjax.errors import UserError
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.sweeps.points import parse_sweep, parse_values, points_of


def sweep_of(*flags):
    return parse_sweep(["sweep", *flags])[0]


def test_ranges_lists_and_numbers():
    assert parse_values("epsilon", "0:30:4", "grid", 0) == [0, 10, 20, 30]
    assert parse_values("epsilon", "2:2:1", "uniform", 0) == [2]
    assert parse_values("epsilon", "3, 1e-2,0", "uniform", 0) == [3, 0.01, 0]
    assert parse_values("epsilon", "7", "grid", 0) == [7]


def test_random_draws_depend_on_the_seed_and_the_field_alone():
    drawn = parse_values("epsilon", "5:30:200", "uniform", 3)
    assert drawn == parse_values("epsilon", "5:30:200", "uniform", 3)
    assert drawn != parse_values("epsilon", "5:30:200", "uniform", 4)
    assert drawn != parse_values("weight", "5:30:200", "uniform", 3)
    assert min(drawn) >= 5
    assert max(drawn) <= 30
    assert np.mean(drawn) == pytest.approx(17.5, abs=2.5)  # 5 deviations of the mean


def test_every_combination_is_one_point_with_its_fields_set_and_no_other():
    config = dataclasses.replace(RunConfig(), seed=5)
    flags = ("--sweep.epsilon=1,2", "--sweep.technique=word_at,attention_at", "--sweep.seeds=2")
    assert {"word_at", "attention_at"} <= set(TECHNIQUES)  # without the table any name would pass
    points = points_of(config, sweep_of(*flags, "--sweep.learning_rate", "0.1"))
    assert [each.name for each in points] == [f"point_{k:04d}" for k in range(8)]
    assert {
        (p.config.adversary.technique, p.config.adversary.epsilon, p.config.seed) for p in points
    } == {
        (technique, epsilon, seed)
        for technique in ("word_at", "attention_at")
        for epsilon in (1.0, 2.0)
        for seed in (5, 6)
    }
    changed = {
        name
        for point in points
        for name, value in flatten(to_dict(point.config)).items()
        if value != flatten(to_dict(config))[name]
    }
    assert changed == {
        "seed",
        "adversary.technique",
        "adversary.epsilon",
        "train.learning_rate",
    }


def test_no_technique_runs_once_for_all_epsilons():
    points = points_of(
        RunConfig(),
        sweep_of("--sweep.epsilon=1,2,3", "--sweep.technique=none,attention_at", "--sweep.seeds=2"),
    )
    assert [each.varied["technique"] for each in points] == ["none"] * 2 + ["attention_at"] * 6
    assert points[0].varied["epsilon"] is None


def test_the_rest_of_the_command_line_is_left_alone():
    flags = ["--config=x.py", "--sweep.seeds", "2", "--workdir", "w", "--config.seed=3"]
    asked, rest = parse_sweep(["sweep", *flags])
    assert rest == ["sweep", "--config=x.py", "--workdir", "w", "--config.seed=3"]
    assert asked.given == {"seeds": "2"}
    assert sweep_of("--sweep.seeds=1", "--sweep.memory=1.5").memory == 1_500_000_000


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--sweep.hidden_dim=8,16", "a sweep cannot vary 'hidden_dim': it varies epsilon, weight"),
        ("--sweep.config.seed=1", "a sweep cannot vary 'config.seed'"),
        ("--sweep.epsilon=", "--sweep.epsilon is empty"),
        ("--sweep.epsilon=3:1:5", "is empty: 3 is not below 1"),
        ("--sweep.epsilon=1:1:2", "is empty: 1 is not below 1"),
        ("--sweep.epsilon=-1e308:1e308:3", "-1e308:1e308:3 is wider than a number can be"),
        ("--sweep.epsilon=0:1e30:3", "'adversary.epsilon' must be at most 1e"),
        ("--sweep.epsilon=0:30:0", "must end in a number of values"),
        ("--sweep.epsilon=0:30:2.5", "must end in a number of values"),
        ("--sweep.epsilon=0:30", "is no range; write --sweep.epsilon=0:30:100"),
        ("--sweep.epsilon=one", "'one' is no number"),
        ("--sweep.epsilon=nan", "'nan' is no number"),
        ("--sweep.epsilon=1,,2", "'' is no number"),
        ("--sweep.epsilon=1,1.0", "names a value twice"),
        ("--sweep.epsilon=-1", "'adversary.epsilon' must be at least 0.0"),
        ("--sweep.technique=atention_at", "did you mean 'attention_at'?"),
        ("--sweep.technique=word_at,word_at", "empty or repeated name"),
        ("--sweep.seeds=0", "must be a number of seeds"),
        ("--sweep.seeds=2.5", "must be a number of seeds"),
        ("--sweep.mode=pmap", "--sweep.mode is 'pmap'; did you mean 'map'?"),
        ("--sweep.draw=normal", "--sweep.draw is 'normal'"),
        ("--sweep.memory=0", "--sweep.memory must be positive"),
        ("--sweep.memory=1e300", "--sweep.memory must be positive, at most 1,000,000"),
        ("--sweep.seeds=" + "9" * 5000, "must be a number of seeds from 1 to 100,000"),
        ("--sweep.memory=much", "'much' is no number; write --sweep.memory=4"),
        ("--sweep.mode=map", "nothing varies"),
        ("--sweep.draw=uniform", "draws from a range, and none is given"),
        ("--sweep.learning_rate=0:1:999999", "must end in a number of values"),
    ],
)
def test_mistakes_are_told_in_one_line(flag, message):
    config = RunConfig(adversary=AdversaryConfig(technique="attention_at"))
    with pytest.raises(UserError) as error:
        points_of(config, sweep_of(flag))
    assert message in str(error.value)


def test_what_changes_nothing_or_is_too_much_is_refused():
    with pytest.raises(UserError, match="change nothing without a technique"):
        points_of(RunConfig(), sweep_of("--sweep.epsilon=1,2"))
    with pytest.raises(UserError, match="given twice"):
        sweep_of("--sweep.seeds=2", "--sweep.seeds=3")
    many = ("--sweep.relevance=0:1:1000", "--sweep.learning_rate=0:1:1000")
    with pytest.raises(UserError, match=r"1,000,000 points, more than 100,000"):
        points_of(RunConfig(), sweep_of(*many))
