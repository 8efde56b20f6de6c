"""What does each state know of a word beyond its concept?"""

from typing import Any

from attnjax.report.answers.answer import Answer, Block, Files, Paragraph, Shown, Terms, Told
from attnjax.report.sentences import estimate, joined, usable
from attnjax.report.tables import Estimate, Table
from attnjax.report.wording import spaced

TERMS = [
    ("texts", "Of those analysed, how many have a word of the concept; means are over these."),
    (
        "word",
        "How much farther the state moves, in its own variance, when a random word of the "
        "vocabulary takes the word's place than when nothing is changed.",
    ),
    ("concept", "The part of that which a word of the same concept does not bring."),
    ("beyond", "The rest, which is known of the word itself: word less concept."),
]
MEASURES = ("word", "concept", "beyond")


def blocks(told: Told) -> list[Block]:
    """One table: concept by state."""
    found = told.analysis.get("concepts")
    if not found:
        return []
    table = _table(found, told.analysis["examples"])
    return [
        Paragraph(
            "Words of a concept are replaced by random words, and by words of the same concept: "
            "distances of the state in its own variance."
        ),
        Shown(table, table.caption),
        Files(table),
        Terms(TERMS),
    ]


def _table(found: dict[str, Any], examples: int) -> Table:
    rows = [
        {
            "concept": name,
            "known words": each["known_words"],
            "texts": examples - one["word"]["undefined"],
            "state": spaced(state),
        }
        | {
            f"of the {part}" if part != "beyond" else "beyond it": Estimate(
                one[part]["mean"], one[part].get("ci95")
            )
            for part in MEASURES
        }
        for name, each in found["by_concept"].items()
        for state, one in zip(found["states"], each["by_state"], strict=True)
    ]
    caption = "What each state knows of the words of a concept, in the state's variance."
    return Table("concepts", caption, tuple(rows[0]), rows)


def sentence(told: Told) -> str:
    """What the attended state knows of a word beyond its concept, for each concept."""
    found, count = told.analysis.get("concepts"), told.analysis.get("examples")
    if not found:
        return ""
    place = found["states"].index("context")
    known = {
        name: (word, beyond)
        for name, each in found["by_concept"].items()
        if each["known_words"] > 1  # one word is its concept: nothing can be beyond
        and (word := usable(each["by_state"][place]["word"], count))
        and (beyond := usable(each["by_state"][place]["beyond"], count))
    }
    if not known:
        return ""
    parts = [
        f"{estimate(beyond)} of {estimate(word)} for {name}"
        for name, (word, beyond) in known.items()
    ]
    what = "Of what the attended state knows of a word, this is beyond its concept"
    return f"{what}: {joined(parts)}."


CONCEPTS = Answer(
    "concepts",
    "Concepts",
    "What is known of a word beyond its concept?",
    blocks,
    files=("tables/concepts.*",),
    sentence=sentence,
)
