"""The one exception that a user's mistake raises, and what it is told with."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something a user can put right: one line that says what is wrong, where, and what to do.

    Entry points print it to stderr without a traceback and exit with status 2.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


def suggest(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" for the known name nearest to `name`, or the known names.

    suggest("bilstn", ["bilstm", "cnn"]) == "; did you mean 'bilstm'?"
    """
    names = [str(each) for each in known]
    near = difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(names)}"


def encodable(text: str) -> bool:
    """Whether UTF-8 can hold the text: not half of a surrogate pair, which stands for odd bytes."""
    return not any("\ud800" <= each <= "\udfff" for each in text)
