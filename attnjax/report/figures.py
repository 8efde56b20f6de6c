"""Figures, each as SVG (also inlined in the report) and PDF."""

import io
from typing import Any

from etils import epath

from attnjax.workdir import FIGURES

INK, BLUE, ORANGE = "#1d2430", "#20639b", "#d1672a"


def _axes(width: float = 6.4, height: float = 3.2) -> tuple[Any, Any]:
    import matplotlib  # imported late: it is slow to load and only reports need it

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "attnjax"  # same data, same file
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    return figure, axes


def _save(figure: Any, folder: epath.Path, name: str) -> str:
    """Writes figures/NAME.svg and .pdf and returns the SVG."""
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    svg = io.StringIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    pdf = io.BytesIO()
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    (folder / FIGURES / f"{name}.svg").write_text(svg.getvalue())
    (folder / FIGURES / f"{name}.pdf").write_bytes(pdf.getvalue())
    return svg.getvalue()


def draw_training(folder: epath.Path, metrics: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Loss and accuracy over epochs, train and validation: (svg, caption) each."""
    drawn = []
    for name, unit in (("loss", "loss, nats"), ("accuracy", "accuracy")):
        figure, axes = _axes()
        for split, colour, style in (("train", BLUE, "-"), ("validation", ORANGE, "o-")):
            rows = [row for row in metrics if row["split"] == split and row.get(name) is not None]
            axes.plot(
                [row["epoch"] for row in rows],
                [row[name] for row in rows],
                style,
                color=colour,
                label=split,
                markersize=4,
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(unit)
        axes.legend(frameon=False)
        drawn.append(
            (_save(figure, folder, f"training_{name}"), f"Training and validation {name}.")
        )
    return drawn


def draw_robustness(
    folder: epath.Path, robustness: dict[str, list[float]] | None
) -> list[tuple[str, str]]:
    """Accuracy against epsilon: words left, attention right, noise and worst case in each."""
    if not robustness:
        return []
    figure, axes = _axes()
    styles = {
        "word_random": (ORANGE, "o--"),
        "word_worst": (ORANGE, "s-"),
        "attention_random": (BLUE, "o--"),
        "attention_worst": (BLUE, "s-"),
    }
    for kind, (colour, style) in styles.items():
        label = kind.replace("_", " vectors, " if kind.startswith("word") else " scores, ")
        axes.plot(
            robustness["epsilon"], robustness[kind], style, color=colour, label=label, markersize=4
        )
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlabel("epsilon, L2 norm of the perturbation of one example")
    axes.set_ylabel("test accuracy")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)
    caption = "Accuracy under random and worst-case perturbations of word vectors and scores."
    return [(_save(figure, folder, "robustness"), caption)]


def draw_agreement(folder: epath.Path, examples: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Histograms of Kendall's tau over examples, one for each pair of explanations."""
    drawn = []
    pairs = list(examples[0]["agreement"]) if examples else []
    for pair in pairs:
        values = [each["agreement"][pair]["kendall"] for each in examples]
        values = [value for value in values if value is not None]
        if not values:
            continue
        figure, axes = _axes(height=2.6)
        axes.hist(values, bins=[k / 20 for k in range(-20, 21)], color=BLUE)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlim(-1, 1)
        title = pair.replace("~", " and ").replace("_", " ")
        axes.set_xlabel(f"Kendall's tau of {title}")
        axes.set_ylabel("examples")
        name = f"kendall_{pair.replace('~', '_')}"
        drawn.append((_save(figure, folder, name), f"Kendall's tau of {title}, by example."))
    return drawn
