"""Does an explanation name the words that people name as the reason for the label?

Values are taken as they stand: of signed methods, a word that speaks for the predicted class comes
first and one that speaks against it last, as for faithfulness. Each person is compared with alone,
and an example has the mean over those who named a word.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from attnjax.analysis.findings import by_class, describe
from attnjax.analysis.questions.question import About, Question, Study
from attnjax.config import AnalysisConfig

DRAWS = 5  # random orders of each example, for the floor
FLOOR, CEILING = "random", "people"

Values = Float[np.ndarray, " words"]
Marked = Bool[np.ndarray, " words"]


def average_precision(values: Values, marked: Marked) -> float:
    """The mean precision at the marked words, from the largest value on; equal values are one step.

    sum_n (R_n - R_n-1) P_n over the thresholds, as scikit-learn has it. In 0 to 1; words in random
    order reach about the share that is marked. NaN where none is.
    average_precision([0.9, 0.2, 0.5], [True, True, False]) == 5 / 6
    """
    total = marked.sum()
    if not total:
        return np.nan
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    hits = np.cumsum(marked[order])[ends]
    gained = np.diff(hits, prepend=0) / total
    return float(np.sum(gained * hits / (ends + 1)))


def overlap(chosen: Marked, marked: Marked) -> tuple[float, float]:
    """F1 and intersection over union of two sets of words; NaN where both are empty."""
    both, either = np.sum(chosen & marked), np.sum(chosen | marked)
    sizes = np.sum(chosen) + np.sum(marked)
    if not sizes:
        return np.nan, np.nan
    return float(2 * both / sizes), float(both / either)


def plausible(values: Values, marked: Marked) -> dict[str, float]:
    """How well values find the marked words; NaN where none is marked, or a value is not finite.

    average_precision  of all values
    f1, iou            of the words with the k largest, ties by position, with as many as are
                       marked: ERASER's token measures with the rationale's own length (DeYoung et
                       al., arXiv:1911.03429), so that f1 is precision and recall as well
    """
    if not marked.any() or not np.isfinite(values).all():
        return dict.fromkeys(("average_precision", "f1", "iou"), np.nan)
    chosen = np.zeros(len(values), bool)
    chosen[np.argsort(-values, kind="stable")[: marked.sum()]] = True
    f1, iou = overlap(chosen, marked)
    return {"average_precision": average_precision(values, marked), "f1": f1, "iou": iou}


def _mutual(person: Marked, other: Marked) -> dict[str, float]:
    """One person's words as an explanation, 1 on each and 0 elsewhere, against another's."""
    f1, iou = overlap(person, other)
    return {
        "average_precision": average_precision(person.astype(float), other),
        "f1": f1,
        "iou": iou,
    }


def _mean(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each measure; NaN of nothing."""
    if not found:
        return dict.fromkeys(("average_precision", "f1", "iou"), np.nan)
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def measure_plausibility(study: Study, config: AnalysisConfig, seed: int) -> dict[str, Any]:
    """name -> measure -> [rows] for each explanation of the text, the floor and the ceiling.

    "random" is the mean over `DRAWS` random orders, which depend on (row, seed) alone; "people",
    where an example has several who named a word, the mean over all pairs of them, one's words as
    an explanation of the other's. NaN of examples in which nobody named a word.
    """
    del config
    explanations = study.explanations["text"]
    if study.rationales is None:
        return {"plausibility": {}, "rationale": [None] * len(study.numbers)}
    marks = [
        _marks(people, len(values))
        for people, values in zip(study.rationales, explanations["attention"], strict=True)
    ]
    found = {
        name: [
            _mean([plausible(values, each) for each in people])
            for values, people in zip(rows, marks, strict=True)
        ]
        for name, rows in explanations.items()
    }
    found[FLOOR] = [
        _mean([plausible(drawn, each) for drawn in _orders(number, seed, size) for each in people])
        for number, people in zip(study.numbers.tolist(), marks, strict=True)
        for size in [len(people[0]) if people else 0]
    ]
    if any(len(people) > 1 for people in marks):
        found[CEILING] = [
            _mean([_mutual(a, b) for a in people for b in people if a is not b]) for people in marks
        ]
    return {
        "plausibility": {
            name: {each: np.array([row[each] for row in rows]) for each in rows[0]}
            for name, rows in found.items()
        },
        "rationale": [
            None if people is None else [list(person) for person in people]
            for people in study.rationales
        ],
    }


def _marks(people: Sequence[Sequence[int]] | None, count: int) -> list[Marked]:
    """The words of each person who named any, as marks on all words of the text."""
    return [np.isin(np.arange(count), person) for person in people or () if len(person)]


def _orders(number: int, seed: int, count: int) -> list[Values]:
    random = [np.random.default_rng([number, seed, draw]) for draw in range(DRAWS)]
    return [each.permutation(count).astype(float) for each in random]


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """Every measure with its interval; by class; and of the examples with the right prediction.

    Where it is wrong, a signed explanation is for a class that people have not named words for.
    """
    predictions, labels = about.study.predictions, about.labels
    right = predictions == about.truth
    answer = {
        name: {
            **describe(measures),
            "by_class": by_class(measures, predictions, labels),
            "right": describe({each: values[right] for each, values in measures.items()}),
        }
        for name, measures in found["plausibility"].items()
    }
    return {"plausibility": answer or None}


PLAUSIBILITY = Question(
    measure_plausibility,
    _answer,
    empty={"plausibility": None},
    record=("rationale", "plausibility"),
    over="explanations",
    needs="data.fields.rationale",
)
