"""Do explanations name the words that people name?"""

from typing import Any

from attnjax.report.answers.answer import (
    Answer,
    Block,
    Files,
    Folded,
    Paragraph,
    Shown,
    Terms,
    Told,
)
from attnjax.report.sentences import estimate, joined, number, usable
from attnjax.report.tables import Estimate, Table
from attnjax.report.wording import Wording, spaced

FLOOR, CEILING = "random", "people"
MEASURES = {
    "average_precision": Wording(
        "average precision",
        None,
        "0 to 1",
        "Do the words that people name come first? The mean, over those words, of the share of "
        "such words among all that come no later. A random order reaches about the share of all "
        "words that people name, and more in short texts.",
    ),
    "f1": Wording(
        "token F1",
        None,
        "0 to 1",
        "The share of people's words among the first words of the explanation, as many as people "
        "name.",
    ),
    "iou": Wording(
        "intersection over union",
        None,
        "0 to 1",
        "Of those words and people's: the number in both by the number in either.",
    ),
}


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"explanation": spaced(name)}
        | {
            words.label: Estimate(measures[each]["mean"], measures[each].get("ci95"))
            for each, words in MEASURES.items()
        }
        for name, measures in found.items()
    ]


def _tables(found: dict[str, Any]) -> tuple[Table, Table]:
    """Of all examples, and of those with the right prediction and by predicted class."""
    columns = ("explanation", *(words.label for words in MEASURES.values()))
    caption = "How well explanations find the words that people name as the reason for the label"
    labels = dict.fromkeys(label for each in found.values() for label in each["by_class"])
    parts = {"right": {name: each["right"] for name, each in found.items()}} | {
        f"is {label}": {name: each["by_class"][label] for name, each in found.items()}
        for label in labels
    }
    rows = [{"prediction": part, **row} for part, each in parts.items() for row in _rows(each)]
    return (
        Table("plausibility", f"{caption}.", columns, _rows(found)),
        Table(
            "plausibility_by_class",
            f"{caption}, where the prediction is right and by predicted class.",
            ("prediction", *columns),
            rows,
        ),
    )


def _blocks(told: Told) -> list[Block]:
    found = told.analysis.get("plausibility")
    if not found:
        return []
    table, classes = _tables(found)
    named = [row["rationale"] for row in told.examples if any(row.get("rationale") or [])]
    people = (
        f" The row {CEILING} is the ceiling: one person's words as an explanation of another's."
        if CEILING in found
        else ""
    )
    return [
        Paragraph(
            f"People named words as the reason for the label in {len(named):,} of "
            f"{len(told.examples):,} examples; the others are left out. Each person is compared "
            "with alone. Of signed explanations, what speaks most for the predicted class comes "
            f"first, so that a wrong prediction counts against them. The row {FLOOR} is the floor: "
            f"the mean over random orders.{people}"
        ),
        Shown(table, table.caption),
        Files(table),
        Folded("Right predictions, and by predicted class", [Shown(classes, classes.caption)]),
        Files(classes),
        Terms([(words.label, words.meaning) for words in MEASURES.values()]),
    ]


def _sentence(told: Told) -> str:
    """Which explanation finds people's words best, where attention stands, floor and ceiling."""
    found, count = told.analysis.get("plausibility"), told.analysis.get("examples")
    known = {
        name: each
        for name, measures in (found or {}).items()
        if (each := usable(measures["average_precision"], count))
    }
    floor, ceiling = known.pop(FLOOR, None), known.pop(CEILING, None)
    if not known or floor is None:
        return ""
    best = max(known, key=lambda name: known[name]["mean"])
    parts = [f"{spaced(best)} {estimate(known[best])}"]
    if best != "attention" and "attention" in known:
        parts.append(f"attention {estimate(known['attention'])}")
    others = f", people among themselves {number(ceiling['mean'])}" if ceiling else ""
    return (
        "How well explanations find the words that people name: average precision of "
        f"{joined(parts)}; random order {number(floor['mean'])}{others}."
    )


PLAUSIBILITY = Answer(
    "plausibility",
    "Plausibility",
    "Do the explanations name people's words?",
    _blocks,
    files=("tables/plausibility.*", "tables/plausibility_by_class.*"),
    compared_each={("plausibility", name): words for name, words in MEASURES.items()},
    sentence=_sentence,
)
