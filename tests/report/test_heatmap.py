"""Colours of words: one hue, the row's maximum darkest, ink that can be read everywhere."""

import re

import pytest

from attnjax.report.heatmap import LEVELS, cells, heat_rows, readable_ink, style_sheet


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


def test_colours_span_the_scale():
    light, half, dark = cells(["a", "b", "c"], [0.0, 0.5, 1.0])
    assert light["colour"] == "rgb(247,251,255)"
    assert dark["colour"] == "rgb(8,69,148)"
    assert dark["ink"] == "#fff"
    assert light["ink"] != "#fff"
    assert half["value"] == "0.5"
    assert [each["level"] for each in (light, half, dark)] == [0, LEVELS // 2, LEVELS]
    assert cells(["a"], [0.0])[0]["colour"] == "rgb(247,251,255)"


def test_values_that_do_not_exist_are_dashes():
    found = cells(["a", "b"], [None, 2.0])
    assert [(each["value"], each["level"]) for each in found] == [("–", 0), ("2", LEVELS)]
    assert cells([], []) == []


def test_rows_are_scaled_each_to_its_own_maximum():
    rows = heat_rows(["a", "b"], {"attention": [0.2, 0.8], "leave_one_out": [1e-5, 0.0]})
    assert [row["name"] for row in rows] == ["attention", "leave_one_out"]
    assert [cell["level"] for cell in rows[1]["cells"]] == [LEVELS, 0]
    with pytest.raises(ValueError, match="shorter"):
        heat_rows(["a", "b"], {"attention": [1.0]})


def test_every_level_can_be_read_on_light_and_dark_pages():
    rules = re.findall(r"\.h(\d+)\{background:rgb\((.*?)\);color:(#\w+)\}", style_sheet())
    assert [int(level) for level, _, _ in rules] == 2 * list(range(LEVELS + 1))
    for _, background, ink in rules:
        colour = tuple(int(part) for part in background.split(","))
        assert contrast(colour, (255,) * 3 if ink == "#fff" else (0,) * 3) >= 4.5


def test_lightness_changes_one_way_only():
    rules = re.findall(r"\.h\d+\{background:rgb\((.*?)\)", style_sheet())
    values = [luminance([int(part) for part in each.split(",")]) for each in rules]
    light, dark = values[: LEVELS + 1], values[LEVELS + 1 :]
    assert light == sorted(light, reverse=True)
    assert dark == sorted(dark)


def test_ink_is_never_unreadable():
    for grey in range(256):
        ink = (255,) * 3 if readable_ink((grey,) * 3) == "#fff" else (0,) * 3
        assert contrast((grey,) * 3, ink) >= 4.5
