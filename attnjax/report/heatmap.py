"""Explanation values -> colours of words."""

from collections.abc import Sequence
from typing import Any

# Ends of a sequential scale of one hue, light to dark: readable with any colour vision.
LIGHT, DARK = (247, 251, 255), (8, 69, 148)


def cells(words: Sequence[str], values: Sequence[float]) -> list[dict[str, Any]]:
    """One coloured cell a word, scaled to the row's maximum, with ink that stays readable."""
    top = max([*values, 0.0])
    found = []
    for word, value in zip(words, values, strict=True):
        share = value / top if top > 0 else 0.0
        red, green, blue = (round(a + (b - a) * share) for a, b in zip(LIGHT, DARK, strict=True))
        found.append(
            {
                "word": word,
                "value": f"{value:.4g}",
                "colour": f"rgb({red},{green},{blue})",
                "ink": "#fff" if share > 0.5 else "#1d2430",
            }
        )
    return found
