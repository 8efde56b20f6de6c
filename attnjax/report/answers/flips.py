"""What would have had to be different, and does attention lie on it?"""

from typing import Any

import numpy as np
from etils import epath

from attnjax.report.answers.answer import (
    Answer,
    Block,
    Figures,
    Files,
    Heading,
    Paragraph,
    Shown,
    Terms,
    Told,
)
from attnjax.report.figures import (
    BLUE,
    GREY,
    ORANGE,
    Drawn,
    draw_legend,
    label_axes,
    new_axes,
    save_figure,
)
from attnjax.report.page import inline
from attnjax.report.sentences import accuracy, counted, estimate, number, of_few, usable
from attnjax.report.tables import DASH, Estimate, Table
from attnjax.report.wording import Wording, spaced

KINDS = {"deletion": ORANGE, "replacement": BLUE}
CHANCE = "random"
TEXTS = 8  # that the page shows with their smallest change
AROUND = 6  # words that are shown on both sides of a changed one
TERMS = [
    (
        "flipped",
        "Share of the texts for which a change of at most so many words was found. A text of one "
        "word cannot lose it.",
    ),
    (
        "distance",
        "L2 norm of the change of the word vectors; the vector of a deleted word becomes 0.",
    ),
    (
        "any of the vectors",
        "The least change of all word vectors together that is found to flip (DeepFool), which no "
        "text has: how near the border lies.",
    ),
    (
        "proven smallest",
        "Share of the changes found for which all smaller ones of that kind were tried: one word, "
        "two words where no word suffices alone, and three deletions where no two do. Of "
        "replacements, by the words that are tried at each place.",
    ),
]
NATS = (
    "nats",
    "By how much the replacements make the text less likely under the bigrams of the training "
    "texts, each by itself, summed.",
)


def blocks(told: Told) -> list[Block]:
    """Size and distance of the changes, where attention lies, and texts with their change."""
    found = told.analysis.get("flips")
    if not found:
        return []
    table, overlaps, texts = flips_table(found), overlap_table(found), texts_table(told.examples)
    most = counted(found["most_words"], "word")
    shown: list[Block] = [
        Paragraph(
            f"For every text the fewest words, at most {most}, are sought whose deletion, or whose "
            f"replacement by {_replaced_by(found)}, makes the model predict another class. Each "
            "candidate is a text that the model reads."
        ),
        Shown(table, table.caption),
        Files(table),
        Terms([*TERMS, *([] if found["prior"] is None else [NATS])]),
        Figures(inline(draw_sizes(told.folder, told.examples, found["most_words"]))),
        Heading("Does attention lie on them?"),
        Paragraph(
            "Of a text's smallest change, of s words, it is counted how many are among the s words "
            "that an explanation puts highest. The row random is what chance gives."
        ),
        Shown(overlaps, overlaps.caption),
        Files(overlaps),
    ]
    drawn = draw_overlap(told.folder, told.examples, found["most_words"])
    shown += [Figures(inline(drawn))] if drawn else []
    if texts.rows:
        shown += [Heading("Texts and their smallest change"), Shown(texts, texts.caption)]
    return [*shown, Files(texts)] if texts.rows else shown


def _replaced_by(found: dict[str, Any]) -> str:
    """The words that were tried."""
    if found["prior"] is None:
        return "near words"
    return (
        f"words that make the text less likely by at most {number(found['prior'])} nats each, and "
        "of these the few at each place that lower the prediction most, to first order"
    )


def flips_table(found: dict[str, Any]) -> Table:
    """A row for each kind of change, for the smaller of both, and for the vectors alone."""
    both = {
        "words": found["changed_words"],
        "distance": found["distance"],
        "flipped_fraction": found["flipped_fraction"],
    }
    vectors = {"distance": found["radius"], "flipped_fraction": found["radius_fraction"]}
    changes = {**found["by_edit"], "smaller of both": both, "any of the vectors": vectors}
    measures = ("words", "distance", *(["cost"] if found["costs"] else []), "nats")
    rows = []
    for name, each in changes.items():
        told = {measure: each.get(measure) for measure in measures}
        rows.append(
            {"change": name, "flipped": each["flipped_fraction"]}
            | {measure: _estimate(value) if value else None for measure, value in told.items()}
            | {"proven smallest": each.get("smallest_fraction")}
        )
    table = Table(
        "flips",
        "The smallest change of each text that flips the prediction, means over those found.",
        ("change", "flipped", *measures, "proven smallest"),
        rows,
    )
    return table._replace(columns=table.said())


def overlap_table(found: dict[str, Any]) -> Table:
    """How many of the changed words each explanation puts highest."""
    rows = [
        {"explanation": spaced(name), "share among its highest": _estimate(each)}
        for name, each in found["overlap"].items()
    ]
    caption = "Share of the changed words that are among as many highest words of an explanation."
    return Table("flips_overlap", caption, ("explanation", "share among its highest"), rows)


def _estimate(found: dict[str, Any]) -> Estimate:
    return Estimate(found["mean"], found.get("ci95"))


def texts_table(examples: list[dict[str, Any]]) -> Table:
    """Texts of two to many words that few changes flip, each once by either kind."""
    known = [each for each in examples if (each.get("flips") or {}).get("changed_words")]
    known.sort(key=lambda each: (each["flips"]["changed_words"], -len(each["tokens"])))
    # The surest of those that one word flips, and what takes the most words.
    few, many = known[: TEXTS // 2], known[TEXTS // 2 :][-(TEXTS // 2) :]
    rows: list[dict[str, Any]] = [
        {"id": str(each["id"]), "predicted": str(each["prediction"])}
        | {kind: _written(each, kind) for kind in KINDS}
        for each in (*few, *many)
    ]
    caption = "Texts whose prediction the fewest words flip, and those that take most words."
    return Table("flips_texts", caption, ("id", "predicted", *KINDS), rows)


def _written(example: dict[str, Any], kind: str) -> str:
    """The text with its changes: "a [dull] film" for a deletion, "a [dull → fine] film"."""
    found, tokens = example["flips"][kind], example["tokens"]
    if found["words"] is None:
        return DASH
    into = dict(zip(found["positions"], found.get("into") or [], strict=False))
    near = {p + k for p in found["positions"] for k in range(-AROUND, AROUND + 1)}
    words: list[str] = []
    for place, word in enumerate(tokens):
        if place in found["positions"]:
            words.append(f"[{word} → {into[place]}]" if place in into else f"[{word}]")
        elif place in near:
            words.append(word)
        elif not words or words[-1] != "…":
            words.append("…")
    return " ".join(words)


def draw_sizes(folder: epath.Path, examples: list[dict[str, Any]], most: int) -> list[Drawn]:
    """Share of the texts that s or fewer changed words flip, by kind."""
    known = [each["flips"] for each in examples if each.get("flips")]
    if not known:
        return []
    figure, axes = new_axes()
    lines, sizes = [], np.arange(most + 1)
    for kind, colour in KINDS.items():
        words = [each[kind]["words"] for each in known]
        shares = [np.mean([w is not None and w <= size for w in words]) for size in sizes]
        lines += axes.plot(sizes, shares, "o-", color=colour, markersize=4)
    axes.set_ylim(0, 1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    label_axes(axes, "changed words, at most", "share of texts flipped")
    draw_legend(figure, lines, list(KINDS))
    caption = "Share of the texts whose prediction so many deleted or replaced words flip."
    return [save_figure(figure, folder, "flips", caption)]


def draw_overlap(folder: epath.Path, examples: list[dict[str, Any]], most: int) -> list[Drawn]:
    """Share of the changed words that attention puts highest, by their number, and chance."""
    known = [each["flips"] for each in examples if each.get("flips")]
    by_size: dict[int, list[dict[str, float]]] = {}
    for each in known:
        if each["changed_words"] is not None:
            by_size.setdefault(round(each["changed_words"]), []).append(each["overlap"])
    sizes = [size for size in range(1, most + 1) if size in by_size]
    if not sizes:
        return []
    figure, axes = new_axes()
    bars = []
    for side, (name, colour) in enumerate((("attention", ORANGE), (CHANCE, GREY))):
        heights = [np.mean([each[name] for each in by_size[size]]) for size in sizes]
        places = np.arange(len(sizes)) + 0.4 * side - 0.2
        bars.append(axes.bar(places, heights, 0.4, color=colour))
    ticks = [f"{size}\n{counted(len(by_size[size]), 'text')}" for size in sizes]
    axes.set_xticks(range(len(sizes)), ticks)
    axes.set_ylim(0, 1)
    label_axes(axes, "changed words", "share where attention is highest")
    draw_legend(figure, bars, ["attention", "chance"])
    caption = (
        "Do flip words lie where attention lies? Of s changed words, the share that is among the s "
        "words of most attention, by s."
    )
    return [save_figure(figure, folder, "flips_overlap", caption)]


def sentence(told: Told) -> str:
    """How many texts flip, by how many words, and whether attention lies on these."""
    found, count = told.analysis.get("flips"), told.analysis.get("examples")
    if not found or not count:
        return ""
    most = counted(found["most_words"], "word")
    start = f"Deleting or replacing at most {most} flips the prediction of "
    start += f"{accuracy(found['flipped_fraction'], count)} of {counted(count, 'text')}"
    words = usable(found["changed_words"], count)
    overlap = usable(found["overlap"].get("attention"), count)
    if not words or not overlap:
        return f"{start}."
    return (
        f"{start}, by {estimate(words)} words on average; {estimate(overlap)} of these words are "
        f"among as many of most attention, by chance {number(found['overlap'][CHANCE]['mean'])}"
        f"{of_few(words)}."
    )


FLIPS = Answer(
    "flips",
    "Flips",
    "What would have had to be different?",
    blocks,
    files=("figures/flips*", "tables/flips*"),
    sentence=sentence,
    compared={
        ("flips", "changed_words"): Wording(
            "words to flip",
            None,
            "words",
            "Fewest deleted or replaced words that flip the prediction; fewer: less holds it.",
        )
    },
)
