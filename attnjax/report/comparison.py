"""comparison.json -> comparison.html, figures and tables: several runs side by side.

It reads that file and nothing else, so that the page can be made again at any time. All text that
comes from data, and the names of runs, go through autoescaping.
"""

from importlib import resources
from typing import Any

import jinja2
from etils import epath
from markupsafe import Markup

from attnjax.report.comparison_tables import (
    TABLES,
    Estimate,
    Table,
    cell_text,
    words_of,
    write_table,
)
from attnjax.report.figures import _axes, _save
from attnjax.report.heatmap import cells
from attnjax.workdir import FIGURES, read_json, write_text

COMPARISON = "comparison.json"
PAGE = "comparison.html"
FILES = (COMPARISON, PAGE, FIGURES, TABLES)  # all that a comparison's folder holds

LONGEST = 150  # words of a sentence that the page shows
OPEN = ("accuracy", "kendall")  # measures whose figure is not folded away
COLOURS = ("#20639b", "#d1672a", "#009e73", "#cc79a7", "#56b4e9", "#b8860b", "#5b5b5b")
MARKERS = "osD^vP"  # no multiple of the colours: 42 runs are told apart
MEASURES = {
    "accuracy": "accuracy on the analysed examples",
    "kendall": "Kendall's tau",
    "pearson": "Pearson's correlation",
    "spearman": "Spearman's correlation",
    "top_k_kendall": "top-k Kendall distance",
    "jensen_shannon": "Jensen-Shannon divergence, nats",
    "top_k_overlap": "top-k overlap",
    "median_change": "median output change when attention is permuted, total variation",
    "max_jsd": "largest divergence of an attention with the same output, nats",
}


def write_comparison(folder: epath.Path) -> epath.Path:
    """Writes comparison.html, figures/ and tables/ from comparison.json; returns the page."""
    found = read_json(folder / COMPARISON)
    _clear(folder)
    tables = {table.name: table for table in build_tables(found)}
    for table in tables.values():
        write_table(folder, table)
    figures = [
        {"svg": Markup(svg[svg.index("<svg") :]), "caption": caption, "open": measure in OPEN}
        for measure, svg, caption in draw_means(folder, found)
    ]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_asset("comparison.html.j2")).render(
        style=Markup(_asset("report.css")),
        script=Markup(_asset("report.js")),
        found=found,
        baseline=found["differences"][0]["baseline"],
        tables={name: _shown(table) for name, table in tables.items()},
        figures=figures,
        sentences=[_sentence(each, found["runs"]) for each in found["sentences"]],
        number=cell_text,
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _asset(name: str) -> str:
    return resources.files("attnjax.report").joinpath(name).read_text(encoding="utf-8")


def _clear(folder: epath.Path) -> None:
    """Removes the figures and tables of an earlier comparison; this one may have fewer."""
    for part, suffixes in ((FIGURES, ("svg", "pdf")), (TABLES, ("csv", "tex"))):
        for suffix in suffixes:
            for path in (folder / part).glob(f"*.{suffix}"):
                path.unlink()


def units(found: dict[str, Any]) -> list[str]:
    """Names of what stands side by side: conditions; where there is one only, its runs and it."""
    names = [each["name"] for each in found["conditions"]]
    if len(names) == 1:
        return [each["name"] for each in found["runs"]] + names
    return names


def build_tables(found: dict[str, Any]) -> list[Table]:
    """Scores, configuration, differences, agreement, and the ceiling where seeds give one."""
    tables = [_scores(found), _configuration(found), _differences(found), _agreement(found)]
    return [*tables, _ceiling(found)] if found["ceiling"] else tables


def _scores(found: dict[str, Any]) -> Table:
    runs = {run["name"]: run for run in found["runs"]}
    names = [name for name in found["runs"][0]["test"] if name != "examples"]
    rows = [
        [name, run["seed"], *(run["test"].get(score) for score in names)]
        for name, run in runs.items()
    ]
    for each in found["conditions"]:
        if len(each["runs"]) > 1:
            columns = [[runs[name]["test"].get(score) for name in each["runs"]] for score in names]
            rows.append([each["name"], None, *(Estimate.of_seeds(column) for column in columns)])
    columns = ["run", "seed", *(name.replace("_", "-") for name in names)]
    return Table("scores", "Scores on the test split.", columns, rows)


def _configuration(found: dict[str, Any]) -> Table:
    rows = [[name, *map(str, values)] for name, values in found["config"].items()]
    columns = ["field", *(run["name"] for run in found["runs"])]
    return Table("configuration", "Fields in which the runs' configurations differ.", columns, rows)


def _differences(found: dict[str, Any]) -> Table:
    rows = [
        [
            each["other"],
            words_of(each["of"]),
            words_of(each["measure"]),
            each["baseline_mean"],
            each["other_mean"],
            Estimate(each["difference"], each["ci95"]),
            each["p"],
            each["p_holm"],
            each["examples"],
        ]
        for each in found["differences"]
    ]
    alpha = found["settings"]["alpha"]
    return Table(
        "differences",
        f"Differences from {found['differences'][0]['baseline']} with 95 % bootstrap intervals.",
        ["run", "of", "measure", "baseline", "run's", "difference", "p", "p (Holm)", "examples"],
        rows,
        [each["p_holm"] is not None and each["p_holm"] <= alpha for each in found["differences"]],
    )


def _agreement(found: dict[str, Any]) -> Table:
    names = units(found)
    cell = {(each["name"], each["of"], each["measure"]): each for each in found["means"]}
    quantities = dict.fromkeys((each["of"], each["measure"]) for each in found["means"])
    rows = [
        [words_of(of), words_of(measure)]
        + [
            Estimate(mean["mean"], mean["ci95"], mean["std"])
            for mean in (cell[name, of, measure] for name in names)
        ]
        for of, measure in quantities
    ]
    caption = "Means over the analysed examples with 95 % bootstrap intervals."
    return Table("agreement", caption, ["of", "measure", *names], rows)


def _ceiling(found: dict[str, Any]) -> Table:
    measures = list(dict.fromkeys(each["measure"] for each in found["ceiling"]))
    cell = {
        (each["condition"], each["explanation"], each["measure"]): Estimate(
            each["mean"], each["ci95"]
        )
        for each in found["ceiling"]
    }
    pairs = {each["condition"]: each["seed_pairs"] for each in found["ceiling"]}
    kinds = dict.fromkeys((each["condition"], each["explanation"]) for each in found["ceiling"])
    rows = [
        [
            condition,
            words_of(explanation),
            *(cell[condition, explanation, name] for name in measures),
            pairs[condition],
        ]
        for condition, explanation in kinds
    ]
    caption = "Ceiling: agreement of the same explanation between two seeds of one condition."
    columns = ["condition", "explanation", *map(words_of, measures), "pairs of seeds"]
    return Table("ceiling", caption, columns, rows)


def _shown(table: Table) -> dict[str, Any]:
    """The table for a page as narrow as a phone: cells of text, each with a note under it.

    "of" becomes the note under its measure, and a run before it the head of a block of rows.
    """
    marks = table.marks or [False] * len(table.rows)
    columns, place = table.columns, None
    if "of" in columns:
        place = columns.index("of")
        columns = columns[place + 1 :]
    rows: list[dict[str, Any]] = []
    last: Any = None
    for row, mark in zip(table.rows, marks, strict=True):
        cells = [_cell(value) for value in row]
        head = ""
        if place is not None:
            head = row[0] if place == 1 and row[0] != last else ""
            cells = [{"text": row[place + 1], "note": row[place]}, *cells[place + 2 :]]
        first = row[0] != last
        rows.append({"head": head, "mark": mark, "first": first, "cells": cells})
        last = row[0]
    return {"columns": columns, "rows": rows}


def _cell(value: Any) -> dict[str, str]:
    note = value.interval_text() if isinstance(value, Estimate) else ""
    return {"text": cell_text(value), "note": note}


def draw_means(folder: epath.Path, found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """One figure a measure, (measure, svg, caption): mean and interval by run, dots for seeds."""
    names = units(found)
    seeds = {each["name"]: each["runs"] for each in found["conditions"] if each["runs"][1:]}
    drawn = []
    for measure in dict.fromkeys(each["measure"] for each in found["means"]):
        means = {(e["name"], e["of"]): e for e in found["means"] if e["measure"] == measure}
        kinds = list(dict.fromkeys(of for _, of in means))
        figure, axes = _axes(height=1.1 + len(kinds) * (0.3 + 0.2 * len(names)))
        for number, name in enumerate(names):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            offset = ((number + 0.5) / len(names) - 0.5) * 0.7
            label = name.replace("$", r"\$")  # no mathematics
            for place, of in enumerate(kinds):
                each = means[name, of]
                if each["mean"] is None:
                    continue
                if each["ci95"]:
                    axes.plot(each["ci95"], [place + offset] * 2, color=colour, linewidth=2)
                for seed in seeds.get(name, []):
                    axes.plot(means[seed, of]["mean"], place + offset, "|", color=colour)
                axes.plot(each["mean"], place + offset, marker, color=colour, label=label)
                label = None  # once in the legend
        axes.set_yticks(range(len(kinds)), [words_of(of) for of in kinds])
        axes.set_ylim(len(kinds) - 0.5, -0.5)  # the first on top
        axes.set_xlabel(MEASURES.get(measure, words_of(measure)))
        axes.grid(axis="x", color="#d5dae2", linewidth=0.6)
        axes.set_axisbelow(True)
        columns = max(1, min(len(names), 90 // (6 + max(map(len, names)))))
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=columns, frameon=False)
        caption = f"{MEASURES.get(measure, words_of(measure))}: means and 95 % intervals."
        caption = caption[0].upper() + caption[1:]
        drawn.append((measure, _save(figure, folder, f"means_{measure}"), caption))
    return drawn


def _sentence(sentence: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One example under every run, the runs' rows of each explanation one below the other."""
    tokens = sentence["tokens"][:LONGEST]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for each in sentence["runs"]:
        explanations = {"attention": each["attention"], **each["importance"]}
        for kind, values in explanations.items():
            if None in values:  # what a run could not measure has no colour
                continue
            row = {"name": each["name"], "cells": cells(sentence["tokens"], values)[:LONGEST]}
            kinds.setdefault(words_of(kind), []).append(row)
    return {
        **sentence,
        "text": " ".join(sentence["tokens"]),
        "query": " ".join(sentence["query"] or []),
        "kinds": kinds,
        "width": len(tokens),
        "left": len(sentence["tokens"]) - len(tokens),
        "verdicts": [
            {**each, "right": each["prediction"] == sentence["label"]} for each in sentence["runs"]
        ],
        "count": len(runs),
    }
