"""The section on prototypes: a table for each class, and the sentence."""

from etils import epath

from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Heading, Shown, Told


def entries(probability):
    words = {"words": ["a", "fine", "film"], "probability": probability, "log_prior": -12.0}
    return [
        words | {"kind": "free", "free_probability": 1.0, "probability": probability - 0.2},
        words | {"kind": "prior"},
        words | {"kind": "ngram", "id": 7, "label": "yes"},
        words | {"kind": "text", "id": 8, "label": None, "words": ["x"] * 50},
    ]


def told(folder, found):
    analysis = {"examples": 40, "prototypes": found}
    config = {"analysis": {"prototype_prior": 0.5}}
    return Told(epath.Path(folder), {"config": config, "analysis": analysis}, analysis, [])


def test_a_table_for_each_class_and_a_sentence(tmp_path):
    given = told(tmp_path, {"no": entries(0.9), "yes": entries(0.8)})
    shown = ANSWERS["prototypes"].blocks(given)
    assert shown[0].text.endswith("The prior's weight is 0.500.")
    tables = [each for each in shown if isinstance(each, Shown)]
    assert [each.title for each in shown if isinstance(each, Heading)] == ["Class no", "Class yes"]
    assert [each.caption for each in tables] == ["Typical of no.", "Typical of yes."]
    rows = tables[0].table.rows
    assert [row["kind"] for row in rows][:2] == ["free vectors", "words under the prior"]
    assert rows[0]["log p, a word"] == -3.0
    assert rows[3]["words"].endswith("x …")
    assert ANSWERS["prototypes"].sentence(given) == (
        "Of the vectors that ascent finds the class has probability 1.00, of their nearest words "
        "0.65, of words under the prior 0.85; of the best real n-grams 0.85 and texts 0.85 (means "
        "over the classes, 2)."
    )


def test_nothing_is_told_where_nothing_was_asked(tmp_path):
    assert ANSWERS["prototypes"].blocks(told(tmp_path, None)) == []
    assert ANSWERS["prototypes"].sentence(told(tmp_path, None)) == ""
