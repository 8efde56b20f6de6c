"""A finished run analysed again; nothing is trained."""

import time
from typing import Any

import numpy as np
from etils import epath

from attnjax.analysis.findings import describe
from attnjax.analysis.importance import METHODS, method_named
from attnjax.analysis.questions.agreement import agree
from attnjax.analysis.rows import Ragged
from attnjax.config import RunConfig, changed, differences, to_dict
from attnjax.data.dataset import Dataset, load_dataset
from attnjax.data.tested import load_test
from attnjax.errors import UserError
from attnjax.model_checks import trained_elsewhere
from attnjax.report.write import write_report
from attnjax.runs.analysed import (
    analyse,
    analysed_words,
    meet_devices,
    write_results,
)
from attnjax.runs.configured import read_config
from attnjax.runs.inner import write_self_attention
from attnjax.runs.loaded import Run, load_run
from attnjax.runs.read import WITHIN_CONDITION
from attnjax.runtime import peak_memory
from attnjax.shapes import METRICS_SHAPE, RESULTS_SHAPE, VOCABULARY_SHAPE
from attnjax.stop import Stop
from attnjax.workdir import (
    METRICS,
    REPORT,
    RESULTS,
    VOCABULARY,
    find_workdir,
    finite,
    held,
    open_workdir,
    read_examples,
    read_json,
    read_json_lines,
)


def reanalyse(config: RunConfig, workdir: str, second: str | None, stop: Stop) -> None:
    """Analyses the run in the workdir as `config.analysis` says and rewrites what it had found."""
    find_workdir(workdir)
    folder = open_workdir(workdir)
    with held(folder):
        _reanalyse(config, folder, second, stop)


def _reanalyse(config: RunConfig, folder: epath.Path, second: str | None, stop: Stop) -> None:
    results = read_json(folder / RESULTS, RESULTS_SHAPE | {"timing": RESULTS_SHAPE["timing?"]})
    read_json_lines(folder / METRICS, METRICS_SHAPE)  # which the report reads in the end
    other = None if second is None else _other_seed(config, find_workdir(second))
    parallel = meet_devices(config)[1]
    run = load_run(folder, config.model.pretrained)
    dataset = load_same(config, run)
    run = run.reading(dataset.pieces)
    if other is not None:
        _require_same_examples(other, config, dataset)
    params = parallel.replicate(run.params)
    started = time.perf_counter()
    analysed = analyse(config, dataset, run.stages, parallel, params, stop, folder=folder)
    if other is not None:
        top_k = config.analysis.top_k
        analysed.summary["analysis"]["ceiling"] = ceiling(analysed.explanations, other, top_k)
    results["timing"] |= {
        "analysis_s": time.perf_counter() - started,
        "analysis_peak_bytes": peak_memory(),
    }
    results |= {"config": to_dict(config), "data": dataset.summary}
    write_results(folder, results, analysed, stop)
    write_self_attention(folder, config, dataset, run.stages, run.params)
    write_report(folder)
    print(f"results: {folder / RESULTS}\nreport:  {folder / REPORT}")


def load_same(config: RunConfig, run: Run) -> Dataset:
    """The data that the run was trained on; raises UserError where it is other data now."""
    dataset = (load_test if trained_elsewhere(config.model) else load_dataset)(config)
    if dataset.vocabulary != run.vocab or dataset.labels != run.labels:
        raise UserError(
            f"the data at {config.data.path or config.data.name} gives another vocabulary than "
            f"{run.folder} was made with; say where that data is with --config.data.path=DIR"
        )
    stored = read_json(run.folder / VOCABULARY, VOCABULARY_SHAPE).get("listed")
    if finite(dataset.listed) != stored:
        raise UserError(
            f"the words of {config.model.monotonic} are not those that {run.folder} was trained "
            "with; say where that file is with --config.model.monotonic=FILE"
        )
    return dataset


def _other_seed(config: RunConfig, other: epath.Path) -> epath.Path:
    """The other folder; raises UserError unless its run differs in the seed, and in no more.

    It may have been analysed otherwise, but for what changes an explanation.
    """
    if trained_elsewhere(config.model):
        raise UserError(
            "--second compares two trainings of one model, and a classifier trained elsewhere has "
            "one; leave it out"
        )
    found = differences(config, read_config(other))
    if "seed" not in found:
        raise UserError(
            f"--second={other} has the same seed, {config.seed}; give a run that differs in its "
            "seed"
        )
    for name, (here, there) in found.items():
        changes = not name.startswith("analysis.") or _tunes(config, name, there)
        if changes and name not in WITHIN_CONDITION:
            raise UserError(
                f"--second={other} has {name}={there!r}, and this run {here!r}; give a run "
                "that differs in its seed alone"
            )
    return other


def _tunes(config: RunConfig, name: str, other: Any) -> bool:
    """Whether an explanation of the run is another one with this other value of the field."""
    if name == "analysis.detach_attention":
        return True
    one, two = config.analysis, changed(config, {name: other}).analysis
    records = [method_named(each) for each in one.methods if each in METHODS]
    return any(each.under(one) != each.under(two) for each in records)


def _require_same_examples(other: epath.Path, config: RunConfig, dataset: Dataset) -> None:
    """Raises UserError unless the other run analysed the examples that are to be analysed."""
    wanted = [(each.text, each.query) for each in analysed_words(config, dataset)]
    found = [(row["tokens"], row["query"]) for row in read_examples(other)]
    if not wanted or found != wanted:
        raise UserError(
            f"{other} analysed {len(found)} examples that are not the {len(wanted)} to be analysed "
            "here; analyse both with the same data and the same analysis.examples"
        )


def ceiling(explanations: dict[str, Ragged], other: epath.Path, top_k: int) -> dict[str, Any]:
    """How far the same explanation agrees between two runs: what it says beyond one training.

    explanations  "attention" and each method -> one array a row; the other run's examples.jsonl has
    the same rows. Returns {"run": name, "attention": measure -> summary, each method that both have
    likewise}.
    """
    others = [{"attention": row["attention"], **row["importance"]} for row in read_examples(other)]
    pairs = {
        name: (
            list(map(np.abs, rows)),
            [np.abs(np.asarray(each[name], rows[0].dtype)) for each in others],
        )
        for name, rows in explanations.items()
        if name in others[0]
    }
    found = agree(pairs, top_k)
    return {"run": other.name, **{name: describe(values) for name, values in found.items()}}
