"""What measures and explanations are called, and what they mean, in every table and figure."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Wording(NamedTuple):
    """A measure: its name, its range and unit, and what it says.

    distance  of measures of agreement: whether 0 means the same; None for others
    """

    label: str
    distance: bool | None
    range: str
    meaning: str


MEASURES = {
    "kendall": Wording(
        "Kendall's tau",
        False,
        "−1 to 1",
        "Do both rank the words alike? The share of word pairs in the same order minus the share "
        "in the opposite order, corrected for ties (tau-b). 1 is the same ranking, 0 is chance, "
        "−1 the reverse.",
    ),
    "pearson": Wording(
        "Pearson's r",
        False,
        "−1 to 1",
        "Do the values lie on a line? One dominant word decides it almost alone. 1 is a rising "
        "line, 0 is none.",
    ),
    "spearman": Wording(
        "Spearman's rho",
        False,
        "−1 to 1",
        "Pearson's r of the ranks. 1 is the same ranking, 0 is chance, −1 the reverse.",
    ),
    "top_k_kendall": Wording(
        "top-k Kendall distance",
        True,
        "0 to 1",
        "How far apart are the rankings of the k highest words of each (Fagin et al. 2003), in "
        "the reference's scale: 0 is the same list; a reversed list is 1 where there are k words, "
        "but longer texts stay far below, and two lists without a common word are at "
        "(k − 1) / 8k. It falls with length: read it beside its floor and the top-k overlap.",
    ),
    "jensen_shannon": Wording(
        "Jensen-Shannon divergence",
        True,
        "0 to 0.693 nats",
        "How different are both as distributions over the words? 0 is the same, ln 2 = 0.693 "
        "means that they share no word.",
    ),
    "top_k_overlap": Wording(
        "top-k overlap",
        False,
        "0 to 1",
        "The share of words that both have among their k highest. 1 is the same set, whatever its "
        "order.",
    ),
}

OF_RUNS = {  # what a comparison of runs measures on every example beside agreement
    "accuracy": Wording("accuracy", None, "0 to 1", "The share of right predictions."),
}


def measure(name: str) -> Wording:
    """The words for a measure; one that is not in the table keeps its own name."""
    return MEASURES.get(name) or OF_RUNS.get(name) or Wording(spaced(name), False, "", "")


def measures_of(names: list[str]) -> list[str]:
    """Those names that are measures, known ones first and in the table's order."""
    known = [name for name in MEASURES if name in names]
    return known + [name for name in names if name not in {*MEASURES, "floor", "by_class"}]


def spaced(name: str) -> str:
    """ "leave_one_out" -> "leave one out"."""
    return name.replace("_", " ")


def pair_label(pair: str) -> str:
    """ "attention~leave_one_out" -> "attention ~ leave one out"."""
    return spaced(pair.replace("~", " ~ "))


def in_words(facts: Mapping[str, Any]) -> str:
    """Facts as people read them; parts in which nothing happened, 0 everywhere, are left out.

    {"words": 4621, "cut": {"train": 3, "test": 0}} -> "words 4,621; cut: train 3"
    """
    return "; ".join(
        f"{spaced(name)}{':' if isinstance(value, Mapping) else ''} {_value(value)}"
        for name, value in facts.items()
        if not _nothing(value)
    )


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        members = value.items()
        return ", ".join(f"{spaced(str(k))} {_value(v)}" for k, v in members if not _nothing(v))
    if isinstance(value, list | tuple):
        return " ".join(map(_value, value))
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _nothing(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_nothing, value.values()))
    return value is None or (value in (0, "", (), []) and value is not False)
