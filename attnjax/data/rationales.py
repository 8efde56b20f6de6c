"""The words that people name as the reason for a label: a cell of a data file -> word numbers.

Words are counted from 0, as the package splits the text; where the row lists words of its own, in
the column `data.fields.tokens` or as its text, those are counted, and each stands for the words
that it is split into.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from attnjax.data.tokens import tokenize
from attnjax.errors import UserError

Rationale = tuple[tuple[int, ...], ...]  # for each person the numbers of the words, ascending
FORMS = (
    "the numbers of words, one 0 or 1 for each word, or a list of such lists, one for each person"
)


def has_marks(rows: Iterable[Mapping[str, Any]], column: str) -> bool:
    """Whether a cell of the column is surely one 0 or 1 a word: a list where one comes twice."""
    for row in rows:
        try:
            people = _people(row.get(column), column, "") or ()
        except UserError:  # told where the row is read
            continue
        if any(len(set(each)) < len(each) and set(each) <= {0, 1} for each in map(_plain, people)):
            return True
    return False


def find_rationale(
    row: Mapping[str, Any],
    column: str,
    listed: str,
    texts: Sequence[Any],
    text: str,
    place: str,
    marks: bool = False,
) -> Rationale | None:
    """People's rationales of a row, None where it has none.

    column  holds them; listed  may hold the row's own words; texts  what its columns of the text
    hold; text  what is read of them; place  of the row, for messages; marks  whether 0 and 1 of a
    text of one or two words are marks, as in the rest of the column, and no numbers
    Raises UserError for numbers of no word, and for own words that are not those of the text.
    """
    people = _people(row.get(column), column, place)
    if people is None:
        return None
    own = _own_words(row.get(listed), listed, place) if listed in row else None
    if len(texts) == 1 and isinstance(texts[0], list):
        own, listed = texts[0], "the text"
    if own is None:
        count = len(tokenize(text))
        return tuple(_numbers(each, count, "the text", column, place, marks) for each in people)
    found = [_numbers(each, len(own), listed, column, place, marks) for each in people]
    return place_words(found, own, text, listed, place)


def place_words(
    people: Sequence[Sequence[int]], pieces: Sequence[str], text: str, listed: str, place: str
) -> Rationale:
    """Numbers of pieces of a text, its sentences for example -> those of the words in them.

    listed  what the pieces are called, and place  of the row, for messages
    Raises UserError where the pieces have not the words of the text.
    place_words([(1,)], ["It isn't", "so bad"], "It isn't so bad", "", "") == ((3, 4),)
    """
    starts = _starts(pieces, tokenize(text), listed, place)
    return tuple(
        tuple(word for piece in each for word in range(starts[piece], starts[piece + 1]))
        for each in people
    )


def starts_of(pieces: Sequence[str]) -> list[int]:
    """Where each piece of a text begins among its words, and the number of them all.

    starts_of(["It isn't", "so"]) == [0, 3, 4]
    """
    return [0, *accumulate(len(_words_of(each)) for each in pieces)]


@lru_cache(maxsize=2**16)
def _words_of(piece: str) -> tuple[str, ...]:
    return tuple(tokenize(piece))


def _starts(own: Sequence[str], words: Sequence[str], listed: str, place: str) -> list[int]:
    """`starts_of` a row's own words; raises UserError where they are not those of the text."""
    split = [word for each in own for word in _words_of(each)]
    if split != list(words):
        number = next(
            (n for n, (a, b) in enumerate(zip(split, words, strict=False)) if a != b),
            min(len(split), len(words)),
        )
        here, there = (
            f"'{each[number]}'" if number < len(each) else "none" for each in (split, words)
        )
        raise UserError(
            f"{place}: '{listed}' has not the words of the text (word {number} is {here}, and "
            f"{there} in the text), so that rationales cannot be placed; correct the row"
        )
    return starts_of(own)


def _own_words(value: Any, column: str, place: str) -> Sequence[str] | None:
    """A list of words, or a cell with such a list as JSON, or with blanks between the words."""
    if isinstance(value, str):
        value = _json_list(value) or value.split()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UserError(
            f"{place}: '{column}' must be a list of words, not {_shown(value)}; correct the row, "
            "or name another column by --config.data.fields.tokens"
        )
    return value


def _people(value: Any, column: str, place: str) -> list[list[Any]] | None:
    """One list for each person; None where the row has no rationale.

    Text, as of CSV, is JSON or numbers with blanks or commas between them, and | between people.
    """
    if isinstance(value, str):
        parts = [each.replace(",", " ").split() for each in value.split("|")]
        plain = len(parts) > 1 or (value.strip() and value.strip()[0] != "[")
        if not value.strip():
            return None
        value = [[_number(each) for each in part] for part in parts] if plain else _json_list(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, list):
        raise _wrong(column, value, place)
    if not any(isinstance(each, list) for each in value):
        return [value]
    people = [each for each in value if each is not None]
    if not all(isinstance(each, list) for each in people):
        raise _wrong(column, value, place)
    return people


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) < 19 else text


def _json_list(text: str) -> Any:
    """The list that a cell is in JSON, else None."""
    try:
        value = json.loads(text) if text.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _plain(person: list[Any]) -> list[Any]:
    """A person's cell, empty where it is of another form."""
    whole = all(isinstance(each, int) or _whole(each) for each in person)
    return person if whole else []


def _whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _numbers(
    person: list[Any], count: int, what: str, column: str, place: str, marks: bool
) -> tuple[int, ...]:
    """The numbers of a person's words, of `count`; what  these are the words of.

    Where all are 0 or 1, some more than once, or with `marks` as many as words, they are one mark a
    word.
    """
    if _plain(person) != person:
        raise _wrong(column, person, place)
    boolean = any(isinstance(each, bool) for each in person)
    sure = boolean or len(set(person)) < len(person) or (marks and len(person) == count)
    marks = set(person) <= {0, 1} and sure
    if marks and len(person) != count:
        raise UserError(
            f"{place}: '{column}' marks {len(person)} words, and {_of(what)} has {count}; correct "
            "the row"
        )
    numbers = [n for n, each in enumerate(person) if each] if marks else list(map(int, person))
    for each in numbers:
        if not 0 <= each < count:
            raise UserError(
                f"{place}: '{column}' names word {_shown(each)}, and {_of(what)} has {count} "
                "words, counted from 0; correct the row, or list the words that are meant in a "
                "column named by --config.data.fields.tokens"
            )
    if len(set(numbers)) < len(numbers):
        twice = next(each for each in numbers if numbers.count(each) > 1)
        raise UserError(f"{place}: '{column}' names word {twice} twice; it holds {FORMS}")
    return tuple(sorted(numbers))


def _of(what: str) -> str:
    return what if " " in what else f"'{what}'"


def _wrong(column: str, value: Any, place: str) -> UserError:
    return UserError(f"{place}: '{column}' must be {FORMS}, not {_shown(value)}; correct the row")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
