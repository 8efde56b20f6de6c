"""Where the word that must be known is known: which explanation puts it first?"""

from typing import Any

from attnjax.data.reverse import place_needed
from attnjax.report.answers.answer import (
    Answer,
    Block,
    Figures,
    Files,
    Paragraph,
    Shown,
    Told,
)
from attnjax.report.answers.beside import draw_beside
from attnjax.report.figures import Drawn
from attnjax.report.page import inline
from attnjax.report.sentences import joined, share, usable
from attnjax.report.tables import Estimate, Table
from attnjax.report.wording import spaced

FLOOR = "random"
NAMED = 3  # explanations that the sentence names


def blocks(told: Told) -> list[Block]:
    """One table of all explanations."""
    found = told.analysis.get("known_word")
    if not found:
        return []
    table, figures = _table(found), _draw(told)
    return [
        Paragraph(
            "The answer is one word of the text, at the place that the question names: a model "
            "that is right has read that word and no other. Texts answered right count; of signed "
            "explanations their size. hit@1: how often the word stands first, AUC: how often "
            "before another word of the text, equal values counting half."
        ),
        Shown(table, table.caption),
        Files(table),
        *([Figures(inline(figures))] if figures else []),
    ]


def _draw(told: Told) -> list[Drawn]:
    """All explanations of the first text of two and more words that is answered right."""
    for each in told.examples:
        if each["prediction"] == each["label"] and len(each["tokens"]) > 1 and each.get("query"):
            needed = place_needed(each["tokens"], each["query"])
            return draw_beside(told.folder, each, "known_word", needed)
    return []


def _table(found: dict[str, Any]) -> Table:
    rows = [
        {"explanation": spaced(name)}
        | {
            title: Estimate(each[measure]["mean"], each[measure].get("ci95"))
            for measure, title in (("hit", "hit@1"), ("auc", "AUC"))
        }
        for name, each in found.items()
    ]
    caption = "How well each explanation finds the one word that must be known."
    return Table("known_word", caption, ("explanation", "hit@1", "AUC"), rows)


def sentence(told: Told) -> str:
    """Who finds the word best, attention, and chance."""
    found, count = told.analysis.get("known_word"), told.analysis.get("examples")
    known = {
        name: each for name, one in (found or {}).items() if (each := usable(one["hit"], count))
    }
    floor = known.pop(FLOOR, None)
    if not known or floor is None:
        return ""
    order = sorted(known, key=lambda name: -known[name]["mean"])
    named = [*order[:NAMED], *(["attention"] if "attention" not in order[:NAMED] else [])]
    parts = [f"{spaced(name)} in {share(known[name]['mean'])}" for name in named if name in known]
    return (
        f"The word that must be known stands first by {joined(parts)} of the texts answered right; "
        f"at random in {share(floor['mean'])}."
    )


KNOWN_WORD = Answer(
    "known_word",
    "Known word",
    "Who finds the word that must be known?",
    blocks,
    files=("figures/known_word.*", "tables/known_word.*"),
    sentence=sentence,
)
