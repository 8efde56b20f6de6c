"""The one exception that a user's mistake raises, and what it is told with."""

import difflib
import re
import textwrap
from collections.abc import Iterable

_ENDLESS = re.compile(r"\S{300,}")


class UserError(Exception):
    """Something a user can put right: one line that says what is wrong, where, and what to do.

    Entry points print it to stderr without a traceback and exit with status 2.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """The text on one line that a terminal shows as it is: a name or a cell may hold anything.

    one_line("a\\n  b\\x1b") == "a b\\\\x1b"; of 300 characters without a blank both ends are kept
    """
    text = " ".join(text.split())
    text = _ENDLESS.sub(lambda found: f"{found[0][:140]}...{found[0][-140:]}", text)
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def suggest(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" for the known name nearest to `name`, or the known names.

    suggest("bilstn", ["bilstm", "cnn"]) == "; did you mean 'bilstm'?"
    """
    names = [str(each) for each in known]
    near = difflib.get_close_matches(str(name), names, n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    shown = textwrap.shorten(", ".join(names), 400, placeholder=" ...")
    return f"; known: {shown}"


def encodable(text: str) -> bool:
    """Whether UTF-8 can hold the text: not half of a surrogate pair, which stands for odd bytes."""
    return not any("\ud800" <= each <= "\udfff" for each in text)
