"""The shapes of a run's files, and whether a value of JSON has the one that its readers rely on."""

import sys
from typing import Any

# The shapes of the files, as `misfit` reads them: what the readers rely on, and no more.
_SCORES = {str: (float, None)}
_BEST = {"step": (int, None), "validation": (_SCORES, None)}
VOCABULARY_SHAPE = {
    **{"tokens": [str], "labels": [str], "frequencies": [float]},
    "listed?": {str: [float]},
    "pretrained?": {str: str},  # of a classifier trained elsewhere: its files' sums
}
METRICS_SHAPE = {
    "step": int,
    "epoch": float,
    "split": str,
    "examples?": (int, None),
    **dict.fromkeys(("loss?", "clean_loss?", "accuracy?"), (float, None)),
}
RESULTS_SHAPE = {
    "config": dict,
    "test": (_SCORES, None),
    "analysis": dict,
    "best?": _BEST,
    "pretrained?": {"sha256": {str: str}},  # of the files in the folder of a pretrained model
    "timing?": {str: (float, None)},
    "failed?": bool,
    "failed_step?": (int, None),
    "cost?": ({str: {"seconds_per_example": (float, None), "passes?": (_SCORES, None)}}, None),
}
EXAMPLES_SHAPE = {
    "id": int,
    "tokens": [str],
    "query": ([str], None),
    "label": (str, None),
    "prediction": str,
    "probabilities": [float],
    "attention": [(float, None)],
    "importance": {str: [(float, None)]},
    "query_importance?": ({str: [(float, None)]}, None),
    "agreement?": {str: {str: (float, None)}},
}

DEEPEST = 50  # lists and objects inside each other; what is stored has some ten


def too_deep(value: Any) -> bool:
    """Whether lists and objects lie in each other deeper than DEEPEST: no recursion reaches it."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return False
        level = [x for each in level for x in (each.values() if isinstance(each, dict) else each)]
    return True


def misfit(value: Any, shape: Any, where: str = "") -> str:
    """Where a value of JSON is not what it should be, such as "'best.step' is no int"; else "".

    shape  a type (float: any finite number), object for anything; [shape] a list of such;
    {"name": shape, "other?": shape} an object with at least "name"; {str: shape} one of such under
    any names; (shape, None) either
    """
    if isinstance(shape, tuple):
        wrong = [misfit(value, each, where) for each in shape]
        return wrong[0] if all(wrong) else ""
    kind = type(shape) if isinstance(shape, dict | list) else shape
    if not _is_of(value, kind):
        name = "null" if kind is None else "number" if kind is float else kind.__name__
        return f"'{where}' is no {name}" if where else f"it is no {name}"
    inner: list[tuple[Any, Any]] = []
    if isinstance(shape, list):
        kinds = shape[0] if isinstance(shape[0], tuple) else (shape[0],)
        simple = all(kind is None or isinstance(kind, type) for kind in kinds)
        if simple and all(any(_is_of(each, kind) for kind in kinds) for each in value):
            return ""  # as most are: the quick way
        inner = [(number, shape[0]) for number in range(len(value))]
    elif isinstance(shape, dict):
        for name, each in shape.items():
            if name is str:
                inner += [(key, each) for key in value]
            elif name.removesuffix("?") in value:
                inner.append((name.removesuffix("?"), each))
            elif not name.endswith("?"):
                return f"it has no '{where}.{name}'" if where else f"it has no '{name}'"
    for key, each in inner:
        if wrong := misfit(value[key], each, f"{where}.{key}" if where else str(key)):
            return wrong
    return ""


def uneven(row: dict[str, Any], first: dict[str, Any]) -> str:
    """What does not fit together in a row of EXAMPLES_SHAPE, or with the first row; else ""."""
    on_query = row.get("query_importance") or {}
    if row["importance"].keys() != first["importance"].keys():
        return "it has other explanations than line 1"
    if on_query.keys() != (first.get("query_importance") or {}).keys():
        return "it has other explanations of the query than line 1"
    for name, values in {"attention": row["attention"], **row["importance"]}.items():
        if len(values) != len(row["tokens"]):
            return f"'{name}' has {len(values)} values for {len(row['tokens'])} tokens"
    for name, values in on_query.items():
        if len(values) != len(row["query"] or ()):
            return f"'{name}' has {len(values)} values for {len(row['query'] or ())} query tokens"
    return ""


def _is_of(value: Any, kind: type | None) -> bool:
    if kind is None:
        return value is None
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and abs(value) < 2**63
    return isinstance(value, kind)
