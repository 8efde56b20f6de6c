"""Does it matter where attention lies, and could it have been another?"""

import math
from typing import Any

import numpy as np
from etils import epath

from attnjax.report.answers.answer import Answer, Block, Figures, Files, Paragraph, Shown, Told
from attnjax.report.figures import Drawn, by_class, histogram, label_axes, save_figure, violins
from attnjax.report.page import inline
from attnjax.report.sentences import estimate, grade, number, of_few, usable
from attnjax.report.summaries import DESCRIBED, described
from attnjax.report.tables import Table
from attnjax.report.wording import Wording

MATTERS = ((0.02, "hardly matters"), (0.1, "matters a little"), (0.3, "matters"))
ANOTHER = ((0.05, "hardly another was found"), (0.3, "it could have been another in part"))
CHANGE, DIVERGENCE = ("permutation", "median_change"), ("adversarial", "max_jsd")


def permutation_blocks(told: Told) -> list[Block]:
    """The median output change, as numbers and by the largest attention weight."""
    found = told.analysis.get("permutation") or {}
    table = permutation_table(found)
    figures = draw_permutation(told.folder, told.examples)
    note = _permutation_note(found) + " The change of the output is its total variation, 0 to 1."
    return _section(note, table, "Median output change", figures)


def permutation_sentence(told: Told) -> str:
    """How far shuffled attention moves the output, of at most 1."""
    count = told.analysis.get("examples")
    found = usable((told.analysis.get("permutation") or {}).get("median_change"), count)
    if not found:
        return ""
    start = f"Shuffled over the words, attention changes the output by {estimate(found)} on average"
    if not found.get("ci95"):
        return f"{start}{of_few(found)}; 0 is no change, 1 the most."
    verdict = grade(found["mean"], MATTERS, "matters much")
    return f"{start}, where 0 is no change and 1 the most: where it lies {verdict}."


def adversarial_sentence(told: Told) -> str:
    """How far an attention can lie from the model's that keeps its output."""
    count = told.analysis.get("examples")
    adversarial = told.analysis.get("adversarial_attention") or {}
    found = usable(adversarial.get("max_jsd"), count)
    if not found:
        return ""
    epsilon = adversarial.get("epsilon")
    same = f"that changes the output by at most {epsilon:g}" if epsilon else "that keeps the output"
    start = f"The farthest attention found {same} lies {estimate(found)} nats from the model's own"
    start += f" on average, of at most {number(math.log(2))}"
    if not found.get("ci95"):
        return f"{start}{of_few(found)}."
    return f"{start}: {grade(found['mean'], ANOTHER, 'it could have been quite another')}."


def adversarial_blocks(told: Told) -> list[Block]:
    """The largest divergence of an attention that keeps the output."""
    found = told.analysis.get("adversarial_attention") or {}
    table = adversarial_table(found)
    figures = draw_adversarial(told.folder, told.examples)
    return _section(_adversarial_note(found), table, "Largest Jensen-Shannon divergence", figures)


def _section(note: str, table: Table, caption: str, figures: list[Drawn]) -> list[Block]:
    if not table.rows and not figures:
        return []
    shown: list[Block] = [Shown(table, caption), Files(table)] if table.rows else []
    return [Paragraph(note), *shown, Figures(inline(figures))]


def permutation_table(permutation: dict[str, Any]) -> Table:
    """Median output change under permuted attention, by the largest attention weight."""
    rows = []
    for part in permutation.get("bins") or []:
        low, high = part["max_attention"]
        rows.append(
            {"largest attention weight": f"{low:g} to {high:g}", "examples": part["examples"]}
            | described(part.get("median_change") or {})
        )
    if permutation.get("median_change"):
        total = sum(row["examples"] for row in rows) if rows else None
        rows.append(
            {"largest attention weight": "all", "examples": total}
            | described(permutation["median_change"])
        )
    columns = ("largest attention weight", "examples", *DESCRIBED, "undefined")
    caption = "Median change of the output (total variation) when attention weights are permuted."
    return Table("permutation", caption, columns, rows)


def adversarial_table(adversarial: dict[str, Any]) -> Table:
    """Epsilon-max Jensen-Shannon divergence of adversarial attention, and the shares above."""
    found = adversarial.get("max_jsd")
    shares = adversarial.get("share_above") or {}
    above = {f"share above {bound}": share for bound, share in shares.items()}
    rows = [described(found) | above] if found else []
    caption = "Largest Jensen-Shannon divergence of an attention that keeps the output."
    return Table("adversarial_attention", caption, (*DESCRIBED, *above, "undefined"), rows)


def draw_permutation(folder: epath.Path, examples: list[dict[str, Any]]) -> list[Drawn]:
    """Median output change under permuted attention by the largest attention weight.

    The form of figure 6 of Jain & Wallace (2019): one row of violins for each bin.
    """
    known = [each for each in examples if each.get("permutation")]
    figure = violins(
        known,
        lambda each: each["permutation"]["median_change"],
        lambda each: each["permutation"]["max_attention"],
        "median change of the output, total variation",
    )
    caption = (
        "Median change of the output when attention is permuted, by the largest attention weight "
        "of the example. Change near 0 at a large weight: the output does not hang on where "
        "that weight lies. Dot and bar: median and quartiles."
    )
    return [save_figure(figure, folder, "permutation", caption)] if figure else []


def draw_adversarial(folder: epath.Path, examples: list[dict[str, Any]]) -> list[Drawn]:
    """Epsilon-max JSD: its histogram, and against the largest attention weight.

    The form of figures 7 and 8 of Jain & Wallace (2019).
    """
    known = [each for each in examples if each.get("adversarial")]
    values = by_class(known, lambda each: each["adversarial"]["max_jsd"])
    if not values:
        return []
    largest = math.log(2)
    lines = {"mean": float(np.mean(np.concatenate(list(values.values())))), "ln 2": largest}
    figure, axes = histogram(values, np.linspace(0, 0.7, 36), lines)
    label = "largest Jensen-Shannon divergence, nats"
    label_axes(axes, label, "examples")
    caption = (
        "How far from the model's attention one can go while the output stays, by example. "
        f"{largest:.3f} (ln 2) is no common word at all."
    )
    drawn = [save_figure(figure, folder, "adversarial_histogram", caption)]
    figure = violins(
        known,
        lambda each: each["adversarial"]["max_jsd"],
        lambda each: max((weight or 0.0 for weight in each["attention"]), default=None),
        label,
    )
    caption = (
        "The same divergence by the largest attention weight of the example. Large divergence at a "
        "large weight: even a decided attention could have been another. Dot and bar: median and "
        "quartiles."
    )
    return [*drawn, save_figure(figure, folder, "adversarial_attention", caption)]


def _permutation_note(permutation: dict[str, Any]) -> str:
    count = permutation.get("permutations")
    return (
        "The attention weights of every example are shuffled over its words"
        + (f" {count:,} times" if count else "")
        + ", the encoder states stay, and the median change of the output is taken "
        "(Jain & Wallace 2019, algorithm 2)."
    )


def _adversarial_note(adversarial: dict[str, Any]) -> str:
    parts = [
        f"{adversarial[name]:,} {name}"
        for name in ("adversaries", "steps")
        if adversarial.get(name)
    ]
    epsilon, margin = adversarial.get("epsilon"), adversarial.get("margin")
    return (
        "For every example, attention is sought that lies as far as possible from the model's own "
        "while the output stays"
        + (f" within {epsilon:g} in total variation" if epsilon else "")
        + " (Jain & Wallace 2019, algorithm 3"
        + (f"; {', '.join(parts)}" if parts else "")
        + "). The largest Jensen-Shannon divergence found is reported: from 0, none found, "
        "to ln 2 = 0.693."
        + (
            f" The search itself, as theirs, pays for every change beyond {margin:g}, so that the "
            "divergences can be less than the bound would allow."
            if margin
            else ""
        )
    )


PERMUTATION = Answer(
    "permutation",
    "Permutation",
    "Does it matter where attention lies?",
    permutation_blocks,
    files=("figures/permutation.*", "tables/permutation.*"),
    sentence=permutation_sentence,
    compared={
        CHANGE: Wording(
            "median output change",
            None,
            "total variation, 0 to 1",
            "Of the output when attention is permuted; 0: where attention lies does not matter.",
        )
    },
)
ADVERSARIAL = Answer(
    "adversarial",
    "Adversarial attention",
    "Could attention have been another?",
    adversarial_blocks,
    files=("figures/adversarial_*", "tables/adversarial_attention.*"),
    sentence=adversarial_sentence,
    compared={
        DIVERGENCE: Wording(
            "largest divergence",
            None,
            "0 to 0.693 nats",
            "Of the model's attention from one that leaves the output almost unchanged; 0: there "
            "is no other.",
        )
    },
)
