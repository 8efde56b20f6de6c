"""Is an explanation faithful, does it depend on the model, and does it hold still?"""

from typing import Any

from attnjax.report.answers.answer import (
    Answer,
    Block,
    Figures,
    Files,
    Folded,
    Paragraph,
    Shown,
    Terms,
    Told,
)
from attnjax.report.figures import (
    COLOURS,
    GREY,
    Drawn,
    draw_legend,
    label_axes,
    new_axes,
    save_figure,
)
from attnjax.report.page import inline
from attnjax.report.sentences import estimate, joined, number, of_few, usable
from attnjax.report.tables import Estimate, Table
from attnjax.report.wording import Wording, spaced

FLOOR = "random"
FAITHFUL = {
    "comprehensiveness": "comprehensiveness",
    "sufficiency": "sufficiency",
    "aopc": "AOPC, most first",
    "aopc_least_first": "least first",
    "flip": "share to flip",
}
TERMS = [
    (
        "comprehensiveness",
        "By how much the predicted class's probability falls without the words that matter most: "
        "the mean over the first 1, 5, 10, 20 and 50 % of the words. Higher is more faithful.",
    ),
    (
        "sufficiency",
        "By how much it falls when those words are all that is left. Lower is more faithful.",
    ),
    (
        "AOPC",
        "Mean fall while up to ten words are removed one after the other, those that matter most "
        "first, or least first. The further apart the two, the better the order.",
    ),
    (
        "share to flip",
        "Share of the words that are gone, most important first, when the prediction changes; 1 "
        "where it stands without any word. Lower is more faithful.",
    ),
]
STILL = {
    "max_sensitivity": "largest change",
    "lipschitz": "steepest slope",
    "replacement": "another word",
    "infidelity": "infidelity",
    "infidelity_scaled": "infidelity, scaled",
}
STILL_TERMS = [
    (
        "largest change",
        "The norm of the largest change under a disturbance, in the norm of the explanation "
        "itself: 0 holds still.",
    ),
    (
        "steepest slope",
        "The largest sum of the words' changes in the norm of the disturbance: it has the "
        "explanation's own unit.",
    ),
    (
        "another word",
        "The largest change, as above, where one word gives place to the nearest other one and the "
        "prediction stays.",
    ),
    (
        "infidelity",
        "Mean square of what the values of a random part of the words miss of the fall of the "
        "predicted class's probability without them; scaled: of the values times the one number "
        "that suits them best, for some methods explain logits. Lower is better.",
    ),
]
DRAWN = 5  # curves beside the floor's, those of the highest AOPC


def faithful_blocks(told: Told) -> list[Block]:
    """The table of all explanations, and the curves of the best."""
    found = told.analysis.get("faithfulness")
    if not found:
        return []
    table = _table(
        "faithfulness",
        "What happens to the predicted class's probability when the words that an explanation "
        "names are removed.",
        found,
        FAITHFUL,
    )
    curves = told.analysis.get("faithfulness_curves") or {}
    return [
        Paragraph(
            "Words of the text are removed in the order of each explanation; of signed ones, what "
            "speaks most for the predicted class first. The row random is the floor: the mean over "
            "random orders of the same words."
        ),
        Shown(table, table.caption),
        Files(table),
        *([Figures(inline(_draw(told, curves, found)))] if curves else []),
        Terms(TERMS),
        *_class_blocks(table, found, FAITHFUL),
    ]


def _table(name: str, caption: str, found: dict[str, Any], columns: dict[str, str]) -> Table:
    rows = [
        {"explanation": spaced(each), **_cells(measures, columns)}
        for each, measures in found.items()
    ]
    return Table(name, caption, ("explanation", *columns.values()), rows)


def _cells(measures: dict[str, Any], columns: dict[str, str]) -> dict[str, Estimate | None]:
    """Column -> the mean of its measure with its interval, None where it was not measured."""
    return {
        title: Estimate(each["mean"], each.get("ci95")) if (each := measures.get(name)) else None
        for name, title in columns.items()
    }


def _class_blocks(table: Table, found: dict[str, Any], columns: dict[str, str]) -> list[Block]:
    """The table again for each predicted class, folded away."""
    rows = [
        {"class": label, "explanation": spaced(name), **_cells(members, columns)}
        for name, measures in found.items()
        for label, members in (measures.get("by_class") or {}).items()
    ]
    if not rows:
        return []
    classes = list(dict.fromkeys(row["class"] for row in rows))  # in the order of the labels
    rows.sort(key=lambda row: classes.index(row["class"]))
    caption = f"{table.caption[:-1]}, by predicted class."
    members = Table(f"{table.name}_by_class", caption, ("class", *table.columns), rows)
    return [Folded("By predicted class", [Shown(members, caption)]), Files(members)]


def _draw(told: Told, curves: dict[str, Any], found: dict[str, Any]) -> list[Drawn]:
    def height(name: str) -> float:
        mean = found[name]["aopc"]["mean"]
        return -1.0 if mean is None else mean

    named = sorted((each for each in curves if each != FLOOR), key=height, reverse=True)[:DRAWN]
    figure, axes = new_axes()
    lines, labels = [], []
    for name, colour in zip([*named, FLOOR], (*COLOURS[:DRAWN], GREY), strict=False):
        curve = curves[name]
        (line,) = axes.plot(curve["most_first"], "-", color=colour)
        axes.plot(curve["least_first"], ":", color=colour)
        lines.append(line)
        labels.append(spaced(name))
    label_axes(axes, "words removed", "fall of the probability")
    axes.xaxis.get_major_locator().set_params(integer=True)
    draw_legend(figure, lines, labels)
    caption = (
        "Fall of the predicted class's probability while words are removed, the most important "
        "first (lines) or the least (dots): the explanations of the highest AOPC, and random order."
    )
    return [save_figure(figure, told.folder, "faithfulness", caption)]


def faithful_sentence(told: Told) -> str:
    """Which explanation is the most faithful, where attention stands, and the floor."""
    found, count = told.analysis.get("faithfulness"), told.analysis.get("examples")
    if not found:
        return ""
    known = {
        name: each
        for name, measures in found.items()
        if (each := usable(measures["comprehensiveness"], count))
    }
    floor = known.pop(FLOOR, None)
    if not known or floor is None:
        return ""
    best = max(known, key=lambda name: known[name]["mean"])
    parts = [f"{spaced(best)} {estimate(known[best])}"]
    if best != "attention" and "attention" in known:
        parts.append(f"attention {estimate(known['attention'])}")
    return (
        "Comprehensiveness, the fall of the predicted class's probability without the words that "
        f"are named: {joined(parts)}; random order {number(floor['mean'])}{of_few(known[best])}."
    )


def _of_few(told: Told) -> str:
    """How many examples methods of many passes are asked again for; "" where it is all."""
    few = told.results["config"]["analysis"].get("costly_examples", -1)
    if not 0 < few < (told.analysis.get("examples") or 0):
        return ""
    return (
        f" Methods that take many passes through the model are asked again for {few} of the "
        "examples, drawn at random."
    )


def random_blocks(told: Told) -> list[Block]:
    """Correlations with the explanations of a model whose stages are drawn anew."""
    found = told.analysis.get("randomisation")
    if not found:
        return []
    stages = {
        **{"decode": "decoder", "score": "and attention", "encode": "and encoder"},
        "embed": "and word vectors",
    }
    table = _table(
        "randomisation",
        "Spearman's correlation of each explanation with that of the model after its stages are "
        "drawn anew, from the decoder on.",
        found,
        stages,
    )
    return [
        Paragraph(
            "What the model has learnt is thrown away, stage by stage. An explanation that stays "
            "near 1 when all is drawn anew says nothing about what was learnt." + _of_few(told)
        ),
        Shown(table, table.caption),
        Files(table),
        *_class_blocks(table, found, stages),
    ]


def random_sentence(told: Told) -> str:
    """Which explanation changes least when nothing learnt is left."""
    found, count = told.analysis.get("randomisation"), told.analysis.get("examples")
    known = {
        name: each
        for name, stages in (found or {}).items()
        if name != FLOOR and (each := usable(stages["embed"], count))
    }
    if not known:
        return ""
    most = _highest(known)
    return (
        "With nothing left of what was learnt, the explanation that stays most alike is "
        f"{spaced(most)}: Spearman's rho {estimate(known[most])}{of_few(known[most])}; two random "
        "orders: 0.00."
    )


def still_blocks(told: Told) -> list[Block]:
    """How far each explanation moves beside the text, and how well it adds up."""
    found = told.analysis.get("continuity")
    if not found:
        return []
    measures = {name: {"max_sensitivity": each, **each} for name, each in found.items()}
    for each in measures.values():
        each["by_class"] = each.get("by_class") or {}
    caption = "How far each explanation moves beside the text, and how well it adds up."
    table = _table("continuity", caption, measures, STILL)
    return [
        Paragraph(
            "The text's word vectors are disturbed at random, each entry by at most 2 % of the "
            "range of all vectors, or one word gives place to the nearest other one. The row "
            "random is a random order, which has no place from which to move." + _of_few(told)
        ),
        Shown(table, caption),
        Files(table),
        Terms(STILL_TERMS),
        *_class_blocks(table, measures, STILL),
    ]


def still_sentence(told: Told) -> str:
    """Which explanation moves most."""
    found, count = told.analysis.get("continuity"), told.analysis.get("examples")
    known = {name: each for name, row in (found or {}).items() if (each := usable(row, count))}
    if not known:
        return ""
    most = _highest(known)
    far = estimate(known[most])
    said = f"Of a text disturbed a little, {spaced(most)} changes most, by {far} of its norm"
    if most != "attention" and "attention" in known:
        said += f", attention by {estimate(known['attention'])}"
    return f"{said}{of_few(known[most])}."


def _highest(known: dict[str, Any]) -> str:
    """The explanation of the highest mean, of those asked about enough examples if there are."""
    enough = [name for name, each in known.items() if each.get("ci95")] or known
    return max(enough, key=lambda name: known[name]["mean"])


FAITHFULNESS = Answer(
    "faithfulness",
    "Faithfulness",
    "Are the explanations faithful?",
    faithful_blocks,
    files=("figures/faithfulness.*", "tables/faithfulness.*", "tables/faithfulness_by_class.*"),
    compared_each={
        ("faithfulness", "comprehensiveness"): Wording(
            "comprehensiveness", None, "−1 to 1", TERMS[0][1]
        ),
        ("faithfulness", "sufficiency"): Wording("sufficiency", None, "−1 to 1", TERMS[1][1]),
        ("faithfulness", "aopc"): Wording(
            "AOPC",
            None,
            "−1 to 1",
            "Mean fall of the predicted class's probability while up to ten words are removed, "
            "those that matter most first. Higher is more faithful.",
        ),
    },
    sentence=faithful_sentence,
)
RANDOMISATION = Answer(
    "randomisation",
    "Randomisation",
    "Do the explanations depend on what was learnt?",
    random_blocks,
    files=(
        "tables/randomisation.*",
        "tables/randomisation_by_class.*",
    ),
    compared_each={
        ("randomisation", "embed"): Wording(
            "Spearman's rho after randomisation",
            None,
            "−1 to 1",
            "Of each explanation with that of the same model when all its parameters are drawn "
            "anew: near 1 it says nothing about what was learnt.",
        )
    },
    sentence=random_sentence,
)
CONTINUITY = Answer(
    "continuity",
    "Continuity",
    "Do the explanations hold still?",
    still_blocks,
    files=(
        "tables/continuity.*",
        "tables/continuity_by_class.*",
    ),
    compared_each={
        ("continuity", "max_sensitivity"): Wording(
            "largest change", None, "0 and more", STILL_TERMS[0][1]
        ),
        ("continuity", "infidelity_scaled"): Wording(
            "infidelity, scaled", None, "0 to 1", STILL_TERMS[3][1]
        ),
    },
    sentence=still_sentence,
)
