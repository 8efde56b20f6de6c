"""Which layers and heads agree with importance?"""

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
from attnjax.report.wording import spaced

Found = dict[str, Heads]  # of each importance


def blocks(told: Told) -> list[Block]:
    """A heat map for each importance, and the numbers."""
    found: Found = told.analysis.get("layers") or {}
    if not found:
        return []
    count = formatted(told.analysis.get("examples", len(told.examples)))
    table = layers_table(found)
    drawn = [
        draw_means(
            told.folder,
            f"layers_{name}",
            heads,
            f"Agreement of each layer's heads with {spaced(name)}, mean Kendall's tau.",
            "Kendall's tau",
            signed=True,
        )
        for name, heads in found.items()
    ]
    off_words: Heads | None = told.analysis.get("off_words")
    elsewhere: list[Block] = []
    if off_words:
        share = draw_means(
            told.folder,
            "layers_off_words",
            off_words,
            "Share of each head's attention that falls on no word of the text, mean.",
            "share",
        )
        elsewhere = [
            Paragraph(
                "Heads need not attend to words at all. What falls on the marks at a text's ends "
                "([CLS] and [SEP] of a BERT; of its pairs also what falls on the query) is no "
                "word's, and is left out above."
            ),
            Figures(inline([share])),
        ]
    return [
        Paragraph(
            f"Kendall's tau of what each head attends to with each importance, means over {count} "
            "test examples. A head's attention is read where the model reads: the mean of all "
            "tokens' attention, weighted by attention over words. 0 is chance."
        ),
        Figures(inline(drawn)),
        *elsewhere,
        Folded("Numbers", [Shown(table)]),
        Files(table),
    ]


def layers_table(found: Found) -> Table:
    """One row for each importance, layer and head; both are counted from 1."""
    rows = [
        {
            "importance": spaced(name),
            "layer": layer,
            "head": head,
            "Kendall's tau": Estimate(each["mean"], each.get("ci95"), each.get("std")),
            "undefined": each["undefined"],
        }
        for name, values in found.items()
        for layer, heads in enumerate(values, 1)
        for head, each in enumerate(heads, 1)
    ]
    caption = "Agreement of each head's attention with importance over the words of the text."
    columns = ("importance", "layer", "head", "Kendall's tau", "undefined")
    return Table("layers", caption, columns, rows)


def sentence(told: Told) -> str:
    """The head that agrees best with an importance, of how many, and what is usual among them."""
    found: Found = told.analysis.get("layers") or {}
    count = told.analysis.get("examples")
    places = [
        (each, name, layer, head)
        for name, values in found.items()
        for layer, heads in enumerate(values, 1)
        for head, each in enumerate(heads, 1)
    ]
    taus = ((usable(each, count), name, layer, head) for each, name, layer, head in places)
    known = [(tau, name, layer, head) for tau, name, layer, head in taus if tau]
    if not known:
        return ""
    best, name, layer, head = max(known, key=lambda each: each[0]["mean"])
    usual = float(np.median([each["mean"] for each, *_ in known]))
    figure = f"{estimate(best)}{of_few(best)}"
    heads = len(places) // len(found)
    return (
        f"Of {heads} heads, head {head} of layer {layer} agrees most with an importance, "
        f"{spaced(name)}: tau {figure}; the median over heads and importances is {number(usual)}."
    )


LAYERS = Answer(
    "layers",
    "Layers and heads",
    "Which layers and heads agree with importance?",
    blocks,
    files=("figures/layers_*", "tables/layers.*"),
    sentence=sentence,
)
