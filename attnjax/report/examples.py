"""Which examples a page shows, and what it shows of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any

from attnjax.report.heatmap import blocks, heat_rows
from attnjax.report.sentences import number
from attnjax.report.tables import formatted
from attnjax.report.wording import pair_label, spaced

SHOWN = 5  # examples of each kind, or fewer:
CELLS = 4_000  # words in colour that the examples of a kind have together; at least one is shown
PEOPLE = "people's words"
WORDS = 200  # of one text that a page shows at once; the others are folded
MOST = 12_000  # words in colour of one text, folded ones too; examples.jsonl has all


def chosen(
    examples: list[dict[str, Any]], heads: Mapping[int, Any] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Groups of examples: {"title", "note", "examples"} each; no example twice by agreement.

    Those of `by_agreement`, then the adversarial attentions farthest from the model's own.
    heads  id -> the figure of the layers' and heads' attention, of examples that have one
    """
    pair = ranking_pair(examples)
    signed = signed_names(examples)
    groups = [
        {
            "title": f"{kind.capitalize()} agreement",
            "note": f"{kind} Kendall's tau of {pair_label(pair)}; of equals the longer text."
            if pair
            else "",
            "examples": [shown(each, signed) | {"heads": heads.get(each["id"])} for each in found],
        }
        for kind, found in by_agreement(examples).items()
    ]
    groups.append(
        {
            "title": "Most successful adversarial attention",
            "note": "A different attention over the same encoder states that leaves the output "
            "almost unchanged: the model's own above, the adversarial one below.",
            "examples": [shown_adversarial(each) for each in within(_most_adversarial(examples))],
        }
    )
    return [group for group in groups if group["examples"]]


def by_agreement(examples: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """ "best", "median", "worst" -> a few examples, none twice.

    Attention agrees so with the first importance method, by Kendall's tau.
    """
    pair = ranking_pair(examples)
    ranked = [each for each in examples if tau(each, pair) is not None]
    ranked.sort(key=lambda each: (-(tau(each, pair) or 0.0), -len(each["tokens"])))
    middle = max(0, len(ranked) // 2 - SHOWN // 2)
    worst = sorted(ranked, key=lambda each: (tau(each, pair) or 0.0, -len(each["tokens"])))
    kinds = {"best": ranked[:SHOWN], "median": ranked[middle : middle + SHOWN], "worst": worst}
    found: dict[str, list[dict[str, Any]]] = {}
    seen: set[int] = set()
    for kind, members in kinds.items():
        found[kind] = within(each for each in members if each["id"] not in seen)
        seen |= {each["id"] for each in found[kind]}
    return found


def shown_ids(examples: list[dict[str, Any]]) -> list[int]:
    """The ids of these examples, in the page's order."""
    return [each["id"] for members in by_agreement(examples).values() for each in members]


def sentence(examples: list[dict[str, Any]]) -> str:
    """In which example attention agrees best, and in which worst, by Kendall's tau."""
    pair = ranking_pair(examples)
    taus = [(found, each["id"]) for each in examples if (found := tau(each, pair)) is not None]
    if pair is None or len(taus) < 2 or min(taus)[0] == max(taus)[0]:
        return ""
    (low, worst), (high, best) = min(taus), max(taus)
    names = " and ".join(spaced(name) for name in pair.split("~"))
    return (
        f"{names[0].upper()}{names[1:]} rank the words most alike in example {best} (tau "
        f"{number(high)}) and least in example {worst} ({number(low)})."
    )


def within(examples: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first SHOWN of them, or as many as CELLS allow: twenty explanations are many words."""
    found: list[dict[str, Any]] = []
    left = CELLS
    for each in islice(examples, SHOWN):
        rows = 1 + len(each["importance"])
        left -= rows * (len(each["tokens"]) + len(each.get("query") or []))
        if found and left < 0:
            break
        found.append(each)
    return found


def ranking_pair(examples: list[dict[str, Any]]) -> str | None:
    """The pair by which examples are ranked: attention with the first importance method."""
    measured = examples[0].get("agreement") or {} if examples else {}
    pairs = [name for name in measured if "attention~" in name]
    return pairs[0] if pairs else None


def tau(example: dict[str, Any], pair: str | None) -> float | None:
    """Kendall's tau of a pair in one example, None where it is undefined or absent."""
    return (example.get("agreement") or {}).get(pair, {}).get("kendall") if pair else None


def signed_names(examples: Iterable[dict[str, Any]]) -> set[str]:
    """Explanations that speak against the class anywhere: they are drawn with their sign."""
    return {
        spaced(name)
        for each in examples
        for part in ("importance", "query_importance")
        for name, values in (each.get(part) or {}).items()
        if any(value is not None and value < 0 for value in values)
    }


def shown(example: dict[str, Any], signed: Collection[str]) -> dict[str, Any]:
    """The example with people's words, attention and every importance as rows over the words."""
    facts = [
        f"τ({pair_label(pair)}) {formatted(found.get('kendall'))}"
        for pair, found in (example.get("agreement") or {}).items()
        if "attention" in pair.split("~")
    ]
    people = people_of(example)
    explanations = {PEOPLE: people} if people else {}
    explanations |= {"attention": example["attention"]} | _named(example["importance"])
    on_query = _named(example.get("query_importance") or {})
    return card(example, facts, {"": explanations}, on_query, signed=signed)


def people_of(example: dict[str, Any]) -> list[float]:
    """The share of the people who named each word as the reason for the label; [] of nobody."""
    people = example.get("rationale") or []
    if not any(people):
        return []
    return [
        sum(word in person for person in people) / len(people)
        for word in range(len(example["tokens"]))
    ]


def shown_adversarial(example: dict[str, Any]) -> dict[str, Any]:
    """The example with its attention and the adversarial attention as two rows."""
    found = example["adversarial"]
    facts = [
        f"Jensen-Shannon divergence {formatted(found['max_jsd'])}",
        f"output change {formatted(found.get('output_change'))}",
    ]
    rows = {"attention": example["attention"], "adversarial": found["attention"]}
    return card(example, facts, {"": rows})


def card(
    example: dict[str, Any],
    facts: list[str],
    parts: Mapping[str, Mapping[str, Sequence[float | None]]],
    on_query: Mapping[str, Sequence[float | None]] | None = None,
    verdicts: Sequence[str] = (),
    signed: Collection[str] = (),
) -> dict[str, Any]:
    """What the template's macro `example` shows of an object of examples.jsonl.

    facts     short, for the first line; verdicts: longer, each on its own
    parts     title, "" for none -> name -> one value a word: rows of colour
    on_query  the same over the words of the query; without it the query is plain text
    signed    rows, or titles of parts, whose values below 0 speak against the class
    """
    tokens, query = example["tokens"], example.get("query") or []
    longest = max(WORDS, MOST // max(1, sum(map(len, parts.values()))))
    heatmaps = [
        _heatmap(title, tokens[:longest], rows, rows if title in signed else signed)
        for title, rows in parts.items()
    ]
    if query and on_query:
        heatmaps.append(_heatmap("query", query[:longest], on_query, signed))
    return {
        "id": example["id"],
        "text": " ".join([*tokens, *query]),
        "query": "" if on_query else " ".join(query),
        "label": example["label"],
        "prediction": example.get("prediction"),
        "facts": facts,
        "verdicts": verdicts,
        "heatmaps": heatmaps,
        "shown": longest,
        "cut": len(tokens) if len(tokens) > longest else 0,
        "heads": None,
    }


def _heatmap(
    title: str,
    words: Sequence[str],
    rows: Mapping[str, Sequence[float | None]],
    signed: Collection[str],
) -> dict[str, Any]:
    """The rows over the same words in blocks: the first WORDS, and the others, which are folded.

    Both have the colours of the whole: each row is scaled to its largest value in the text.
    """
    count = len(words)
    coloured = heat_rows(words, {name: values[:count] for name, values in rows.items()}, signed)
    first, rest = (
        blocks([{**row, "cells": row["cells"][part]} for row in coloured])
        for part in (slice(WORDS), slice(WORDS, None))
    )
    return {"title": title, "blocks": first, "rest": rest, "folded": max(0, count - WORDS)}


def _named(importance: dict[str, list[float]]) -> dict[str, list[float]]:
    return {spaced(name): values for name, values in importance.items()}


def _most_adversarial(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [
        each
        for each in examples
        if (each.get("adversarial") or {}).get("attention")
        and (each["adversarial"].get("max_jsd") or 0) > 0
    ]
    found.sort(key=lambda each: (-each["adversarial"]["max_jsd"], -len(each["tokens"])))
    return found
