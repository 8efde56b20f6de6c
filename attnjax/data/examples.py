"""What every data source hands on: plain-text examples, split by split."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Example(NamedTuple):
    """One labelled row, as text.

    text        the sequence that is attended over: a text, a premise, or a whole story
    query       the hypothesis or the question; None in single-sequence tasks
    label       class name or answer; integer labels as their decimal digits; "" for none
    candidates  the answers allowed for this row; empty allows every known answer
    group       rows of one group (a bAbI story) stay in the same split
    place       where the row was read, for messages: "train.csv, line 7"
    rationale   for each person the numbers of the text's words that they name as the reason for
                the label; None where nobody was asked
    columns     what else the row of a file of texts to explain holds
    problem     why such a row cannot be read; empty where it can
    """

    text: str
    query: str | None
    label: str
    candidates: tuple[str, ...] = ()
    group: str = ""
    place: str = ""
    rationale: tuple[tuple[int, ...], ...] | None = None
    columns: Mapping[str, Any] | None = None
    problem: str = ""


class Tokenized(NamedTuple):
    """One example as words."""

    text: list[str]
    query: list[str] | None


Splits = dict[str, list[Example]]


class Reading(NamedTuple):
    """The splits of a data set, with what is to be told about how they were read.

    splits      train, perhaps validation, test and unlabelled; every row of the first three has a
                label
    files       split -> the files it was read from
    read        split -> rows in them
    unlabelled  split -> those of them without a label, which are left out
    others      split -> those with a label that `data.labels` does not list
    unread      files of the folder that look like data and are no split's
    notes       what is odd, a line each
    """

    splits: Splits
    files: dict[str, list[str]]
    read: dict[str, int]
    unlabelled: dict[str, int]
    others: dict[str, int]
    unread: list[str]
    notes: list[str]
