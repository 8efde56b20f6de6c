"""Explanation values -> colours of words."""

from collections.abc import Mapping, Sequence
from typing import Any

# Ends of a sequential scale of one hue, light to dark: readable with any colour vision. On a dark
# page the scale turns round, so that more always stands out more.
LIGHT, DARK = (247, 251, 255), (8, 69, 148)
NIGHT, GLOW = (31, 37, 47), (158, 202, 255)
LEVELS = 20  # steps of the scale in the page's style sheet


def cells(words: Sequence[str], values: Sequence[float | None]) -> list[dict[str, Any]]:
    """One coloured cell a word, scaled to the row's maximum, with ink that stays readable.

    A cell has the word, its value as text, a level 0..LEVELS for pages with `style_sheet()`, and
    its colour and ink for places without.
    """
    top = max([0.0, *(value for value in values if value is not None)])
    found = []
    for word, value in zip(words, values, strict=True):
        share = max(0.0, (value or 0.0) / top) if top > 0 else 0.0
        colour = _between(LIGHT, DARK, share)
        found.append(
            {
                "word": word,
                "value": "–" if value is None else f"{value:.4g}",
                "level": round(LEVELS * share),
                "colour": f"rgb{colour}".replace(" ", ""),
                "ink": readable_ink(colour),
            }
        )
    return found


def heat_rows(
    words: Sequence[str], explanations: Mapping[str, Sequence[float | None]]
) -> list[dict[str, Any]]:
    """One row of cells for each explanation over the same words: {"name", "cells"} each."""
    return [{"name": name, "cells": cells(words, values)} for name, values in explanations.items()]


def style_sheet() -> str:
    """CSS of the classes h0..hLEVELS, for light pages, and for dark ones where they are wanted."""
    return (
        _rules(LIGHT, DARK)
        + "@media screen and (prefers-color-scheme: dark) {"
        + (_rules(NIGHT, GLOW) + "}")
    )


def readable_ink(background: tuple[int, int, int]) -> str:
    """Black or white, whichever has more contrast (at least 4.5:1 on any background)."""
    luminance = _luminance(background)
    return "#fff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000"


def _rules(low: tuple[int, int, int], high: tuple[int, int, int]) -> str:
    colours = [_between(low, high, level / LEVELS) for level in range(LEVELS + 1)]
    return "".join(
        f".h{level}{{background:rgb{colour};color:{readable_ink(colour)}}}".replace(" ", "")
        for level, colour in enumerate(colours)
    )


def _between(
    low: tuple[int, int, int], high: tuple[int, int, int], share: float
) -> tuple[int, int, int]:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return red, green, blue


def _luminance(colour: tuple[int, int, int]) -> float:
    """Relative luminance of an sRGB colour, 0..1 (WCAG 2.2)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (each / 255 for each in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
