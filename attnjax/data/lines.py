"""Text files to numbered lines and rows; what is wrong with one is a UserError with its line."""

import csv
import gzip
import json
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnjax.errors import UserError

BOM = b"\xef\xbb\xbf"  # the byte order mark of UTF-8
KINDS = {  # how files that are no text begin, what they are, and what helps
    b"\x1f\x8b": ("compressed with gzip", "add .gz to its name"),
    b"PK\x03\x04": ("a zip archive or a spreadsheet", "unpack it, or export it as CSV (UTF-8)"),
    b"PAR1": ("a Parquet file", "let its name end in .parquet"),
    b"BZh": ("compressed with bzip2", "unpack it"),
    b"\xfd7zXZ": ("compressed with xz", "unpack it"),
    b"(\xb5/\xfd": ("compressed with zstd", "unpack it"),
    b"%PDF": ("a PDF", "save its text as UTF-8 text"),
}


def read_lines(path: Path, name: str = "", encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, line with its end) of a text file or a .gz of one.

    Lines end at "\\n" alone: JSON strings may hold the other separators. A byte order mark is
    dropped. Raises UserError, naming the file as `name`, for a binary or a damaged file, and for
    what is no file, such as a pipe, which would never end.
    """
    name = name or path.name
    number = 0
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"{name}: {what_is(path)}, not a file; write its text into one")
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as handle:
            for number, raw in enumerate(handle, 1):
                if number == 1:
                    raw = raw.removeprefix(BOM)
                    for begins, (what, advice) in KINDS.items():
                        if raw.startswith(begins):
                            raise UserError(f"{name}: it is {what}, not text; {advice}")
                    if encoding == "utf-8" and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                        raise UserError(f"{name}: UTF-16 text; save it as UTF-8 text")
                if encoding == "utf-8" and b"\0" in raw:
                    raise UserError(
                        f"{name}, line {number}: a NUL byte, so this is not a text file; "
                        "save it as UTF-8 text"
                    )
                yield number, raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name}, line {number}: not {encoding.upper()} text ({error.reason}); "
            "save it as UTF-8 text"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{name}, after line {number}: damaged gzip file ({error}); fetch or compress it again"
        ) from error
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error})") from error


def what_is(path: Path) -> str:
    """What lies under a name that is no file: a folder, a link to nothing, a pipe or device."""
    if os.path.isdir(path):
        return "it is a folder"
    return "it is a pipe or a device" if os.path.exists(path) else "it is a link to nothing"


def parse_json(text: str, place: str) -> Any:
    """The value of JSON text; raises UserError, naming the place, where it is none."""

    def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{place}: '{twice}' stands twice in one object; rename one")
        return found

    try:
        value = json.loads(text, object_pairs_hook=named_once)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{place}: {error.object[error.start]!a} is half of a character; "
            "correct the text, which was cut in the middle of one"
        ) from error
    except (ValueError, RecursionError) as error:  # also for a number of thousands of digits
        raise UserError(f"{place}: not JSON ({error}); write one JSON object a line") from error
    return value


def read_json_rows(path: Path, name: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number, object) of a JSON Lines file; blank lines are skipped."""
    name = name or path.name
    for number, line in read_lines(path, name):
        if not line.strip():
            continue
        row = parse_json(line, f"{name}, line {number}")
        if not isinstance(row, dict):
            raise UserError(
                f"{name}, line {number}: a JSON {type(row).__name__}, not an object; "
                'write one {"column": value, ...} a line'
            )
        yield number, row


def csv_rows(path: Path, delimiter: str, name: str = "") -> Iterator[tuple[int, int, list[str]]]:
    """Yields (first line, last line, cells) of every row of a CSV file.

    Quoted cells may hold line ends; strict, so a stray quote is found where it stands instead of
    swallowing the rows after it.
    """
    name = name or path.name
    csv.field_size_limit(sys.maxsize)  # the default of 128 kB is less than some stories
    rows = csv.reader(
        (line for _, line in read_lines(path, name)), delimiter=delimiter, strict=True
    )
    while True:
        start = rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            if "new-line character" in str(error):
                raise UserError(
                    f"{name}, line {start}: a carriage return outside quotes; save the file with "
                    "line ends \\n or \\r\\n, or put the text between quotes"
                ) from error
            raise UserError(
                f"{name}, line {start}: not a row of cells ({error}); put text that holds quotes, "
                'line ends or separators between quotes, its own quotes doubled (""), or read '
                "quotes as text with --config.data.quoting=literal"
            ) from error
        if cells is None:
            return
        if cells:
            yield start, rows.line_num, cells


def read_cells(path: Path, delimiter: str, name: str = "") -> Iterator[tuple[int, list[str]]]:
    """Yields (number of its first line, cells) of every row of a CSV file."""
    for start, _, cells in csv_rows(path, delimiter, name):
        yield start, cells
