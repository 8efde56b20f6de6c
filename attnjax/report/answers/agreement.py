"""Does attention agree with importance, and do the importances agree?"""

from typing import Any

import numpy as np
from etils import epath

from attnjax.fields import REGISTERED
from attnjax.report.answers.answer import (
    Answer,
    Block,
    Figures,
    Files,
    Folded,
    Heading,
    Paragraph,
    Shown,
    Terms,
    Told,
)
from attnjax.report.figures import (
    WIDTH,
    Drawn,
    add_scale,
    by_class,
    histogram,
    ink_on,
    label_axes,
    lines_of,
    new_axes,
    save_figure,
    width_of,
)
from attnjax.report.page import inline
from attnjax.report.sentences import counted, estimate, grade, joined, number, of_few, usable
from attnjax.report.summaries import DESCRIBED, described, mean_of
from attnjax.report.tables import Estimate, Table
from attnjax.report.wording import MEASURES, measure, measures_of, pair_label, spaced

FLOOR, CEILING = ("floor", "floor, p ≤ 0.05"), ("ceiling, first", "ceiling, second")
CLASS_CEILING = tuple(f"{name}, all classes" for name in CEILING)
FURTHER = set(MEASURES) - {"kendall"}
LAST = ("p ≤ 0.05", "undefined")
CLASSES = 12  # most predicted classes that the page has a table for; the files have all
HISTOGRAMS = 8  # most pairs that a histogram is drawn for
FEW = 3  # explanations whose pairs all stand in the tables; the taus of more make a matrix
NUMBERED = 12  # most explanations whose matrix has its numbers written in
NAMED = 3  # most explanations whose agreement with attention the sentence names
GRADES = ((0.1, "hardly"), (0.3, "a little"), (0.5, "moderately"), (0.7, "well"))


def blocks(told: Told) -> list[Block]:
    """Every measure with floor and ceiling, taus as histograms, and all pairs as a matrix."""
    analysis = told.analysis
    ceiling = analysis.get("ceiling") or {}
    on_text = agreement_tables(in_full(analysis.get("agreement")), ceiling, "agreement", "text")
    on_query = agreement_tables(
        in_full(analysis.get("query_agreement")), None, "query_agreement", "query"
    )
    if not on_text[0].rows and not on_query[0].rows:
        return []
    classes = len({row["class"] for row in on_text[1].rows})
    shown = _by_measure(on_text, on_query, classes <= CLASSES)
    drawn = inline(draw_agreement(told.folder, told.examples, analysis.get("agreement")))
    shown[0] += [Figures(drawn)] if drawn else []
    found: list[Block] = [*_meaning(told, on_text[0]), *(each for part in shown for each in part)]
    if classes > CLASSES:
        note = f"With {classes} predicted classes, figures by class are in the files only."
        found.append(Paragraph(note, note=True))
    found += [Files(each) for each in (*on_text, *on_query) if each.rows]
    return [*found, *_matrices(told), *_completeness(analysis)]


def sentence(told: Told) -> str:
    """How much attention agrees with importance by Kendall's tau, and a random order with it."""
    agreement = told.analysis.get("agreement") or {}
    count = told.analysis.get("examples", len(told.examples) or None)
    pairs = {
        other: found
        for pair, found in agreement.items()
        for one, other in (pair.split("~"), reversed(pair.split("~")))
        if one == "attention" and "kendall" in found and _is_importance(other)
    }
    taus = {name: usable(found["kendall"], count) for name, found in pairs.items()}
    known = {name: found for name, found in taus.items() if found}
    if not known:
        return "Agreement with attention is defined in no example." if taus else ""
    floors = {name: mean_of(pairs[name].get("floor"), "kendall") for name in known}
    ends = sorted({round(each, 2) + 0.0 for each in floors.values() if each is not None})
    ends = [number(each) for each in (ends if len(ends) < 2 else (ends[0], ends[-1]))]
    floor = f"; a random order: {' to '.join(ends)}." if ends else "; 0 is chance."
    chosen = ranked = sorted(known, key=lambda name: -known[name]["mean"])
    if len(ranked) > NAMED:
        chosen = [ranked[0], ranked[-1]]
    if any(not known[name].get("ci95") for name in chosen):
        parts = [
            f"{estimate(known[name])} with {spaced(name)}{of_few(known[name])}" for name in chosen
        ]
        if len({known[name]["defined"] for name in chosen}) == 1:  # what holds for all is said once
            parts = [f"{number(known[name]['mean'])} with {spaced(name)}" for name in chosen]
            parts[-1] += of_few(known[chosen[-1]])
        return f"Kendall's tau of attention is {joined(parts)}{floor}"
    grouped: dict[str, list[str]] = {}
    for name in chosen:
        tau = estimate(known[name]).replace(" (", ", ").replace(")", "")
        how = _how_much(known[name], floors[name] or 0.0)
        grouped.setdefault(how, []).append(f"{spaced(name)} (tau {tau})")
    agrees = joined([f"{how} with {joined(names)}" for how, names in grouped.items()])
    if len(ranked) > NAMED:
        agrees += f", the best and the worst of {len(ranked)} importances"
    return f"Attention agrees {agrees}{floor}"


def _is_importance(name: str) -> bool:
    """Whether the explanation is no attention; a method that is not known here is none.

    Asked of the table where a command has loaded it: `compare` does without JAX.
    """
    entry = REGISTERED.get("analysis.methods", {}).get(name)
    return getattr(entry, "kind", "importance") == "importance"


def _holds_attention(name: str) -> bool:
    """Whether `analysis.detach_attention` is about this method; a method not known here may be."""
    entry = REGISTERED.get("analysis.methods", {}).get(name, name)
    return isinstance(entry, str) or getattr(entry, "holds_attention", False)


def _how_much(tau: dict[str, Any], floor: float) -> str:
    low, high = tau["ci95"]
    if low <= floor <= high:
        return "no more than by chance"
    return "less than by chance" if high < floor else grade(tau["mean"], GRADES, "closely")


def _meaning(told: Told, overall: Table) -> list[Block]:
    """What the columns are, before the first of them."""
    run = (told.analysis.get("ceiling") or {}).get("run")
    count = counted(told.analysis.get("examples", len(told.examples)), "test example")
    settings = told.results["config"].get("analysis") or {}
    gradients = ""
    if any(_holds_attention(name) for name in settings.get("methods") or []):
        gradients = " Gradients flow through attention."
        if settings.get("detach_attention"):
            gradients = " Gradients hold attention constant, as Jain & Wallace (2019) do."
    top_k = settings.get("top_k")
    floor = "the same measure against random rankings of the words, ± its standard deviation over "
    floor += "examples for one ranking. A figure at its floor is no agreement at all."
    if not any(row[FLOOR[0]] is not None for row in overall.rows):
        floor += " Not known here: this run did not measure it."
    ceiling = f"the same measure between this run and another one{f' ({run})' if run else ''}, for "
    ceiling += "the first and for the second explanation. It bounds what an explanation says about "
    ceiling += "the task rather than about one training; two explanations of one model can agree "
    ceiling += "better than that."
    if not run:
        ceiling += " Not known here: no second run was given."
    return [
        Paragraph(
            f"Means over {count}, with the standard deviation over examples and a "
            f"95 % bootstrap interval of the mean.{gradients}"
            + (f" Top-k measures look at k = {top_k} words." if top_k else "")
        ),
        Terms(
            [
                ("Floor", floor),
                ("Ceiling", ceiling),
                (
                    "p ≤ 0.05",
                    "the share of examples whose tau differs from 0 by its own test; one of fewer "
                    "than five words cannot reach it.",
                ),
                (
                    "Undefined",
                    "examples without a value (one word, or all words alike); they are left out of "
                    "the mean.",
                ),
            ]
        ),
    ]


def agreement_tables(
    agreement: dict[str, Any], ceiling: dict[str, Any] | None, name: str, where: str
) -> tuple[Table, Table]:
    """All pairs and measures: (over all examples, by predicted class).

    The floor is the same measure against a random ranking of the same examples; the ceilings are
    the same measure between two runs, for the pair's first and second explanation.
    """
    overall: list[dict[str, Any]] = []
    by_class: list[dict[str, Any]] = []
    for pair, found in agreement.items():
        for each in measures_of(list(found)):
            limits = [mean_of((ceiling or {}).get(method), each) for method in pair.split("~")]
            start = {"between": pair_label(pair), "measure": measure(each).label}
            overall.append(
                start
                | described(found[each])
                | _floor(found, each)
                | dict(zip(CEILING, limits, strict=True))
            )
            for label, members in (found.get("by_class") or {}).items():
                if each not in members:
                    continue
                by_class.append(
                    {**start, "class": str(label)}
                    | described(members[each])
                    | _floor(members, each)
                    | dict(zip(CLASS_CEILING, limits, strict=True))
                )
    caption = f"Agreement of explanations over the words of the {where}"
    return (
        Table(
            name,
            f"{caption}.",
            ("between", "measure", *DESCRIBED, *FLOOR, *CEILING, *LAST),
            overall,
        ),
        Table(
            f"{name}_by_class",
            f"{caption}, by predicted class.",
            ("between", "measure", "class", *DESCRIBED, *FLOOR, *CLASS_CEILING, *LAST),
            by_class,
        ),
    )


def _floor(found: dict[str, Any], name: str) -> dict[str, Any]:
    """The columns of a floor: mean and deviation of one random order, and how often p ≤ 0.05."""
    floor = (found.get("floor") or {}).get(name) or {}
    mean = floor.get("mean")
    cells = None if mean is None else Estimate(mean, std=floor.get("std"))
    return dict(zip(FLOOR, (cells, floor.get("significant_fraction")), strict=True))


def in_full(agreement: dict[str, Any] | None) -> dict[str, Any]:
    """The pairs that tables have a row for; of many explanations those with more than a tau."""
    agreement = agreement or {}
    if len({name for pair in agreement for name in pair.split("~")}) <= FEW:
        return agreement
    return {pair: found for pair, found in agreement.items() if set(found) & FURTHER}


def _by_measure(
    on_text: tuple[Table, Table], on_query: tuple[Table, Table], by_classes: bool
) -> list[list[Block]]:
    """The blocks of each measure, with the rows of all pairs: that is what one wants to compare."""
    names = {measure(name).label: measure(name) for name in MEASURES}
    columns = ("between", *DESCRIBED, *FLOOR, *CEILING, *LAST)
    class_columns = ("between", "class", *DESCRIBED, *FLOOR, *CLASS_CEILING, *LAST)
    parts = []
    for label in dict.fromkeys(row["measure"] for row in (*on_text[0].rows, *on_query[0].rows)):
        found: list[Block] = [Heading(label, names.get(label) or measure(label))]

        def rows_of(table: Table, wanted: tuple[str, ...], end: str, label: str = label) -> Any:
            chosen = table.select(wanted, measure=label)
            return [Shown(chosen, label + end)] if chosen.rows else []

        found += rows_of(on_text[0], columns, "")
        if by_classes and (rows := rows_of(on_text[1], class_columns, " by predicted class")):
            found.append(Folded("By predicted class", rows))
        end = " over the words of the query"
        rows = rows_of(on_query[0], columns, end)
        if by_classes:
            rows += rows_of(on_query[1], class_columns, f"{end}, by predicted class")
        if rows:
            found.append(Folded("Over the words of the query", rows))
        parts.append(found)
    return parts


def _matrices(told: Told) -> list[Block]:
    """Kendall's tau between all explanations, of the text and of the query."""
    found: list[Block] = []
    for part, where in (("agreement", "text"), ("query_agreement", "query")):
        agreement = told.analysis.get(part) or {}
        table = matrix_table(agreement, f"{part}_matrix", where)
        if len(table.rows) <= FEW:
            continue
        found.append(Heading(f"All explanations over the words of the {where}"))
        found.append(Figures(inline(draw_matrix(told.folder, table))))
        found.append(Folded("Numbers", [Shown(table)]))
        found.append(Files(table))
    return found


def matrix_table(agreement: dict[str, Any], name: str, where: str) -> Table:
    """Mean tau of every pair of explanations, both ways round, None on the diagonal."""
    taus = {tuple(pair.split("~")): mean_of(found, "kendall") for pair, found in agreement.items()}
    names = list(dict.fromkeys(each for pair in taus for each in pair))
    columns = {each: spaced(each) for each in names}
    rows = [
        {"explanation": columns[a]}
        | {columns[b]: taus.get((a, b), taus.get((b, a))) for b in names}
        for a in names
    ]
    caption = f"Kendall's tau between explanations over the words of the {where}, means."
    return Table(name, caption, ("explanation", *columns.values()), rows)


def draw_matrix(folder: epath.Path, table: Table) -> list[Drawn]:
    """The matrix as a heat map, numbers written in where there is room."""
    values = np.array([[row[name] for name in table.columns[1:]] for row in table.rows], float)
    names = [lines_of(name, 1.6) for name in table.columns[1:]]
    longest = max(map(width_of, names))
    cells = len(names) * (0.37 if len(names) <= NUMBERED else 0.2 + 0.1 * ("\n" in "".join(names)))
    figure, axes = new_axes(max(WIDTH, longest + cells + 0.9), 0.75 * longest + cells + 0.2)
    image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    if len(names) <= NUMBERED:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                text, ink = f"{value:.2f}".replace("-", "−"), ink_on(abs(value))
                axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    add_scale(figure, axes, image, "Kendall's tau")
    return [save_figure(figure, folder, table.name, table.caption)]


def draw_agreement(
    folder: epath.Path, examples: list[dict[str, Any]], agreement: dict[str, Any] | None = None
) -> list[Drawn]:
    """Histograms of Kendall's tau by predicted class, for the first pairs of attention.

    agreement  the summary in results.json, for the floor; None draws none
    """
    pairs = list(examples[0].get("agreement") or {}) if examples else []
    if len(pairs) > HISTOGRAMS:
        pairs = [pair for pair in pairs if "attention" in pair.split("~")][:HISTOGRAMS]
    drawn = []
    for pair in pairs:
        values = by_class(examples, lambda each, pair=pair: each["agreement"][pair].get("kendall"))
        if not values:
            continue
        title = pair_label(pair)
        floor = (((agreement or {}).get(pair) or {}).get("floor") or {}).get("kendall") or {}
        lines = {"mean": float(np.mean(np.concatenate(list(values.values()))))}
        if floor.get("mean") is not None:
            lines["floor"] = floor["mean"]
        caption = f"Kendall's tau of {title}, by example and predicted class."
        figure, axes = histogram(values, np.linspace(-1, 1, 41), lines)
        label_axes(axes, f"Kendall's tau of {title}", "examples")
        drawn.append(save_figure(figure, folder, f"kendall_{pair.replace('~', '_')}", caption))
    return drawn


def _completeness(analysis: dict[str, Any]) -> list[Block]:
    """How far the attributions of a method are from summing to the output's change."""
    completeness, exactness = analysis.get("completeness"), analysis.get("exactness") or {}
    if not completeness:
        return []
    rows = []
    for name, error in completeness.items():
        told = exactness.get(name) or {}
        shares = {f"share above {k}": v for k, v in (told.get("share_above") or {}).items()}
        median = {"median error": told["median"]} if "median" in told else {}
        rows.append(
            {"method": spaced(name), "mean error": error["mean"]}
            | {**median, **shares, "largest error": error["max"]}
        )
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    caption = "How far each explanation is from what it should add up to; each has its own measure."
    rows = [dict.fromkeys(columns) | row for row in rows]
    table = Table("completeness", caption, columns, rows)
    return [
        Heading("How exact the explanations are"),
        Paragraph(
            "Integrated gradients should sum to the change of the output: how far they are from "
            "it, in probability. LRP and its kin should sum to the score: |1 − sum / score|, what "
            "biases take, which is large where the score is near 0. LIME: 1 − R² of its fit. "
            "Shapley values: standard error. Masks: what the probability changes when each word "
            "is kept or not, whichever is nearer.",
            note=True,
        ),
        Shown(table, table.caption),
        Files(table),
    ]


AGREEMENT = Answer(
    "agreement",
    "Agreement",
    "Does attention agree with importance?",
    blocks,
    files=(
        "figures/kendall_*",
        "figures/*agreement_matrix.*",
        "tables/*agreement*",
        "tables/completeness.*",
    ),
    sentence=sentence,
)
