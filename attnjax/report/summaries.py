"""results.json -> the report's tables. Any part may be absent; its table then is None or empty."""

from typing import Any

from attnjax.report.tables import INTERVAL, Table
from attnjax.report.wording import measure, measures_of, pair_label, spaced

FLOOR, CEILING = "floor", ("ceiling, first", "ceiling, second")
CLASS_CEILING = tuple(f"{name}, all classes" for name in CEILING)
ANALYSED = "analysed examples"
DESCRIBED = ("mean", "std", INTERVAL)


def scores_table(results: dict[str, Any]) -> Table:
    """Test scores, and those of the same model with uniform attention where they are known.

    Where fewer examples were analysed than there are, the model's own scores on those stand beside.
    """
    analysis, test = results.get("analysis") or {}, results.get("test") or {}
    uniform = analysis.get("uniform_attention") or {}
    own = analysis.get("model") or test
    partial = bool(uniform) and uniform.get("examples") != test.get("examples")
    if own.get("examples") != uniform.get("examples"):
        uniform = {}  # of other examples: nothing to compare with
    rows = []
    for name, value in test.items():
        first, other = own.get(name), uniform.get(name)
        difference = None
        if isinstance(first, float) and isinstance(other, float):
            difference = other - first
        rows.append(
            {
                "score": name.replace("_", "-"),
                "test": value,
                ANALYSED: first,
                "uniform attention": other,
                "difference": difference,
            }
        )
    columns = ("score", "test", ANALYSED, "uniform attention", "difference")
    if not (partial and uniform):
        columns = tuple(name for name in columns if name != ANALYSED)
    caption = "Scores on the test split" + (
        ", as trained and with attention held uniform." if uniform else "."
    )
    return Table("scores", caption, columns, rows)


def agreement_tables(
    agreement: dict[str, Any] | None, ceiling: dict[str, Any] | None, name: str, where: str
) -> tuple[Table, Table]:
    """All pairs and measures: (over all examples, by predicted class).

    The floor is the same measure against a random ranking of the same examples; the ceilings are
    the same measure between two runs, for the pair's first and second explanation.
    """
    overall: list[dict[str, Any]] = []
    by_class: list[dict[str, Any]] = []
    for pair, found in (agreement or {}).items():
        for each in measures_of(list(found)):
            limits = [_mean((ceiling or {}).get(method), each) for method in pair.split("~")]
            start = {"between": pair_label(pair), "measure": measure(each).label}
            overall.append(
                start
                | _described(found[each])
                | {FLOOR: _mean(found.get("floor"), each)}
                | dict(zip(CEILING, limits, strict=True))
            )
            for label, members in (found.get("by_class") or {}).items():
                if each not in members:
                    continue
                by_class.append(
                    {**start, "class": str(label)}
                    | _described(members[each])
                    | {FLOOR: _mean(members.get("floor"), each)}
                    | dict(zip(CLASS_CEILING, limits, strict=True))
                )
    last = ("p ≤ 0.05", "undefined")
    caption = f"Agreement of explanations over the words of the {where}"
    return (
        Table(
            name,
            f"{caption}.",
            ("between", "measure", *DESCRIBED, FLOOR, *CEILING, *last),
            overall,
        ),
        Table(
            f"{name}_by_class",
            f"{caption}, by predicted class.",
            ("between", "measure", "class", *DESCRIBED, FLOOR, *CLASS_CEILING, *last),
            by_class,
        ),
    )


def permutation_table(permutation: dict[str, Any] | None) -> Table:
    """Median output change under permuted attention, by the largest attention weight."""
    rows = []
    for part in (permutation or {}).get("bins") or []:
        low, high = part["max_attention"]
        rows.append(
            {"largest attention weight": f"{low:g} to {high:g}", "examples": part["examples"]}
            | _described(part.get("median_change") or {})
        )
    if permutation and permutation.get("median_change"):
        total = sum(row["examples"] for row in rows) if rows else None
        rows.append(
            {"largest attention weight": "all", "examples": total}
            | _described(permutation["median_change"])
        )
    columns = ("largest attention weight", "examples", *DESCRIBED, "undefined")
    caption = "Median change of the output (total variation) when attention weights are permuted."
    return Table("permutation", caption, columns, rows)


def adversarial_table(adversarial: dict[str, Any] | None) -> Table:
    """Epsilon-max Jensen-Shannon divergence of adversarial attention, and the shares above."""
    found = (adversarial or {}).get("max_jsd")
    shares = (adversarial or {}).get("share_above") or {}
    above = {f"share above {bound}": share for bound, share in shares.items()}
    rows = [_described(found) | above] if found else []
    caption = "Largest Jensen-Shannon divergence of an attention that keeps the output."
    return Table("adversarial_attention", caption, (*DESCRIBED, *above, "undefined"), rows)


def with_undisturbed(results: dict[str, Any]) -> dict[str, list[float]] | None:
    """The results' robustness, begun with norm 0 where the accuracy on these examples is known."""
    robustness = results.get("robustness")
    model = (results.get("analysis") or {}).get("model") or {}
    if not robustness or model.get("accuracy") is None or 0 in robustness["epsilon"]:
        return robustness
    return {
        name: [0.0 if name == "epsilon" else model["accuracy"], *values]
        for name, values in robustness.items()
    }


def robustness_table(robustness: dict[str, list[float]] | None) -> Table:
    """Accuracy on the analysed examples by the norm of the perturbation, one column a kind."""
    robustness = robustness or {}
    rows = [
        {spaced(name): values[place] for name, values in robustness.items()}
        for place in range(len(robustness.get("epsilon", [])))
    ]
    columns = tuple(spaced(name) for name in robustness)
    caption = "Accuracy on the analysed test examples under perturbations of norm epsilon."
    return Table("robustness", caption, columns, rows)


def completeness_table(completeness: dict[str, Any] | None) -> Table:
    """How far the attributions of a method are from summing to the output's change."""
    rows = [
        {"method": spaced(name), "mean error": error["mean"], "largest error": error["max"]}
        for name, error in (completeness or {}).items()
    ]
    caption = "Completeness error: attributions should sum to the change of the output."
    return Table("completeness", caption, ("method", "mean error", "largest error"), rows)


def _described(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "mean": found.get("mean"),
        "std": found.get("std"),
        INTERVAL: found.get("ci95"),
        "p ≤ 0.05": found.get("significant_fraction"),
        "undefined": found.get("undefined"),
    }


def _mean(measures: dict[str, Any] | None, name: str) -> float | None:
    found = (measures or {}).get(name)
    return found.get("mean") if found else None
