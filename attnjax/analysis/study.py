"""A trained model and a split -> per-example explanations, their agreement, counterfactuals."""

import logging
from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from attnjax.analysis.explain import make_explain
from attnjax.analysis.pairs import agree, chance
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, choose_shapes, map_rows
from attnjax.types import Batch, Compile, RowCall, Stages

logger = logging.getLogger(__name__)

BUCKETS = 2  # padded lengths: compiling costs more than padding here

Rows = list[np.ndarray]


class Study(NamedTuple):
    """What was measured on each example, in the split's order.

    explanations        "attention" and each method -> one array a row over the row's words
    query_explanations  each method -> one array a row over the query's words; empty without a query
    agreement           "attention~gradient" -> measure -> [rows], NaN where undefined; among the
                        measures "p_value", of Kendall's tau
    query_agreement     likewise over the query's words, method against method
    floor, query_floor  as those, the second explanation's values in random order
    diagnostics         method -> [rows], such as the completeness error of integrated gradients
    permutation, adversarial  name -> one array or number a row; empty if switched off
    uniform             "probabilities" and "loss" under uniform attention
    predictions         [rows] class numbers; probabilities  [rows, classes]
    """

    explanations: dict[str, Rows]
    query_explanations: dict[str, Rows]
    agreement: dict[str, dict[str, np.ndarray]]
    query_agreement: dict[str, dict[str, np.ndarray]]
    floor: dict[str, dict[str, np.ndarray]]
    query_floor: dict[str, dict[str, np.ndarray]]
    diagnostics: dict[str, np.ndarray]
    permutation: dict[str, np.ndarray]
    adversarial: dict[str, Rows]
    uniform: dict[str, np.ndarray]
    predictions: np.ndarray
    probabilities: np.ndarray


def study(
    config: AnalysisConfig,
    stages: Stages,
    split: EncodedSplit,
    seed: int,
    compile_rows: Compile[RowCall],
    devices: int = 1,
    check: Callable[[], None] = lambda: None,
) -> Study:
    """Explains every row of the split and measures agreement pair by pair.

    compile_rows  (builder, *settings) -> call(batch): builder(*settings), a function(params,
                  batch), compiled, with the parameters bound, NumPy arrays out; devices  into how
                  many parts it splits a batch; check  is called between batches and may raise to
                  stop.
    Rows are independent: neither chunk_size nor the other rows change what is found for one, nor
    does how many of a data set's rows the split has.
    """
    call = compile_rows(make_explain, stages, config, seed)
    found = in_chunks(call, split, config.chunk_size, devices, check)
    explanations = _at_words(found["explanations"], found["words"])
    queries = _at_words(found.get("query_explanations", {}), found.get("query_words", []))
    for name, rows in (*explanations.items(), *queries.items()):
        if not np.all(np.concatenate(rows) >= 0):  # NaN as well
            logger.warning(
                "the importance method '%s' gives words values that are below 0 or not finite: "
                "divergences and rationales need values of at least 0",
                name,
            )
    text_pairs, query_pairs = _combined(explanations), _combined(queries)
    numbers = split.row_numbers.tolist()
    adversarial = dict(found.get("adversarial", {}))
    if adversarial:
        adversarial |= _at_words({"attention": adversarial["attention"]}, found["words"])
    probabilities = np.stack(found["probabilities"])
    return Study(
        explanations,
        queries,
        agree(text_pairs, config.top_k),
        agree(query_pairs, config.top_k),
        chance(text_pairs, config.top_k, seed, numbers),
        chance(query_pairs, config.top_k, seed, numbers),
        {name: np.stack(rows) for name, rows in found["diagnostics"].items()},
        {name: np.stack(rows) for name, rows in found.get("permutation", {}).items()},
        adversarial,
        {name: np.stack(rows) for name, rows in found["uniform"].items()},
        probabilities.argmax(axis=1),
        probabilities,
    )


def in_chunks(
    call: Callable[[Batch], Any],
    split: EncodedSplit,
    chunk_size: int,
    devices: int,
    check: Callable[[], None],
) -> Any:
    """`map_rows` in chunks that split over the devices, padded to few lengths."""
    chunk = -(-min(chunk_size, len(split)) // devices) * devices
    return map_rows(call, split, choose_shapes([split], BUCKETS), chunk, check)


def _at_words(rows: dict[str, Rows], masks: Rows) -> dict[str, Rows]:
    return {
        name: [values[mask] for values, mask in zip(each, masks, strict=True)]
        for name, each in rows.items()
    }


def _combined(explanations: dict[str, Rows]) -> dict[str, tuple[Rows, Rows]]:
    return {
        f"{a}~{b}": (explanations[a], explanations[b]) for a, b in combinations(explanations, 2)
    }
