"""A file of words and numbers -> the words' numbers."""

import contextlib
import math
import os
from pathlib import Path

from attnjax.data.lines import read_lines
from attnjax.errors import UserError


def read_word_values(path: str, field: str) -> dict[str, float]:
    """Reads "word number" lines, blank lines and those that start with # left out.

    field  of the configuration that names the file, for messages. Raises UserError, naming the
    line, for a missing file, a line of another form, a number that is not finite, and a word that
    stands there twice with different numbers.
    """
    place = Path(os.path.expanduser(path))
    if not place.is_file():
        raise UserError(f"{field}: there is no file {path}; give the path of a file of words")
    found: dict[str, float] = {}
    for number, line in read_lines(place):
        cells = line.split()
        if not cells or cells[0] == "#":
            continue
        where = f"{field}: {place.name}, line {number}"
        word, value = cells[0], math.nan
        with contextlib.suppress(ValueError):
            value = float(cells[1]) if len(cells) == 2 else math.nan
        if not math.isfinite(value):
            raise UserError(f"{where}: write a word and a number on each line, such as 'good 1'")
        if found.setdefault(word, value) != value:
            raise UserError(
                f"{where}: '{word}' has {value:g} here and {found[word]:g} before; keep one"
            )
    if not found:
        raise UserError(f"{field}: {place.name} has no word; write a word and a number a line")
    return found
