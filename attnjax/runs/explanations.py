"""What a run says of texts: its predictions, and its explanations."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnjax.errors import UserError
from attnjax.workdir import finite


class Predictions(NamedTuple):
    """What the model says of each text.

    labels    the likeliest class; None of a text that cannot be read
    probabilities  [texts, classes], NaN of such a text
    problems  why a text cannot be read, "" where it can
    cut       how many of its words lie beyond data.max_length, and were not read
    """

    labels: list[str | None]
    probabilities: np.ndarray
    problems: list[str]
    cut: list[int]


class Explanations(NamedTuple):
    """What the model looked at, text by text.

    tokens      the words of each text; queries  those of its question or hypothesis, or None
    labels      the likeliest class; probabilities  [texts, classes]
    attention   one array over the words of each text, sums to 1
    importance  method -> one array over the words of each text; signed ones are above 0 where a
                word speaks for the class
    query_importance  likewise over the query's words; empty for one sequence
    agreement   "attention~gradient" -> measure -> [texts], NaN where undefined
    rows        all of this as one object a text, in the form of analysis/examples.jsonl, and "cut"
    problems    why a text cannot be read, "" where it can. One that cannot has no words, the label
                None and NaN for numbers, and {"id", "problem"} for its row
    cut         how many words of a text, and its query, lie beyond data.max_length and are not read
    """

    tokens: list[list[str]]
    queries: list[list[str]] | None
    labels: list[str | None]
    probabilities: np.ndarray
    attention: list[np.ndarray]
    importance: dict[str, list[np.ndarray]]
    query_importance: dict[str, list[np.ndarray]]
    agreement: dict[str, dict[str, np.ndarray]]
    rows: list[dict[str, Any]]
    problems: list[str]
    cut: list[int]

    def __repr__(self) -> str:
        names = ", ".join(["attention", *self.importance])
        return f"<Explanations of {len(self.tokens)} texts: {names}>"

    def to_pandas(self) -> Any:
        """One line a word: text, segment, position, token, and every explanation's value.

        Raises UserError where pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UserError("to_pandas needs pandas: pip install pandas") from None
        lines: list[dict[str, Any]] = []
        for number, tokens in enumerate(self.tokens):
            values = {"attention": self.attention, **self.importance}
            lines += _lines(number, "text", tokens, values)
            if self.queries is not None:
                lines += _lines(number, "query", self.queries[number], self.query_importance)
        return pandas.DataFrame(lines)

    def _repr_html_(self) -> str:
        from attnjax.report.words import fragment  # imported late: only notebooks need it

        return fragment(finite([row for row in self.rows if "problem" not in row]))


def _lines(
    number: int, segment: str, tokens: Sequence[str], values: Mapping[str, list[np.ndarray]]
) -> list[dict[str, Any]]:
    return [
        {
            "text": number,
            "segment": segment,
            "position": place,
            "token": token,
            **{name: float(found[number][place]) for name, found in values.items()},
        }
        for place, token in enumerate(tokens)
    ]
