"""What every data source hands on: plain-text examples, split by split."""

from typing import NamedTuple


class Example(NamedTuple):
    """One labelled row, as text.

    text        the sequence that is attended over: a text, a premise, or a whole story
    query       the hypothesis or the question; None in single-sequence tasks
    label       class name or answer; integer labels as their decimal digits
    candidates  the answers allowed for this row; empty allows every known answer
    group       rows of one group (a bAbI story) stay in the same split
    place       where the row was read, for messages: "train.csv, line 7"
    """

    text: str
    query: str | None
    label: str
    candidates: tuple[str, ...] = ()
    group: str = ""
    place: str = ""


Splits = dict[str, list[Example]]
