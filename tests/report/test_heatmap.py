"""Colours of words: a hue for each meaning, the largest darkest, ink that can always be read."""

import re

import pytest

from attnjax.report.heatmap import (
    BLOCK,
    LEVELS,
    LONG,
    blocks,
    cells,
    heat_rows,
    legend,
    readable_ink,
    style_sheet,
)


def luminance(colour):
    """WCAG 2.2, relative luminance, written out."""
    total = 0.0
    for part, share in zip(colour, (0.2126, 0.7152, 0.0722), strict=True):
        part = part / 255
        total += share * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
    return total


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def rgb(colour):
    return tuple(map(int, re.findall(r"\d+", colour)))


@pytest.mark.parametrize("signed", [False, True])
def test_half_of_the_most_stands_out_from_white_paper(signed):
    """And a tenth already does; more always does so more."""
    values = [0.0, 0.1, 0.25, 0.5, 1.0]
    for sign in (1, -1) if signed else (1,):
        found = cells("abcde", [sign * value for value in values], signed)
        contrasts = [contrast(rgb(each["colour"]), (255, 255, 255)) for each in found]
        assert contrasts == sorted(contrasts)
        assert contrasts[0] < 1.1 < 1.25 < contrasts[1]
        assert contrasts[3] > 2.2
        assert contrasts[4] > 9
        assert [each["level"][1:] for each in found] == ["0", "2", "5", "10", "20"]
    assert {each["level"] for each in cells(["a"], [0.0])} == {"h0"}


def test_what_speaks_against_the_class_has_a_hue_of_its_own():
    counts, speaks_for, against = (
        cells(["a"], [1.0])[0],
        *cells(["a", "b"], [0.5, -0.5], signed=True),
    )
    assert [each["level"] for each in (counts, speaks_for, against)] == ["h20", "f20", "a20"]
    assert against["value"] == "−0.5"
    red, green, blue = (rgb(each["colour"]) for each in (against, counts, speaks_for))
    assert max(red) == red[0]
    assert max(green) == green[1]
    assert max(blue) == blue[2]


def test_signed_rows_are_scaled_by_size_and_magnitudes_from_zero():
    row = [0.5, -1.0, 0.0, None]
    assert [each["level"] for each in cells("abcd", row, True)] == ["f10", "a20", "f0", "f0"]
    assert [each["level"] for each in cells("abcd", row)] == ["h20", "h0", "h0", "h0"]


def test_the_legend_names_the_hues_that_there_are():
    assert len(legend(False)) == 1
    texts = [each["text"] for each in legend(True)]
    assert [("class" in each, "against" in each) for each in texts] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert [each["cells"][-1]["level"] for each in legend(True)] == ["h20", "f20", "a20"]


def test_values_that_do_not_exist_are_dashes():
    found = cells(["a", "b"], [None, 2.0])
    assert [(each["value"], each["level"]) for each in found] == [("–", "h0"), ("2", f"h{LEVELS}")]
    assert cells([], []) == []


def test_rows_are_scaled_each_to_its_own_maximum():
    values = {"attention": [0.2, 0.8], "own": [1e-5, 0.0], "signed": [-2.0, 1.0]}
    rows = heat_rows(["a", "b"], values, {"signed"})
    assert [row["name"] for row in rows] == list(values)
    assert [cell["level"] for cell in rows[1]["cells"]] == ["h20", "h0"]
    assert [cell["level"] for cell in rows[2]["cells"]] == ["a20", "f10"]
    with pytest.raises(ValueError, match="shorter"):
        heat_rows(["a", "b"], {"attention": [1.0]})


def test_blocks_keep_every_word_once_and_their_rows_aligned():
    words = [*("word" * (k % 5 + 1) for k in range(40)), "x" * 60, "end"]
    rows = heat_rows(words, {"a": [1.0] * 42, "b": [2.0] * 42})
    found = blocks(rows)
    for number in (0, 1):
        joined = [cell["word"] for each in found for cell in each["rows"][number]["cells"]]
        assert joined == words
    for each in found:
        first, second = ([cell["word"] for cell in row["cells"]] for row in each["rows"])
        assert first == second
        assert each["long"] == (len(max(first, key=len)) >= LONG)
        assert each["long"] or sum(len(word) + 2 for word in first) <= BLOCK
    (long,) = (each for each in found if each["long"])
    assert len(long["rows"][0]["cells"]) == 1
    wide = blocks(heat_rows(["\u4e2d" * 11, "\u4e2d" * 5] * 2, {"a": [1.0] * 4}))
    assert [each["long"] for each in wide] == [True, False, True, False], "twice as wide"
    assert blocks([]) == blocks(heat_rows([], {"a": []})) == []


RULES = re.compile(r"\.([hfa])(\d+)\{background:rgb\((.*?)\);color:(#\w+)\}")


def test_every_level_can_be_read_on_light_and_dark_pages():
    rules = RULES.findall(style_sheet())
    scale = [(kind, str(level)) for kind in "hfa" for level in range(LEVELS + 1)]
    assert [rule[:2] for rule in rules] == 2 * scale
    for _, _, background, ink in rules:
        assert contrast(rgb(background), (255,) * 3 if ink == "#fff" else (0,) * 3) >= 4.5


def test_lightness_changes_one_way_only():
    values = [luminance(rgb(background)) for _, _, background, _ in RULES.findall(style_sheet())]
    scales = [values[k : k + LEVELS + 1] for k in range(0, len(values), LEVELS + 1)]
    assert len(scales) == 6
    for number, scale in enumerate(scales):
        assert scale == sorted(scale, reverse=number < 3), "dark on paper, bright at night"


def test_ink_is_never_unreadable():
    for grey in range(256):
        ink = (255,) * 3 if readable_ink((grey,) * 3) == "#fff" else (0,) * 3
        assert contrast((grey,) * 3, ink) >= 4.5
