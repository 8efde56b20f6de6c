"""The section on layers and heads: heat maps, numbers, the sentence."""

import pytest
from etils import epath

from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Figures, Files, Told

SECTION = ANSWERS["layers"]


def summary(mean):
    interval = None if mean is None else [mean - 0.05, mean + 0.05]
    spread, missing = (0.2, 3) if mean is not None else (None, 40)
    return {"mean": mean, "std": spread, "ci95": interval, "undefined": missing}


def told_of(folder, examples=40):
    layers = {
        "gradient": [[summary(0.1), summary(-0.2)], [summary(0.4), summary(None)]],
        "lrp": [[summary(0.0), summary(0.2)], [summary(0.7), summary(0.3)]],
    }
    share = [[summary(0.8), summary(0.3)], [summary(0.5), summary(0.9)]]
    analysis = {"examples": examples, "layers": layers, "off_words": share}
    return Told(epath.Path(folder), {}, analysis, [])


def test_a_map_for_each_importance_and_a_row_for_each_head(tmp_path):
    blocks = SECTION.blocks(told_of(tmp_path))
    figures, shares = (each.figures for each in blocks if isinstance(each, Figures))
    assert [each["name"] for each in shares] == ["layers_off_words"]
    svg = (tmp_path / "figures" / "layers_off_words.svg").read_text()
    assert all(f">{text}<" in svg for text in ("0.80", "0.30", "0.50", "0.90", "share"))
    assert [each["name"] for each in figures] == ["layers_gradient", "layers_lrp"]
    svg = (tmp_path / "figures" / "layers_lrp.svg").read_text()
    assert all(f">{text}<" in svg for text in ("0.70", "0.30", "head", "layer"))
    (table,) = (each.table for each in blocks if isinstance(each, Files))
    assert len(table.rows) == 8
    (row,) = table.select(table.columns, importance="lrp", layer=2, head=1).rows
    assert row["Kendall's tau"].mean == 0.7
    assert table.text()[3] == ["gradient", "2", "2", "–", "40"]


def test_the_sentence_names_the_best_head_and_what_is_usual(tmp_path):
    assert SECTION.sentence(told_of(tmp_path)) == (
        "Of 4 heads, head 1 of layer 2 agrees most with an importance, lrp: tau 0.70 (0.65 to "
        "0.75); the median over heads and importances is 0.20."
    )
    few = SECTION.sentence(told_of(tmp_path, examples=4))
    assert "over 1 example: too few for an interval" in few


@pytest.mark.parametrize("analysis", [{}, {"layers": {}}, {"layers": None}])
def test_nothing_asked_is_nothing_shown(tmp_path, analysis):
    told = Told(epath.Path(tmp_path), {}, analysis, [])
    assert SECTION.blocks(told) == []
    assert SECTION.sentence(told) == ""
