"""Finished runs on the same test examples -> comparison.json, and the page that is made of it."""

import shlex
from collections import Counter
from itertools import combinations, product
from typing import Any

import numpy as np
from etils import epath

from attnjax.analysis.intervals import range_of
from attnjax.analysis.statistics import (
    Difference,
    attention_divergence,
    bootstrap_differences,
    holm,
    seed_agreement,
)
from attnjax.config import OPTIONS
from attnjax.errors import UserError
from attnjax.report.answers import compared_each, of_part
from attnjax.report.compared_page import COMPARISON, FILES, write_comparison
from attnjax.runs.read import (
    FinishedRun,
    Quantity,
    condition_names,
    conditions,
    read_runs,
)
from attnjax.workdir import (
    FIGURES,
    PARTIAL,
    TABLES,
    absolute,
    delete_partial,
    refuse_links,
    write_json,
)

RESAMPLES = 10_000  # of the bootstrap, or more:
PER_TEST = 100  # so that the smallest p-value survives Holm's correction at alpha
ALPHA = 0.05
SHOWN = 5  # sentences of each kind


def compare(folders: list[str], out: str, seed: int) -> None:
    """Compares the finished runs in `folders` and writes the comparison's files into `out`.

    Raises UserError for a folder that holds no finished and analysed run, one that is named
    twice, runs over different test texts, and an `out` that holds anything but a comparison.
    """
    folder = absolute(out)
    refuse_other_files(folder)
    found = compare_runs(read_runs(folders), seed)
    command = ["python", "-m", "attnjax.compare", *folders, f"--out={out}", f"--seed={seed}"]
    found["settings"]["command"] = shlex.join(command)
    try:
        for each in (folder, folder / FIGURES, folder / TABLES):
            delete_partial(each)
        write_json(folder / COMPARISON, found)
        page = write_comparison(folder)
    except OSError as error:
        raise UserError(
            f"{folder} is not writable ({error.strerror or error}); choose another with --out=DIR"
        ) from error
    print(f"results: {folder / COMPARISON}\nreport:  {page}")


def refuse_other_files(folder: epath.Path) -> None:
    """Raises UserError if the folder exists and holds something else than an earlier comparison."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; choose a folder with --out=DIR")
    refuse_links(folder)
    names = sorted(each.name for each in folder.iterdir() if not PARTIAL.fullmatch(each.name))
    foreign = [name for name in names if name not in FILES]
    if foreign or (names and COMPARISON not in names):
        raise UserError(
            f"{folder} holds '{(foreign or names)[0]}', which is no earlier comparison's; "
            "choose another folder with --out=DIR"
        )


def compare_runs(runs: list[FinishedRun], seed: int) -> dict[str, Any]:
    """The content of comparison.json, as `attnjax.compare` describes it, but for the command."""
    groups = conditions(runs)
    named = list(zip(condition_names(runs, groups), groups, strict=True))
    single = [(run.name, [k]) for k, run in enumerate(runs)]
    several = [(name, members) for name, members in named if len(members) > 1]
    baseline, *others = named if len(named) > 1 else single
    quantities, notes = shared_quantities(runs)
    values = {each: np.stack([run.values(each) for run in runs]) for each in quantities}
    means = list(product([*single, *several], quantities))
    beside = {of_part(*each) for each in compared_each()}
    # Of every explanation's own measures attention's alone are tested: Holm counts every test.
    tested = [each for each in quantities if each[1] not in beside or each[0] == "attention"]
    tests = list(product(others, tested))
    pairs: list[Any] = [(None, values[each][members]) for (_, members), each in means]
    pairs += [(values[each][baseline[1]], values[each][members]) for (_, members), each in tests]
    resamples = max(RESAMPLES, PER_TEST * len(tests))
    ranges = [range_of(measure) for _, (_, measure) in (*means, *tests)]
    found = bootstrap_differences(pairs, resamples, seed, ranges)
    differences = [
        # Of one run against one, a p-value is about these two seeds: most small ones are.
        each if len(baseline[1]) > 1 or len(members) > 1 else each._replace(p=float("nan"))
        for each, ((_, members), _) in zip(found[len(means) :], tests, strict=True)
    ]
    rows = np.repeat(np.arange(len(runs[0].examples)), [len(e.tokens) for e in runs[0].examples])
    divergence = attention_divergence(
        np.stack([run.words("attention") for run in runs]), rows, len(runs[0].examples)
    )
    (spread,) = bootstrap_differences([(None, divergence[None])], resamples, seed)
    return {
        "settings": {"seed": seed, "resamples": resamples, "alpha": ALPHA},
        "data": {name: runs[0].config[name] for name in ("task", "data.source", "data.name")},
        "examples": len(runs[0].examples),
        "test_examples": runs[0].test.get("examples"),
        "majority": majority(runs[0]),
        **described(runs, named),
        "means": [
            {
                "name": name,
                "runs": [runs[k].name for k in members],
                **named_quantity(each),
                "mean": result.other,
                "std": deviation(values[each][members]),
                "ci95": interval(result),
                "examples": result.examples,
            }
            for ((name, members), each), result in zip(means, found, strict=False)
        ],
        "differences": difference_rows(baseline[0], tests, differences),
        "by_class": class_means(
            runs, [*single, *several], [each for each in quantities if each[1] in beside], seed
        ),
        "cost": {run.name: run.cost for run in runs if run.cost},
        "ceiling": ceiling(runs, several, rows, resamples, seed),
        "divergence": {
            "mean": spread.other,
            "ci95": interval(spread),
            "largest": np.log(len(runs)),
            "examples": spread.examples,
        },
        "sentences": sentences(runs, divergence, seed),
        "notes": notes,
    }


def difference_rows(
    baseline: str, tests: list[Any], differences: list[Difference]
) -> list[dict[str, Any]]:
    """Each other run's or condition's difference from the baseline, with Holm's correction."""
    adjusted = holm(np.array([each.p for each in differences]))
    return [
        {
            "baseline": baseline,
            "other": name,
            **named_quantity(each),
            "baseline_mean": result.baseline,
            "other_mean": result.other,
            "difference": result.difference,
            "ci95": interval(result),
            "p": result.p,
            "p_holm": p_holm,
            "examples": result.examples,
        }
        for ((name, _), each), result, p_holm in zip(tests, differences, adjusted, strict=True)
    ]


def majority(run: FinishedRun) -> float:
    """The share of the most frequent label among the compared examples."""
    return Counter(each.label for each in run.examples).most_common(1)[0][1] / len(run.examples)


def described(runs: list[FinishedRun], named: list[tuple[str, list[int]]]) -> dict[str, Any]:
    """Runs, conditions and config of comparison.json; named  the conditions with their runs."""
    condition = {k: name for name, members in named for k in members}
    return {
        "runs": [
            {
                "name": run.name,
                "folder": run.folder,
                "condition": condition[k],
                "seed": run.config["seed"],
                "test": run.test,
            }
            for k, run in enumerate(runs)
        ],
        "conditions": [
            {
                "name": name,
                "runs": [runs[k].name for k in members],
                "seeds": [runs[k].config["seed"] for k in members],
            }
            for name, members in named
        ],
        "config": {
            name: [run.config[name] for run in runs]
            for name, value in runs[0].config.items()
            if any(run.config[name] != value for run in runs)
        },
    }


def class_means(
    runs: list[FinishedRun],
    members: list[tuple[str, list[int]]],
    quantities: list[Quantity],
    seed: int,
) -> list[dict[str, Any]]:
    """Means of the examples of each label, which is the same for all runs."""
    labels = np.array([each.label for each in runs[0].examples])
    found = []
    for label in dict.fromkeys(labels.tolist()):
        chosen = labels == label
        values = {each: np.stack([run.values(each)[chosen] for run in runs]) for each in quantities}
        means = list(product(members, quantities))
        pairs = [(None, values[each][numbers]) for (_, numbers), each in means]
        ranges = [range_of(measure) for _, (_, measure) in means]
        results = bootstrap_differences(pairs, RESAMPLES, seed, ranges)
        found += [
            {
                "name": name,
                "class": label,
                **named_quantity(each),
                "mean": result.other,
                "ci95": interval(result),
                "examples": result.examples,
            }
            for ((name, _), each), result in zip(means, results, strict=True)
        ]
    return found


def shared_quantities(runs: list[FinishedRun]) -> tuple[list[Quantity], list[str]]:
    """What every run measured on each example, and notes on what must be read with care."""
    measured = [list(run.examples[0].quantities) for run in runs]
    shared = [each for each in measured[0] if all(each in other for other in measured)]
    left = {of for other in measured for of, name in other if (of, name) not in shared}
    notes = []
    if left:
        notes.append(f"Left out, because not every run has it: {', '.join(sorted(left))}.")
    if runs[0].test.get("examples") not in (None, len(runs[0].examples)):
        notes.append(
            f"Differences and agreement are over the {len(runs[0].examples):,} analysed examples; "
            f"the scores are over all {runs[0].test['examples']:,} of the test split."
        )
    settings = [
        name
        for name, value in runs[0].config.items()
        if name.startswith("analysis.") and name != "analysis.examples"
        if not OPTIONS[name].incidental
        if any(run.config[name] != value for run in runs)
    ]
    if settings:
        notes.append(
            f"The runs were analysed with different settings ({', '.join(settings)}): a difference "
            "in agreement may come from those."
        )
    return shared, notes


def ceiling(
    runs: list[FinishedRun],
    several: list[tuple[str, list[int]]],
    rows: np.ndarray,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Agreement of each explanation with itself under another seed, by condition."""
    count = len(runs[0].examples)
    found = []
    for name, members in several:
        names = [set(runs[k].examples[0].explanations) for k in members]
        for each in sorted(set.intersection(*names)):
            words = [np.abs(runs[k].words(each)) for k in members]
            measured = [seed_agreement(a, b, rows, count) for a, b in combinations(words, 2)]
            for measure in measured[0]:
                mean = np.mean([other[measure] for other in measured], axis=0, keepdims=True)
                (result,) = bootstrap_differences([(None, mean)], resamples, seed)
                found.append(
                    {
                        "condition": name,
                        "explanation": each,
                        "measure": measure,
                        "mean": result.other,
                        "ci95": interval(result),
                        "seed_pairs": len(measured),
                        "examples": result.examples,
                    }
                )
    return found


def sentences(runs: list[FinishedRun], divergence: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """The examples on which the runs' attention differs most and least, and random ones.

    Short ones leave attention no choice, so that the least are those of at least median length.
    """
    examples = runs[0].examples
    lengths = np.array([len(each.tokens) for each in examples])
    order = [int(k) for k in np.argsort(divergence, kind="stable") if np.isfinite(divergence[k])]
    most = order[::-1][:SHOWN]
    least = [k for k in order if lengths[k] >= np.median(lengths) and k not in most][:SHOWN]
    rest = np.setdiff1d(np.arange(len(examples)), most + least)
    random = np.random.default_rng(seed).permutation(rest)[:SHOWN]
    kinds = {"most": most, "least": least, "random": np.sort(random).tolist()}
    return [
        {
            "kind": kind,
            "id": examples[k].id,
            "divergence": divergence[k],
            "tokens": examples[k].tokens,
            "query": examples[k].query,
            "label": examples[k].label,
            "runs": [sentence_in(run, k) for run in runs],
        }
        for kind, members in kinds.items()
        for k in members
    ]


def sentence_in(run: FinishedRun, number: int) -> dict[str, Any]:
    """What one run says about one example."""
    example = run.examples[number]
    return {
        "name": run.name,
        "prediction": example.prediction,
        "probability": example.probability,
        "attention": example.explanations["attention"],
        "importance": {k: v for k, v in example.explanations.items() if k != "attention"},
    }


def named_quantity(quantity: Quantity) -> dict[str, str]:
    """{"of": "attention~gradient", "measure": "kendall"}"""
    return {"of": quantity[0], "measure": quantity[1]}


def deviation(values: np.ndarray) -> float | None:
    """Standard deviation over runs of their means over the examples that all of them define."""
    defined = values[:, np.isfinite(values).all(axis=0)]
    return float(defined.mean(axis=1).std(ddof=1)) if len(values) > 1 and defined.size else None


def interval(found: Difference) -> list[float] | None:
    """[low, high], or None where there is none."""
    return [found.low, found.high] if np.isfinite(found.low) else None
