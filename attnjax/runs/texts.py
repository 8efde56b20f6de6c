"""Texts of a user's: which of them a model can read, what is cut, and marks for the rest."""

import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from attnjax.analysis.questions.question import Study
from attnjax.analysis.summary import records
from attnjax.data.dataset import tokenize_example
from attnjax.data.examples import Example, Tokenized
from attnjax.data.pieces import Reader, cut_to_positions
from attnjax.data.tokens import tokenize
from attnjax.errors import UserError, encodable

logger = logging.getLogger(__name__)


class Checked(NamedTuple):
    """Texts as words, whether they can be read or not; three lists, an entry a text.

    words     those that the model reads; problems  why it cannot read the text, "" where it can
    cut       how many words of text and query lie beyond data.max_length
    """

    words: list[Tokenized]
    problems: list[str]
    cut: list[int]

    @property
    def readable(self) -> list[int]:
        """The numbers of the texts without a problem."""
        return [number for number, problem in enumerate(self.problems) if not problem]


class Explained(NamedTuple):
    """The analysis of the texts that could be read.

    found  of the readable ones alone, in their order; checked  of all
    """

    checked: Checked
    found: Study

    def rows(self, labels: tuple[str, ...]) -> list[dict[str, Any]]:
        """Objects as in examples.jsonl of the readable texts; "cut" is how many words were."""
        kept = self.checked.readable
        words = [self.checked.words[number] for number in kept]
        rows = records(self.found, words, kept, [None] * len(kept), labels)
        return [{**row, "cut": self.checked.cut[row["id"]]} for row in rows]


def example_of(number: int, text: Any, task: str, labels: Sequence[str]) -> Example:
    """A text, or a pair, of a user's as an example; Any: users pass anything.

    labels  those that candidates may be among; raises UserError where it is of another form
    """
    place = f"text {number}"
    if task == "classification":
        if not isinstance(text, str):
            raise UserError(f"{place} must be a string, not {type(text).__name__}")
        return Example(text, None, "", place=place)
    answers = task == "qa"
    names = "(story, question[, candidates])" if answers else "(premise, hypothesis)"
    ordered = isinstance(text, Iterable) and not isinstance(text, str | Mapping | Set)
    parts = tuple(text) if ordered else ()
    if not 2 <= len(parts) <= 2 + answers:
        raise UserError(f"{place} must be a pair {names}")
    for part in parts:
        if not (isinstance(part, str) or _is_words(part)):
            raise UserError(f"{place}: {names} are texts or lists of texts, not {part!r:.40}")
    first, second = (each if isinstance(each, str) else " ".join(each) for each in parts[:2])
    candidates = parts[2] if len(parts) == 3 else ()
    if isinstance(candidates, str) or (len(candidates) and not set(candidates) & set(labels)):
        raise UserError(f"{place}: candidates are a list of answers, some of which are known")
    return Example(first, second, "", tuple(candidates), place=place)


def _is_words(part: Any) -> bool:
    return isinstance(part, Iterable) and all(isinstance(each, str) for each in part)


def check_texts(
    examples: Sequence[Example], max_length: int, reader: Reader | None = None
) -> Checked:
    """Splits texts into words, the first `max_length` of each; -1 keeps all.

    reader  of a pretrained model: it says what the words are; those beyond its positions are cut
    What is cut is one line on the log.
    """
    words, problems, cut = [], [], []
    for each in examples:
        split = tokenize if reader is None else reader.tokenize
        whole = Tokenized([], None) if each.problem else tokenize_example(each, split)
        read = whole
        if max_length > 0:
            query = None if whole.query is None else whole.query[:max_length]
            read = Tokenized(whole.text[:max_length], query)
        problem = each.problem
        if not problem and not encodable("".join([*read.text, *(read.query or [])])):
            problem = f"{each.place} has half of a surrogate pair; repair it"
        if reader is not None and not problem:
            (read,), _ = cut_to_positions([read], reader.counts([read]), reader.geometry)
        lost = len(whole.text) - len(read.text) + len(whole.query or ()) - len(read.query or ())
        if not problem and (not read.text or read.query == []):
            problem = f"{each.place} has no token; leave it out"
        words.append(read)
        problems.append(problem)
        cut.append(lost)
    if any(cut):
        logger.warning(
            "%d of %d texts have more than %s, which were cut (%d words)",
            sum(map(bool, cut)),
            len(cut),
            f"data.max_length={max_length} words"
            if reader is None
            else f"the model's {reader.geometry.positions} positions or data.max_length",
            sum(cut),
        )
    return Checked(words, problems, cut)


def require_some(checked: Checked) -> None:
    """Raises UserError where there are texts, and none can be read; tells of those that cannot."""
    wrong = [problem for problem in checked.problems if problem]
    if wrong and len(wrong) == len(checked.problems):
        others = f" (and so of all {len(wrong)})" if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0]}{others}")
    if wrong:
        logger.warning(
            "%d of %d texts cannot be read, and are marked; %s",
            len(wrong),
            len(checked.problems),
            wrong[0],
        )


def spread(values: Sequence[Any], kept: Sequence[int], count: int, empty: Any) -> list[Any]:
    """Values of the texts `kept` -> one for each of `count` texts, `empty` for the others."""
    found = dict(zip(kept, values, strict=True))
    return [found.get(number, empty) for number in range(count)]


def spread_array(values: np.ndarray, kept: Sequence[int], count: int) -> np.ndarray:
    """The same along the first axis of an array, NaN for the others."""
    if len(kept) == count:
        return values
    found = np.full((count, *values.shape[1:]), np.nan, values.dtype)
    found[list(kept)] = values
    return found
