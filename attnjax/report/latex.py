"""A table -> LaTeX that fits the column of an article: wide ones are split, not shrunk."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from attnjax.report.tables import MARKED, Table

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"$\sim$",  # \textasciitilde is an accent without a letter
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
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "σ": r"$\sigma$",
    "²": "$^2$",
    "\u200b": r"\allowbreak{}",
    "\u00a0": "~",
    "ε": r"$\epsilon$",
    "τ": r"$\tau$",
    "λ": r"$\lambda$",
}
WIDTH = 345.0  # points: the text of an article in 10 points
WIDEST = 92.0  # points of a column of text, which is broken into lines beyond
GAP = 8.0  # points between columns: twice \\tabcolsep
ROWS = 40  # most rows of one table: a page holds them
KEYS = 2  # most columns of text that begin every part of a split table
# Widths in ems of Computer Modern in 8 points, by letter; all others are LETTER.
NARROW, WIDE, LETTER, CAPITAL, EM = 0.42, 0.9, 0.59, 0.81, 8.0
WIDTHS = dict.fromkeys("ijlt.,:;'!()[]|fr ", NARROW) | dict.fromkeys("mwMW%&@~−±≤…+=<>", WIDE)


class _Column(NamedTuple):
    """head  in lines; cells  one a row; width  in points; broken  into lines of that width."""

    head: list[str]
    cells: list[str]
    width: float
    broken: bool
    text: bool


def as_latex(table: Table) -> str:
    """Table environments for the packages array and booktabs, each at most WIDTH points wide.

    Columns that say nothing are left out. Where the first of several columns of text repeats
    itself, it becomes headings between the rows. Columns that do not fit go to another table, which
    begins with the same text; so do rows beyond ROWS. All text is escaped, marked rows are bold.
    """
    table = table._replace(columns=table.said())
    heading, table = _heading(table)
    columns = _columns(table)
    keys = 0
    while keys < min(KEYS, len(columns)) and columns[keys].text:
        keys += 1
    parts = _fitting(columns, keys)
    pages = [range(k, min(k + ROWS, len(table.rows))) for k in range(0, len(table.rows) or 1, ROWS)]
    places = [(columns_of, rows) for rows in pages for columns_of in parts]
    found = [
        _environment(table, heading, columns_of, rows, number, len(places))
        for number, (columns_of, rows) in enumerate(places, 1)
    ]
    return "% \\usepackage{array,booktabs}\n" + "\n".join(found)


def latex(text: str) -> str:
    """Text with every character that LaTeX reads as a command escaped; one line."""
    return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))


def width_of(text: str) -> float:
    """Points that the text takes in 8 points, a little more rather than less."""
    ems = (
        WIDTHS.get(letter, CAPITAL if letter.isupper() or ord(letter) > 0x2E80 else LETTER)
        for letter in text
    )
    return EM * sum(ems)


def _heading(table: Table) -> tuple[list[str] | None, Table]:
    """The heading of each row, and the table without that column; None where nothing repeats."""
    first = table.columns[0] if table.columns else ""
    texts = table.texts()[:2]
    names = [str(row[first]) for row in table.rows] if texts == [True, True] else []
    runs = sum(1 for _ in groupby(names))
    if not names or runs * 2 > len(names):
        return None, table
    return names, table._replace(columns=table.columns[1:])


def _columns(table: Table) -> list[_Column]:
    """The columns with the widths that they need."""
    bold = 1.15 if any(row.get(MARKED) for row in table.rows) else 1.0
    rows, texts, found = table.text(), table.texts(), []
    for place, name in enumerate(table.columns):
        cells = [row[place] for row in rows]
        natural = bold * max(map(width_of, cells), default=0.0)
        broken = texts[place] and natural > WIDEST
        width = WIDEST if broken else natural
        head = _lines(name, max(width, max(map(width_of, name.split()), default=0.0)))
        width = max(width, *map(width_of, head))
        found.append(_Column(head, cells, width, broken, texts[place]))
    return found


def _lines(text: str, width: float) -> list[str]:
    """Words in lines of so many points."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if width_of(longer) <= width else [*lines, word]
    return [line for line in lines if line] or [""]


def _fitting(columns: Sequence[_Column], keys: int) -> list[list[_Column]]:
    """The columns in parts that fit, each begun with the keys."""
    start, parts = list(columns[:keys]), []
    part = list(start)
    for column in columns[keys:]:
        if len(part) > keys and sum(each.width + GAP for each in [*part, column]) > WIDTH:
            parts.append(part)
            part = list(start)
        part.append(column)
    return [*parts, part]


def _environment(
    table: Table,
    heading: list[str] | None,
    columns: list[_Column],
    rows: range,
    number: int,
    count: int,
) -> str:
    """One table environment: some of the columns, and some of the rows."""
    align = "".join(
        f">{{\\raggedright\\arraybackslash}}p{{{each.width:.0f}pt}}"
        if each.broken
        else "l"
        if each.text
        else "r"
        for each in columns
    )
    body: list[str] = []
    for row in rows:
        if heading is not None and (row == rows.start or heading[row] != heading[row - 1]):
            title = latex(_breakable(heading[row], WIDTH - GAP))
            cell = f"p{{{WIDTH - GAP:.0f}pt}}"
            body.append(f"\\multicolumn{{{len(columns)}}}{{{cell}}}{{\\emph{{{title}}}}} \\\\")
        form = r"\textbf{%s}" if table.rows[row].get(MARKED) else "%s"
        cells = [_cell(each.cells[row], each) for each in columns]
        body.append(" & ".join(form % cell for cell in cells) + r" \\")
    caption = table.caption
    if count > 1:
        caption = f"{caption.removesuffix('.')} ({number} of {count})."
    label = table.name + (f"-{number}" if number > 1 else "")
    lines = [
        "\\begin{table}",
        "\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}",
        f"\\caption{{{latex(caption)}}}",
        f"\\label{{tab:{label}}}",
        f"\\begin{{tabular}}{{{align}}}",
        "\\toprule",
        " & ".join(map(_head, columns)) + r" \\",
        "\\midrule",
        *body,
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _head(column: _Column) -> str:
    lines = [latex(line) for line in column.head]
    if len(lines) == 1:
        return lines[0]
    side, stacked = "l" if column.text else "r", r"\\".join(lines)
    return f"\\shortstack[{side}]{{{stacked}}}"


BREAK = "\u200b"  # may break here


def _cell(text: str, column: _Column) -> str:
    return latex(_breakable(text, column.width) if column.broken else text)


def _breakable(text: str, width: float) -> str:
    """Words that are wider than the column may break, after any letter."""
    words = (BREAK.join(word) if width_of(word) > width else word for word in text.split())
    return " ".join(words)
