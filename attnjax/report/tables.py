"""One table -> CSV with full precision, LaTeX for a paper, and rows of text for the page."""

import csv
import io
from typing import Any, NamedTuple

from etils import epath

from attnjax.workdir import TABLES, write_text

INTERVAL = "95 % interval"  # the one column whose cells are [low, high] or None
DASH = "–"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that spreadsheets would execute
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after a line's end, [ and * would be read as its arguments
    "]": "{]}",
    "*": "{*}",
    "–": "--",
    "…": r"\ldots{}",
    "−": "$-$",
    "≤": r"$\leq$",
}


class Table(NamedTuple):
    """Rows by column name; cells are numbers, text, None, or [low, high] under INTERVAL."""

    name: str  # of its files
    caption: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]

    def select(self, columns: tuple[str, ...], **wanted: Any) -> "Table":
        """The rows that have the wanted values, with those of the columns that say anything."""
        rows = [
            row for row in self.rows if all(row[name] == value for name, value in wanted.items())
        ]
        kept = tuple(name for name in columns if any(row[name] is not None for row in rows))
        return self._replace(columns=kept, rows=rows)

    def text(self) -> list[list[str]]:
        """The cells as the page shows them."""
        return [[formatted(row[name]) for name in self.columns] for row in self.rows]


def formatted(value: Any) -> str:
    """For people: 0.12345 -> "0.123", 1234 -> "1,234", [0.1, 0.2] -> "0.100 … 0.200", None -> "–".

    Numbers nearer to zero than 0.0005 keep two digits: 0.00012 -> "0.00012".
    """
    if value is None:
        return DASH
    if isinstance(value, list | tuple):
        return " … ".join(formatted(each) for each in value)
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    text = f"{value:.2g}" if 0 < abs(value) < 0.0005 else f"{value:.3f}"
    return text.replace("-", "−")


def write_table(folder: epath.Path, table: Table) -> None:
    """Writes tables/NAME.csv and tables/NAME.tex."""
    write_text(folder / TABLES / f"{table.name}.csv", as_csv(table))
    write_text(folder / TABLES / f"{table.name}.tex", as_latex(table))


def as_csv(table: Table) -> str:
    """Full precision, an empty cell for what does not exist, the interval in two columns.

    Text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heading: list[str] = []
    for name in table.columns:
        heading += [f"{name}, low", f"{name}, high"] if name == INTERVAL else [name]
    writer.writerow(heading)
    for row in table.rows:
        line: list[Any] = []
        for name in table.columns:
            if name == INTERVAL:
                line += row[name] or ["", ""]
            else:
                line.append(_csv_cell(row[name]))
        writer.writerow(line)
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        text = value.replace("\r", "\n")  # which the csv module would not quote
        return "'" + text if value.startswith(FORMULA) else text
    return value


def as_latex(table: Table) -> str:
    """A table environment for the package booktabs, with every character of text escaped."""
    align = "".join("l" if _is_text(table, name) else "r" for name in table.columns)
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{latex(table.caption)}}}",
        f"\\label{{tab:{table.name}}}",
        f"\\begin{{tabular}}{{{align}}}",
        "\\toprule",
        " & ".join(latex(name) for name in table.columns) + r" \\",
        "\\midrule",
        *(" & ".join(latex(cell) for cell in row) + r" \\" for row in table.text()),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _is_text(table: Table, name: str) -> bool:
    return any(isinstance(row[name], str) for row in table.rows)


def latex(text: str) -> str:
    """Text with every character that LaTeX reads as a command escaped; one line."""
    return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))
