"""Which words does each state of the model still know?"""

from typing import Any

import numpy as np

from attnjax.report.answers.answer import (
    Answer,
    Block,
    Figures,
    Files,
    Paragraph,
    Shown,
    Terms,
    Told,
)
from attnjax.report.answers.beside import draw_beside
from attnjax.report.figures import (
    COLOURS,
    Drawn,
    add_scale,
    class_name,
    draw_legend,
    label_axes,
    lines_of,
    new_axes,
    save_figure,
)
from attnjax.report.page import inline
from attnjax.report.sentences import estimate, joined, usable
from attnjax.report.tables import Estimate, Table, formatted
from attnjax.report.wording import Wording, spaced

RIGHT = (0.5, 1.5)  # distortion in rate / 2 that is neither saturated nor not converged
LAYERS = tuple(f"layer_{number}" for number in range(1, 25))  # of deeper encoders
COMPARED = ("embedding", *LAYERS, "encoder", "context", "logits")  # states, in order of depth
WORDS = 24  # of the sentence that is drawn, at most
UNIT = "nats per dimension"
KINDS = {
    "content": "content words",
    "function": "function words",
    "punctuation": "punctuation",
    "first": "first token",
    "end": "end token",
}
ORIGINS = {
    "own": "the token itself",
    "neighbours": "within 2 places",
    "further": "further away",
}
CAVEAT = (
    "This is no mutual information: no data-processing inequality holds, so a later state can show "
    "more than an earlier one, and a rotation of a state alone can move the figure (not that of "
    "whitened states). A word that a state shows less of is not thereby forgotten."
)
TERMS = [
    (
        "retained",
        "1/2 log(1 + σX²/σ²), nats per dimension of the word vectors: σ is the noise on the word "
        "that the state does not notice, σX the deviation of all word vectors. 0: nothing is kept.",
    ),
    (
        "context",
        "What the decoder reads: the attended state, of pairs with the query's summary. Where both "
        "are read apart that summary hangs on no word of the text, and still its units count.",
    ),
    ("discarded", "log(σ/σX), nats per dimension; at most log 10."),
    (
        "distortion",
        "The variance that the noise brings into a state, as a share of its own and by the share "
        "of tokens on which the state hangs: half the rate where the measure is right. Far from "
        "that, the state is saturated or σ not converged. "
        "Texts outside: the share for which it is not 0.5 to 1.5 times half the rate; of a text "
        "it is a mean of few draws, so that some are by chance, of one logit about a seventh.",
    ),
    (
        "dead units",
        "Units that do not vary over the training sample; they are left out.",
    ),
]


def blocks(told: Told) -> list[Block]:
    """The states' figures, the classes of words, the curve, and one sentence."""
    found = told.analysis.get("information")
    if not found:
        return []
    states, classes, origins = _states(found), _classes(found), _origins(found)
    figures = [*_draw_curve(told, found), *_draw_sentence(told, found)]
    if example := typical(told.examples):
        figures += draw_beside(told.folder, example, "information_beside")
    whitened = ", whitened" if found.get("whitened") else ", divided by their deviations"
    return [
        Paragraph(
            "Each word's vector is disturbed by as much noise as a state lets pass unnoticed: the "
            "more noise, the less the state knows of the word. States are in order of depth, "
            f"{found['form']} at rate {formatted(found['rate'])}{whitened}."
        ),
        Shown(states, states.caption),
        *[Paragraph(warning) for warning in warnings(found)],
        Files(states),
        *([Figures(inline(figures))] if figures else []),
        *([Shown(classes, classes.caption), Files(classes)] if classes.rows else []),
        *([Shown(origins, origins.caption), Files(origins)] if origins.rows else []),
        Terms(TERMS),
        Paragraph(CAVEAT, note=True),
    ]


def warnings(found: dict[str, Any]) -> list[str]:
    """One for each state whose noise is of another size than it should be."""
    said = []
    for name, each in zip(found["states"], found["by_state"], strict=True):
        share = each["distortion_in_half_rates"]
        if not RIGHT[0] <= share <= RIGHT[1]:
            said.append(
                f"Warning: the noise distorts the state {spaced(name)} by {formatted(share)} times "
                "half the rate: saturated or not converged, so its figures are not to be trusted."
            )
    return said


def _estimate(found: dict[str, Any] | None) -> Estimate:
    return Estimate(None) if not found else Estimate(found["mean"], found.get("ci95"))


def _states(found: dict[str, Any]) -> Table:
    rows = [
        {
            "state": spaced(name),
            "retained": _estimate(each["retained"]),
            "discarded": _estimate(each["discarded"]),
            "distortion": each["distortion"],
            "in half rates": each["distortion_in_half_rates"],
            "texts outside": each["texts_outside"],
            "units": each["units"]["live"],
            "dead units": each["units"]["dead"],
        }
        for name, each in zip(found["states"], found["by_state"], strict=True)
    ]
    caption = f"What each state retains of a word, {UNIT}, in order of depth."
    return Table("information", caption, tuple(rows[0]), rows)


def _classes(found: dict[str, Any]) -> Table:
    rows = [
        {"words": label, "number": count}
        | {
            spaced(name): _estimate(each["by_word_class"].get(kind))
            for name, each in zip(found["states"], found["by_state"], strict=True)
        }
        for kind, label in KINDS.items()
        if (count := _count(found, kind))
    ]
    caption = f"What each state retains by class of word, {UNIT}; of texts that have such words."
    columns = ("words", "number", *(spaced(name) for name in found["states"]))
    return Table("information_by_class", caption, columns, rows)


def _origins(found: dict[str, Any]) -> Table:
    """Where a token's own state comes from, of runs that were asked."""
    rows = [
        {"state": spaced(name)}
        | {title: _estimate(each["origin"][part]) for part, title in ORIGINS.items()}
        for name, each in zip(found["states"], found["by_state"], strict=True)
        if each.get("origin")
    ]
    caption = "Whose vectors a token's own state depends on: shares of its squared Jacobian."
    return Table("information_origin", caption, ("state", *ORIGINS.values()), rows)


def _count(found: dict[str, Any], kind: str) -> int:
    return found["by_state"][0]["by_word_class"].get(kind, {}).get("words", 0)


def _draw_curve(told: Told, found: dict[str, Any]) -> list[Drawn]:
    """One line a class through the states, with bands."""
    states = [spaced(name) for name in found["states"]]
    figure, axes = new_axes()
    lines, labels = [], []
    for (kind, label), colour in zip(KINDS.items(), COLOURS, strict=False):
        each = [state["by_word_class"].get(kind) for state in found["by_state"]]
        known = [(x, one) for x, one in enumerate(each) if one and one["mean"] is not None]
        if not known:
            continue
        places = [x for x, _ in known]
        (line,) = axes.plot(places, [one["mean"] for _, one in known], "o-", color=colour)
        line.set_markersize(3)
        bands = [one["ci95"] or [one["mean"]] * 2 for _, one in known]
        low, high = zip(*bands, strict=True)
        axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
        lines.append(line)
        labels.append(label)
    if not lines:
        return []
    axes.set_xticks(range(len(states)), [lines_of(each, 0.7) for each in states])
    label_axes(axes, "state, in order of depth", f"retained, {UNIT}")
    axes.set_ylim(bottom=0)
    draw_legend(figure, lines, labels)
    caption = "What each state retains of the words of each class; bands are 95 % intervals."
    return [save_figure(figure, told.folder, "information", caption)]


def typical(examples: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The example of middle length among those of at least two words, the first of equals."""
    known = [each for each in examples if each.get("information") and len(each["tokens"]) > 1]
    known.sort(key=lambda each: (len(each["tokens"]), each["id"]))
    return known[len(known) // 2] if known else None


def _draw_sentence(told: Told, found: dict[str, Any]) -> list[Drawn]:
    """State by word, of a sentence of middle length."""
    example = typical(told.examples)
    if example is None:
        return []
    states, known = found["states"], example["information"]
    words = [class_name(word) for word in example["tokens"][:WORDS]]
    values = np.array(
        [
            [np.nan if v is None else v for v in known[name]["retained"][:WORDS]]
            + [np.nan if known[name]["end"] is None else known[name]["end"]]
            for name in states
        ],
        float,
    )
    labels = [*words, "(end)"]
    figure, axes = new_axes(width=max(3.35, 0.26 * len(labels) + 1.6), height=0.3 * len(states) + 1)
    axes.grid(False)
    image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=0)
    axes.set_yticks(range(len(states)), [spaced(name) for name in states])
    axes.set_xticks(range(len(labels)), labels, rotation=90, parse_math=False)
    add_scale(figure, axes, image, "nats")
    caption = (
        f"What each state retains of the words of example {example['id']}, {UNIT}"
        + (f"; its first {WORDS} words" if len(example["tokens"]) > WORDS else "")
        + "."
    )
    return [save_figure(figure, told.folder, "information_sentence", caption)]


def sentence(told: Told) -> str:
    """What the context keeps of content and function words, and which state keeps least."""
    found, count = told.analysis.get("information"), told.analysis.get("examples")
    if not found or "context" not in found["states"]:
        return ""
    context = found["by_state"][found["states"].index("context")]
    known = {
        label: each
        for kind, label in KINDS.items()
        if (each := usable(context["by_word_class"].get(kind), count))
    }
    if not known and (each := usable(context["retained"], count)):
        known = {"words": each}
    if not known:
        return ""
    parts = [f"{estimate(each)} of {label}" for label, each in known.items()]
    doubt = " The distortion is off: see the warning." if warnings(found) else ""
    return f"The attended state retains, in {UNIT}, {joined(parts)}.{doubt}"


INFORMATION = Answer(
    "information",
    "Information",
    "Which words does each state still know?",
    blocks,
    files=("figures/information*.*", "tables/information*.*"),
    compared={
        ("retained", name): Wording(
            f"retained by {spaced(name)}",
            None,
            UNIT,
            "How much of its words a state still knows, mean over the words of a text; "
            "no data-processing inequality holds, and a rotation alone can move it.",
        )
        for name in COMPARED
    },
    sentence=sentence,
)
