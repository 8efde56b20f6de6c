"""Per-example findings -> the objects of analysis/examples.jsonl."""

from collections.abc import Iterator, Sequence
from typing import Any

from attnjax.analysis.study import Study


def records(
    found: Study,
    words: Sequence[tuple[list[str], list[str] | None]],
    ids: Sequence[int],
    truth: Sequence[str | None],
    labels: tuple[str, ...],
) -> Iterator[dict[str, Any]]:
    """One object per example; values stand in the order of the tokens.

    words  (text, query or None) of each example: its own words, also those the vocabulary knows as
    <unk> only; ids  its number in the split or file; truth  its class name, None where unknown;
    labels  all class names
    """
    for row, prediction in enumerate(found.predictions):
        text, query = words[row]
        record: dict[str, Any] = {
            "id": ids[row],
            "tokens": text,
            "query": query,
            "label": truth[row],
            "prediction": labels[prediction],
            "probabilities": found.probabilities[row],
            "attention": found.explanations["attention"][row],
            "importance": {
                name: values[row]
                for name, values in found.explanations.items()
                if name != "attention"
            },
            "agreement": _row(found.agreement, row),
        }
        if found.query_explanations:
            record["query_importance"] = {
                name: values[row] for name, values in found.query_explanations.items()
            }
            record["query_agreement"] = _row(found.query_agreement, row)
        if found.diagnostics:
            record["completeness"] = {
                name: values[row] for name, values in found.diagnostics.items()
            }
        if found.permutation:
            record["permutation"] = {name: each[row] for name, each in found.permutation.items()}
        if found.adversarial:
            record["adversarial"] = {
                name: found.adversarial[name][row]
                for name in ("max_jsd", "output_change", "attention")
            }
        yield record


def _row(agreement: dict[str, Any], row: int) -> dict[str, Any]:
    return {
        pair: {name: float(values[row]) for name, values in measures.items()}
        for pair, measures in agreement.items()
    }
