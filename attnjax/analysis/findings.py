"""Per-example figures -> means, intervals and counts: the "analysis" part of results.json."""

from typing import Any

import numpy as np

from attnjax.analysis.statistics import bootstrap

SIGNIFICANT = 0.05


def describe(
    measures: dict[str, np.ndarray], single: dict[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """measure -> mean, standard deviation over examples, 95 % interval of the mean, undefined.

    measures  name -> [rows], NaN where undefined; under "p_value" those of Kendall's tau, from
    which the share of significant rows (p <= 0.05) among the defined ones is told. One row has
    no deviation, and fewer than 10 have no interval.
    single  where figures are means over repetitions: those of one, whose deviation is told
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
        spread = defined if single is None else single[name][np.isfinite(single[name])]
        described[name] = {
            "mean": float(defined.mean()) if len(defined) else None,
            "std": float(spread.std()) if len(spread) > 1 else None,
            "ci95": [float(low[place]), float(high[place])] if np.isfinite(low[place]) else None,
            "undefined": len(values) - len(defined),
        }
    if "p_value" in measures and "kendall" in described:
        p_values = measures["p_value"][np.isfinite(measures["p_value"])]
        share = float(np.mean(p_values <= SIGNIFICANT)) if len(p_values) else None
        described["kendall"]["significant_fraction"] = share
    return described


def by_class(
    measures: dict[str, np.ndarray],
    predictions: np.ndarray,
    labels: tuple[str, ...],
    single: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """`describe` for the examples of each predicted class; classes never predicted are left out."""

    def members(
        measures: dict[str, np.ndarray] | None, number: int
    ) -> dict[str, np.ndarray] | None:
        chosen = predictions == number
        return measures and {name: values[chosen] for name, values in measures.items()}

    return {
        label: describe(members(measures, number) or {}, members(single, number))
        for number, label in enumerate(labels)
        if np.any(predictions == number)
    }
