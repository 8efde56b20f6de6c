"""The section on shuffled heads: heat map, numbers, the sentence."""

import pytest
from etils import epath

from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Figures, Files, Paragraph, Told

SECTION = ANSWERS["self_attention"]


def summary(mean):
    return {"mean": mean, "std": 0.1, "ci95": [mean - 0.01, mean + 0.01], "undefined": 0}


def told_of(folder, examples=40):
    heads = [[summary(0.02), summary(0.0)], [summary(0.31), summary(0.04)]]
    found = {"permutations": 10, "median_change": heads}
    return Told(epath.Path(folder), {}, {"examples": examples, "self_attention": found}, [])


def test_a_map_of_layers_and_heads_and_a_row_for_each(tmp_path):
    blocks = SECTION.blocks(told_of(tmp_path))
    assert "10 times" in next(each.text for each in blocks if isinstance(each, Paragraph))
    (figures,) = (each.figures for each in blocks if isinstance(each, Figures))
    assert [each["name"] for each in figures] == ["self_attention"]
    svg = (tmp_path / "figures" / "self_attention.svg").read_text()
    assert all(f">{text}<" in svg for text in ("0.31", "0.04", "head", "layer", "total variation"))
    (table,) = (each.table for each in blocks if isinstance(each, Files))
    assert table.text()[2] == ["2", "1", "0.310 ± 0.100 [0.300 … 0.320]"]


def test_the_sentence_names_the_head_that_matters_most(tmp_path):
    assert SECTION.sentence(told_of(tmp_path)) == (
        "Of 4 heads, head 1 of layer 2 matters most: where its attention is shuffled, the output "
        "changes by 0.31 (0.30 to 0.32); the median over heads is 0.03."
    )
    few = SECTION.sentence(told_of(tmp_path, examples=4))
    assert "0.31, over 4 examples: too few for an interval" in few


@pytest.mark.parametrize("analysis", [{}, {"self_attention": None}])
def test_nothing_asked_is_nothing_shown(tmp_path, analysis):
    told = Told(epath.Path(tmp_path), {}, analysis, [])
    assert SECTION.blocks(told) == []
    assert SECTION.sentence(told) == ""
