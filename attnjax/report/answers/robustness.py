"""Is the model robust? Accuracy under perturbations of growing size."""

from typing import Any

from etils import epath

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
from attnjax.report.figures import (
    BLUE,
    ORANGE,
    Drawn,
    draw_legend,
    label_axes,
    new_axes,
    save_figure,
)
from attnjax.report.page import inline
from attnjax.report.sentences import accuracy, counted, share
from attnjax.report.tables import Table
from attnjax.report.wording import spaced


def blocks(told: Told) -> list[Block]:
    """Accuracy against epsilon, and the numbers."""
    robustness = with_undisturbed(told.results)
    if not robustness:
        return []
    count = counted(told.analysis.get("examples", len(told.examples)), "analysed test example")
    table = robustness_table(robustness)
    return [
        Paragraph(
            f"Share of {count} predicted right when each is disturbed by a perturbation of norm ε: "
            "at random, one draw each, or towards the steepest rise of its loss. Norm 0 is the "
            "model as it is, on these examples."
        ),
        Figures(inline(draw_robustness(told.folder, robustness))),
        Folded("Numbers", [Shown(table, "Accuracy on the analysed examples")]),
        Files(table),
    ]


KINDS = {"word": "word vectors", "attention": "attention scores"}
GAP = 0.02  # of accuracies: what counts as a difference between the worst and a random perturbation


def sentence(told: Told) -> str:
    """Where the worst perturbation does most harm beyond a random one of the same norm."""
    found, count = with_undisturbed(told.results), told.analysis.get("examples")
    if not found:
        return ""
    gaps = [
        (noise - worst, epsilon, kind, worst, noise)
        for kind in KINDS
        for epsilon, worst, noise in zip(
            found["epsilon"],
            found.get(f"{kind}_worst") or [],
            found.get(f"{kind}_random") or [],
            strict=False,
        )
        if epsilon and worst is not None and noise is not None
    ]
    if not gaps:
        return ""
    whole = ((told.analysis.get("model") or {}).get("accuracy"),)
    undisturbed = "".join(f", undisturbed {share(each)}" for each in whole if each is not None)
    # Of as much harm that of the smallest norm.
    gap, epsilon, kind, worst, noise = max(gaps, key=lambda each: (each[0], -each[1]))
    if gap < GAP:
        largest, least = max(each[1] for each in gaps), min(min(each[3:]) for each in gaps)
        return (
            f"Up to norm {largest:g}, the worst perturbation found does no more harm than a random "
            f"one: accuracy stays at {share(least)} or above{undisturbed}."
        )
    return (
        f"The worst perturbation found of the {KINDS[kind]} does most harm at norm {epsilon:g}: "
        f"accuracy {accuracy(worst, count)}, at random {share(noise)}{undisturbed}."
    )


def with_undisturbed(results: dict[str, Any]) -> dict[str, list[float]] | None:
    """The results' robustness, begun with norm 0 where the accuracy on these examples is known."""
    robustness = results.get("robustness")
    model = (results.get("analysis") or {}).get("model") or {}
    if not robustness or model.get("accuracy") is None or 0 in robustness["epsilon"]:
        return robustness
    return {
        name: [0.0 if name == "epsilon" else model["accuracy"], *values]
        for name, values in robustness.items()
    }


def robustness_table(robustness: dict[str, list[float]]) -> Table:
    """Accuracy on the analysed examples by the norm of the perturbation, one column a kind."""
    rows = [
        {spaced(name): values[place] for name, values in robustness.items()}
        for place in range(len(robustness["epsilon"]))
    ]
    columns = tuple(spaced(name) for name in robustness)
    caption = "Accuracy on the analysed test examples under perturbations of norm epsilon."
    return Table("robustness", caption, columns, rows)


def draw_robustness(folder: epath.Path, robustness: dict[str, list[float]]) -> list[Drawn]:
    """Accuracy against epsilon: words left, attention right, noise and worst case in each."""
    figure, axes = new_axes()
    styles = {
        "word_random": (ORANGE, "o--"),
        "word_worst": (ORANGE, "s-"),
        "attention_random": (BLUE, "o--"),
        "attention_worst": (BLUE, "s-"),
    }
    labels = []
    for kind, (colour, style) in styles.items():
        if kind not in robustness:  # of a model without attention over its states
            continue
        labels.append(kind.replace("_", " vectors, " if kind.startswith("word") else " scores, "))
        axes.plot(robustness["epsilon"], robustness[kind], style, color=colour, markersize=4)
    axes.set_xscale("symlog", linthresh=0.1)
    x = "epsilon, L2 norm of the perturbation of one example"
    label_axes(axes, x, "accuracy, analysed examples")
    axes.set_ylim(0, 1)
    draw_legend(figure, axes.lines, labels)
    caption = "Accuracy under random and worst-case perturbations of word vectors and scores."
    return [save_figure(figure, folder, "robustness", caption)]


ROBUSTNESS = Answer(
    "robustness",
    "Robustness",
    "Is the model robust?",
    blocks,
    files=("figures/robustness.*", "tables/robustness.*"),
    sentence=sentence,
)
