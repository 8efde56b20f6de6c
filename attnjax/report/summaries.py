"""results.json -> the table of scores, and what tables of summaries have in common."""

from collections import Counter
from typing import Any

from attnjax.report.sentences import accuracy as accuracy_of
from attnjax.report.sentences import counted, share
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


def scores_sentence(results: dict[str, Any], examples: list[dict[str, Any]]) -> str:
    """Test accuracy, what the most frequent class would have, and what uniform attention leaves.

    examples  of examples.jsonl, whose labels tell the most frequent class of runs that did not
    store its share; all three are of the same examples, or of those that the sentence names
    """
    test, analysis = results.get("test") or {}, results.get("analysis") or {}
    accuracy, count = test.get("accuracy"), test.get("examples")
    if accuracy is None or not count:
        return ""
    right = accuracy_of(accuracy, count)
    parts = [f"The model is right in {right} of {counted(count, 'test example')}"]
    tested = ((results.get("data") or {}).get("splits") or {}).get("test") or {}
    most = tested.get("majority")
    labels = Counter(each["label"] for each in examples if each.get("label") is not None)
    if most is None and labels and len(examples) == count:
        most = labels.most_common(1)[0][1] / len(examples)
    if most is not None:
        parts.append(f"always naming the most frequent class is right in {share(most)}")
    uniform, own = analysis.get("uniform_attention") or {}, analysis.get("model") or test
    if None not in (uniform.get("accuracy"), own.get("accuracy")) and (
        uniform.get("examples") == own.get("examples")
    ):
        told, of = f"with uniform attention it is right in {share(uniform['accuracy'])}", ""
        if own.get("examples") != count:
            of = f" of the {own['examples']:,} that were analysed, else in {share(own['accuracy'])}"
        parts.append(told + of)
    return "; ".join(parts) + "."


def training_sentence(metrics: list[dict[str, Any]], best: dict[str, Any]) -> str:
    """Which checkpoint is best by validation, and its accuracy there."""
    rows = [row for row in metrics if row.get("split") == "validation"]
    here = [row for row in rows if row["step"] == best.get("step")]
    if not here or here[-1].get("accuracy") is None:
        return ""
    row, last = here[-1], max(each["epoch"] for each in rows)
    taken, whole = (f"{round(each, 2):,.9g}" for each in (row["epoch"], last))
    return (
        f"Best by validation: step {row['step']:,}, after {taken} of {whole} epochs, accuracy "
        f"{accuracy_of(row['accuracy'], row.get('examples'))}."
    )


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
