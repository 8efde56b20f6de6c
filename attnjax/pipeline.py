"""One run from configuration to report: data, training, test scores, analysis, files."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from attnjax.analysis.records import records
from attnjax.analysis.robustness import make_robustness, summarise_robustness
from attnjax.analysis.study import Rows, in_chunks, study
from attnjax.analysis.summary import NOTHING, summarise
from attnjax.config import OPTIONS, RunConfig, differences, flatten, to_dict
from attnjax.data.batches import sample
from attnjax.data.dataset import Dataset, Tokenized, load_dataset, tokenize_example
from attnjax.errors import UserError
from attnjax.hosts import is_first_process, require_same
from attnjax.metrics import scores
from attnjax.model.stages import build_stages
from attnjax.report.write import write_report
from attnjax.run import read_config
from attnjax.runtime import (
    device_summary,
    keep_heap,
    one_device_per_core,
    use_compile_cache,
    versions,
)
from attnjax.train.loop import evaluate_split, train
from attnjax.train.parallel import Parallel, make_parallel, make_row_parallel
from attnjax.train.step import make_evaluate
from attnjax.train.stop import Stop
from attnjax.types import Params, Stages
from attnjax.workdir import (
    CHECKPOINTS,
    CONFIG,
    EXAMPLES,
    METRICS,
    REPORT,
    RESULTS,
    VOCABULARY,
    absolute,
    delete,
    finite,
    held,
    open_workdir,
    read_json,
    read_json_lines,
    write_json,
    write_json_lines,
)

logger = logging.getLogger(__name__)


def run_pipeline(config: RunConfig, workdir: str, stop: Stop) -> None:
    """Trains or resumes in the workdir, evaluates, analyses, and writes every file of the run."""
    if config.train.keep_heap:
        keep_heap()
    use_compile_cache(config.train.compile_cache)
    fields = flatten(to_dict(config))
    shared = {name: value for name, value in fields.items() if not OPTIONS[name].own}
    require_same("the configuration", {**shared, "--workdir": str(absolute(workdir))})
    folder = open_workdir(workdir)
    with held(folder):
        _run(config, folder, stop)


def _run(config: RunConfig, folder: epath.Path, stop: Stop) -> None:
    refuse_other_run(config, folder)
    training, rows = meet_devices(config)
    dataset = load_dataset(config)
    require_same("the data", {"sum": dataset.fingerprint(), **finite(dataset.summary)})
    refuse_other_data(dataset, folder)
    devices = device_summary()
    logger.info(  # only now: of data that is not right, one line tells
        "%s x %d (%s) in %d processes, %d cores; workdir %s",
        devices["platform"],
        training.devices,
        devices["kind"],
        devices["processes"],
        devices["cores"],
        folder,
    )
    logger.info("data: %s", dataset.summary)
    write_json(folder / CONFIG, to_dict(config))
    write_vocabulary(folder, dataset)
    stages = model_of(config, dataset)
    trained = train(config, dataset, stages, training, folder, stop)
    outputs = evaluate_split(
        training.compile_rows(make_evaluate(stages)),
        training,
        trained.params,
        dataset,
        "test",
        config.train.batch_size,
        stop.check,
    )
    test = scores(dataset.splits["test"].labels, outputs["probabilities"], outputs["loss"])
    started = time.perf_counter()
    params = rows.replicate(trained.params)
    analysed = analyse(config, dataset, stages, rows, params, stop)
    robustness = evaluate_robustness(config, dataset, stages, rows, params, stop)
    results = {
        "config": to_dict(config),
        "versions": versions(),
        "devices": devices,
        "data": dataset.summary,
        "best": {"step": trained.best_step, "validation": trained.validation},
        "test": test,
        "timing": {**trained.timing, "analysis_s": time.perf_counter() - started},
        "robustness": robustness,
    }
    write_results(folder, results, analysed, stop)
    if not is_first_process():
        return
    write_report(folder)
    logger.info(
        "test: %s", ", ".join(f"{k} {v:.4f}" for k, v in test.items() if isinstance(v, float))
    )
    print(f"results: {folder / RESULTS}\nreport:  {folder / REPORT}")


def meet_devices(config: RunConfig) -> tuple[Parallel, Parallel]:
    """How training, and how the analysis of single rows, meet the devices.

    On a CPU a training step is one device's, whose matmuls use all cores; rows need no exchange and
    are split over the cores, which take turns in no loop then. Raises UserError as `make_parallel`.
    """
    cores = config.train.devices == 0 and one_device_per_core()
    training = dataclasses.replace(config.train, devices=1) if cores else config.train
    return make_parallel(training), make_row_parallel(config.train)


def write_vocabulary(folder: epath.Path, dataset: Dataset) -> None:
    """Writes vocab.json: what `load_run` needs of the data."""
    write_json(folder / VOCABULARY, _vocabulary(dataset))


def _vocabulary(dataset: Dataset) -> dict[str, Any]:
    return finite(
        {
            "tokens": dataset.vocabulary.tokens,
            "labels": dataset.labels,
            "frequencies": dataset.frequencies,
        }
    )


def model_of(config: RunConfig, dataset: Dataset) -> Stages:
    """The model of this configuration, as large as the data set wants it."""
    return build_stages(
        config.model,
        words=len(dataset.vocabulary),
        classes=len(dataset.labels),
        pair=dataset.pair,
        frequencies=dataset.frequencies,
    )


class Analysed(NamedTuple):
    """What an analysis has found, none of it written yet.

    summary       "analysis" of results.json; rows  the lines of examples.jsonl
    explanations  "attention" and each method -> one array a row
    """

    summary: dict[str, Any]
    rows: Iterator[dict[str, Any]]
    explanations: dict[str, Rows]


def analyse(
    config: RunConfig,
    dataset: Dataset,
    stages: Stages,
    parallel: Parallel,
    params: Params,
    stop: Stop,
) -> Analysed:
    """Explains test examples."""
    if config.analysis.examples == 0:
        return Analysed(NOTHING, iter(()), {})
    rows = analysed_rows(config, dataset)
    split = dataset.splits["test"].take(rows)
    found = study(
        config.analysis,
        stages,
        split,
        config.seed,
        bind(parallel, params),
        parallel.devices,
        stop.check,
    )
    words = analysed_words(config, dataset)
    truth = [dataset.labels[number] for number in split.labels]
    summary = summarise(found, config.analysis, dataset.labels, split.labels)
    lines = records(found, words, rows.tolist(), truth, dataset.labels)
    return Analysed(summary, lines, found.explanations)


def write_results(
    folder: epath.Path, results: dict[str, Any], analysed: Analysed, stop: Stop
) -> None:
    """Writes examples.jsonl, config.json and results.json: no signal comes between them.

    results  all of results.json but "analysis". A kill may come between them, so results.json
    knows the sum of its examples.jsonl.
    """
    with stop.deferred():
        summary = dict(analysed.summary)
        if analysed.explanations:
            summary["examples_sha256"] = write_json_lines(folder / EXAMPLES, analysed.rows)
        else:
            delete(folder / EXAMPLES)  # an earlier analysis is no longer that of results.json
        write_json(folder / CONFIG, results["config"])
        write_json(folder / RESULTS, {**results, "analysis": summary})


def analysed_rows(config: RunConfig, dataset: Dataset) -> np.ndarray:
    """Which rows of the test split the analysis looks at: the same for every seed of a run."""
    return sample(len(dataset.splits["test"]), config.analysis.examples, config.data.seed)


def analysed_words(config: RunConfig, dataset: Dataset) -> list[Tokenized]:
    """The words of these rows, as many of each as the model sees."""
    examples = [dataset.examples["test"][row] for row in analysed_rows(config, dataset)]
    return [tokenize_example(each, config.data.max_length) for each in examples]


def bind(parallel: Parallel, params: Params) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns function(params, batch) -> call(batch): compiled for these devices, NumPy out."""

    def compile_rows(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled = parallel.compile_rows(function)
        return lambda batch: parallel.collect(compiled(params, parallel.place(batch)))

    return compile_rows


def evaluate_robustness(
    config: RunConfig,
    dataset: Dataset,
    stages: Stages,
    parallel: Parallel,
    params: Params,
    stop: Stop,
) -> dict[str, list[float]] | None:
    """Accuracy of the analysed test examples under growing perturbations; None if switched off."""
    settings = config.analysis
    if settings.examples == 0 or not settings.robustness:
        return None
    function = make_robustness(stages, settings.robustness, settings.robustness_steps, config.seed)
    split = dataset.splits["test"].take(analysed_rows(config, dataset))
    call = bind(parallel, params)(function)
    found = in_chunks(call, split, settings.chunk_size, parallel.devices, stop.check)
    return summarise_robustness(found, settings.robustness)


def refuse_other_run(config: RunConfig, folder: epath.Path) -> None:
    """Raises UserError if the workdir holds a run that this configuration would not continue."""
    if not _has_trained(folder) or not (folder / CONFIG).exists():
        return
    for name, (value, stored) in differences(config, read_config(folder)).items():
        option = OPTIONS[name]
        if name.startswith("analysis.") or option.resumable or option.incidental:
            continue
        raise UserError(
            f"workdir {folder} holds a run with {name}={stored!r}, but this one has "
            f"{name}={value!r}; choose another --workdir, or delete that one"
        )
    trained = max([row["epoch"] for row in read_json_lines(folder / METRICS)], default=0)
    if trained > config.train.epochs:
        raise UserError(
            f"workdir {folder} holds a run of {trained:.4g} epochs, more than "
            f"train.epochs={config.train.epochs}; raise it, or choose another --workdir"
        )


def refuse_other_data(dataset: Dataset, folder: epath.Path) -> None:
    """Raises UserError if the run in the workdir was trained on other words or other labels."""
    if not _has_trained(folder) or not (folder / VOCABULARY).exists():
        return
    if read_json(folder / VOCABULARY) != _vocabulary(dataset):
        raise UserError(
            f"workdir {folder} holds a run on other data (or of another version of attnjax): the "
            "words or labels of the train split are not what they were; restore the data, or "
            "choose another --workdir"
        )


def _has_trained(folder: epath.Path) -> bool:
    return any((folder / name).exists() for name in (CHECKPOINTS, RESULTS))
