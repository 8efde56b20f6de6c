"""The training loop: data, step, log, evaluate, save; it resumes bit for bit where it stopped."""

import dataclasses
import logging
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from etils import epath

from attnjax.checkpoint import Checkpoints
from attnjax.config import RunConfig
from attnjax.data.batches import gather_rows, steps_per_epoch
from attnjax.data.dataset import Dataset
from attnjax.errors import UserError
from attnjax.losses import Sums
from attnjax.metrics import Scores
from attnjax.runtime import process_age_s
from attnjax.stop import Stop, Stopped
from attnjax.training.encodings import Progress as Told
from attnjax.training.encodings import with_encodings
from attnjax.training.log import Log
from attnjax.training.parallel import Parallel
from attnjax.training.profile import Profile
from attnjax.training.selection import exhausted, monitored, scores_if_finite, selected, step_means
from attnjax.training.setup import (
    hparams_of,
    make_nearest,
    starting_state,
    step_of,
    training_batches,
)
from attnjax.training.step import make_evaluate
from attnjax.types import Batch, Params, Stages
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
    validation: Scores
    timing: dict[str, float | None]


def train(
    config: RunConfig,
    dataset: Dataset,
    stages: Stages,
    parallel: Parallel,
    workdir: epath.Path,
    stop: Stop,
    record: dict[str, Any] | None = None,
    told: Told | None = None,
) -> Trained:
    """Trains, or resumes from the workdir's checkpoints, and returns the best parameters.

    record  what the checkpoints are to say of the run
    told    of what a frozen encoder reads before the first step
    Raises Stopped after saving when a signal has come, and UserError where the loss is not finite.
    """
    with Checkpoints(workdir / CHECKPOINTS, record) as checkpoints:
        loop = _Loop(config, dataset, stages, parallel, workdir, checkpoints, stop)
        try:
            with stop.deferred():
                loop.read_once(told)
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
        self.config, self.settings, self.dataset = config, config.train, dataset
        self.stages = stages
        self.parallel = parallel
        self.checkpoints, self.stop = checkpoints, stop
        self.per_epoch = steps_per_epoch(dataset.splits["train"], self.settings.batch_size)
        self.total = self.settings.epochs * self.per_epoch
        self.monitor = monitored(config, dataset)
        self.step_function = parallel.compile_step(step_of(config, dataset, stages, parallel.axis))
        state = parallel.replicate(starting_state(config, dataset, stages))
        self.progress = Progress()
        restored = checkpoints.restore(state)
        if restored is not None:
            names = {each.name for each in dataclasses.fields(Progress)}
            state = restored[0]
            self.progress = Progress(**{k: v for k, v in restored[1].items() if k in names})
            logger.info("resuming at step %d of %d", self.progress.step, self.total)
        self.state = state
        self.hparams = parallel.replicate(hparams_of(config))
        self.batches = training_batches(config, dataset, self.progress.step, parallel.devices)
        self.nearest = make_nearest(config, dataset, stages)
        self.log = Log(workdir, self.total, self.progress.step, self.settings.tensorboard)
        self.profile = Profile(self.settings.profile_steps, workdir / PROFILE)
        self.start_s: float | None = None  # from the start of the process to the first step's end
        self.waiting: list[Sums] = []  # sums of the steps that were dispatched but not yet read
        self.shapes: set[tuple[int, ...]] = set()  # those compiled so far
        self.since = time.perf_counter()  # start of the time not yet counted as training
        self.reported = (self.pure_seconds(), self.progress.examples)

    def read_once(self, told: Told | None) -> None:
        """Has a frozen encoder read every text, unless no step is left."""
        progress = self.progress
        if progress.step >= self.total or exhausted(progress.stale, self.settings.patience):
            return
        shared = self.config, self.dataset, self.stages, self.parallel, self.state.params
        self.dataset = with_encodings(*shared, self.stop.check, told)
        devices = self.parallel.devices
        self.batches = training_batches(self.config, self.dataset, progress.step, devices)
        self.since = time.perf_counter()

    def run(self) -> None:
        """Steps until the last epoch, or until patience ends, validating after each epoch."""
        progress, settings = self.progress, self.settings
        while True:
            if progress.step % self.per_epoch == 0 and progress.evaluated < progress.step:
                self.report()
                self.validate()
                self.since = time.perf_counter()
                self.save()
            if progress.step >= self.total or exhausted(progress.stale, settings.patience):
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
        if progress.pending.get("examples"):
            examples = progress.examples - self.reported[1]  # none, if all steps were compiled
            seconds = max(self.pure_seconds() - self.reported[0], 1e-9)
            speed = examples / seconds if examples else None
            self.write("train", {**step_means(progress.pending), "examples_per_s": speed})
        progress.pending, progress.pending_from = {}, progress.step
        self.reported = (self.pure_seconds(), progress.examples)

    def validate(self) -> None:
        """Scores the validation split and keeps the parameters if they are the best so far."""
        progress = self.progress
        call = self.parallel.bind(self.state.params)(make_evaluate, self.stages)
        split, shapes = self.dataset.splits["validation"], self.dataset.shapes
        outputs = gather_rows(call, split, shapes, self.settings.batch_size, self.stop.check)
        found = scores_if_finite(split.labels, outputs["probabilities"], outputs["loss"])
        if found is None:  # what the epoch's last step did to the model
            raise _not_finite(f"validation loss is not finite after step {progress.step}")
        better, progress.best_value, progress.stale = selected(
            found, self.monitor, progress.best_value, progress.stale
        )
        if better:
            progress.best_step = progress.step
            self.checkpoints.save_best(self.state.params, progress.step, found)
        progress.evaluated = progress.step
        self.write("validation", found)

    def save(self) -> None:
        """Checkpoints state and progress, in the background."""
        self.drain()
        self.checkpoints.save(self.state, dataclasses.asdict(self.progress))

    def write(self, split: str, values: Mapping[str, float | None]) -> None:
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


def batch_shape(batch: Batch) -> tuple[int, ...]:
    """The padded lengths of a batch: what a compiled step is specific to."""
    return (batch.tokens.shape[1], 0 if batch.query is None else batch.query.shape[1])
