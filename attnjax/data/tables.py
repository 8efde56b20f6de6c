"""CSV and TSV files -> numbered rows, with what quotes mean in each.

In CSV a quote opens a cell that may hold separators and line ends. In TSV people write quotes as
they come, so there they are text, unless they stand around a whole cell.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from attnjax.data.lines import csv_rows, read_lines
from attnjax.data.tokens import drop_invisible
from attnjax.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LONG = 3  # lines of one row: more are told
FEW = 50  # values of a column that names classes

_STRAY = (
    "if that is no text of several lines, a quote there is not closed: double it, or read quotes "
    "as text with --config.data.quoting=literal"
)
Cells = Iterator[tuple[int, int, list[str]]]  # (first line, last line, cells)


def read_table(
    path: Path, delimiter: str, quoting: str, notes: list[str], name: str = ""
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (number of its first line, column -> cell) of every row below the header row.

    quoting  quoted: quotes enclose cells; literal: they are text; auto: quoted, and in TSV literal
    but around a whole cell. A file whose header has another separator alone is read by that one.
    Rows without any text are left out. Raises UserError for a row that does not fit the header.
    """
    name = name or path.name
    suffix_says = delimiter
    delimiter, skipped = _delimiter(path, name, delimiter)
    if delimiter != suffix_says:
        notes.append(f"{name}: its columns are separated by {delimiter!r}, and read so")
    literal = quoting == "literal" or (quoting == "auto" and delimiter == "\t")
    opened: dict[int, int] = {}
    read = _literal if literal else _quoted
    rows = read(path, delimiter, name, quoting == "auto", opened)
    header: list[str] = []
    named = count = blank = 0
    values: list[set[str] | None] = []
    long: list[tuple[int, int]] = []
    unnamed: list[int] = []
    aside: dict[int, list[str]] = {}
    for start, end, cells in rows:
        if start <= skipped:
            continue
        if not header:
            header = _header(cells, name, start)
            named = max(place for place, each in enumerate(header, 1) if each)
            values = [set() for _ in range(named)]
            continue
        if named > 1 and not any(cell.strip() for cell in cells):
            blank += 1
            continue
        if len(cells) < named or any(cell.strip() for cell in cells[len(header) :]):
            raise _misfit(path, name, start, cells, header[:named], literal)
        if any(cell.strip() for cell in cells[named:]):
            unnamed.append(start)
        count += 1
        if end > start:
            long.append((start, end))
        elif start in opened:
            aside[start] = cells
        else:
            values = [_seen(each, cell) for each, cell in zip(values, cells, strict=False)]
        yield start, dict(zip(header[:named], cells, strict=False))
    classes = [each if each and 2 * len(each) <= count else None for each in values]
    _require_literal(name, opened, aside, classes)
    if blank:
        notes.append(f"{name}: {blank} rows without any text are left out")
    if unnamed:
        notes.append(
            f"{name}: {len(unnamed)} rows (the first: line {unnamed[0]}) have text in columns "
            "without a name, which is not read; a text that holds separators needs quotes"
        )
    if aside:
        notes.append(
            f"{name}: {len(aside)} rows (the first: line {min(aside)}) have a cell that begins "
            "with a quote and does not end with one; the quote is read as text "
            "(data.quoting=quoted: as the start of a cell that may hold tabs and line ends)"
        )
    notes += _long_rows(path, name, delimiter, long, classes)


def _require_literal(
    name: str,
    opened: dict[int, int],
    rows: dict[int, list[str]],
    values: list[set[str] | None],
) -> None:
    """Raises UserError where a quote opened a cell that holds tabs and line ends, not a text.

    opened  line -> the line with the end of a quoted cell, 0 for none; rows  line -> its cells
    values  of each column that names classes: a line that is part of a cell has none of them there
    """
    for line, cells in rows.items():
        pairs = zip(cells, values, strict=False)
        known = [cell.strip() in each for cell, each in pairs if each is not None]
        if opened[line] and not all(known):
            raise UserError(
                f"{name}, lines {line} to {opened[line]}: a quote opens a cell there, and the "
                "first line is no row; a cell that holds tabs and line ends is read with "
                "--config.data.quoting=quoted, quotes that are text with --config.data.quoting="
                "literal"
            )


def _seen(values: set[str] | None, cell: str) -> set[str] | None:
    if values is None:
        return None
    values.add(cell.strip())
    return values if len(values) <= FEW else None


def _delimiter(path: Path, name: str, delimiter: str) -> tuple[str, int]:
    """(what separates the columns, how many lines before the header say so)."""
    for number, line in read_lines(path, name):
        if said := re.fullmatch(r'"?sep=(.)"?', line.strip(" \r\n")):  # as Excel writes it
            return said[1], number
        if not line.strip():
            continue
        others = [each for each in (",", ";", "\t", "|") if each in line]
        return (delimiter if delimiter in line or len(others) != 1 else others[0]), 0
    return delimiter, 0


def _header(cells: list[str], name: str, number: int) -> list[str]:
    header = [drop_invisible(cell).strip() for cell in cells]
    twice = [cell for i, cell in enumerate(header) if cell and cell in header[:i]]
    if twice:
        raise UserError(f"{name}, line {number}: column '{twice[0]}' occurs twice; rename one")
    if not any(header):
        raise UserError(f"{name}, line {number}: the first row must name the columns")
    return header


def _quoted(path: Path, delimiter: str, name: str, auto: bool, opened: dict[int, int]) -> Cells:
    del auto, opened
    yield from csv_rows(path, delimiter, name)


def _literal(path: Path, delimiter: str, name: str, auto: bool, opened: dict[int, int]) -> Cells:
    """Every line is a row; auto: quotes around a whole cell are taken off.

    opened  gets lines with a cell that only begins with a quote -> the line where one ends with it
    """
    last = 0
    for number, line in read_lines(path, name):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        cells = line.split(delimiter)
        if auto and '"' in line:
            if last and any(cell.endswith('"') and cell[0] != '"' for cell in cells):
                opened[last], last = number, 0
            if any(_opens(cell) for cell in cells):
                opened[number], last = 0, number
            cells = [_unquoted(cell) for cell in cells]
        yield number, number, cells


def _whole(cell: str) -> bool:
    inner = cell[1:-1].replace('""', "")
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner


def _opens(cell: str) -> bool:
    return cell.startswith('"') and not (len(cell) > 1 and cell.endswith('"'))


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if _whole(cell) else cell


def _misfit(
    path: Path, name: str, start: int, cells: list[str], header: list[str], literal: bool
) -> UserError:
    """What is wrong with a row that has not as many cells as the header."""
    found = f"{len(cells)} cells, but the header has {len(header)} ({', '.join(header)})"
    if literal and any(_opens(cell) for cell in cells):
        end = start
        for number, line in read_lines(path, name):
            if number >= start and re.search(r'(^|[^"])"(\t|$)', line.rstrip("\r\n")):
                end = number
                break
        lines = f"line {start}" if end == start else f"lines {start} to {end}"
        return UserError(
            f"{name}, {lines}: {found}; a quote opens there, so if it is a cell that holds tabs or "
            "line ends, read the file with --config.data.quoting=quoted"
        )
    return UserError(
        f"{name}, line {start}: {found}; put text that holds separators between quotes"
    )


def _long_rows(
    path: Path,
    name: str,
    delimiter: str,
    long: list[tuple[int, int]],
    values: list[set[str] | None],
) -> list[str]:
    """What looks wrong about rows that run over several lines.

    long  (first line, last line) of each; values  those of each column, None where there are many
    """
    notes = []
    ends = dict(long)
    alike = dict.fromkeys(ends, True)  # first line -> whether all its lines read like rows
    current = last = 0
    for number, line in read_lines(path, name):
        if number in ends:
            current, last = number, ends[number]
        if current <= number <= last:
            cells = line.rstrip("\r\n").split(delimiter)
            known = [
                cell.strip(' "') in each
                for cell, each in zip(cells, values, strict=False)
                if each is not None
            ]
            alike[current] &= len(cells) == len(values) and any(known)
    swallowed = [(start, ends[start]) for start, yes in alike.items() if yes]
    longest = [each for each in long if each[1] - each[0] >= LONG and each not in swallowed]
    if longest:
        notes.append(
            f"{name}: {len(longest)} rows run over more than {LONG} lines (the first: lines "
            f"{longest[0][0]} to {longest[0][1]}); {_STRAY}"
        )
    if swallowed:
        notes.append(
            f"{name}: each line of {len(swallowed)} rows of several lines reads like a row of its "
            f"own (the first: lines {swallowed[0][0]} to {swallowed[0][1]}); {_STRAY}"
        )
    return notes
