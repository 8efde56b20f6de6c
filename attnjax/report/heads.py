"""Figures of layers and heads: one value each, or what each attends to in one text."""

from typing import Any

import numpy as np
from etils import epath

from attnjax.errors import UserError
from attnjax.report.figures import (
    WIDTH,
    Drawn,
    add_scale,
    ink_on,
    label_axes,
    new_axes,
    save_figure,
)
from attnjax.report.sentences import number
from attnjax.workdir import SELF_ATTENTION, read_arrays

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
                ink = ink_on(abs(value) / top)
                place = {"ha": "center", "va": "center"}
                axes.text(head, layer, number(value), color=ink, fontsize=8, **place)
    label_axes(axes, "head", "layer")
    add_scale(figure, axes, image, label)
    return save_figure(figure, folder, name, caption)


def read_self_attention(folder: epath.Path) -> dict[int, np.ndarray]:
    """id -> [layers, heads, tokens, tokens], as `runs.inner` writes it; {} where there is none.

    Raises UserError where the file is damaged or holds anything else.
    """
    path = folder / SELF_ATTENTION
    found = read_arrays(path)
    for name, each in found.items():
        square = each.ndim == 4 and each.size and each.shape[2] == each.shape[3]
        if not (name.isdecimal() and square and each.dtype.kind == "f"):
            raise UserError(f"{path} holds '{name}', which is no self-attention; delete the file")
    return {int(name): each for name, each in found.items()}


def draw_text(folder: epath.Path, example: int, weights: np.ndarray) -> Drawn:
    """A square for each layer (the first below) and head: [tokens, tokens], from the row's token.

    weights  [layers, heads, tokens, tokens]; the scale is that of the root, for most are small
    """
    from matplotlib.colors import PowerNorm  # imported late: slow to load

    layers, heads, size, _ = weights.shape
    gap = -(-size // 12)
    step = size + gap
    mosaic = np.full((layers * step - gap, heads * step - gap), np.nan)
    for layer, head in np.ndindex(layers, heads):
        top, left = (layers - 1 - layer) * step, head * step
        mosaic[top : top + size, left : left + size] = weights[layer, head]
    side = 0.65 if heads <= 6 else 0.45  # inches
    figure, axes = new_axes(max(WIDTH, side * heads + 1.2), side * layers + 0.7)
    image = axes.imshow(mosaic, cmap="YlGnBu", norm=PowerNorm(0.5, 0, 1), interpolation="none")
    centres = (size - 1) / 2 + step * np.arange(max(layers, heads))
    axes.set_xticks(centres[:heads], [str(k + 1) for k in range(heads)])
    axes.set_yticks(centres[:layers], [str(layers - k) for k in range(layers)])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    label_axes(axes, "head", "layer")
    add_scale(figure, axes, image, "attention")
    caption = (
        f"Self-attention in example {example}: one square for each layer and head, from each token "
        "(down) to each (across), in the order of the text between its start and end symbol."
    )
    return save_figure(figure, folder, f"heads_{example}", caption)
