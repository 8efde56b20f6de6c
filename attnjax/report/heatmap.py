"""Explanation values -> colours of words, and words -> blocks that wrap."""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Colour = tuple[int, int, int]
Scale = tuple[Colour, Colour, Colour, Colour]  # of nothing, of little, of half, of the most

# One hue each for magnitudes and for what speaks for and against the explained class: green, blue
# and orange are told apart with any colour vision, and "against" is underlined besides. A little
# already stands out from the paper. On a dark page the scales turn round, so that more always
# stands out more.
SCALES: dict[str, tuple[Scale, Scale]] = {  # light and dark page
    "h": (
        ((246, 247, 249), (205, 236, 222), (82, 168, 134), (0, 68, 48)),
        ((31, 37, 47), (29, 62, 55), (52, 130, 105), (158, 240, 205)),
    ),
    "f": (
        ((246, 247, 249), (208, 227, 245), (88, 152, 208), (8, 48, 107)),
        ((31, 37, 47), (30, 56, 84), (56, 118, 178), (172, 212, 255)),
    ),
    "a": (
        ((246, 247, 249), (253, 224, 190), (228, 132, 45), (112, 44, 0)),
        ((31, 37, 47), (76, 50, 28), (176, 100, 38), (255, 204, 150)),
    ),
}
LEVELS = 20  # steps of a scale in the page's style sheet
BLOCK = 26  # letters that the words of a block have together, with what lies between them
LONG = 22  # letters from which on a word breaks, in a block of its own


def cells(
    words: Sequence[str], values: Sequence[float | None], signed: bool = False
) -> list[dict[str, Any]]:
    """One coloured cell a word, scaled to the row's largest size, with ink that stays readable.

    signed  whether values below 0 speak against the class, else they count as 0
    A cell has the word, its value as text, its class, h0..hLEVELS (f and a for signed values) for
    pages with `style_sheet()`, and its colour and ink for places without.
    """
    known = [value or 0.0 for value in values]
    top = max([0.0, *(abs(value) if signed else value for value in known)])
    found = []
    for word, value, size in zip(words, values, known, strict=True):
        kind = "h" if not signed else "f" if size >= 0 else "a"
        share = max(0.0, (abs(size) if signed else size) / top) if top > 0 else 0.0
        colour = shade(SCALES[kind][0], share)
        found.append(
            {
                "word": word,
                "value": "–" if value is None else f"{value:.4g}".replace("-", "−"),
                "level": f"{kind}{round(LEVELS * share)}",
                "colour": _rgb(colour),
                "ink": readable_ink(colour),
            }
        )
    return found


def heat_rows(
    words: Sequence[str],
    explanations: Mapping[str, Sequence[float | None]],
    signed: Collection[str] = (),
) -> list[dict[str, Any]]:
    """One row of cells for each explanation over the same words: {"name", "cells"} each."""
    return [
        {"name": name, "cells": cells(words, values, name in signed)}
        for name, values in explanations.items()
    ]


def blocks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows cut in blocks of neighbouring words: {"rows", "long"} each.

    Blocks stand beside each other as far as there is room, and wrap; in each the rows stand one
    below the other, so that they stay aligned at any width. A long word has a block of its own.
    """
    cuts, room = [0], BLOCK
    widths = [_letters(cell["word"]) for cell in rows[0]["cells"]] if rows else []
    for place, width in enumerate(widths):
        alone = max(width, widths[place - 1] if place else 0) >= LONG
        if place and (alone or width + 2 > room):
            cuts.append(place)
            room = BLOCK
        room -= width + 2
    ends = [*cuts[1:], len(widths)]
    return [
        {
            "rows": [{**row, "cells": row["cells"][start:end]} for row in rows],
            "long": widths[start] >= LONG,
        }
        for start, end in zip(cuts, ends, strict=True)
        if end > start
    ]


def _letters(word: str) -> int:
    """How wide a word is, in letters: those of Chinese, Japanese and Korean are twice as wide."""
    return len(word) + sum(unicodedata.east_asian_width(letter) in "WF" for letter in word)


def legend(signed: bool) -> list[dict[str, Any]]:
    """What the colours say: {"text", "cells"} of each scale, from none to the most."""
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    blank = [""] * len(shares)
    found = [{"text": "how much a word counts", "cells": cells(blank, shares)}]
    if signed:
        found += [
            {"text": "speaks for the explained class", "cells": cells(blank, shares, True)},
            {
                "text": "speaks against it",
                "cells": cells(blank, [-share for share in shares], True),
            },
        ]
    return found


def style_sheet() -> str:
    """CSS of the classes h0..hLEVELS, f and a, for light pages, and for dark ones if wanted."""
    light, night = (
        "".join(_rules(kind, scales[place]) for kind, scales in SCALES.items()) for place in (0, 1)
    )
    return f"{light}@media screen and (prefers-color-scheme: dark) {{{night}}}"


def shade(scale: Scale, share: float) -> Colour:
    """The colour of a share 0..1 of the most: 0 is nothing, all above at least a little."""
    none, little, half, most = scale
    if share * LEVELS < 0.5:
        return none
    low, high, part = (little, half, 2 * share) if share <= 0.5 else (half, most, 2 * share - 1)
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(low, high, strict=True))
    return red, green, blue


def readable_ink(background: Colour) -> str:
    """Black or white, whichever has more contrast (at least 4.5:1 on any background)."""
    luminance = _luminance(background)
    return "#fff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000"


def _rules(kind: str, scale: Scale) -> str:
    colours = [shade(scale, level / LEVELS) for level in range(LEVELS + 1)]
    return "".join(
        f".{kind}{level}{{background:{_rgb(colour)};color:{readable_ink(colour)}}}"
        for level, colour in enumerate(colours)
    )


def _rgb(colour: Colour) -> str:
    return f"rgb{colour}".replace(" ", "")


def _luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, 0..1 (WCAG 2.2)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (each / 255 for each in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
