"""Do the explanations agree? Between methods, with chance, and between runs.

Explanations are lists of ragged rows. `analysis.pairs` says which pairs are measured in full; of
all others Kendall's tau is, for twenty explanations make 190 pairs.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache
from itertools import combinations
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from attnjax.analysis.agreement import kendall_p_value, measures
from attnjax.analysis.findings import by_class, describe
from attnjax.analysis.importance import method_named
from attnjax.analysis.questions.question import About, Question, Study
from attnjax.analysis.rows import Ragged
from attnjax.config import AnalysisConfig
from attnjax.data.batches import bucket, padded_lengths
from attnjax.runtime import quick_compile

Pairs = Mapping[str, tuple[Ragged, Ragged]]
Measured = dict[str, dict[str, np.ndarray]]  # pair -> measure -> [rows]
ATTENTION = "attention"
TAU = ("kendall", "p_value")  # what is measured of a pair that is not wanted in full
FEW = 2**28  # comparisons of words up to which another length to compile does not pay
LENGTHS = 3  # padded lengths in use beyond, one compilation each
DRAWS = 5  # random orders of each row: one alone leaves a small analysis a floor beside 0
LONG = 64  # words from which on one order is enough
VALUES = 2**15  # of one compiled call: the arrays that its loops go through fit a cache


def agree(pairs: Pairs, top_k: int, names: tuple[str, ...] = ()) -> Measured:
    """Measures of every pair of explanations, row by row.

    pairs  name -> (a, b): one array of values over the words for each example, a[i] as long as b[i]
    names  of the measures; () takes all
    Returns name -> measure -> [rows], and "p_value" (of Kendall's tau) among the measures; NaN
    where undefined.
    """
    names = names or (*measures(top_k), "p_value")
    flat = [(a, b) for first, second in pairs.values() for a, b in zip(first, second, strict=True)]
    if not flat:
        return {name: {} for name in pairs}
    sizes = np.array([len(a) for a, _ in flat])
    padded_sizes = np.maximum(sizes, 1).tolist()
    few = len(flat) * max(padded_sizes) ** 2 <= FEW
    lengths = padded_lengths(padded_sizes, 1 if few else LENGTHS)
    buckets = np.array([bucket(size, lengths) for size in padded_sizes])
    collected: dict[str, np.ndarray] = {}
    for padded in lengths:
        members, rows = np.flatnonzero(buckets == padded), max(1, VALUES // padded)
        for start in range(0, len(members), rows):
            chosen = members[start : start + rows]
            mask = np.zeros((rows, padded), bool)
            mask[: len(chosen)] = np.arange(padded) < sizes[chosen, None]
            both = np.zeros((2, rows, padded), flat[0][0].dtype)
            for side in (0, 1):
                both[side, mask] = np.concatenate([flat[row][side] for row in chosen])
            found = jax.device_get(_compiled(top_k, names)(both[0], both[1], mask))
            for name, values in found.items():
                column = collected.setdefault(name, np.full(len(flat), np.nan))
                column[chosen] = values[: len(chosen)]
    results, start = {}, 0
    for name, (first, _) in pairs.items():
        results[name] = {
            measure: collected[measure][start : start + len(first)] for measure in names
        }
        start += len(first)
    return results


@cache
def _compiled(top_k: int, names: tuple[str, ...]) -> Any:
    table = {**measures(top_k), "p_value": kendall_p_value}

    def every(a: Array, b: Array, mask: Array) -> dict[str, Any]:
        return {name: table[name](a, b, mask) for name in names}

    return jax.jit(every, compiler_options=quick_compile())


def chance(
    pairs: Pairs, top_k: int, seed: int, numbers: Sequence[int], names: tuple[str, ...] = ()
) -> tuple[Measured, Measured]:
    """`agree` with the second of each pair in random order: what agreement is worth nothing.

    Returns each figure's mean over DRAWS orders, and that of one order alone, which spreads as
    agreement that is worth nothing does. Rows of more than LONG words have one order: chance varies
    little there, and they take most of the time. "p_value" is that of one order in both.
    """
    short = {
        name: [row for row, values in enumerate(second) if len(values) <= LONG]
        for name, (_, second) in pairs.items()
    }

    def drawn(name: str, draw: int) -> tuple[Ragged, Ragged]:
        first, second = pairs[name]
        rows = short[name] if draw else range(len(second))
        order = shuffled(
            [second[row] for row in rows], (seed, draw), [numbers[row] for row in rows]
        )
        return [first[row] for row in rows], order

    # One call for all draws: they share its padded lengths, and so its compiled programs.
    found = agree(
        {f"{name} {draw}": drawn(name, draw) for name in pairs for draw in range(DRAWS)},
        top_k,
        names,
    )
    single = {name: found[f"{name} 0"] for name in pairs}
    means = {
        name: {measure: values.copy() for measure, values in measured.items()}
        for name, measured in single.items()
    }
    for name, measured in means.items():
        for measure, values in measured.items():
            if measure != "p_value":
                further = [found[f"{name} {draw}"][measure] for draw in range(1, DRAWS)]
                values[short[name]] = np.mean([values[short[name]], *further], axis=0)
    return means, single


def shuffled(
    rows: Sequence[np.ndarray], seed: tuple[int, ...], numbers: Sequence[int]
) -> list[np.ndarray]:
    """The same values in random order.

    numbers  one a row; the order depends on (number, seed) alone
    """
    each = zip(numbers, rows, strict=True)
    return [np.random.default_rng([number, *seed]).permutation(row) for number, row in each]


def pairs_of(
    explanations: Mapping[str, Ragged],
    wanted: tuple[str, ...],
    attentions: Set[str] = frozenset({ATTENTION}),
) -> Iterator[tuple[Pairs, tuple[str, ...]]]:
    """Pairs with the names of their measures: those wanted in full, then all others.

    wanted  as analysis.pairs: "attention" for each attention against each importance, "all", or
            names of pairs, "attention~gradient"
    attentions  which of the explanations are attention; they come first in a pair's name
    """
    full: dict[str, tuple[Ragged, Ragged]] = {}
    rest: dict[str, tuple[Ragged, Ragged]] = {}
    for a, b in combinations(sorted(explanations, key=lambda name: name not in attentions), 2):
        pair = f"{a}~{b}"
        with_attention = "attention" in wanted and (a in attentions) != (b in attentions)
        chosen = with_attention or "all" in wanted or pair in wanted or f"{b}~{a}" in wanted
        (full if chosen else rest)[pair] = explanations[a], explanations[b]
    yield full, ()
    yield rest, TAU


def measure_pairs(study: Study, config: AnalysisConfig, seed: int) -> dict[str, Any]:
    """Agreement and its floor over the words of each segment, in the order of the pairs.

    Of signed importances the magnitudes are compared: how much a word counts, not for what.
    """
    found: dict[str, Any] = {"agreement": {}, "query_agreement": {}}
    floors: dict[str, Any] = {"agreement": {}, "query_agreement": {}}
    singles: dict[str, Any] = {"agreement": {}, "query_agreement": {}}
    numbers = study.numbers.tolist()
    kinds = {name: method_named(name).kind for name in config.methods}
    attentions = {ATTENTION} | {name for name, kind in kinds.items() if kind == "attention"}
    for segment, explanations in study.explanations.items():
        name = "agreement" if segment == "text" else "query_agreement"
        sizes = {each: list(map(np.abs, rows)) for each, rows in explanations.items()}
        for pairs, names in pairs_of(sizes, config.pairs, attentions):
            found[name] |= agree(pairs, config.top_k, names)
            means, single = chance(pairs, config.top_k, seed, numbers, names)
            floors[name] |= means
            singles[name] |= single
    return {**found, "floor": floors, "one_order": singles}


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    answer: dict[str, Any] = {"agreement": {}, "ceiling": None}
    for name in ("agreement", "query_agreement"):
        if found[name] or name == "agreement":
            answer[name] = {
                pair: _described(
                    values, found["floor"][name][pair], found["one_order"][name][pair], about
                )
                for pair, values in found[name].items()
            }
    return answer


def _described(
    values: dict[str, np.ndarray],
    floor: dict[str, np.ndarray],
    one_order: dict[str, np.ndarray],
    about: About,
) -> dict[str, Any]:
    """One pair of explanations; a class has a floor of its own, for lengths differ by class.

    A floor's mean is over several orders, and its deviation over examples that of one.
    """
    predictions, labels = about.study.predictions, about.labels
    floors = by_class(floor, predictions, labels, one_order)
    return {
        **describe(values),
        "floor": describe(floor, one_order),
        "by_class": {
            label: {**members, "floor": floors[label]}
            for label, members in by_class(values, predictions, labels).items()
        },
    }


AGREEMENT = Question(
    measure_pairs,
    _answer,
    empty={"agreement": {}},
    record=("agreement", "query_agreement"),
    over="explanations",
)
