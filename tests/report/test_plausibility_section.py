"""The section on plausibility: tables, the sentence, people's words beside the explanations."""

import pytest
from etils import epath

from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Files, Folded, Shown, Told
from attnjax.report.examples import people_of, shown
from attnjax.report.rationales import SHARE, people_share

MEANS = {"attention": 0.25, "lrp": 0.5, "random": 0.2, "people": 0.7}
MEASURES = ("average_precision", "f1", "iou")


def summary(mean):
    return {"mean": mean, "std": 0.1, "ci95": [mean - 0.05, mean + 0.05], "undefined": 0}


def told(folder, people=True, examples=40):
    found = {}
    for name, mean in MEANS.items():
        measures = dict.fromkeys(MEASURES, summary(mean))
        found[name] = {**measures, "right": measures, "by_class": {"yes": measures}}
    if not people:
        del found["people"]
    analysis = {"examples": examples, "plausibility": found}
    return Told(epath.Path(folder), {}, analysis, [{"rationale": [[0]]}, {"rationale": None}])


def test_tables(tmp_path):
    blocks = ANSWERS["plausibility"].blocks(told(tmp_path))
    assert blocks[0].text.startswith("People named words as the reason for the label in 1 of 2")
    assert "one person's words as an explanation of another's" in blocks[0].text
    (table,) = [each.table for each in blocks if isinstance(each, Shown)]
    assert [row[0] for row in table.text()] == list(MEANS)
    assert table.text()[1][1] == "0.500 [0.450 … 0.550]"
    assert [each.table.name for each in blocks if isinstance(each, Files)] == [
        "plausibility",
        "plausibility_by_class",
    ]
    (folded,) = [each for each in blocks if isinstance(each, Folded)]
    rows = folded.blocks[0].table.text()
    assert [row[0] for row in rows] == ["right"] * 4 + ["is yes"] * 4
    alone = ANSWERS["plausibility"].blocks(told(tmp_path, people=False))
    assert "ceiling" not in alone[0].text


@pytest.mark.parametrize("people", [True, False])
def test_the_sentence_names_the_best_attention_floor_and_ceiling(tmp_path, people):
    assert ANSWERS["plausibility"].sentence(told(tmp_path, people)) == (
        "How well explanations find the words that people name: average precision of lrp 0.50 "
        "(0.45 to 0.55) and attention 0.25 (0.20 to 0.30); random order 0.20"
        f"{', people among themselves 0.70' if people else ''}."
    )
    few = ANSWERS["plausibility"].sentence(told(tmp_path, people, examples=4))
    assert "lrp 0.50 and" in few


def test_what_was_not_asked_is_left_out(tmp_path):
    nothing = Told(epath.Path(tmp_path), {}, {"plausibility": None, "examples": 3}, [])
    assert ANSWERS["plausibility"].blocks(nothing) == []
    assert ANSWERS["plausibility"].sentence(nothing) == ""


def test_peoples_words_stand_above_the_explanations():
    example = {
        "id": 1,
        "tokens": ["so", "good", "."],
        "label": "1",
        "attention": [0.1, 0.2, 0.7],
        "importance": {"gradient": [0.1, 0.2, 0.3]},
        "agreement": {},
        "rationale": [[1], [0, 1], []],
    }
    assert people_of(example) == [1 / 3, 2 / 3, 0]
    names = [row["name"] for row in shown(example, ())["heatmaps"][0]["blocks"][0]["rows"]]
    assert names == ["people's words", "attention", "gradient"]
    nobody = {**example, "rationale": None}
    assert people_of(nobody) == people_of({**example, "rationale": [[]]}) == []
    assert people_share([example, nobody]) == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert people_share([nobody]) == SHARE
