"""One table -> CSV with full precision, and rows of text for people."""

import csv
import io
import statistics
from typing import Any, NamedTuple

INTERVAL = "95 % interval"  # the one column whose cells are [low, high] or None
MARKED = "marked"  # rows with this key, which is no column, stand out where its value is true
DASH = "–"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that spreadsheets would execute


class Estimate(NamedTuple):
    """A mean with its 95 % interval and its standard deviation, of what the table's column says."""

    mean: float | None
    ci95: list[float] | None = None
    std: float | None = None

    @classmethod
    def of_seeds(cls, values: list[float | None]) -> "Estimate":
        """Mean and standard deviation of one score over seeds; none if a seed has no score."""
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return cls(None)
        return cls(statistics.fmean(known), std=statistics.stdev(known))

    def parts(self) -> dict[str, float | None]:
        """The four numbers by the names that end their columns of a file."""
        low, high = self.ci95 or (None, None)
        return {"": self.mean, ", low": low, ", high": high, ", std": self.std}


class Table(NamedTuple):
    """Rows by column name; cells: numbers, text, None, Estimates, or [low, high] under INTERVAL."""

    name: str  # of its files
    caption: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]

    def select(self, columns: tuple[str, ...], **wanted: Any) -> "Table":
        """The rows that have the wanted values, with those of the columns that say anything."""
        rows = [
            row for row in self.rows if all(row[name] == value for name, value in wanted.items())
        ]
        kept = self._replace(columns=columns, rows=rows)
        return kept._replace(columns=kept.said() if rows else ())

    def said(self) -> tuple[str, ...]:
        """The columns that say anything, all where there is no row."""
        kept = (name for name in self.columns if any(row[name] is not None for row in self.rows))
        return tuple(kept) or self.columns

    def text(self) -> list[list[str]]:
        """The cells as people read them, an Estimate with its interval in brackets."""
        return [
            [f"{text} [{note}]" if note else text for text, note in row] for _, row in self.cells()
        ]

    def texts(self) -> list[bool]:
        """Whether each column holds text, which starts at the left."""
        return [any(isinstance(row[name], str) for row in self.rows) for name in self.columns]

    def cells(self) -> list[tuple[bool, list[tuple[str, str]]]]:
        """Rows for the page: whether it is marked, and (text, note under it) of each cell."""
        return [
            (
                bool(row.get(MARKED)),
                [(formatted(row[name]), _note(row[name])) for name in self.columns],
            )
            for row in self.rows
        ]


def formatted(value: Any) -> str:
    """For people: 0.12345 -> "0.123", 1234 -> "1,234", [0.1, 0.2] -> "0.100 … 0.200", None -> "–".

    Numbers nearer to zero than 0.0005 keep two digits: 0.00012 -> "0.00012"; but what rounding
    alone may have left, below 1e-9, is 0. Of an Estimate, the mean and "± 0.071".
    """
    if value is None:
        return DASH
    if isinstance(value, Estimate):
        spread = "" if value.std is None else f" ± {formatted(value.std)}"
        return formatted(value.mean) + spread
    if isinstance(value, list | tuple):
        return " … ".join(formatted(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if abs(value) < 1e-9:
        return "0.000"
    text = f"{value:.2g}" if abs(value) < 0.0005 else f"{value:.3f}"
    return text.replace("-", "−")


def _note(value: Any) -> str:
    return formatted(value.ci95) if isinstance(value, Estimate) and value.ci95 else ""


def as_csv(table: Table) -> str:
    """Full precision, an empty cell for what does not exist, intervals in two columns.

    A column NAME of Estimates has its interval and deviation in "NAME, low", "NAME, high" and
    "NAME, std", as far as any row has them. Text that a spreadsheet would run as a formula gets an
    apostrophe in front.
    """
    flat = [
        [_csv_cell(f"{name}{end}") for name in table.columns for end in _endings(table, name)],
        *(
            [
                _csv_cell(_parts(row[name]).get(end))
                for name in table.columns
                for end in _endings(table, name)
            ]
            for row in table.rows
        ),
    ]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(flat)
    return out.getvalue()


def _parts(value: Any) -> dict[str, Any]:
    """A cell's numbers by what ends the names of their columns."""
    if isinstance(value, Estimate):
        return value.parts()
    if isinstance(value, list | tuple):
        return dict(zip((", low", ", high"), value, strict=True))
    return {"": value}


def _endings(table: Table, name: str) -> list[str]:
    found = [_parts(row[name]) for row in table.rows]
    if name == INTERVAL:
        return [", low", ", high"]
    return [
        "",
        *(e for e in (", low", ", high", ", std") if any(p.get(e) is not None for p in found)),
    ]


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        text = value.replace("\r", "\n")  # which the csv module would not quote
        return "'" + text if value.startswith(FORMULA) else text
    return value
