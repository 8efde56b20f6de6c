"""Where the word that must be known is known: which explanation puts it first?

Of texts that are answered right. Of signed explanations the size counts.
"""

from typing import Any

import numpy as np

from attnjax.analysis.findings import describe
from attnjax.analysis.questions.question import About, Question, Study
from attnjax.config import AnalysisConfig
from attnjax.data.reverse import place_needed

FLOOR = "random"


def ask(study: Study, config: AnalysisConfig, seed: int) -> dict[str, Any]:
    """Nothing beyond what the explanations say: which word is needed, `answer` knows."""
    del study, config, seed
    return {}


def ranked(values: np.ndarray, needed: int) -> tuple[float, float]:
    """(hit@1, AUC) of the word at this place among all: equal values share, 0 to 1.

    ranked([1, 3, 2], 1) == (1, 1); ranked([1, 1], 0) == (0.5, 0.5); AUC of one word is NaN
    """
    sizes = np.abs(np.asarray(values, np.float64))
    highest = sizes == sizes.max()
    hit = float(highest[needed]) / highest.sum()
    others = np.delete(sizes, needed)
    if not len(others):
        return hit, float("nan")
    below = (others < sizes[needed]).sum() + (others == sizes[needed]).sum() / 2
    return hit, below / len(others)


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """explanation -> "hit" and "auc", what `describe` says of them; "random": of a random order."""
    del found
    study, words = about.study, about.words
    if words is None:
        return {"known_word": None}
    right = study.predictions == about.truth
    needed = [
        place_needed(text, query) if answered else None
        for (text, query), answered in zip(words, right, strict=True)
    ]
    explanations = dict(study.explanations["text"])
    for state, rows in (study.found.get("information") or {}).get("information", {}).items():
        explanations[f"information_of_{state}"] = rows["retained"]
    measured = {}
    for name, rows in explanations.items():
        pairs = [
            (np.nan, np.nan) if place is None else ranked(values, place)
            for values, place in zip(rows, needed, strict=True)
        ]
        measured[name] = np.array(pairs)
    chance = [(np.nan, np.nan) if place is None else (1 / len(text), 0.5)
              for (text, _), place in zip(words, needed, strict=True)]  # fmt: skip
    measured[FLOOR] = np.array(chance)
    return {
        "known_word": {
            name: describe({"hit": each[:, 0], "auc": each[:, 1]})
            for name, each in measured.items()
        }
    }


KNOWN_WORD = Question(ask, _answer, empty={"known_word": None}, over="explanations")
