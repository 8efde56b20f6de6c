"""The training loop: data, step, log, evaluate, save; it resumes bit for bit where it stopped."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array

from attnjax.checkpoint import Checkpoints
from attnjax.config import RunConfig
from attnjax.data.batches import (
    evaluation_batches,
    mixed_batches,
    steps_per_epoch,
    train_batches,
)
from attnjax.data.dataset import Dataset
from attnjax.errors import UserError
from attnjax.losses import balanced_class_weights, make_gradients, reads_whole_table
from attnjax.metrics import scores
from attnjax.model.stages import word_vectors
from attnjax.perturb.differences import nearest_words
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.runtime import process_age_s
from attnjax.train.optimizer import make_optimizer, make_schedule
from attnjax.train.parallel import Parallel, require_divisible
from attnjax.train.profile import Profile
from attnjax.train.progress import Log
from attnjax.train.step import init_state, make_evaluate, make_train_step
from attnjax.train.stop import Stop, Stopped
from attnjax.types import EOS, Batch, HParams, Params, Stages, TrainState
from attnjax.workdir import CHECKPOINTS, PROFILE

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Progress:
    """Where the loop stands; saved beside the state.

    evaluated  step of the last validation; best_step, best_value  the best one so far
    stale      epochs since the best; pending  sums of the steps since the last log line
    train_s    seconds inside training steps, compile_s  of them in the first step of each shape
    """

    step: int = 0
    evaluated: int = 0
    best_step: int = 0
    best_value: float | None = None
    stale: int = 0
    pending: dict[str, float] = dataclasses.field(default_factory=dict)
    pending_from: int = 0
    train_s: float = 0.0
    compile_s: float = 0.0
    examples: int = 0


class Trained(NamedTuple):
    """The outcome: best parameters, the step and scores they were picked for, and the times."""

    params: Params
    best_step: int
    validation: dict[str, Any]
    timing: dict[str, float | None]


def hparams_of(config: RunConfig) -> HParams:
    """The run's numbers that a sweep may vary, as float32 scalars."""
    return HParams(
        learning_rate=jnp.float32(config.train.learning_rate),
        epsilon=jnp.float32(config.adversary.epsilon),
        weight=jnp.float32(config.adversary.weight),
        relevance=jnp.float32(config.relevance.weight),
    )


def starting_state(config: RunConfig, dataset: Dataset, stages: Stages) -> TrainState:
    """Parameters from the seed, pretrained word vectors where there are some, fresh moments."""
    optimizer = make_optimizer(config.train)
    state = init_state(stages, optimizer, config.seed)
    if dataset.vectors is not None:
        vectors, found = dataset.vectors
        table = state.params["embed"]["table"]
        table = jnp.where(jnp.asarray(found)[:, None], jnp.asarray(vectors, table.dtype), table)
        state = state._replace(params={**state.params, "embed": {"table": table}})
    technique = TECHNIQUES.get(config.adversary.technique)
    if technique is not None and technique.reads_neighbours:
        shape = (len(dataset.vocabulary), config.adversary.neighbours)
        state = state._replace(neighbours=jnp.zeros(shape, jnp.int32))
    return state


def evaluate_split(
    compiled: Callable[..., Any],
    parallel: Parallel,
    params: Params,
    dataset: Dataset,
    split: str,
    batch_size: int,
    check: Callable[[], None],
) -> dict[str, np.ndarray]:
    """Per-example outputs of `compiled` for the split's rows, in order.

    check  is called between batches and may raise to stop.
    """
    rows = dataset.splits[split]
    collected: dict[str, np.ndarray] = {}
    for batch in evaluation_batches(rows, dataset.shapes, batch_size):
        check()
        outputs = parallel.collect(compiled(params, parallel.place(batch)))
        real = batch.rows >= 0
        for name, values in outputs.items():
            if name not in collected:
                collected[name] = np.empty((len(rows), *values.shape[1:]), values.dtype)
            collected[name][batch.rows[real]] = values[real]
    return collected


def train(
    config: RunConfig,
    dataset: Dataset,
    stages: Stages,
    parallel: Parallel,
    workdir: epath.Path,
    stop: Stop,
) -> Trained:
    """Trains, or resumes from the workdir's checkpoints, and returns the best parameters.

    Raises Stopped after saving when a signal has come, and UserError where the loss is not finite.
    """
    with Checkpoints(workdir / CHECKPOINTS) as checkpoints:
        loop = _Loop(config, dataset, stages, parallel, workdir, checkpoints, stop)
        try:
            with stop.deferred():
                loop.run()
        except Stopped:
            loop.save()
            checkpoints.wait()
            logger.info("stopped and saved at step %d of %d", loop.progress.step, loop.total)
            raise
        finally:
            loop.profile.close()
            loop.log.close()
        checkpoints.wait()
        best = checkpoints.restore_best(jax.device_get(loop.state.params))
    if best is None:
        raise UserError(
            f"{workdir / CHECKPOINTS} has lost the best parameters; restore its folder best, or "
            "delete the workdir and train again"
        )
    progress = loop.progress
    pure = progress.train_s - progress.compile_s
    return Trained(
        params=parallel.replicate(best.params),
        best_step=best.step,
        validation=best.validation,
        timing={
            "train_examples_per_s": progress.examples / pure if progress.examples else None,
            "compile_s": progress.compile_s,
            "train_s": progress.train_s,
            "start_s": loop.start_s,
        },
    )


class _Loop:
    """The state of `train`; `run` calls step, report, validate and save as they fall due."""

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        stages: Stages,
        parallel: Parallel,
        workdir: epath.Path,
        checkpoints: Checkpoints,
        stop: Stop,
    ):
        self.settings, self.dataset, self.parallel = config.train, dataset, parallel
        self.checkpoints, self.stop = checkpoints, stop
        split = dataset.splits["train"]
        self.per_epoch = steps_per_epoch(split, self.settings.batch_size)
        self.total = self.settings.epochs * self.per_epoch
        self.monitor = monitored(config, dataset)
        weights = None
        if self.settings.class_weighted:
            weights = balanced_class_weights(split.labels, len(dataset.labels))
        self.step_function = parallel.compile_step(
            make_train_step(
                make_gradients(config, stages, weights),
                make_optimizer(self.settings),
                make_schedule(self.settings, self.total),
                parallel.axis,
                whole_table=reads_whole_table(config),
            )
        )
        self.evaluate = parallel.compile_rows(make_evaluate(stages))
        state = parallel.replicate(starting_state(config, dataset, stages))
        self.progress = Progress()
        restored = checkpoints.restore(state)
        if restored is not None:
            state, self.progress = restored[0], Progress(**restored[1])
            logger.info("resuming at step %d of %d", self.progress.step, self.total)
        self.state = state
        self.hparams = parallel.replicate(hparams_of(config))
        self.batches = _batches(config, dataset, parallel.devices, self.progress.step)
        self.nearest = None
        if state.neighbours is not None:
            self.nearest = _nearest(config.adversary.neighbours, stages, len(dataset.vocabulary))
        self.log = Log(workdir, self.total, self.progress.step, self.settings.tensorboard)
        self.profile = Profile(self.settings.profile_steps, workdir / PROFILE)
        self.start_s: float | None = None  # from the start of the process to the first step's end
        self.waiting: list[Any] = []  # sums of the steps that were dispatched but not yet read
        self.shapes: set[tuple[int, ...]] = set()  # those compiled so far
        self.since = time.perf_counter()  # start of the time not yet counted as training
        self.reported = (self.pure_seconds(), self.progress.examples)

    def run(self) -> None:
        """Steps until the last epoch, or until patience ends, validating after each epoch."""
        progress, settings = self.progress, self.settings
        while True:
            if progress.step % self.per_epoch == 0 and progress.evaluated < progress.step:
                self.report()
                self.validate()
                self.since = time.perf_counter()
                self.save()
            exhausted = settings.patience and progress.stale >= settings.patience
            if progress.step >= self.total or exhausted:
                return
            self.stop.check()
            if self.nearest is not None and progress.step % self.per_epoch == 0:
                neighbours = self.parallel.replicate(self.nearest(self.state.params))
                self.state = self.state._replace(neighbours=neighbours)
            self.step(next(self.batches))
            if progress.step % settings.log_steps == 0:
                self.report()
            ends_epoch = progress.step % self.per_epoch == 0  # saved after validation
            if progress.step % settings.checkpoint_steps == 0 and not ends_epoch:
                self.save()

    def step(self, batch: Batch) -> None:
        """Dispatches one training step; the first of each shape is waited for and timed."""
        shape = batch_shape(batch)
        first = shape not in self.shapes
        if first:
            self.drain()
        self.profile.before(self.progress.step + 1, self.drain)
        with jax.transfer_guard("disallow"):
            self.state, sums = self.step_function(
                self.state, self.parallel.place(batch), self.hparams
            )
        self.waiting.append(sums)
        self.progress.step += 1
        if first:
            before = self.progress.train_s
            self.drain()
            self.progress.compile_s += self.progress.train_s - before
            self.shapes.add(shape)
            if self.start_s is None:
                self.start_s = process_age_s()
                logger.info("first step done %.1f s after the start", self.start_s or math.nan)
        else:  # of steps whose time counts as compilation, none count in the throughput
            self.progress.examples += int((batch.rows >= 0).sum())
        self.profile.after(self.progress.step, self.drain)
        self.log.advance()

    def drain(self) -> None:
        """Waits for the steps under way, adds up their sums, and stops where the loss is NaN."""
        progress = self.progress
        for sums in jax.device_get(self.waiting):
            for name, value in sums.items():
                progress.pending[name] = progress.pending.get(name, 0.0) + float(value)
        self.waiting.clear()
        now = time.perf_counter()
        progress.train_s, self.since = progress.train_s + now - self.since, now
        if not math.isfinite(progress.pending.get("loss", 0.0)):
            raise _not_finite(
                f"training loss is not finite between steps {progress.pending_from + 1} and "
                f"{progress.step}"
            )

    def report(self) -> None:
        """Writes the log line of the steps since the last one."""
        self.drain()
        progress = self.progress
        count = progress.pending.pop("examples", 0.0)
        if count:
            rows = progress.pending.pop("rows")
            means = {
                name: value / (count if name in ("loss", "correct", "clean_loss") else rows)
                for name, value in progress.pending.items()
            }
            examples = progress.examples - self.reported[1]  # none, if all steps were compiled
            seconds = max(self.pure_seconds() - self.reported[0], 1e-9)
            self.write(
                "train",
                {
                    "loss": means.pop("loss"),
                    "accuracy": means.pop("correct"),
                    **means,
                    "examples_per_s": examples / seconds if examples else None,
                },
            )
        progress.pending, progress.pending_from = {}, progress.step
        self.reported = (self.pure_seconds(), progress.examples)

    def validate(self) -> None:
        """Scores the validation split and keeps the parameters if they are the best so far."""
        progress = self.progress
        outputs = evaluate_split(
            self.evaluate,
            self.parallel,
            self.state.params,
            self.dataset,
            "validation",
            self.settings.batch_size,
            self.stop.check,
        )
        if not np.isfinite(outputs["loss"]).all():  # what the epoch's last step did to the model
            raise _not_finite(f"validation loss is not finite after step {progress.step}")
        labels = self.dataset.splits["validation"].labels
        found = scores(labels, outputs["probabilities"], outputs["loss"])
        value = found[self.monitor]
        if value is None:
            raise UserError(
                f"the validation split has no {self.monitor}; choose another measure with "
                "--config.train.monitor=accuracy"
            )
        value = -value if self.monitor == "loss" else float(value)
        better = progress.best_value is None or value > progress.best_value
        if better:
            progress.best_value, progress.best_step = value, progress.step
            self.checkpoints.save_best(self.state.params, progress.step, found)
        progress.stale = 0 if better else progress.stale + 1
        progress.evaluated = progress.step
        self.write("validation", found)

    def save(self) -> None:
        """Checkpoints state and progress, in the background."""
        self.drain()
        self.checkpoints.save(self.state, dataclasses.asdict(self.progress))

    def write(self, split: str, values: dict[str, Any]) -> None:
        """Logs one line of metrics."""
        step = self.progress.step
        self.log.write({"step": step, "epoch": step / self.per_epoch, "split": split, **values})

    def pure_seconds(self) -> float:
        """Seconds of training steps without those that compiled."""
        return self.progress.train_s - self.progress.compile_s


def _not_finite(what: str) -> UserError:
    return UserError(
        f"the {what}; in another workdir, lower train.learning_rate or set train.gradient_clip"
    )


def _batches(config: RunConfig, dataset: Dataset, devices: int, start: int) -> Iterator[Batch]:
    """Training batches from a step on, with unlabelled rows where there are some."""
    size, split = config.train.batch_size, dataset.splits["train"]
    unlabelled = dataset.splits.get("unlabelled")
    if unlabelled is None:
        return train_batches(split, dataset.shapes, size, config.seed, start)
    further = config.adversary.unlabelled_batch or size
    require_divisible("train.batch_size + adversary.unlabelled_batch", size + further, devices)
    return mixed_batches(split, unlabelled, dataset.shapes, size, further, config.seed, start)


def _nearest(count: int, stages: Stages, words: int) -> Callable[[Params], Array]:
    """Builds params -> [words, count], the nearest words of every word."""
    if count > words - EOS - 2:
        raise UserError(
            f"adversary.neighbours={count}, but the vocabulary has {words - EOS - 1} words beside "
            f"the special ones; use at most {max(words - EOS - 2, 0)}"
        )
    return jax.jit(
        lambda params: nearest_words(word_vectors(stages, params, words), count, EOS + 1)
    )


def monitored(config: RunConfig, dataset: Dataset) -> str:
    """AUC for binary classification and accuracy for all else, unless the user chose."""
    if config.train.monitor != "auto":
        return config.train.monitor
    binary = config.task == "classification" and len(dataset.labels) == 2
    return "auc" if binary else "accuracy"


def batch_shape(batch: Batch) -> tuple[int, ...]:
    """The padded lengths of a batch: what a compiled step is specific to."""
    return (batch.tokens.shape[1], 0 if batch.query is None else batch.query.shape[1])
