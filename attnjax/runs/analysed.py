"""The analysis of a run on its test split, and the files that tell of it."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from attnjax.analysis.records import records
from attnjax.analysis.robustness import make_robustness, summarise_robustness
from attnjax.analysis.study import Rows, in_chunks, study
from attnjax.analysis.summary import NOTHING, summarise
from attnjax.config import RunConfig
from attnjax.data.batches import sample
from attnjax.data.dataset import Dataset, Tokenized, tokenize_example
from attnjax.runtime import one_device_per_core
from attnjax.stop import Stop
from attnjax.train.parallel import Parallel, make_parallel, make_row_parallel
from attnjax.types import Params, Stages
from attnjax.workdir import CONFIG, EXAMPLES, RESULTS, delete, write_json, write_json_lines


def meet_devices(config: RunConfig) -> tuple[Parallel, Parallel]:
    """How training, and how the analysis of single rows, meet the devices.

    On a CPU a training step is one device's, whose matmuls use all cores; rows need no exchange and
    are split over the cores, which take turns in no loop then. Raises UserError as `make_parallel`.
    """
    cores = config.train.devices == 0 and one_device_per_core()
    training = dataclasses.replace(config.train, devices=1) if cores else config.train
    return make_parallel(training), make_row_parallel(config.train)


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
        parallel.bind(params),
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
    sizes, steps = settings.robustness, settings.robustness_steps
    call = parallel.bind(params)(make_robustness, stages, sizes, steps, config.seed)
    split = dataset.splits["test"].take(analysed_rows(config, dataset))
    found = in_chunks(call, split, settings.chunk_size, parallel.devices, stop.check)
    return summarise_robustness(found, settings.robustness)
