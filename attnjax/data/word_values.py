"""A file of words and numbers -> the words' numbers."""

import math
import os
from pathlib import Path

from attnjax.data.lines import read_lines
from attnjax.errors import UserError


def read_word_values(path: str, field: str) -> dict[str, float]:
    """`read_word_numbers` of one number a word."""
    found = read_word_numbers(
        path, field, (1,), "a word and a number on each line, such as 'good 1'"
    )
    return {word: value for word, (value,) in found.items()}


def read_word_numbers(
    path: str, field: str, counts: tuple[int, ...], form: str
) -> dict[str, tuple[float, ...]]:
    """Reads "word number ..." lines, blank lines and those that start with # left out.

    field   of the configuration that names the file; form  of a line, for messages
    counts  how many numbers lines may have, all of them as many
    Raises UserError, naming the line, for a missing file, a line of another form, a number that is
    not finite, and a word that stands there twice with different numbers.
    """
    place = Path(os.path.expanduser(path))
    if not place.is_file():
        raise UserError(f"{field}: there is no file {path}; give the path of a file of words")
    found: dict[str, tuple[float, ...]] = {}
    for number, line in read_lines(place):
        cells = line.split()
        if not cells or cells[0].startswith("#"):
            continue
        where, word = f"{field}: {place.name}, line {number}", cells[0]
        values = tuple(_number(cell) for cell in cells[1:])
        if len(values) not in counts or not all(map(math.isfinite, values)):
            raise UserError(f"{where}: write {form}")
        if len(values) != len(next(iter(found.values()), values)):
            raise UserError(f"{where}: the lines before have another number of cells; write {form}")
        if found.setdefault(word, values) != values:
            here, before = (" ".join(f"{n:g}" for n in each) for each in (values, found[word]))
            raise UserError(f"{where}: '{word}' has {here} here and {before} before; keep one")
    if not found:
        raise UserError(f"{field}: {place.name} has no word; write {form}")
    return found


def _number(cell: str) -> float:
    """The number that is written there; NaN where none is."""
    try:
        return float(cell)
    except ValueError:
        return math.nan
