"""Does the model need what its heads attend to?"""

from typing import Any

import numpy as np

from attnjax.report.answers.answer import (
    Answer,
    Block,
    Figures,
    Files,
    Folded,
    Paragraph,
    Shown,
    Told,
)
from attnjax.report.heads import Heads, draw_means
from attnjax.report.page import inline
from attnjax.report.sentences import estimate, number, of_few, usable
from attnjax.report.tables import Estimate, Table, formatted


def blocks(told: Told) -> list[Block]:
    """A heat map of layers and heads, and the numbers."""
    found: dict[str, Any] = told.analysis.get("self_attention") or {}
    if not found:
        return []
    count = formatted(told.analysis.get("examples", len(told.examples)))
    heads: Heads = found["median_change"]
    caption = "Output change when one head's attention is shuffled, mean of medians."
    drawn = draw_means(told.folder, "self_attention", heads, caption, "total variation")
    table = heads_table(heads)
    return [
        Paragraph(
            "What one head attends to is shuffled, each token's row among the tokens of the text, "
            f"{formatted(found['permutations'])} times, and all that follows is computed anew: the "
            f"median total variation of the class probabilities, means over {count} test examples. "
            "0: the output does not need where this head looks."
        ),
        Figures(inline([drawn])),
        Folded("Numbers", [Shown(table)]),
        Files(table),
    ]


def heads_table(heads: Heads) -> Table:
    """One row for each layer and head; both are counted from 1."""
    rows = [
        {
            "layer": layer,
            "head": head,
            "output change": Estimate(each["mean"], each.get("ci95"), each.get("std")),
        }
        for layer, found in enumerate(heads, 1)
        for head, each in enumerate(found, 1)
    ]
    caption = "Change of the output when one head's self-attention is shuffled."
    return Table("self_attention", caption, ("layer", "head", "output change"), rows)


def sentence(told: Told) -> str:
    """The head whose shuffling changes most, of how many, and what is usual among them."""
    found: dict[str, Any] = told.analysis.get("self_attention") or {}
    count = told.analysis.get("examples")
    places = [
        (usable(each, count), layer, head)
        for layer, heads in enumerate(found.get("median_change") or [], 1)
        for head, each in enumerate(heads, 1)
    ]
    known = [(change, layer, head) for change, layer, head in places if change]
    if not known:
        return ""
    most, layer, head = max(known, key=lambda each: each[0]["mean"])
    usual = float(np.median([each["mean"] for each, *_ in known]))
    figure = f"{estimate(most)}{of_few(most)}"
    return (
        f"Of {len(places)} heads, head {head} of layer {layer} matters most: where its attention "
        f"is shuffled, the output changes by {figure}; the median over heads is {number(usual)}."
    )


SELF_ATTENTION = Answer(
    "self_attention",
    "Shuffled heads",
    "Does the model need what its heads attend to?",
    blocks,
    files=("figures/self_attention.*", "tables/self_attention.*"),
    sentence=sentence,
)
