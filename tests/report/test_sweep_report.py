"""Table, figures and page of a sweep, from fabricated rows."""

import csv
import io
import itertools
import json
import re

import numpy as np
import pytest
from etils import epath

from attnjax.report.sweep import draw_against, running, spread, write_sweep


def row(number, technique, epsilon, seed, accuracy, **more):
    return {
        "point": f"point_{number:04d}",
        "technique": technique,
        "epsilon": epsilon,
        "weight": 1.0,
        "relevance": 0.0,
        "learning_rate": 0.001,
        "seed": seed,
        "validation": accuracy,
        "accuracy": accuracy,
        "f1": accuracy,
        "auc": None,
        "kendall": 0.2,
        "pearson": None if accuracy is None else accuracy / 2,
        "best_step": 3,
        "failed": False,
        "failed_step": None,
        **more,
    }


def rows_of(techniques=("attention_at", "<b>&_at")):
    grid = itertools.product(techniques, (0.0, 1.0, 2.0), (0, 1))
    rows = [row(k, *each, 0.5 + 0.1 * each[1] + 0.1 * each[2]) for k, each in enumerate(grid)]
    rows.append(row(len(rows), "none", None, 0, 0.6))
    lost = {"failed": True, "failed_step": 7, "kendall": None}
    return [*rows, row(len(rows), techniques[0], 1.0, 2, None, **lost)]


def test_files_hold_every_run(tmp_path):
    folder = epath.Path(tmp_path)
    write_sweep(folder, rows_of(), ["epsilon"], "grid", "accuracy", {"majority": 0.4})
    lines = [json.loads(line) for line in (folder / "sweep.jsonl").read_text().splitlines()]
    assert lines == rows_of()
    table = list(csv.DictReader(io.StringIO((folder / "sweep.csv").read_text())))
    assert [each["point"] for each in table] == [each["point"] for each in rows_of()]
    assert float(table[2]["accuracy"]) == 0.6
    assert table[-1]["accuracy"] == ""
    assert "auc" not in table[0]  # no run has one
    assert "attention\\_at" in (folder / "sweep.tex").read_text()


def test_the_page_is_escaped_whole_and_names_what_failed(tmp_path):
    folder = epath.Path(tmp_path)
    write_sweep(folder, rows_of(), ["epsilon"], "grid", "accuracy", {"majority": 0.4})
    page = (folder / "sweep.html").read_text()
    assert "<b>&_at" not in page
    assert "&lt;b&gt;&amp;_at" in page
    assert "point_0013 at step 7" in page
    assert page.count("<svg") == 4
    assert not re.findall(r'(?:src|href)="[a-z]+:', page.replace('href="data:,"', ""))
    assert "prefers-color-scheme: dark" in page


def test_bands_reach_from_the_lowest_to_the_highest_seed():
    rows = [row(0, "a", 2.0, 0, 0.5), row(1, "a", 1.0, 0, 0.2), row(2, "a", 2.0, 1, 0.9)]
    x, low, middle, high = spread(rows, "epsilon", "accuracy")
    np.testing.assert_allclose(x, [1, 2])
    np.testing.assert_allclose(low, [0.2, 0.5])
    np.testing.assert_allclose(middle, [0.2, 0.7])
    np.testing.assert_allclose(high, [0.2, 0.9])


def test_running_means():
    mean, deviation = running(np.array([0.0, 3.0, 0.0]))
    np.testing.assert_allclose(mean, [1.5, 1.0, 1.5])
    np.testing.assert_allclose(deviation, [1.5, 2**0.5, 1.5])
    values = np.random.default_rng(0).normal(size=100)
    mean, deviation = running(values)
    assert mean[50] == pytest.approx(values[43:58].mean())  # 15 of 100
    assert deviation[50] == pytest.approx(values[43:58].std())
    assert mean[0] == pytest.approx(values[:8].mean())


def test_random_draws_are_dots_and_grids_are_not(tmp_path):
    folder = epath.Path(tmp_path)
    rows = [row(k, "attention_at", float(k), 0, 0.5 + k / 100) for k in range(20)]
    marks = {}
    for draw in ("uniform", "grid"):
        ((name, svg, caption),) = draw_against(folder, rows, ["epsilon"], "epsilon", "f1", draw)
        assert (name, caption[:7]) == ("f1_epsilon", "Test F1")
        marks[draw] = svg.count("<use")
    assert marks["uniform"] == marks["grid"] + 20
    assert draw_against(folder, [], ["epsilon"], "epsilon", "f1", "grid") == []
    assert draw_against(folder, rows_of()[-1:], ["epsilon"], "epsilon", "f1", "grid") == []
