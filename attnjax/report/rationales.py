"""Explanations as rationales in the form of the ERASER benchmark (DeYoung et al. 2020)."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from attnjax.workdir import (
    RATIONALES,
    VOCABULARY,
    read_json,
    write_json_lines,
)

# The hard rationale is the mean share of the words that people name, as in ERASER, at least one
# word; where no people were asked it is this, one of the shares at which ERASER compares soft
# scores (1, 5, 10, 20 and 50 %).
SHARE = 0.2


def write_rationales(folder: epath.Path, examples: list[dict[str, Any]]) -> list[str]:
    """Writes one analysis/rationales_NAME.jsonl for each explanation; returns their names."""
    if not examples:
        return []
    vocabulary = folder / VOCABULARY
    labels = read_json(vocabulary, {"labels": [str]})["labels"] if vocabulary.exists() else None
    names, share = [], people_share(examples)
    for explanation in ("attention", *examples[0]["importance"]):
        name = RATIONALES.format(explanation)
        write_json_lines(folder / name, rationales(examples, explanation, labels, share))
        names.append(name)
    return names


def rationales(
    examples: list[dict[str, Any]],
    explanation: str,
    labels: Sequence[str] | None,
    share: float = SHARE,
) -> Iterator[dict[str, Any]]:
    """One ERASER object per example for "attention" or the name of an importance method.

    The text is document "ID", the query of a pair "ID_query". Soft scores are the explanation
    divided by its sum. Class scores need the labels in the order of the probabilities.
    share  of the words in a hard rationale
    """
    for each in examples:
        number = str(each["id"])
        attention = explanation == "attention"
        values = each["attention"] if attention else each["importance"][explanation]
        documents = {number: values}
        query = (each.get("query_importance") or {}).get(explanation)
        if query:
            documents[f"{number}_query"] = query
        row = {
            "annotation_id": number,
            "rationales": [
                {
                    "docid": document,
                    "hard_rationale_predictions": spans(top_words(scores, share)),
                    "soft_rationale_predictions": soft_scores(scores),
                }
                for document, scores in documents.items()
            ],
            "classification": each["prediction"],
        }
        probabilities = each.get("probabilities")
        if labels and probabilities and len(labels) == len(probabilities):
            row["classification_scores"] = dict(zip(labels, probabilities, strict=True))
        yield row


def people_share(examples: list[dict[str, Any]]) -> float:
    """The mean share of a text's words that a person names, over those who name any; else SHARE."""
    shares = [
        len(person) / len(each["tokens"])
        for each in examples
        for person in each.get("rationale") or []
        if person
    ]
    return math.fsum(shares) / len(shares) if shares else SHARE


def soft_scores(values: Sequence[float | None]) -> list[float]:
    """Values divided by their sum, so that explanations share one scale; zeros stay zeros.

    What speaks against the class, below 0, is no rationale for it: 0.
    """
    known = [max(value or 0.0, 0.0) for value in values]
    total = math.fsum(known)
    return [round(value / total, 6) if total > 0 else 0.0 for value in known]


def top_words(values: Sequence[float | None], share: float = SHARE) -> list[int]:
    """Positions of the highest values, ceil(share * words) of them, in the order of the text.

    The earlier of two equal words goes first; a word of value 0 is never taken.

    >>> top_words([0.1, 0.4, 0.0, 0.4, 0.1], share=0.4)
    [1, 3]
    """
    count = math.ceil(share * len(values) - 1e-9)
    ranked = sorted(range(len(values)), key=lambda place: -(values[place] or 0.0))
    return sorted(place for place in ranked[:count] if (values[place] or 0.0) > 0)


def spans(places: Sequence[int]) -> list[dict[str, int]]:
    """Neighbouring positions joined; the end is exclusive, as in ERASER.

    >>> spans([1, 2, 5])
    [{'start_token': 1, 'end_token': 3}, {'start_token': 5, 'end_token': 6}]
    """
    found: list[dict[str, int]] = []
    for place in places:
        if found and found[-1]["end_token"] == place:
            found[-1]["end_token"] = place + 1
        else:
            found.append({"start_token": place, "end_token": place + 1})
    return found
