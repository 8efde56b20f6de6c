"""A study -> what results.json and examples.jsonl say of it."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from attnjax.analysis.findings import describe
from attnjax.analysis.questions import QUESTIONS, wanted
from attnjax.analysis.questions.question import About, Study
from attnjax.config import AnalysisConfig
from attnjax.metrics import scores

FAR = 0.05  # an error, in probability, that changes what an explanation says


def nothing() -> dict[str, dict[str, Any]]:
    """What `summarise` returns of a run that was not analysed."""
    summary: dict[str, Any] = {"analysis": {"examples": 0}, "results": {}}
    for question in QUESTIONS.values():
        summary[question.place] |= question.empty
    return summary


def summarise(
    found: Study,
    config: AnalysisConfig,
    labels: tuple[str, ...],
    truth: np.ndarray,
    words: Sequence[tuple[list[str], list[str] | None]] | None = None,
) -> dict[str, dict[str, Any]]:
    """ "analysis": that object of results.json; "results": what questions add to results.json.

    labels  class names; truth  [rows] class numbers; words  as `records` has them, None: not known
    "model" holds the scores on these examples, which "uniform_attention" is to be compared with;
    what is switched off is None. Each question answers for itself.
    """
    likelihoods = found.probabilities[np.arange(len(truth)), truth]
    losses = -np.log(np.maximum(likelihoods, np.finfo(likelihoods.dtype).tiny))
    summary = nothing()
    summary["analysis"] |= {
        "examples": len(found.predictions),
        "model": scores(truth, found.probabilities, losses),
    }
    about = About(found, config, labels, truth, words)
    for name, question in wanted(config).items():
        summary[question.place] |= question.answer(found.found[name], about)
    if found.exactness:
        summary["analysis"]["completeness"] = {
            name: {"mean": _of_known(np.mean, values), "max": _of_known(np.max, values)}
            for name, values in found.exactness.items()
        }
        summary["analysis"]["exactness"] = _exactness(found.exactness)
    return summary


def _of_known(function: Any, values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(function(known)) if len(known) else None


def _exactness(errors: dict[str, np.ndarray]) -> dict[str, Any]:
    """method -> what `describe` says of its rows' errors, their median, and the share above FAR."""
    described = describe(errors)
    for name, values in errors.items():
        known = values[np.isfinite(values)]
        described[name] |= {
            "median": float(np.median(known)) if len(known) else None,
            "share_above": {str(FAR): float(np.mean(known > FAR)) if len(known) else None},
        }
    return described


def records(
    found: Study,
    words: Sequence[tuple[list[str], list[str] | None]],
    ids: Sequence[int],
    truth: Sequence[str | None],
    labels: tuple[str, ...],
) -> Iterator[dict[str, Any]]:
    """One object of analysis/examples.jsonl per example; values stand in the order of the tokens.

    words  (text, query or None) of each example: its own words, also those the vocabulary knows as
    <unk> only; ids  its number in the split or file; truth  its class name, None where unknown;
    labels  all class names
    """
    on_text, on_query = found.explanations["text"], found.explanations.get("query")
    recorded = {
        part: answers[part]
        for name, answers in found.found.items()
        for part in QUESTIONS[name].record
        if len(answers[part])
    }
    for row, prediction in enumerate(found.predictions):
        text, query = words[row]
        record: dict[str, Any] = {
            "id": ids[row],
            "tokens": text,
            "query": query,
            "label": truth[row],
            "prediction": labels[prediction],
            "probabilities": found.probabilities[row],
            "attention": on_text["attention"][row],
            "importance": {
                name: values[row] for name, values in on_text.items() if name != "attention"
            },
            "agreement": {},  # readers rely on it; where the question is asked it is filled
        }
        if on_query:
            record["query_importance"] = {name: values[row] for name, values in on_query.items()}
        if found.exactness:
            record["completeness"] = {name: each[row] for name, each in found.exactness.items()}
        yield record | _row(recorded, row)


def _row(tree: dict[str, Any], row: int) -> dict[str, Any]:
    """One row of every leaf: leaves are lists and arrays with one entry a row."""
    return jax.tree.map(lambda leaf: leaf[row], tree, is_leaf=lambda leaf: isinstance(leaf, list))
