"""Folders of finished runs -> what a comparison needs of each, checked to belong together."""

import os
import sys
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from attnjax.config import OPTIONS, flatten, to_dict, unchecked
from attnjax.errors import UserError
from attnjax.report.answers import compared, compared_each, of_part
from attnjax.report.tables import MARKED
from attnjax.shapes import EXAMPLES_SHAPE, RESULTS_SHAPE, uneven
from attnjax.workdir import (
    CONFIG,
    EXAMPLES,
    RESULTS,
    absolute,
    parse,
    read_json,
    refuse_other_examples,
)

Quantity = tuple[str, str]  # what is measured and how: ("attention~gradient", "kendall")
ACCURACY: Quantity = ("score", "accuracy")
# Of tables whose other columns are named after runs; the last is no column, but a key of rows.
HEADINGS = ("of", "measure", "field", "class", "method", "state", MARKED)
NO_MEASURE = {"p_value"}  # of one tau: a mean of it over examples says nothing about runs

# What runs of one condition may differ in. Other word vectors or unlabelled texts are another one.
WITHIN_CONDITION = {"seed", "data.path"} | {n for n, each in OPTIONS.items() if each.incidental}


class AnalysedExample(NamedTuple):
    """One analysed test example of one run.

    quantities    one number each, NaN where undefined
    explanations  "attention" and each importance -> one value a token
    """

    id: int
    tokens: list[str]
    query: list[str] | None
    label: str
    prediction: str
    probability: float
    quantities: dict[Quantity, float]
    explanations: dict[str, np.ndarray]


class FinishedRun(NamedTuple):
    """A finished run.

    config  dotted field -> value; test, cost  of its results.json
    """

    name: str
    folder: str
    config: dict[str, Any]
    test: dict[str, Any]
    examples: list[AnalysedExample]
    cost: dict[str, Any]

    def values(self, quantity: Quantity) -> np.ndarray:
        """[examples], NaN where undefined."""
        return np.array([each.quantities[quantity] for each in self.examples])

    def words(self, explanation: str) -> np.ndarray:
        """[words]: the explanation's values of all examples, one after the other."""
        return np.concatenate([each.explanations[explanation] for each in self.examples])


def read_runs(folders: list[str]) -> list[FinishedRun]:
    """Reads the runs and checks that they were analysed on the same test examples.

    Raises UserError where one is unfinished, foreign, not analysed or named twice, and where the
    examples differ.
    """
    places = [
        each.rstrip("/") if "://" in each else os.path.realpath(absolute(each)) for each in folders
    ]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UserError(f"{folders[number]} is named twice; name each run once")
    runs: list[FinishedRun] = []
    for folder, name in zip(folders, unique_names(places), strict=True):
        runs.append(_read(epath.Path(folder), name))
        _check_same_texts(runs[0], runs[-1])
    return runs


def unique_names(places: list[str]) -> list[str]:
    """Folder names, with as many parents as tell them apart: ["a/x", "b/x", "y"].

    No name is one of HEADINGS.
    """
    parts = [place.split("/") for place in places]
    depths = [1] * len(places)
    while True:
        names = ["/".join(each[-depth:]) for each, depth in zip(parts, depths, strict=True)]
        clashing = [k for k, name in enumerate(names) if names.count(name) > 1 or name in HEADINGS]
        if not clashing:
            return names
        for k in clashing:
            depths[k] += 1


def conditions(runs: list[FinishedRun]) -> list[list[int]]:
    """Numbers of the runs that are seeds of one condition, in order of their first run.

    A second run of the same condition and seed is no further seed: it starts its own condition.
    """
    groups: dict[Any, list[int]] = {}
    for number, run in enumerate(runs):
        known = (str(value) for name, value in run.config.items() if name not in WITHIN_CONDITION)
        key = tuple(known)
        copy = sum(
            run.config["seed"] == runs[k].config["seed"]
            for (other, _), members in groups.items()
            for k in members
            if other == key
        )
        groups.setdefault((key, copy), []).append(number)
    return list(groups.values())


def condition_names(runs: list[FinishedRun], groups: list[list[int]]) -> list[str]:
    """A run's own name, or what the names of the seeds begin with, where that tells them apart."""
    names = []
    for members in groups:
        own = [runs[k].name for k in members]
        shared = takewhile(lambda each: len(set(each)) == 1, zip(*own, strict=False))
        common = "".join(each[0] for each in shared).rstrip("0123456789_-./= ")
        names.append(own[0] if len(own) == 1 else f"{common or own[0]} ({len(own)} seeds)")
    unclear = {name for name in names if names.count(name) > 1}
    return [
        f"{runs[members[0]].name} ({len(members)} seeds)" if name in unclear else name
        for name, members in zip(names, groups, strict=True)
    ]


def _read(folder: epath.Path, name: str) -> FinishedRun:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name the folders of finished runs")
    if not (folder / RESULTS).exists():
        if (folder / CONFIG).exists():
            raise UserError(
                f"run {folder} is not finished: it has no {RESULTS}; its command resumes it"
            )
        raise UserError(f"{folder} is no attnjax run: it has neither {RESULTS} nor {CONFIG}")
    results = read_json(folder / RESULTS, RESULTS_SHAPE)
    if results.get("failed"):
        raise UserError(f"run {folder} failed: its loss was not finite; leave it out")
    try:
        config = flatten(to_dict(unchecked(results["config"])))
        test, analysis = dict(results["test"]), dict(results["analysis"])
    except UserError as error:
        raise UserError(f"{folder / RESULTS} is of another version: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / RESULTS} is not the results of an attnjax run") from error
    if not analysis or not (folder / EXAMPLES).exists():
        raise UserError(
            f"run {folder} has no {EXAMPLES} (analysis.examples={config['analysis.examples']}; a "
            "sweep writes none), so its examples cannot be compared; analyse it as the others: "
            f"python -m attnjax.analyze --workdir={folder}"
        )
    refuse_other_examples(folder, analysis)
    examples = _read_examples(folder / EXAMPLES)
    if len(examples) != analysis.get("examples", len(examples)):
        raise UserError(
            f"{folder / EXAMPLES} has {len(examples)} examples where {RESULTS} says "
            f"{analysis['examples']}; analyse that run again"
        )
    return FinishedRun(name, str(folder), config, test, examples, results.get("cost") or {})


def _read_examples(path: epath.Path) -> list[AnalysedExample]:
    examples: list[AnalysedExample] = []
    first: dict[str, Any] = {}
    shape = _shape()
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = parse(line, shape)
                first = first or row
                if wrong := uneven(row, first):
                    raise ValueError(wrong)
                example = _example(row)
                if examples and example.quantities.keys() != examples[0].quantities.keys():
                    raise ValueError("it has other measures than line 1")
            except ValueError as error:
                raise UserError(
                    f"line {number} of {path} is no analysed example ({error!s:.200}); analyse "
                    "that run again"
                ) from error
            examples.append(example)
    if not examples:
        raise UserError(f"{path} is empty; analyse that run again")
    return examples


def _shape() -> dict[str, Any]:
    """EXAMPLES_SHAPE, and that of all the measures that runs are compared in."""
    parts: dict[str, dict[Any, Any]] = {}
    for part, name in compared():
        parts.setdefault(part, {})[f"{name}?"] = (float, None)
    for part, name in compared_each():
        parts.setdefault(part, {}).setdefault(str, {})[f"{name}?"] = (float, None)
    return EXAMPLES_SHAPE | {f"{part}?": (shape, None) for part, shape in parts.items()}


def _example(row: dict[str, Any]) -> AnalysedExample:
    tokens = [sys.intern(token) for token in row["tokens"]]  # the runs share one copy of each
    explanations = {"attention": row["attention"], **row["importance"]}
    arrays = {name: np.asarray(values, np.float32) for name, values in explanations.items()}
    quantities = {ACCURACY: float(row["label"] == row["prediction"])}
    for pair, measures in (row.get("agreement") or {}).items():
        quantities |= {(pair, n): _number(v) for n, v in measures.items() if n not in NO_MEASURE}
    for part, name in compared():
        if name in (row.get(part) or {}):
            quantities[part, name] = _number(row[part][name])
    for part, name in compared_each():
        for explanation, measures in (row.get(part) or {}).items():
            if name in measures:
                quantities[explanation, of_part(part, name)] = _number(measures[name])
    return AnalysedExample(
        int(row["id"]),
        tokens,
        row["query"],
        row["label"],
        row["prediction"],
        max(row["probabilities"]),
        quantities,
        arrays,
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _check_same_texts(baseline: FinishedRun, other: FinishedRun) -> None:
    counts = [run.test.get("examples") for run in (baseline, other)]
    names = f"{baseline.folder} and {other.folder}"
    if counts[0] != counts[1]:
        raise UserError(
            f"{names} were tested on different data: {counts[0]} and {counts[1]} test examples; "
            "compare runs over one test split"
        )
    if len(baseline.examples) != len(other.examples):
        raise UserError(
            f"{names} were analysed on {len(baseline.examples)} and {len(other.examples)} "
            "examples; analyse both again with the same analysis.examples"
        )
    pairs = list(zip(baseline.examples, other.examples, strict=True))
    if any(a.id != b.id for a, b in pairs):
        raise UserError(
            f"{names} were analysed on different examples of the test split; analyse both again "
            "with the same data.seed and analysis.examples"
        )
    for part in ("tokens", "query", "label"):
        unequal = [(a, b) for a, b in pairs if getattr(a, part) != getattr(b, part)]
        if unequal:
            a, b = (getattr(each, part) for each in unequal[0])
            raise UserError(
                f"{names} were tested on different data: the {part} of example {unequal[0][0].id} "
                f"differs ({_first_difference(a, b)}), as in {len(unequal)} of {len(pairs)} "
                "examples; compare runs over one test split"
            )


def _first_difference(a: Any, b: Any) -> str:
    """The two values, or the first unequal of two lists: "word 3 is 'a' and 'b'"."""
    if not (isinstance(a, list) and isinstance(b, list)):
        return f"{a!r:.60} and {b!r:.60}"
    for place, (x, y) in enumerate(zip(a, b, strict=False), 1):
        if x != y:
            return f"word {place} is {x!r:.40} and {y!r:.40}"
    return f"{len(a)} and {len(b)} words"
