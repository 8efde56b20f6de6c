"""A trained model and a split -> per-example explanations, and how far they agree."""

from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import jax
import numpy as np

from attnjax.analysis.agreement import MEASURES
from attnjax.analysis.importance import METHODS
from attnjax.analysis.importance.gradient import detached
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, Shapes, evaluation_batches
from attnjax.model.attention import forward
from attnjax.types import EOS, UNK, Batch, Params, Stages

RESAMPLES = 1000  # of the bootstrap intervals


class Study(NamedTuple):
    """What was measured on each example, in the split's order.

    explanations  "attention" and each method -> one array a row over the row's words
    agreement     "attention~gradient" -> measure -> [rows], NaN where undefined
    significant   "attention~gradient" -> [rows], p-value of Kendall's tau, NaN where undefined
    predictions   [rows] class numbers; probabilities  [rows, classes]
    """

    explanations: dict[str, list[np.ndarray]]
    agreement: dict[str, dict[str, np.ndarray]]
    significant: dict[str, np.ndarray]
    predictions: np.ndarray
    probabilities: np.ndarray


def study(
    config: AnalysisConfig,
    stages: Stages,
    params: Params,
    split: EncodedSplit,
    shapes: Shapes,
    batch_size: int,
    seed: int,
    compile_rows: Callable[[Callable[..., Any]], Callable[..., Any]],
    place: Callable[[Batch], Any],
    collect: Callable[[Any], Any],
    check: Callable[[], None],
) -> Study:
    """Explains the first `config.examples` rows and measures agreement pair by pair.

    compile_rows, place, collect  how functions of (params, batch) meet devices, see
    `train.parallel`; check  is called between batches and may raise to stop.
    """
    rows = split.head(config.examples)
    count = len(rows)
    explained = detached(stages) if config.detach_attention else stages
    pairs = list(combinations(("attention", *config.methods), 2))

    def explain(params: Params, batch: Batch) -> dict[str, Any]:
        trace = forward(stages, params, batch)
        key = jax.random.key(seed)
        found = {"attention": trace.weights}
        for name in config.methods:
            found[name] = METHODS[name](explained, params, batch, key)
        agreement = {
            f"{a}~{b}": {
                name: measure(found[a], found[b], batch.words) for name, measure in MEASURES.items()
            }
            for a, b in pairs
        }
        return {
            "explanations": found,
            "agreement": agreement,
            "probabilities": trace.probabilities,
        }

    compiled = compile_rows(explain)
    explanations: dict[str, list[Any]] = {
        name: [None] * count for name in ("attention", *config.methods)
    }
    agreement = {f"{a}~{b}": {name: np.full(count, np.nan) for name in MEASURES} for a, b in pairs}
    probabilities: list[Any] = [None] * count
    for batch in evaluation_batches(rows, shapes, batch_size):
        check()
        found = collect(compiled(params, place(batch)))
        words = np.asarray((batch.tokens == UNK) | (batch.tokens > EOS))
        for place_in_batch, row in enumerate(batch.rows):
            if row < 0:
                continue
            for name, values in found["explanations"].items():
                explanations[name][row] = values[place_in_batch][words[place_in_batch]]
            for pair, measures in found["agreement"].items():
                for name, values in measures.items():
                    agreement[pair][name][row] = values[place_in_batch]
            probabilities[row] = found["probabilities"][place_in_batch]
    stacked = np.stack(probabilities)
    return Study(
        explanations,
        agreement,
        {f"{a}~{b}": _kendall_p_values(explanations[a], explanations[b]) for a, b in pairs},
        stacked.argmax(axis=1),
        stacked,
    )


def _kendall_p_values(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    from scipy import stats  # imported late: 0.9 s

    def p_value(x: np.ndarray, y: np.ndarray) -> float:
        if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
            return float("nan")
        result: Any = stats.kendalltau(x, y)
        return float(result.pvalue)

    return np.array([p_value(x, y) for x, y in zip(a, b, strict=True)])


def summarise(found: Study, labels: tuple[str, ...]) -> dict[str, Any]:
    """Mean, deviation, bootstrap interval and counts: overall and by predicted class."""
    summary: dict[str, Any] = {}
    for pair, measures in found.agreement.items():
        summary[pair] = {
            name: _describe(values, found.significant[pair] if name == "kendall" else None)
            for name, values in measures.items()
        }
        summary[pair]["by_class"] = {
            label: {
                name: _describe(
                    values[found.predictions == number],
                    found.significant[pair][found.predictions == number]
                    if name == "kendall"
                    else None,
                )
                for name, values in measures.items()
            }
            for number, label in enumerate(labels)
            if np.any(found.predictions == number)
        }
    return summary


def _describe(values: np.ndarray, p_values: np.ndarray | None) -> dict[str, Any]:
    defined = values[np.isfinite(values)]
    row: dict[str, Any] = {
        "mean": None,
        "std": None,
        "ci95": None,
        "undefined": int(len(values) - len(defined)),
    }
    if p_values is not None:
        known = p_values[np.isfinite(p_values)]
        row["significant_fraction"] = float(np.mean(known <= 0.05)) if len(known) else None
    if len(defined):
        random = np.random.default_rng(0)
        resampled = [random.choice(defined, len(defined)).mean() for _ in range(RESAMPLES)]
        row["mean"], row["std"] = float(defined.mean()), float(defined.std())
        row["ci95"] = [float(each) for each in np.percentile(resampled, [2.5, 97.5])]
    return row
