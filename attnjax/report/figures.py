"""Figures, each as SVG (also inlined in the report) and PDF."""

import io
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from etils import epath

from attnjax.report.sentences import counted
from attnjax.report.tables import formatted
from attnjax.workdir import FIGURES, write_bytes, write_text

INK, PAPER = "#1d2430", "#ffffff"
# Okabe and Ito's colours, told apart with any colour vision; grey is for the rest.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
BLUE, ORANGE, GREY = COLOURS[0], COLOURS[1], "#8a8f98"
REST = "other classes"  # how the class None, of all that are not drawn by themselves, is called
SPLIT = 3  # most classes that violins stand side by side for
BINS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the largest attention weight, as Jain & Wallace (2019)
WIDTH, HEIGHT = 3.35, 2.3  # inches: one column of a paper
LINE = 0.16  # inches that a line of text takes
FEW = 8  # values from which on a violin is drawn; fewer are dots
SETTINGS: Any = {
    "font.size": 8,  # points, and nothing smaller
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "svg.hashsalt": "attnjax",  # same data, same file
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
}
Drawn = tuple[str, str, str]  # name, SVG, caption


def draw_training(folder: epath.Path, metrics: list[dict[str, Any]]) -> list[Drawn]:
    """Loss and accuracy over epochs, train and validation.

    Of a technique the undisturbed loss is drawn, which validation has; "loss" is the objective.
    """
    drawn = []
    metrics = [{**row, "loss": row.get("clean_loss", row.get("loss"))} for row in metrics]
    for name, unit in (("loss", "loss without perturbation, nats"), ("accuracy", "accuracy")):
        if not any(row.get(name) is not None for row in metrics):
            continue
        figure, axes = new_axes()
        for split, colour, style in (("train", BLUE, "-"), ("validation", ORANGE, "o-")):
            rows = [row for row in metrics if row["split"] == split and row.get(name) is not None]
            axes.plot(
                [row["epoch"] for row in rows],
                [row[name] for row in rows],
                style,
                color=colour,
                markersize=4,
            )
        label_axes(axes, "epoch", unit)
        draw_legend(figure, axes.lines, ["train", "validation"])
        caption = f"Training and validation {name}."
        drawn.append(save_figure(figure, folder, f"training_{name}", caption))
    return drawn


def by_class(
    examples: list[dict[str, Any]], value: Callable[[dict[str, Any]], float | None]
) -> dict[str | None, np.ndarray]:
    """Defined values by predicted class, rare classes joined in one, which is None."""
    pairs = [(str(each["prediction"]), value(each)) for each in examples]
    pairs = [(label, found) for label, found in pairs if found is not None]
    labels = [label for label, _ in Counter(label for label, _ in pairs).most_common()]
    if len(labels) > len(COLOURS):
        labels = labels[: len(COLOURS) - 1]
    groups: dict[str | None, list[float]] = {
        label: [v for each, v in pairs if each == label] for label in sorted(labels)
    }
    rest = [v for each, v in pairs if each not in groups]
    if rest:
        groups[None] = rest
    return {label: np.array(found, float) for label, found in groups.items()}


def histogram(
    values: dict[str | None, np.ndarray], bins: np.ndarray, lines: dict[str, float]
) -> tuple[Any, Any]:
    """(figure, axes): stacked by class, with vertical lines at named places; axes unnamed."""
    figure, axes = new_axes()
    handles, labels = [], []
    below = np.zeros(len(bins) - 1)
    for label, colour in zip(values, _colours(values), strict=True):
        counts = np.histogram(values[label], bins)[0]
        handles.append(axes.stairs(below + counts, bins, baseline=below, fill=True, color=colour))
        labels.append(f"{class_name(label)} ({len(values[label]):,})")
        below = below + counts
    for (label, place), style in zip(lines.items(), ("-", ":"), strict=False):
        handles.append(axes.axvline(place, color=INK, linewidth=1.2, linestyle=style))
        labels.append(f"{label} {formatted(place)}")
    axes.xaxis.get_major_locator().set_params(nbins=5)
    axes.set_xlim(bins[0], bins[-1])
    axes.set_ylim(0, below.max() * 1.05)
    axes.yaxis.get_major_locator().set_params(integer=True)
    draw_legend(figure, handles, labels)
    return figure, axes


def violins(
    examples: list[dict[str, Any]],
    value: Callable[[dict[str, Any]], float | None],
    largest: Callable[[dict[str, Any]], float | None],
    label: str,
) -> Any:
    """A row for each bin of the largest attention weight; None without any value."""
    examples = [each for each in examples if None not in (value(each), largest(each))]
    if not examples:
        return None
    weights = np.array([largest(each) for each in examples], float)
    places = np.searchsorted(BINS[1:-1], weights, side="right")
    classes = by_class(examples, value)
    split = len(classes) <= SPLIT
    figure, axes = new_axes(height=2.8)
    colours = _colours(classes) if split else [BLUE]
    names = list(classes) if split else [None]
    ticks = []
    for row, (low, high) in enumerate(pairwise(BINS)):
        here = [each for each, place in zip(examples, places, strict=True) if place == row]
        ticks.append(f"{low:g} to {high:g}\n{counted(len(here))}")
        for number, (name, colour) in enumerate(zip(names, colours, strict=True)):
            found = [value(e) for e in here if name is None or str(e["prediction"]) == name]
            height = 0.8 / len(names)
            centre = row + (number - (len(names) - 1) / 2) * height
            _violin(axes, np.array(found, float), centre, 0.45 * height, colour)
    axes.set_yticks(range(len(ticks)), ticks)
    axes.set_ylim(-0.5, len(ticks) - 0.5)
    axes.set_xlim(left=0)
    axes.xaxis.get_major_locator().set_params(nbins=4)
    axes.ticklabel_format(axis="x", scilimits=(-2, 4))  # 0.00025 four times has no room
    axes.xaxis.get_offset_text().set(ha="left", x=1.02)  # the power of ten, beside the label
    label_axes(axes, label, "largest attention weight")
    if split:
        from matplotlib.patches import Patch

        draw_legend(
            figure,
            [Patch(color=colour) for colour in colours],
            [f"{class_name(name)} ({len(found):,})" for name, found in classes.items()],
        )
    return figure


def _violin(axes: Any, values: np.ndarray, centre: float, half: float, colour: str) -> None:
    """A lying violin with its quartiles, or dots where there is nothing to smooth."""
    if len(values) < FEW or np.ptp(values) < 1e-6:
        axes.plot(values, np.full(len(values), centre), "o", color=colour, markersize=3)
        return
    from scipy.stats import gaussian_kde  # imported late: slow to load

    grid = np.linspace(values.min(), values.max(), 80)
    density = gaussian_kde(values)(grid)
    width = half * density / density.max()
    axes.fill_between(grid, centre - width, centre + width, color=colour, linewidth=0)
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.plot([low, high], [centre, centre], color=INK, linewidth=2)
    axes.plot([middle], [centre], "o", color="#fefefe", markeredgecolor=INK, markersize=4)


def _colours(values: dict[str | None, Any]) -> list[str]:
    return [GREY if label is None else COLOURS[k] for k, label in enumerate(values)]


NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def class_name(label: str | None) -> str:
    """A class as figures write it: what no SVG can hold is replaced."""
    return REST if label is None else NOT_IN_XML.sub("\ufffd", label)


def lines_of(text: str, width: float, most: int = 3) -> str:
    """The text in lines of about so many inches, at most so many of them."""
    letters = int(width / max(width_of(text) / max(len(text), 1), 0.01))
    return "\n".join(textwrap.wrap(text, max(8, letters), max_lines=most, placeholder=" …"))


def width_of(text: str) -> float:
    """Inches that the widest line of the text takes in the size of all text."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=SETTINGS["font.size"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        sizes = [
            text_to_path.get_text_width_height_descent(line, font, ismath=False)
            for line in text.split("\n")
        ]
    return max(size[0] for size in sizes) / 72


def label_axes(axes: Any, x: str, y: str = "") -> None:
    """Names the axes, in as many lines as they need; named ticks must stand before."""
    width, height = axes.figure.get_size_inches()
    ticks = [each.get_text() for each in axes.get_yticklabels() if each.get_text()]
    beside = max(map(width_of, ticks), default=0.25) + (0.45 if y else 0.25)
    axes.set_xlabel(lines_of(x, width - beside), parse_math=False)
    axes.set_ylabel(lines_of(y, height - 0.6), parse_math=False)


def draw_legend(figure: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend below the figure, which grows by it: it covers nothing and is never cut off.

    Labels may be any text: neither formulas nor a leading underscore mean anything.
    """
    width, height = figure.get_size_inches()
    labels = [lines_of(label, width - 0.6) for label in labels]
    longest = max(map(width_of, labels))
    columns = max(1, min(len(labels), int(width / (longest + 0.5))))
    rows = -(-len(labels) // columns)
    lines = rows * max(1 + label.count("\n") for label in labels)
    figure.set_size_inches(width, height + LINE * lines + 0.06)
    legend = figure.legend(
        handles,
        [str(k) for k in range(len(labels))],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=SETTINGS["legend.fontsize"],
        borderaxespad=0,
        labelspacing=0.3,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
        text.set_color(INK)


def new_axes(width: float = WIDTH, height: float = HEIGHT) -> tuple[Any, Any]:
    """(figure, axes) in the reports' style; sizes in inches."""
    import matplotlib  # imported late: it is slow to load and only reports need it
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def ink_on(share: float) -> str:
    """What is written on a colour with, 0..1 of its scale: a dark page turns neither round."""
    return "#fefefe" if share > 0.6 else "#000000"


def add_scale(figure: Any, axes: Any, image: Any, label: str) -> None:
    """The colours of an image beside its axes, in the reports' style."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        figure.colorbar(image, ax=axes, shrink=0.7, label=label)


def save_figure(figure: Any, folder: epath.Path, name: str, caption: str) -> Drawn:
    """Writes figures/NAME.svg and .pdf and returns (name, SVG, caption)."""
    import matplotlib

    svg, pdf = io.StringIO(), io.BytesIO()
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # class names in any script
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    write_text(folder / FIGURES / f"{name}.svg", svg.getvalue())
    write_bytes(folder / FIGURES / f"{name}.pdf", pdf.getvalue())
    return name, svg.getvalue(), caption
