"""Figures of layers and heads: one value each."""

from typing import Any

import numpy as np
from etils import epath

from attnjax.report.figures import (
    WIDTH,
    Drawn,
    add_scale,
    label_axes,
    new_axes,
    save_figure,
)

DARK, LIGHT = "#000000", "#ffffff"  # on colours, which a dark page does not turn round
NUMBERED = 12  # most heads of a layer whose numbers are written in
Heads = list[list[dict[str, Any]]]  # layer -> head -> summary


def draw_means(
    folder: epath.Path, name: str, heads: Heads, caption: str, label: str, signed: bool = False
) -> Drawn:
    """Layers, the first below, by heads; label  of the scale.

    signed  of values in [-1, 1], where both signs have a colour; else from 0 to the largest
    """
    means = np.array([[each["mean"] for each in layer] for layer in heads], float)
    layers, count = means.shape
    known = means[np.isfinite(means)]
    top = 1.0 if signed else float(known.max(initial=0)) or 1.0
    figure, axes = new_axes(max(WIDTH, 0.37 * count + 1.5), 0.3 * layers + 0.9)
    image = axes.imshow(
        means,
        cmap="RdBu_r" if signed else "YlGnBu",
        vmin=-top if signed else 0,
        vmax=top,
        origin="lower",
        aspect="auto",
    )
    axes.set_xticks(range(count), [str(k + 1) for k in range(count)])
    axes.set_yticks(range(layers), [str(k + 1) for k in range(layers)])
    if count <= NUMBERED:
        for (layer, head), value in np.ndenumerate(means):
            if np.isfinite(value):
                ink = LIGHT if abs(value) > 0.6 * top else DARK
                text = f"{value:.2f}".replace("-", "−")
                axes.text(head, layer, text, ha="center", va="center", color=ink, fontsize=8)
    label_axes(axes, "head", "layer")
    add_scale(figure, axes, image, label)
    return save_figure(figure, folder, name, caption)
