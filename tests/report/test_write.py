"""The report: made from files alone, escaping what comes from data, fetching nothing."""

import json
import re

import pytest
from etils import epath

from attnjax.config import RunConfig, to_dict
from attnjax.report.heatmap import cells
from attnjax.report.write import write_report

EVIL = '<script>alert("x")</script>'


def write_run(folder):
    measure = {"mean": 0.5, "std": 0.1, "ci95": [0.4, 0.6], "undefined": 1}
    measures = {
        "kendall": {**measure, "significant_fraction": 0.25},
        "pearson": measure,
        "spearman": {**measure, "mean": None, "ci95": None},
    }
    results = {
        "config": to_dict(RunConfig()),
        "versions": {"jax": "1"},
        "devices": {"platform": "cpu"},
        "data": {"words": 3},
        "best": {"step": 7},
        "test": {"accuracy": 0.9, "auc": None, "examples": 1234},
        "timing": {
            "train_examples_per_s": None,
            "compile_s": 1.0,
            "train_s": 2.0,
            "analysis_s": 3.0,
        },
        "robustness": {
            "epsilon": [0.1, 1.0],
            "word_random": [0.9, 0.8],
            "word_worst": [0.7, 0.2],
            "attention_random": [0.9, 0.9],
            "attention_worst": [0.9, 0.5],
        },
        "analysis": {
            "agreement": {"attention~gradient": {**measures, "by_class": {EVIL: measures}}}
        },
    }
    examples = [
        {
            "id": k,
            "tokens": ["fine", EVIL],
            "query": ["who", EVIL],
            "label": EVIL,
            "prediction": "b",
            "attention": [0.25, 0.75],
            "importance": {"gradient": [0.0, 0.5]},
            "agreement": {"attention~gradient": {"kendall": None if k == 0 else k / 10}},
        }
        for k in range(4)
    ]
    metrics = [
        {"step": 5, "epoch": 0.5, "split": "train", "loss": 1.0, "accuracy": 0.5},
        {"step": 9, "epoch": 1.0, "split": "validation", "loss": 0.9, "accuracy": 0.6},
    ]
    (folder / "analysis").mkdir()
    (folder / "results.json").write_text(json.dumps(results))
    for name, rows in (("analysis/examples.jsonl", examples), ("metrics.jsonl", metrics)):
        (folder / name).write_text("\n".join(json.dumps(row) for row in rows))


@pytest.fixture
def page(tmp_path):
    write_run(tmp_path)
    write_report(epath.Path(tmp_path))
    return (tmp_path / "report.html").read_text()


def test_text_from_data_stays_text(page):
    assert "alert(" in page
    assert EVIL not in page
    assert page.count("<script>") == 1, "the report's own"


def test_nothing_is_fetched(page):
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)


def test_numbers_that_do_not_exist_are_dashes(page):
    assert "NaN" not in page
    assert re.search(r"<dt>auc</dt><dd>–</dd>", page)
    assert "<dd>1,234</dd>" in page
    assert "0.400 … 0.600" in page


def test_each_example_is_shown_once_with_aligned_rows(page):
    articles = re.findall(r"<article.*?</article>", page, re.S)
    assert len(articles) == 3, "the one without a tau is left out"
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", articles[0], re.S)
    assert [name for name, _ in rows] == ["attention", "gradient"]
    assert all(cells.count("<td") == 2 for _, cells in rows)


def test_figures_are_written_as_svg_and_pdf(tmp_path, page):
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert names == {
        "training_loss",
        "training_accuracy",
        "kendall_attention_gradient",
        "robustness",
    }
    for name in names:
        assert (tmp_path / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert "<svg" in (tmp_path / "figures" / f"{name}.svg").read_text()


def test_colours_span_the_scale():
    light, half, dark = cells(["a", "b", "c"], [0.0, 0.5, 1.0])
    assert light["colour"] == "rgb(247,251,255)"
    assert dark["colour"] == "rgb(8,69,148)"
    assert dark["ink"] == "#fff"
    assert light["ink"] != "#fff"
    assert half["value"] == "0.5"
    assert cells(["a"], [0.0])[0]["colour"] == "rgb(247,251,255)"
