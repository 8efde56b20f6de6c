"""Tables as CSV and for people: full precision, and text that stays text."""

import csv
import io

import pytest

from attnjax.report.tables import (
    INTERVAL,
    MARKED,
    Estimate,
    Table,
    as_csv,
    formatted,
)

HOSTILE = "50 % of $x_1$ & {y} \\input{z} ~ ^ # <a> | [b] *"
TABLE = Table(
    "t",
    "A & B_1",
    ("name", "mean", INTERVAL, "undefined"),
    [
        {"name": "=1+1", "mean": -0.123456789, INTERVAL: [-0.2, 0.1], "undefined": 3},
        {"name": HOSTILE, "mean": None, INTERVAL: None, "undefined": 0},
        {"name": '"a", b\nc', "mean": 0.5, INTERVAL: [0.4, 0.6], "undefined": 0},
    ],
)


def test_csv_reads_back_with_full_precision():
    heading, first, second, third = csv.reader(io.StringIO(as_csv(TABLE)))
    low, high = f"{INTERVAL}, low", f"{INTERVAL}, high"
    assert heading == ["name", "mean", low, high, "undefined"]
    assert first == ["'=1+1", "-0.123456789", "-0.2", "0.1", "3"]
    assert second == [HOSTILE, "", "", "", "0"]
    assert third[0] == '"a", b\nc'


@pytest.mark.parametrize("start", list("=+-@\t\r"))
def test_text_that_a_spreadsheet_would_run_is_quoted(start):
    table = Table("t", "", ("name", "value"), [{"name": start + "x", "value": -1}])
    assert list(csv.reader(io.StringIO(as_csv(table), newline="")))[1] == [
        f"'{start}x".replace("\r", "\n"),
        "-1",
    ]


def test_numbers_for_people():
    values = [None, 0.12345, -0.5, 0.00012, 0.0, 1e-17, 1234, [0.1, -0.25], "x-y", True, False]
    expected = [
        "–",
        "0.123",
        "−0.500",
        "0.00012",
        "0.000",
        "0.000",
        "1,234",
        "0.100 … −0.250",
        "x-y",
        "yes",
        "no",
    ]
    assert [formatted(value) for value in values] == expected


def test_select_drops_columns_that_say_nothing():
    found = TABLE.select(("name", "mean", INTERVAL), name=HOSTILE)
    assert found.columns == ("name",)
    assert found.text() == [[HOSTILE]]


ESTIMATES = Table(
    "t",
    "",
    ("run_a", "=x", "n"),
    [
        {"run_a": "50 %", "=x": Estimate(-0.5, [-0.75, 0.25], 0.1), "n": 1234, MARKED: True},
        {"run_a": "b", "=x": Estimate(None), "n": None},
    ],
)


def test_estimates_have_a_column_for_each_number_that_exists():
    heading, *rows = csv.reader(io.StringIO(as_csv(ESTIMATES)))
    assert heading == ["run_a", "'=x", "'=x, low", "'=x, high", "'=x, std", "n"]
    assert rows == [["50 %", "-0.5", "-0.75", "0.25", "0.1", "1234"], ["b", "", "", "", "", ""]]
    bare = ESTIMATES._replace(rows=[{"run_a": "a", "=x": Estimate(0.5), "n": 1}])
    assert as_csv(bare) == "run_a,'=x,n\na,0.5,1\n"


def test_marked_rows_stay_marked_when_selected():
    ((marked, cells),) = ESTIMATES.select(("=x",), run_a="50 %").cells()
    assert marked
    assert cells == [("−0.500 ± 0.100", "−0.750 … 0.250")]


def test_estimates_of_seeds():
    assert formatted(Estimate.of_seeds([0.8, 0.9])) == "0.850 ± 0.071"
    assert Estimate.of_seeds([0.8, None]) == Estimate(None)
