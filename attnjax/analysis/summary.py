"""Per-example figures -> means, intervals and counts: the "analysis" part of results.json."""

from typing import Any

import numpy as np

from attnjax.analysis.adversary import Adversary
from attnjax.analysis.counterfactual import BINS, bins
from attnjax.analysis.statistics import bootstrap
from attnjax.analysis.study import Study
from attnjax.config import AnalysisConfig
from attnjax.metrics import scores

SIGNIFICANT = 0.05

NOTHING: dict[str, Any] = {  # of a run that was not analysed
    "examples": 0,
    "agreement": {},
    "permutation": None,
    "adversarial_attention": None,
}

FAR = (0.4, 0.6)  # Jensen-Shannon divergences that the papers call a different attention


def summarise(
    found: Study, config: AnalysisConfig, labels: tuple[str, ...], truth: np.ndarray
) -> dict[str, Any]:
    """The "analysis" object of results.json, of which design.md and the README tell the form.

    labels  class names; truth  [rows] class numbers
    "model" holds the scores on these examples, which "uniform_attention" is to be compared with;
    "permutation" and "adversarial_attention" are None where they are switched off.
    """
    likelihoods = found.probabilities[np.arange(len(truth)), truth]
    losses = -np.log(np.maximum(likelihoods, np.finfo(likelihoods.dtype).tiny))
    summary: dict[str, Any] = {
        "examples": len(found.predictions),
        "agreement": {
            pair: _agreement(values, found.floor[pair], found.predictions, labels)
            for pair, values in found.agreement.items()
        },
        "ceiling": None,
        "model": scores(truth, found.probabilities, losses),
        "uniform_attention": scores(truth, found.uniform["probabilities"], found.uniform["loss"]),
        "permutation": _permutation(found.permutation, config) if found.permutation else None,
        "adversarial_attention": (
            _adversarial(found.adversarial, config) if found.adversarial else None
        ),
    }
    if found.query_agreement:
        summary["query_agreement"] = {
            pair: _agreement(values, found.query_floor[pair], found.predictions, labels)
            for pair, values in found.query_agreement.items()
        }
    if found.diagnostics:
        summary["completeness"] = {
            name: {"mean": float(np.mean(values)), "max": float(np.max(values))}
            for name, values in found.diagnostics.items()
        }
    return summary


def _agreement(
    values: dict[str, np.ndarray],
    floor: dict[str, np.ndarray],
    predictions: np.ndarray,
    labels: tuple[str, ...],
) -> dict[str, Any]:
    """One pair of explanations; a class has a floor of its own, for lengths differ by class."""
    floors = by_class(floor, predictions, labels)
    return {
        **describe(values),
        "floor": describe(floor),
        "by_class": {
            label: {**members, "floor": floors[label]}
            for label, members in by_class(values, predictions, labels).items()
        },
    }


def describe(measures: dict[str, np.ndarray]) -> dict[str, Any]:
    """measure -> mean, standard deviation over examples, 95 % interval of the mean, undefined.

    measures  name -> [rows], NaN where undefined; under "p_value" those of Kendall's tau, from
    which the share of significant rows (p <= 0.05) among the defined ones is told. One row has
    neither deviation nor interval.
    """
    names = [name for name in measures if name != "p_value"]
    if not names:
        return {}
    columns = np.stack([np.asarray(measures[name], np.float64) for name in names], axis=1)
    low, high = bootstrap(columns)
    described: dict[str, Any] = {}
    for place, name in enumerate(names):
        values = columns[:, place]
        defined = values[np.isfinite(values)]
        known = len(defined) > 0
        described[name] = {
            "mean": float(defined.mean()) if known else None,
            "std": float(defined.std()) if len(defined) > 1 else None,
            "ci95": [float(low[place]), float(high[place])] if len(defined) > 1 else None,
            "undefined": len(values) - len(defined),
        }
    if "p_value" in measures and "kendall" in described:
        p_values = measures["p_value"][np.isfinite(measures["p_value"])]
        share = float(np.mean(p_values <= SIGNIFICANT)) if len(p_values) else None
        described["kendall"]["significant_fraction"] = share
    return described


def by_class(
    measures: dict[str, np.ndarray], predictions: np.ndarray, labels: tuple[str, ...]
) -> dict[str, Any]:
    """`describe` for the examples of each predicted class; classes never predicted are left out."""
    return {
        label: describe({name: values[predictions == number] for name, values in measures.items()})
        for number, label in enumerate(labels)
        if np.any(predictions == number)
    }


def _permutation(found: dict[str, np.ndarray], config: AnalysisConfig) -> dict[str, Any]:
    change = found["median_change"]
    return {
        "permutations": config.permutations,
        **describe({"median_change": change}),
        "bins": [
            {
                "max_attention": list(edges),
                "examples": len(values),
                **describe({"median_change": values}),
            }
            for edges, values in zip(BINS, bins(found["max_attention"], change), strict=True)
        ],
    }


def _adversarial(found: dict[str, Any], config: AnalysisConfig) -> dict[str, Any]:
    divergence = np.stack(found["max_jsd"])
    return {
        "adversaries": config.adversaries,
        "steps": config.adversary_steps,
        "epsilon": config.adversary_epsilon,
        "margin": Adversary().margin,
        **describe({"max_jsd": divergence}),
        "share_above": {str(edge): float(np.mean(divergence > edge)) for edge in FAR},
    }
