"""What does the model hold for typical of a class?"""

import statistics
from typing import Any

from attnjax.report.answers.answer import (
    Answer,
    Block,
    Files,
    Heading,
    Paragraph,
    Shown,
    Terms,
    Told,
)
from attnjax.report.sentences import number
from attnjax.report.tables import Table, formatted

KINDS = {
    "free": "free vectors",
    "prior": "words under the prior",
    "ngram": "n-gram of the data",
    "text": "text of the data",
}
WORDS = 40  # of a text that is shown
TERMS = [
    (
        "free vectors",
        "Word vectors that climb from noise to where the class is most probable, with a price on "
        "their length. No text has them: beside their probability stands that of the nearest "
        "words, read as a text. The gap between the two is the finding.",
    ),
    (
        "words under the prior",
        "The text that is best in log-probability of the class plus a weight times its "
        "log-probability as a text, sought until no change of one word does better.",
    ),
    (
        "data",
        "What people wrote: of the analysed texts, the runs of as many words, each read as a text "
        "of its own, and the whole texts, of which the class is most probable.",
    ),
    (
        "log p, a word",
        "Of the text, in nats, under an add-half bigram model of the training texts, a step for "
        "each word and one for the end. Real texts say what is usual.",
    ),
]


def blocks(told: Told) -> list[Block]:
    """One table a class, each kind with its best."""
    found = told.analysis.get("prototypes")
    if not found:
        return []
    table = prototypes_table(found)
    weight = told.results.get("config", {}).get("analysis", {}).get("prototype_prior")
    shown: list[Block] = [
        Paragraph(
            "Which input is the class most probable of? Three answers stand side by side, because "
            "the first two are inventions: what ascent finds need not look like anything that "
            "people write."
            + ("" if weight is None else f" The prior's weight is {formatted(weight)}.")
        )
    ]
    columns = table.columns[1:]
    for name in dict.fromkeys(row["class"] for row in table.rows):
        shown.append(Heading(f"Class {name}"))
        shown.append(Shown(table.select(columns, **{"class": name}), f"Typical of {name}."))
    return [*shown, Files(table), Terms(TERMS)]


def prototypes_table(found: dict[str, list[dict[str, Any]]]) -> Table:
    """A row for each prototype."""
    rows = [
        {
            "class": name,
            "kind": KINDS[each["kind"]],
            "words": _written(each["words"]),
            "probability": each["probability"],
            "of the vectors": each.get("free_probability"),
            "log p, a word": each["log_prior"] / (len(each["words"]) + 1),
            "label": each.get("label"),
            "id": None if each.get("id") is None else str(each["id"]),
        }
        for name, entries in found.items()
        for each in entries
    ]
    caption = "Inputs of which a class is most probable: found by ascent, under a prior, and real."
    return Table("prototypes", caption, tuple(rows[0]), rows)


def _written(words: list[Any]) -> str:
    return " ".join(map(str, words[:WORDS])) + (" …" if len(words) > WORDS else "")


def sentence(told: Told) -> str:
    """How probable the classes are of what was found, and of the best that is real."""
    found = told.analysis.get("prototypes")
    if not found:
        return ""

    def mean(kind: str, name: str = "probability") -> float | None:
        first = [
            next((each[name] for each in entries if each["kind"] == kind), None)
            for entries in found.values()
        ]
        known = [value for value in first if value is not None]
        return statistics.fmean(known) if known else None

    free, near, prior = mean("free", "free_probability"), mean("free"), mean("prior")
    if free is None or near is None or prior is None:
        return ""
    real = {"n-grams": mean("ngram"), "texts": mean("text")}
    best = [f"{name} {number(value)}" for name, value in real.items() if value is not None]
    return (
        f"Of the vectors that ascent finds the class has probability {number(free)}, of their "
        f"nearest words {number(near)}, of words under the prior {number(prior)}; of the best real "
        f"{' and '.join(best)} (means over the classes, {len(found)})."
    )


PROTOTYPES = Answer(
    "prototypes",
    "Prototypes",
    "What does the model hold for typical of a class?",
    blocks,
    files=("tables/prototypes*",),
    sentence=sentence,
)
