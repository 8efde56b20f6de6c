"""The sections on faithfulness, randomisation and continuity: tables, curves, sentences."""

import pytest
from etils import epath

from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Figures, Files, Folded, Paragraph, Shown, Told

NAMES = ("faithfulness", "randomisation", "continuity")


def summary(mean, undefined=0):
    interval = None if mean is None else [mean - 0.05, mean + 0.05]
    return {"mean": mean, "std": 0.1, "ci95": interval, "undefined": undefined}


def analysis(examples=40):
    measures = ("aopc", "aopc_least_first", "comprehensiveness", "sufficiency", "flip")
    means = {"attention": 0.1, "lrp": 0.4, "leave_one_out": 0.3, "random": 0.06}
    faithful = {name: dict.fromkeys(measures, summary(mean)) for name, mean in means.items()}
    faithful["lrp"]["flip"] = summary(None, examples)
    curve = {"most_first": [0.0, 0.2, 0.3], "least_first": [0.0, 0.01, 0.02]}
    stages = ("decode", "score", "encode", "embed")
    return {
        "examples": examples,
        "faithfulness": faithful,
        "faithfulness_curves": dict.fromkeys(means, curve),
        "randomisation": {name: dict.fromkeys(stages, summary(means[name])) for name in means},
        "continuity": {"attention": summary(0.02), "lrp": summary(0.5)},
    }


CONFIG = {"config": {"analysis": {"costly_examples": 2}}}


@pytest.fixture
def told(tmp_path):
    return Told(epath.Path(tmp_path), {"analysis": analysis(), **CONFIG}, analysis(), [])


def test_each_explanation_has_a_row_and_a_missing_figure_a_dash(told):
    blocks = ANSWERS["faithfulness"].blocks(told)
    (table,) = [each.table for each in blocks if isinstance(each, Shown)]
    rows = {row[0]: row[1:] for row in table.text()}
    assert list(rows) == ["attention", "lrp", "leave one out", "random"]
    assert rows["lrp"][0] == "0.400 [0.350 … 0.450]"
    assert rows["lrp"][-1] == "–"
    (figures,) = [each for each in blocks if isinstance(each, Figures)]
    assert len(figures.figures) == 1
    assert (told.folder / "figures" / "faithfulness.svg").exists()


def test_sentences_name_the_extremes_attention_and_chance(told):
    assert ANSWERS["faithfulness"].sentence(told) == (
        "Comprehensiveness, the fall of the predicted class's probability without the words that "
        "are named: lrp 0.40 (0.35 to 0.45) and attention 0.10 (0.05 to 0.15); random order 0.06."
    )
    assert ANSWERS["randomisation"].sentence(told) == (
        "With nothing left of what was learnt, the explanation that stays most alike is lrp: "
        "Spearman's rho 0.40 (0.35 to 0.45); two random orders: 0.00."
    )
    assert ANSWERS["continuity"].sentence(told) == (
        "Of a text disturbed a little, lrp changes most, by 0.50 (0.45 to 0.55) of its norm, "
        "attention by 0.02 (-0.03 to 0.07)."
    ).replace("-", "−")
    # Of a method asked about few examples alone no extreme is told where others know more.
    told.analysis["continuity"]["lime"] = summary(0.9, undefined=36)
    told.analysis["randomisation"]["lime"] = {"embed": summary(0.9, undefined=36)}
    assert "lrp changes most" in ANSWERS["continuity"].sentence(told)
    assert "is lrp: " in ANSWERS["randomisation"].sentence(told)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_asked_is_left_out(name, tmp_path):
    nothing = Told(epath.Path(tmp_path), {}, {name: None, "examples": 3}, [])
    assert ANSWERS[name].blocks(nothing) == []
    assert ANSWERS[name].sentence(nothing) == ""


@pytest.mark.parametrize("name", NAMES)
def test_few_examples_bear_no_interval(name, tmp_path):
    few = Told(epath.Path(tmp_path), CONFIG, analysis(4), [])
    assert "(" not in ANSWERS[name].sentence(few)
    assert "over 4 examples: too few for an interval" in ANSWERS[name].sentence(few)
    texts = [each.text for each in ANSWERS[name].blocks(few) if isinstance(each, Paragraph)]
    of_few = "are asked again for 2 of the examples" in " ".join(texts)
    assert of_few == (name != "faithfulness")


def test_measures_by_class_are_folded_away_and_have_a_file(told):
    of_class = {"max_sensitivity": summary(0.2), "infidelity": summary(0.01)}
    told.analysis["continuity"]["lrp"] |= {
        "infidelity": summary(0.03),
        "by_class": {"pos": of_class, "neg": of_class},
    }
    blocks = ANSWERS["continuity"].blocks(told)
    (whole,) = [each.table for each in blocks if isinstance(each, Shown)]
    rows = {row["explanation"]: row for row in whole.rows}
    assert rows["lrp"]["infidelity"].mean == 0.03
    assert rows["attention"]["infidelity"] is None  # of an older run
    (folded,) = [each for each in blocks if isinstance(each, Folded)]
    members = folded.blocks[0].table.rows
    assert [(row["class"], row["explanation"]) for row in members] == [
        *(("pos", "lrp"), ("neg", "lrp"))  # in the order of the labels
    ]
    assert members[0]["largest change"].mean == 0.2
    assert {each.table.name for each in blocks if isinstance(each, Files)} == {
        *("continuity", "continuity_by_class")
    }
