"""The analysis of a run on its test split, and the files that tell of it."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from attnjax.analysis.progress import progress
from attnjax.analysis.questions.question import Kept, Names
from attnjax.analysis.questions.replacements import costs_of
from attnjax.analysis.rows import Engine, Ragged, engine_for
from attnjax.analysis.study import study
from attnjax.analysis.summary import nothing, records, summarise
from attnjax.checkpoint import Checkpoints
from attnjax.config import RunConfig
from attnjax.data.batches import evaluation_batches, gather_rows, sample, steps_per_epoch
from attnjax.data.dataset import Dataset, Tokenized, tokenize_example
from attnjax.data.lexicon import read_lexicon
from attnjax.metrics import scores
from attnjax.model_checks import attends
from attnjax.runtime import one_device_per_core
from attnjax.stop import Stop
from attnjax.training.optimizer import make_schedule
from attnjax.training.parallel import Parallel, make_parallel, make_row_parallel
from attnjax.types import Batch, Params, Stages
from attnjax.workdir import (
    CHECKPOINTS,
    CONFIG,
    EXAMPLES,
    RESULTS,
    delete,
    finite,
    write_json,
    write_json_lines,
)


def meet_devices(config: RunConfig) -> tuple[Parallel, Parallel]:
    """How training, and how the analysis of single rows, meet the devices.

    On a CPU a training step is one device's, whose matmuls use all cores; rows need no exchange and
    are split over the cores, which take turns in no loop then. Raises UserError as `make_parallel`.
    """
    cores = config.train.devices == 0 and one_device_per_core()
    training = dataclasses.replace(config.train, devices=1) if cores else config.train
    return make_parallel(training), make_row_parallel(config.train)


def stored_vocabulary(dataset: Dataset) -> dict[str, Any]:
    """What vocab.json holds: all that `load_run` needs of the data."""
    return finite(
        {
            "tokens": dataset.vocabulary.tokens,
            "labels": dataset.labels,
            "frequencies": dataset.frequencies,
            **({} if dataset.listed is None else {"listed": dataset.listed}),
        }
    )


def score_test(
    dataset: Dataset,
    call: Callable[[Batch], dict[str, np.ndarray]],
    size: int,
    check: Callable[[], None],
) -> dict[str, Any]:
    """Scores on the test split, in batches of this size; its progress is told.

    call  what `make_evaluate` gives, of a batch; check  is called between batches, and may raise
    """
    split = dataset.splits["test"]
    advance = progress("test scores", len(split))

    def told(batch: Batch) -> dict[str, Any]:
        found = call(batch)
        advance(int((batch.rows >= 0).sum()))
        return found

    outputs = gather_rows(told, split, dataset.shapes, size, check)
    return scores(split.labels, outputs["probabilities"], outputs["loss"])


class Analysed(NamedTuple):
    """What an analysis has found, none of it written yet.

    summary       what `analysis.summary.summarise` returns; rows  the lines of examples.jsonl
    explanations  "attention" and each method -> one array a row, over the words of the text
    cost          method -> seconds an example, and passes
    """

    summary: dict[str, dict[str, Any]]
    rows: Iterator[dict[str, Any]]
    explanations: dict[str, Ragged]
    cost: dict[str, dict[str, Any]]


def analyse(
    config: RunConfig,
    dataset: Dataset,
    stages: Stages,
    parallel: Parallel,
    params: Params,
    stop: Stop,
    rows: np.ndarray | None = None,
    folder: epath.Path | None = None,
) -> Analysed:
    """Explains test examples and asks the questions that the configuration asks.

    rows    the numbers of the examples, ascending; None: as `analysis.examples` says
    folder  of the run, whose checkpoints some questions read
    """
    if rows is None and config.analysis.examples == 0:
        return Analysed(nothing(), iter(()), {}, {})
    rows = analysed_rows(config, dataset) if rows is None else rows
    split = dataset.splits["test"].take(rows)
    (found,) = study(
        config.analysis,
        stages,
        split,
        config.seed,
        engine_on(parallel, params),
        lambda: training_rows(config, dataset),
        stop.check,
        names_of(config, dataset),
        lambda: () if folder is None else kept_checkpoints(config, dataset, folder, params),
    )
    words = words_of(dataset, rows)
    truth = [dataset.labels[number] for number in split.labels]
    summary = summarise(found, config.analysis, dataset.labels, split.labels, words)
    lines = records(found, words, rows.tolist(), truth, dataset.labels)
    return Analysed(summary, lines, found.explanations["text"], dict(found.cost))


def kept_checkpoints(
    config: RunConfig, dataset: Dataset, folder: epath.Path, like: Params
) -> list[Kept]:
    """The parameters of every checkpoint in the run's folder, by step.

    With the learning rate of the step that led there: that of the next is 0 after the last one.
    """
    total = config.train.epochs * steps_per_epoch(dataset.splits["train"], config.train.batch_size)
    factor = make_schedule(config.train, total, attends(config.model.encoder))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), like)
    with Checkpoints(folder / CHECKPOINTS, read_only=True) as checkpoints:
        found = checkpoints.kept(shapes)
    return [
        Kept(
            step, params, config.train.learning_rate * float(factor(jnp.asarray(max(step - 1, 0))))
        )
        for step, params in sorted(found.items())
    ]


def names_of(config: RunConfig, dataset: Dataset) -> Names:
    """Words, classes, and the concepts that the analysis asks about.

    Raises UserError as `read_lexicon`, and for a wrong file of what `flips` pays for words.
    """
    path = config.analysis.concepts
    asked = path and "concepts" in config.analysis.questions
    lexicon = read_lexicon(path, dataset.vocabulary) if asked else None
    names = Names(dataset.vocabulary.tokens, dataset.labels, lexicon)
    if "flips" in config.analysis.questions:
        costs_of(config.analysis, names, len(names.words))
    return names


def engine_on(parallel: Parallel, params: Params) -> Engine:
    """The engine of one run on these devices; params  as `Parallel.replicate` gives them."""
    return engine_for(
        params,
        parallel.compile_rows,
        replicate=parallel.replicate,
        place=parallel.place,
        collect=parallel.collect,
        devices=parallel.devices,
    )


def training_rows(config: RunConfig, dataset: Dataset) -> Iterator[Batch]:
    """Every training example once, for methods that are fitted."""
    split = dataset.splits["train"]
    return evaluation_batches(split, dataset.shapes, config.train.batch_size)


def write_results(
    folder: epath.Path, results: dict[str, Any], analysed: Analysed, stop: Stop
) -> None:
    """Writes examples.jsonl, config.json and results.json: no signal comes between them.

    results  all of results.json but what the analysis adds. A kill may come between them, so
    results.json knows the sum of its examples.jsonl.
    """
    with stop.deferred():
        summary = dict(analysed.summary["analysis"])
        if analysed.explanations:
            summary["examples_sha256"] = write_json_lines(folder / EXAMPLES, analysed.rows)
        else:
            delete(folder / EXAMPLES)  # an earlier analysis is no longer that of results.json
        write_json(folder / CONFIG, results["config"])
        write_json(folder / RESULTS, {**results, **found_in(analysed, summary)})


def found_in(analysed: Analysed, summary: dict[str, Any]) -> dict[str, Any]:
    """What an analysis adds to results.json; the cost of methods stands in "analysis" as well.

    All else there two runs of one configuration have in common.
    """
    if analysed.cost:
        summary = {**summary, "cost": analysed.cost}
    return {**analysed.summary["results"], "cost": analysed.cost, "analysis": summary}


def analysed_rows(config: RunConfig, dataset: Dataset) -> np.ndarray:
    """Which rows of the test split the analysis looks at: the same for every seed of a run."""
    return sample(len(dataset.splits["test"]), config.analysis.examples, config.data.seed)


def analysed_words(config: RunConfig, dataset: Dataset) -> list[Tokenized]:
    """The words of these rows, as many of each as the model sees."""
    return words_of(dataset, analysed_rows(config, dataset))


def words_of(dataset: Dataset, rows: np.ndarray) -> list[Tokenized]:
    """The words of rows of the test split, as many of each as the model sees."""
    split, found = dataset.splits["test"], []
    for row in rows:
        if dataset.pieces is not None:  # then the vocabulary has all of them
            ids = [split.tokens[row], *([] if split.query is None else [split.query[row]])]
            words = [dataset.vocabulary.words(each[1:-1]) for each in ids]
            found.append(Tokenized(words[0], words[1] if len(words) > 1 else None))
            continue
        words = tokenize_example(dataset.examples["test"][row])
        query = None if split.query is None else (words.query or [])[: len(split.query[row]) - 2]
        found.append(Tokenized(words.text[: len(split.tokens[row]) - 2], query))
    return found
