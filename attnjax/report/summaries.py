"""results.json -> the table of scores, and what tables of summaries have in common."""

from typing import Any

from attnjax.report.tables import INTERVAL, Table

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


def described(found: dict[str, Any]) -> dict[str, Any]:
    """The columns of one summary: DESCRIBED, and how often it is significant and undefined."""
    return {
        "mean": found.get("mean"),
        "std": found.get("std"),
        INTERVAL: found.get("ci95"),
        "p ≤ 0.05": found.get("significant_fraction"),
        "undefined": found.get("undefined"),
    }


def mean_of(measures: dict[str, Any] | None, name: str) -> float | None:
    """The mean of one measure, None where it is not known."""
    found = (measures or {}).get(name)
    return found.get("mean") if found else None
