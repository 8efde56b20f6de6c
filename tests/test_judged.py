"""Explanations that were judged: in a run's files and report, and where runs are compared."""

import json
import shutil

import numpy as np
import pytest
from fabricated_runs import example_rows, write_run

from attnjax import analyze, compare


def rows_of(found, part, **wanted):
    return [row for row in found[part] if all(row[k] == v for k, v in wanted.items())]


def test_explanations_are_judged_and_their_cost_is_told(trained, tmp_path):
    """On all devices of the run; in results.json, in the report, and in its tables."""
    run = tmp_path / "run"
    shutil.copytree(trained / "seed_0", run)
    wanted = ("analysis.questions=continuity,randomisation", "analysis.continuity_draws=1")
    flags = [f"--config.{each}" for each in wanted]
    assert analyze.main(["attnjax", f"--workdir={run}", *flags]) == 0
    found = json.loads((run / "results.json").read_text())
    explanations = {"attention", "gradient", "leave_one_out", "random"}
    assert set(found["analysis"]["continuity"]) == explanations
    assert set(found["analysis"]["randomisation"]) == explanations
    moved = found["analysis"]["continuity"]["gradient"]
    assert 0 < moved["mean"] < 10
    assert 0 <= moved["infidelity_scaled"]["mean"] <= moved["infidelity"]["mean"]
    assert sum(each["max_sensitivity"]["undefined"] for each in moved["by_class"].values()) == 0
    assert set(found["cost"]) == {"gradient", "leave_one_out"}
    assert found["timing"]["analysis_peak_bytes"] > 1e7
    row = json.loads((run / "analysis" / "examples.jsonl").read_text().splitlines()[0])
    assert row["continuity"]["attention"]["max_sensitivity"] >= 0
    page = (run / "report.html").read_text()
    for said in ("Do the explanations hold still?", "What do the explanations cost?", "GB of mem"):
        assert said in page
    for name in ("cost", "continuity", "continuity_by_class"):
        assert (run / "tables" / f"{name}.csv").exists()


def test_judged_explanations_stand_side_by_side_by_class_and_attention_is_tested(tmp_path):
    """Faithfulness, continuity and randomisation of every explanation, and what each costs."""

    def judged(noise, shift):
        rows = example_rows(noise=noise)
        own = np.random.default_rng([noise, 3])
        for row in rows:
            fall = {"attention": shift + own.normal(0, 0.01), "gradient": 0.4, "random": 0.1}
            row["faithfulness"] = {
                name: {"comprehensiveness": value + (row["label"] == "1"), "flip": None}
                for name, value in fall.items()
            }
            row["randomisation"] = {"gradient": {"decode": 1.0, "embed": 0.3}}
            row["continuity"] = {"random": {"max_sensitivity": None, "infidelity_scaled": 0.02}}
        return rows

    cost = {"gradient": {"seconds_per_example": 0.002, "passes": {"forward": 1.0, "backward": 1.0}}}
    a = write_run(tmp_path / "a", judged(0, 0.2))
    b = write_run(tmp_path / "b", judged(1, 0.3), adversary__epsilon=2.0)
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    (tmp_path / "a" / "results.json").write_text(json.dumps({**results, "cost": cost}))
    assert compare.main(["attnjax", a, b, f"--out={tmp_path / 'out'}"]) == 0
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    measure = "faithfulness_comprehensiveness"
    (tested,) = rows_of(found, "differences", measure=measure)
    assert tested["of"] == "attention"
    assert tested["difference"] == pytest.approx(0.1, abs=0.02)
    assert {row["of"] for row in rows_of(found, "means", measure=measure)} == {
        *("attention", "gradient", "random")
    }
    (kept,) = rows_of(found, "means", name="a", of="gradient", measure="randomisation_embed")
    assert kept["mean"] == pytest.approx(0.3)
    (none,) = rows_of(found, "means", name="a", measure="continuity_max_sensitivity")
    assert (none["of"], none["mean"]) == ("random", None)
    for label in ("0", "1"):
        (member,) = rows_of(
            found, "by_class", **{"class": label}, name="b", of="gradient", measure=measure
        )
        assert member["mean"] == pytest.approx(0.4 + int(label))
    assert found["cost"] == {"a": cost}
    page = (tmp_path / "out" / "comparison.html").read_text()
    for said in ("comprehensiveness", "By class", "What do the explanations cost?"):
        assert said in page
    assert "2" in (tmp_path / "out" / "tables" / "cost.csv").read_text()
