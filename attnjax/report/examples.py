"""Which examples a page shows, and what it shows of them."""

from typing import Any

from attnjax.report.heatmap import heat_rows
from attnjax.report.tables import formatted
from attnjax.report.wording import pair_label

SHOWN = 5  # examples of each kind
WORDS = 200  # of one text that a page shows; all of them are in analysis/examples.jsonl


def chosen(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of examples: {"title", "note", "examples"} each; no example twice by agreement.

    Attention agrees best, middling and worst with the first importance method by Kendall's tau;
    then the adversarial attentions farthest from the model's own.
    """
    pair = ranking_pair(examples)
    ranked = [each for each in examples if tau(each, pair) is not None]
    ranked.sort(key=lambda each: (-(tau(each, pair) or 0.0), -len(each["tokens"])))
    middle = max(0, len(ranked) // 2 - SHOWN // 2)
    kinds = {
        "best": ranked[:SHOWN],
        "median": ranked[middle : middle + SHOWN],
        "worst": ranked[: -SHOWN - 1 : -1],
    }
    groups = []
    seen: set[int] = set()
    for kind, members in kinds.items():
        fresh = [each for each in members if each["id"] not in seen]
        seen |= {each["id"] for each in fresh}
        groups.append(
            {
                "title": f"{kind.capitalize()} agreement",
                "note": f"{kind} Kendall's tau of {pair_label(pair)}; of equals the longer text."
                if pair
                else "",
                "examples": [shown(each) for each in fresh],
            }
        )
    groups.append(
        {
            "title": "Most successful adversarial attention",
            "note": "A different attention over the same encoder states that leaves the output "
            "almost unchanged: the model's own above, the adversarial one below.",
            "examples": [shown_adversarial(each) for each in _most_adversarial(examples)],
        }
    )
    return [group for group in groups if group["examples"]]


def ranking_pair(examples: list[dict[str, Any]]) -> str | None:
    """The pair by which examples are ranked: attention with the first importance method."""
    pairs = [
        name for name in (examples[0]["agreement"] if examples else []) if "attention~" in name
    ]
    return pairs[0] if pairs else None


def tau(example: dict[str, Any], pair: str | None) -> float | None:
    """Kendall's tau of a pair in one example, None where it is undefined or absent."""
    return example["agreement"].get(pair, {}).get("kendall") if pair else None


def shown(example: dict[str, Any]) -> dict[str, Any]:
    """The example with attention and every importance as rows over the same words."""
    facts = [
        f"τ({pair_label(pair)}) {formatted(found.get('kendall'))}"
        for pair, found in example["agreement"].items()
        if "attention" in pair.split("~")
    ]
    explanations = {"attention": example["attention"], **example["importance"]}
    return _card(example, explanations, facts)


def shown_adversarial(example: dict[str, Any]) -> dict[str, Any]:
    """The example with its attention and the adversarial attention as two rows."""
    found = example["adversarial"]
    facts = [
        f"Jensen-Shannon divergence {formatted(found['max_jsd'])}",
        f"output change {formatted(found.get('output_change'))}",
    ]
    rows = {"attention": example["attention"], "adversarial": found["attention"]}
    return _card(example, rows, facts, with_query=False)


def _card(
    example: dict[str, Any],
    explanations: dict[str, list[float]],
    facts: list[str],
    with_query: bool = True,
) -> dict[str, Any]:
    tokens = example["tokens"]
    query = example.get("query") or []
    on_query = (example.get("query_importance") or {}) if with_query else {}
    return {
        "id": example["id"],
        "text": " ".join([*tokens, *query]),
        "query": " ".join(query),
        "label": example["label"],
        "prediction": example["prediction"],
        "facts": facts,
        "rows": heat_rows(
            tokens[:WORDS], {name: values[:WORDS] for name, values in explanations.items()}
        ),
        "query_rows": heat_rows(query, on_query) if query else [],
        "cut": len(tokens) if len(tokens) > WORDS else 0,
    }


def _most_adversarial(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [
        each
        for each in examples
        if (each.get("adversarial") or {}).get("attention")
        and (each["adversarial"].get("max_jsd") or 0) > 0
    ]
    found.sort(key=lambda each: (-each["adversarial"]["max_jsd"], -len(each["tokens"])))
    return found[:SHOWN]
