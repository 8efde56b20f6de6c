"""Tables of a comparison, each as CSV with full precision and as LaTeX to print."""

import csv
import io
import statistics
from typing import Any, NamedTuple

from etils import epath

from attnjax.workdir import write_text

TABLES = "tables"
NONE = "–"
SPECIAL = {
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
    "…": r"\dots{}",
    "±": r"$\pm$",
    "–": "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


class Estimate(NamedTuple):
    """A mean with its 95 % interval and its standard deviation over seeds, where there are any."""

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

    def interval_text(self) -> str:
        """The interval as "0.193 … 0.221", or nothing."""
        return " … ".join(cell_text(each) for each in self.ci95) if self.ci95 else ""


class Table(NamedTuple):
    """Columns of raw values: text, numbers, None and Estimates. marks  rows that stand out."""

    name: str
    caption: str
    columns: list[str]
    rows: list[list[Any]]
    marks: list[bool] | None = None


def words_of(name: str) -> str:
    """ "attention~leave_one_out" -> "attention ~ leave one out" """
    return name.replace("~", " ~ ").replace("_", " ")


def cell_text(value: Any) -> str:
    """A cell as people read it: three decimals, or one digit of what would be 0.000."""
    if value is None:
        return NONE
    if isinstance(value, Estimate):
        spread = f" ± {cell_text(value.std)}" if value.std is not None else ""
        return cell_text(value.mean) + spread
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) >= 0.0005 or abs(value) < 1e-9 else f"{value:.1g}"
    return str(value)


def write_table(folder: epath.Path, table: Table) -> None:
    """Writes tables/NAME.csv and tables/NAME.tex."""
    write_text(folder / TABLES / f"{table.name}.csv", to_csv(table))
    write_text(folder / TABLES / f"{table.name}.tex", to_latex(table))


def to_csv(table: Table) -> str:
    """Full precision; a column of Estimates becomes NAME, NAME low, NAME high, NAME std."""
    wide = [
        any(isinstance(row[place], Estimate) for row in table.rows)
        for place in range(len(table.columns))
    ]
    header: list[str] = []
    for column, estimates in zip(table.columns, wide, strict=True):
        header += [column]
        header += [f"{column} {part}" for part in ("low", "high", "std")] if estimates else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        flat: list[Any] = []
        for value, estimates in zip(row, wide, strict=True):
            if not estimates:
                flat.append(value)
            elif isinstance(value, Estimate):
                flat += [value.mean, *(value.ci95 or [None, None]), value.std]
            else:
                flat += [value, None, None, None]
        writer.writerow(flat)
    return text.getvalue()


def to_latex(table: Table) -> str:
    """A tabular with booktabs' rules, to \\input; marked rows are bold."""
    marks = table.marks or [False] * len(table.rows)
    numbers = "".join(
        "l" if all(isinstance(row[place], str) for row in table.rows) else "r"
        for place in range(len(table.columns))
    )
    lines = [
        f"% {' '.join(table.caption.split())}",
        rf"\begin{{tabular}}{{{numbers}}}",
        r"\toprule",
        " & ".join(escape_latex(column) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for row, mark in zip(table.rows, marks, strict=True):
        cells = [_latex_cell(value) for value in row]
        lines.append(" & ".join(rf"\textbf{{{c}}}" if mark else c for c in cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def escape_latex(text: str) -> str:
    r"""Text that LaTeX prints as it stands: "50_%" -> "50\_\%"."""
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


def _latex_cell(value: Any) -> str:
    if isinstance(value, Estimate) and value.ci95:
        low, high = (cell_text(each) for each in value.ci95)
        return _latex_number(f"{cell_text(value)} [{low}, {high}]")
    if isinstance(value, str):
        return escape_latex(value)
    return _latex_number(cell_text(value))


def _latex_number(text: str) -> str:
    return escape_latex(text).replace("-", "$-$") if text != NONE else escape_latex(text)
