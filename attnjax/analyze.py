"""Analyses a finished run again with other settings, or explains the user's own texts with it.

python -m attnjax.analyze --workdir=runs/sst [--config.analysis.FIELD=VALUE ...] [--second=DIR]
python -m attnjax.analyze --workdir=runs/sst --input=my_texts.jsonl [--output=DIR]

The first reads the data again, trains nothing, and rewrites results.json, analysis/ and the report;
--second names the same run trained with another seed, whose explanations give the ceiling of every
agreement. The second reads the columns that config.data.fields names (a label is not needed) and
writes examples.jsonl and examples.html to --output (default WORKDIR/explained/my_texts).
"""

import os
import sys
import time
from typing import Any

import numpy as np
from absl import flags
from etils import epath

from attnjax.analysis.pairs import agree
from attnjax.analysis.records import records
from attnjax.analysis.study import Rows
from attnjax.analysis.summary import describe
from attnjax.command import guarded, parse_overrides
from attnjax.config import OPTIONS, RunConfig, differences, to_dict
from attnjax.data.dataset import Dataset, load_dataset
from attnjax.data.files import SUFFIXES, read_unlabelled
from attnjax.errors import UserError
from attnjax.pipeline import (
    analyse,
    analysed_words,
    evaluate_robustness,
    meet_devices,
    write_results,
)
from attnjax.report.runs import WITHIN_CONDITION
from attnjax.report.words import write_examples_page
from attnjax.report.write import write_report
from attnjax.run import load_run, read_config
from attnjax.runtime import keep_heap, use_compile_cache
from attnjax.train.stop import Stop
from attnjax.workdir import (
    EXAMPLES,
    REPORT,
    RESULTS,
    find_workdir,
    finite,
    held,
    open_workdir,
    read_json,
    read_json_lines,
    write_json,
    write_json_lines,
)

SOURCE = "source.json"  # of explained texts: whose they are, and by which run


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 2 for a user's mistake.

    arguments  as `sys.argv`, which is the default: the first is the program's name
    """
    arguments = sys.argv if arguments is None else arguments
    return guarded(__doc__ or "", lambda stop: analyze(arguments, stop), arguments)


def analyze(arguments: list[str], stop: Stop) -> None:
    """Parses the command line and does what it asks for; raises UserError."""
    values = flags.FlagValues()
    for name, text in (
        ("workdir", "folder of a finished run"),
        ("second", "folder of the same run with another seed"),
        ("input", "JSONL, CSV or TSV file of texts to explain"),
        ("output", "folder for what is found in --input"),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    workdir = _workdir(arguments)
    stored = read_config(find_workdir(workdir))
    config = parse_overrides(arguments, values, stored)
    _refuse_other_fields(stored, config)
    if config.train.keep_heap:
        keep_heap()
    use_compile_cache(config.train.compile_cache)
    if values["input"].value is None:
        if values["output"].value is not None:
            raise UserError("--output says where to explain --input, which is missing")
        reanalyse(config, workdir, values["second"].value, stop)
        return
    if values["second"].value is not None:
        raise UserError("--second compares two runs on the test split; leave out --input")
    path = values["input"].value
    name = os.path.basename(path)
    stem = next((name.removesuffix(each) for each in SUFFIXES if name.endswith(each)), name)
    output = values["output"].value or os.path.join(workdir, "explained", stem)
    explain_file(config, workdir, path, output)


def _workdir(arguments: list[str]) -> str:
    for place, each in enumerate(arguments):
        if each.startswith("--workdir="):
            return each.removeprefix("--workdir=")
        if each == "--workdir" and place + 1 < len(arguments):
            return arguments[place + 1]
    raise UserError("analyze needs --workdir=DIR, the folder of a finished run")


def _refuse_other_fields(stored: RunConfig, config: RunConfig) -> None:
    """Raises UserError where more changed than the analysis, its pace, and where things lie."""
    movable = [name for name, each in OPTIONS.items() if each.incidental or each.own]
    for name, (trained, value) in differences(stored, config).items():
        if not (name.startswith("analysis.") or name in movable):
            raise UserError(
                f"analyze trains nothing, and this run was trained with {name}={trained!r}, not "
                f"{value!r}; beside analysis.* only {', '.join(movable)} can change; use "
                "attnjax.main for another run"
            )


def reanalyse(config: RunConfig, workdir: str, second: str | None, stop: Stop) -> None:
    """Analyses the run in the workdir as `config.analysis` says and rewrites what it had found."""
    find_workdir(workdir)
    folder = open_workdir(workdir)
    with held(folder):
        _reanalyse(config, folder, second, stop)


def _reanalyse(config: RunConfig, folder: epath.Path, second: str | None, stop: Stop) -> None:
    results = read_json(folder / RESULTS)
    if not {"timing", "analysis"} <= set(results):
        raise UserError(f"{folder / RESULTS} is not the results of an attnjax run")
    other = None if second is None else _other_seed(config, find_workdir(second))
    parallel = meet_devices(config)[1]
    run = load_run(folder)
    dataset = load_dataset(config)
    if dataset.vocabulary != run.vocab or dataset.labels != run.labels:
        raise UserError(
            f"the data at {config.data.path or config.data.name} gives another vocabulary than "
            f"{folder} was trained with; say where that data is with --config.data.path=DIR"
        )
    if other is not None:
        _require_same_examples(other, config, dataset)
    params = parallel.replicate(run.params)
    started = time.perf_counter()
    analysed = analyse(config, dataset, run.stages, parallel, params, stop)
    if other is not None:
        analysed.summary["ceiling"] = ceiling(analysed.explanations, other, config.analysis.top_k)
    results["robustness"] = evaluate_robustness(config, dataset, run.stages, parallel, params, stop)
    results["timing"]["analysis_s"] = time.perf_counter() - started
    results["config"] = to_dict(config)
    write_results(folder, results, analysed, stop)
    write_report(folder)
    print(f"results: {folder / RESULTS}\nreport:  {folder / REPORT}")


def _other_seed(config: RunConfig, other: epath.Path) -> epath.Path:
    """The other folder; raises UserError unless its run differs in the seed, and in no more.

    It may have been analysed otherwise, but for what changes an explanation.
    """
    found = differences(config, read_config(other))
    if "seed" not in found:
        raise UserError(
            f"--second={other} has the same seed, {config.seed}; give a run that differs in its "
            "seed"
        )
    for name, (here, there) in found.items():
        changes = not name.startswith("analysis.") or name == "analysis.detach_attention"
        if changes and name not in WITHIN_CONDITION:
            raise UserError(
                f"--second={other} has {name}={there!r}, and this run {here!r}; give a run "
                "that differs in its seed alone"
            )
    return other


def _require_same_examples(other: epath.Path, config: RunConfig, dataset: Dataset) -> None:
    """Raises UserError unless the other run analysed the examples that are to be analysed."""
    wanted = [(each.text, each.query) for each in analysed_words(config, dataset)]
    found = [(row["tokens"], row.get("query")) for row in read_json_lines(other / EXAMPLES)]
    if not wanted or found != wanted:
        raise UserError(
            f"{other} analysed {len(found)} examples that are not the {len(wanted)} to be analysed "
            "here; analyse both with the same data and the same analysis.examples"
        )


def ceiling(explanations: dict[str, Rows], other: epath.Path, top_k: int) -> dict[str, Any]:
    """How far the same explanation agrees between two runs: what it says beyond one training.

    explanations  "attention" and each method -> one array a row; the other run's examples.jsonl has
    the same rows. Returns {"run": name, "attention": measure -> summary, each method that both have
    likewise}.
    """
    others = [
        {"attention": row["attention"], **row["importance"]}
        for row in read_json_lines(other / EXAMPLES)
    ]
    pairs = {
        name: (rows, [np.asarray(each[name], rows[0].dtype) for each in others])
        for name, rows in explanations.items()
        if name in others[0]
    }
    found = agree(pairs, top_k)
    return {"run": other.name, **{name: describe(values) for name, values in found.items()}}


def explain_file(config: RunConfig, workdir: str, path: str, output: str) -> None:
    """Explains every text of a file and writes examples.jsonl and examples.html to the folder."""
    examples = read_unlabelled(path, config.data, config.task, "--input")
    run = load_run(workdir)
    folder = open_workdir(output, "--output")
    source = {"input": os.path.abspath(path), "workdir": os.path.abspath(workdir)}
    if (folder / "examples.jsonl").exists():
        stored = read_json(folder / SOURCE) if (folder / SOURCE).exists() else "something else"
        if stored != source:
            raise UserError(
                f"{folder} holds what was found for {stored}; choose another folder with --output"
            )
    words, found = run.study_examples(examples, config.analysis)
    numbers, unknown = range(len(examples)), [None] * len(examples)
    rows = finite(list(records(found, words, numbers, unknown, run.labels)))
    write_json(folder / SOURCE, source)
    write_json_lines(folder / "examples.jsonl", rows)
    write_examples_page(folder / "examples.html", rows, f"{os.path.basename(path)}, explained")
    print(f"examples: {folder / 'examples.jsonl'}\npage:     {folder / 'examples.html'}")


if __name__ == "__main__":
    sys.exit(main())
