"""All explanations of one text, one under another (Guan et al., ICML 2019, figure 2)."""

from typing import Any

import numpy as np
from etils import epath

from attnjax.report.figures import Drawn, add_scale, class_name, new_axes, save_figure
from attnjax.report.wording import spaced

WORDS = 24  # of the text that are drawn, at most


def scaled(example: dict[str, Any]) -> dict[str, np.ndarray]:
    """Attention and each method of the text -> [words] size over the largest, 0 where all are 0."""
    values = {"attention": example["attention"], **example["importance"]}
    found = {}
    for name, each in values.items():
        sizes = np.abs(np.array([np.nan if v is None else v for v in each or []], float))
        if len(sizes) == len(example["tokens"]) and np.isfinite(sizes).any():
            found[name] = sizes / max(np.nanmax(sizes), np.finfo(float).tiny)
    return found


def draw_beside(
    folder: epath.Path, example: dict[str, Any], name: str, needed: int | None = None
) -> list[Drawn]:
    """Explanation by word; needed  the place of a word whose name is set bold."""
    values = scaled(example)
    if len(values) < 2:
        return []
    rows = np.stack([each[:WORDS] for each in values.values()])
    labels = [class_name(word) for word in example["tokens"][:WORDS]]
    figure, axes = new_axes(width=max(3.35, 0.26 * len(labels) + 2), height=0.2 * len(rows) + 1)
    axes.grid(False)
    image = axes.imshow(rows, aspect="auto", cmap="viridis", vmin=0, vmax=1)
    axes.set_yticks(range(len(rows)), [spaced(each) for each in values])
    axes.set_xticks(range(len(labels)), labels, rotation=90, parse_math=False)
    if needed is not None and needed < len(labels):
        axes.get_xticklabels()[needed].set_fontweight("bold")
    add_scale(figure, axes, image, "share of the largest")
    caption = f"Size of every explanation of example {example['id']}, as a share of its largest"
    caption += "" if needed is None else "; bold: the word that must be known"
    caption += f"; its first {WORDS} words." if len(example["tokens"]) > WORDS else "."
    return [save_figure(figure, folder, name, caption)]
