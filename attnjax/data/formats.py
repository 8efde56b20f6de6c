"""Files of rows -> numbered rows of columns: JSON, JSON Lines, CSV, TSV, Parquet, plain lines.

What is odd about a file but does not stop it is a line added to `notes`.
"""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnjax.data.lines import parse_json, read_json_rows, read_lines
from attnjax.data.tables import DELIMITERS, read_table
from attnjax.errors import UserError, encodable

_PLAIN = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*_PLAIN, *(f"{each}.gz" for each in _PLAIN), ".parquet")
LINES = (".txt", ".txt.gz")  # a text a line, where no label is wanted

Rows = Iterator[tuple[str, dict[str, Any]]]  # (place in the file, column -> value)


def suffix_of(name: str, suffixes: tuple[str, ...] = SUFFIXES) -> str:
    """The one of these suffixes that a file's name ends in, in any case; "" for none."""
    return next((each for each in suffixes if name.lower().endswith(each)), "")


def read_rows(path: Path, quoting: str, notes: list[str], name: str = "", line: str = "") -> Rows:
    """Yields ("line 7" or "row 7", column -> value) of a file that ends in one of SUFFIXES.

    quoting  `data.quoting`; name  of the file in messages; line  the column that plain lines are
    Raises UserError, naming file and line, for what the file cannot hold.
    """
    name = name or path.name
    kind = suffix_of(path.name, (*SUFFIXES, *LINES)).removesuffix(".gz")
    if kind == ".parquet":
        yield from _parquet(path, name)
    elif kind == ".txt":
        for number, text in read_lines(path, name):
            if text.strip():
                yield f"line {number}", {line: text.rstrip("\r\n")}
    elif kind in DELIMITERS:
        for number, row in read_table(path, DELIMITERS[kind], quoting, notes, name):
            yield f"line {number}", row
    elif kind == ".json" or _first(path, name) == "[":
        yield from _json(path, name)
    else:
        for number, row in read_json_rows(path, name):
            yield f"line {number}", row


def _first(path: Path, name: str) -> str:
    """The first character that is no white space; "" where there is none."""
    return next((line.strip()[0] for _, line in read_lines(path, name) if line.strip()), "")


def _json(path: Path, name: str) -> Rows:
    """A list of objects, {"data": such a list}, {column: values}, or one object a line."""
    lines = [(number, line) for number, line in read_lines(path, name) if line.strip()]
    if len(lines) > 1 and _is_object(lines[0][1]):
        for number, row in read_json_rows(path, name):
            yield f"line {number}", row
        return
    whole = parse_json("".join(line for _, line in lines), name) if lines else []
    for number, row in enumerate(_records(whole, name), 1):
        if not isinstance(row, dict):
            raise UserError(
                f"{name}, row {number}: a JSON {type(row).__name__}, not an object; "
                'write a list of {"column": value, ...}'
            )
        yield f"row {number}", row


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _records(whole: Any, name: str) -> list[Any]:
    """The rows of a JSON value.

    _records({"text": {"0": "a"}, "label": {"0": 1}}, "") == [{"text": "a", "label": 1}]
    """
    if isinstance(whole, list):
        return whole
    if not isinstance(whole, dict):
        raise UserError(f"{name}: a JSON {type(whole).__name__}; write a list of objects")
    values = list(whole.values())
    lists = [each for each in values if isinstance(each, list)]
    if len(lists) == 1 and lists[0] and all(isinstance(each, dict) for each in lists[0]):
        return lists[0]
    by_key = [list(each.values()) if isinstance(each, dict) else each for each in values]
    if not by_key or not all(isinstance(each, list) for each in by_key):
        nested = any(isinstance(each, list | dict) for each in values)
        if not nested and values:
            return [whole]
        by_key = []
    if any(isinstance(each, dict | list) for column in by_key for each in column[:1]):
        by_key = []
    if not by_key or len({len(each) for each in by_key}) > 1:
        raise UserError(
            f"{name}: a JSON object with {', '.join(whole) or 'nothing'}; write a list of objects, "
            "one file for each split"
        )
    return [dict(zip(whole, row, strict=True)) for row in zip(*by_key, strict=True)]


def _parquet(path: Path, name: str) -> Rows:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")  # late: it takes a second
    except ImportError as error:
        raise UserError(
            f"{name}: reading Parquet needs the package pyarrow ({error}); pip install pyarrow"
        ) from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            if twice := [each for i, each in enumerate(columns) if each in columns[:i]]:
                raise UserError(f"{name}: column '{twice[0]}' occurs twice; rename one")
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    for value in row.values():
                        if isinstance(value, str) and not encodable(value):
                            raise UserError(f"{name}, row {number}: half of a character; repair it")
                    yield f"row {number}", row
    # Arrow's own errors are ValueErrors and OSErrors, or come from a type that Python lacks.
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{name}, after row {number}: not a Parquet file that can be read ({reason}); write it "
            "again"
        ) from error
