"""The rows of a sweep -> its table in three forms, figures against what varied, and a page."""

from typing import Any

import numpy as np
from etils import epath

from attnjax.report.conclusions import of_sweep
from attnjax.report.figures import COLOURS, Drawn, draw_legend, label_axes, new_axes, save_figure
from attnjax.report.latex import as_latex
from attnjax.report.page import inline, write_page
from attnjax.report.sentences import counted
from attnjax.report.tables import Table, as_csv
from attnjax.workdir import write_json_lines, write_text

FILES = {"table": "sweep.csv", "rows": "sweep.jsonl", "LaTeX": "sweep.tex", "page": "sweep.html"}
STYLES = ("-", "--", ":", "-.")
VARYING = ("epsilon", "weight", "relevance", "learning_rate")
NAMES = {
    "epsilon": "epsilon, L2 norm of the perturbation",
    "weight": "lambda, weight of the perturbed loss",
    "relevance": "lambda, weight of the relevance loss",
    "learning_rate": "learning rate",
}
MEASURES = {
    "accuracy": "test accuracy",
    "f1": "test F1",
    "kendall": "Kendall's tau of attention and gradient",
    "pearson": "Pearson's correlation of attention and gradient",
}
LEGEND = 16  # most lines that a legend can still tell apart
NEIGHBOURS = 0.15  # share of the runs that a running mean is taken over


def write_sweep(
    folder: epath.Path,
    rows: list[dict[str, Any]],
    varied: list[str],
    draw: str,
    monitor: str,
    test: dict[str, Any],
) -> None:
    """Writes sweep.jsonl, .csv, .tex and .html, and figures/.

    rows    one a run: "point", "technique", VARYING, "seed", "validation", scores, "kendall",
            "pearson", "best_step", "failed", "failed_step"
    varied  the numeric fields with several values; draw  "uniform" scatters the runs
    monitor  the validation metric that picked the checkpoints
    test    what results.json["data"] says of the test split
    """
    caption = f"Every run of the sweep; validation is the {monitor} of the best checkpoint."
    columns = tuple(name for name in rows[0] if any(row[name] is not None for row in rows))
    table = Table("sweep", caption, columns, rows)
    write_json_lines(folder / FILES["rows"], rows)
    write_text(folder / FILES["table"], as_csv(table))
    write_text(folder / FILES["LaTeX"], as_latex(table))
    good = [row for row in rows if not row["failed"]]
    figures = [
        each
        for field in varied
        for measure in MEASURES
        for each in draw_against(folder, good, varied, field, measure, draw)
    ]
    failed = [row for row in rows if row["failed"]]
    write_page(
        folder / FILES["page"],
        "sweep.html.j2",
        title=f"Sweep of {counted(len(rows), 'run')}",
        subtitle=_subtitle(rows, varied),
        said=of_sweep(rows, monitor, test),
        figures=inline(figures),
        uniform=draw == "uniform",
        table=table,
        failed=[f"{row['point']} at step {row['failed_step']}" for row in failed],
        files=list(FILES.values())[:3],
    )


def draw_against(
    folder: epath.Path,
    rows: list[dict[str, Any]],
    varied: list[str],
    field: str,
    measure: str,
    draw: str,
) -> list[Drawn]:
    """One measure against one field, a line a technique and combination of what else varied.

    Grids: the mean over seeds, within the band from the lowest to the highest. Random draws: every
    run a dot, and mean and deviation of the nearest ones. `none` has no epsilon: it is level.
    """
    rows = [row for row in rows if row[measure] is not None]
    if not rows:
        return []
    figure, axes = new_axes()
    series = _series(rows, [name for name in varied if name != field])
    handles = []
    level = [row[field] for row in rows if row[field] is not None]
    for place, members in enumerate(series.values()):
        colour = COLOURS[place % len(COLOURS)]
        style = STYLES[place // len(COLOURS) % len(STYLES)]
        if members[0][field] is None:
            x = np.array([min(level, default=0.0), max(level, default=1.0)])
            values = [row[measure] for row in members]
            low, middle, high = (np.full(2, f(values)) for f in (np.min, np.mean, np.max))
        elif draw == "uniform":
            ordered = sorted(members, key=lambda row: row[field])
            x = np.array([row[field] for row in ordered])
            values = np.array([row[measure] for row in ordered])
            axes.plot(x, values, "o", color=colour, markersize=3, alpha=0.5)
            middle, deviation = running(values)
            low, high = middle - deviation, middle + deviation
        else:
            x, low, middle, high = spread(members, field, measure)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        marker = "o" if len(x) < 15 and draw == "grid" else None
        handles += axes.plot(x, middle, style, color=colour, marker=marker, markersize=4)
    label_axes(axes, NAMES[field], MEASURES[measure])
    if 1 < len(series) <= LEGEND:
        draw_legend(figure, handles, list(series))
    caption = f"{MEASURES[measure][0].upper()}{MEASURES[measure][1:]} against {NAMES[field]}."
    return [save_figure(figure, folder, f"{measure}_{field}", caption)]


def spread(
    rows: list[dict[str, Any]], field: str, measure: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ascending values of the field, and lowest, mean and highest measure at each."""
    grouped: dict[float, list[float]] = {}
    for row in rows:
        grouped.setdefault(row[field], []).append(row[measure])
    x = sorted(grouped)
    low, middle, high = (
        np.array([f(grouped[each]) for each in x]) for f in (np.min, np.mean, np.max)
    )
    return np.array(x), low, middle, high


def running(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each value and those beside it: 15 % of all, at least 3.

    Fewer at the ends: running([0, 3, 0]) == ([1.5, 1, 1.5], [1.5, sqrt(2), 1.5])
    """
    half = max(1, int(NEIGHBOURS * len(values)) // 2)
    near = [values[max(0, k - half) : k + half + 1] for k in range(len(values))]
    return np.array([each.mean() for each in near]), np.array([each.std() for each in near])


def _series(rows: list[dict[str, Any]], others: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Rows by label: the technique, and the values of the other fields that vary."""
    series: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts = [f"{name} {row[name]:g}" for name in others if row[name] is not None]
        series.setdefault(", ".join([row["technique"], *parts]), []).append(row)
    return series


def _subtitle(rows: list[dict[str, Any]], varied: list[str]) -> str:
    techniques = list(dict.fromkeys(row["technique"] for row in rows))
    seeds = len({row["seed"] for row in rows})
    parts = [", ".join(techniques), f"{seeds} seed{'s' if seeds > 1 else ''}"]
    for name in varied:
        values = [row[name] for row in rows if row[name] is not None]
        if values:
            parts.append(f"{name} {min(values):.3g} to {max(values):.3g}")
    return "; ".join(parts)
