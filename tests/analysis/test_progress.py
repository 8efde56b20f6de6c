"""What long work says: soon, not too often, and never nothing for long."""

import logging

import pytest

from attnjax.analysis.progress import PAUSE, SILENCE, progress


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "attnjax")
    return lambda: [each.getMessage() for each in caplog.records]


def run(steps, total=1000):
    """steps  of (seconds, examples)"""
    now = [0.0]
    advance = progress("analysis: gradient", total, lambda: now[0])
    for seconds, count in steps:
        now[0] += seconds
        advance(count)


def test_it_begins_by_saying_what_and_how_much(said):
    run([])
    run([], total=1)
    progress("analysis: influence", 1, what="trained model")
    assert said() == [
        "analysis: gradient: 1,000 examples",
        "analysis: gradient: 1 example",
        "analysis: influence: 1 trained model",
    ]


def test_quick_work_says_no_more(said):
    run([(PAUSE / 20, 100)] * 10)
    assert len(said()) == 1


def test_it_speaks_about_every_tenth(said):
    run([(PAUSE, 50)] * 20)
    assert said()[1:] == [
        f"analysis: gradient: {done:,} of 1,000 examples, {done // 50 * PAUSE:.0f} s"
        for done in range(100, 1001, 100)
    ]


def test_slow_work_speaks_before_a_tenth_is_done(said):
    run([(SILENCE + 1, 1)] * 3)
    assert [each.split(": ")[2].split(",")[0] for each in said()[1:]] == [
        f"{k} of 1" for k in (1, 2, 3)
    ]
