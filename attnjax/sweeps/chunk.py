"""Many runs side by side: states stacked along the runs, and what a sweep varies as arrays.

A chunk of runs of one structure trains together, each device its own part of it, by the compiled
functions of `sweeps.programs`. Runs of one seed see the same batches, which then exist once. Every
run does what it would do alone: data order, random draws, selection of the best checkpoint.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from attnjax.config import RunConfig
from attnjax.data.batches import gather_rows, steps_per_epoch, widened
from attnjax.data.dataset import Dataset
from attnjax.losses import Sums
from attnjax.metrics import Scores
from attnjax.stop import Stop
from attnjax.sweeps.programs import Programs, stacked_states
from attnjax.training.selection import exhausted, monitored, scores_if_finite, selected, step_means
from attnjax.training.setup import training_batches
from attnjax.types import Batch, Params, Stages

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What became of one run.

    params       the best ones by validation; None where the run failed
    best_step    step they were taken at, and validation and test, their scores
    failed_step  first step whose loss was not finite, else None
    metrics      the rows of metrics.jsonl
    """

    params: Params | None
    best_step: int | None
    validation: Scores | None
    test: Scores | None
    failed_step: int | None
    metrics: list[dict[str, Any]]


def train_chunk(
    configs: Sequence[RunConfig],
    dataset: Dataset,
    stages: Stages,
    programs: Programs,
    stop: Stop,
) -> list[Outcome]:
    """Trains runs of one structure side by side, from the start to the last epoch.

    Raises Stopped between steps when a signal has come: nothing of a chunk is kept.
    """
    missing = -len(configs) % programs.runs.devices
    chunk = _Chunk([*configs, *[configs[-1]] * missing], dataset, stages, programs, stop)
    with stop.deferred():
        chunk.run()
        return chunk.outcomes()[: len(configs)]


class _Chunk:
    """The state of `train_chunk`: as `train.loop._Loop`, with one entry for each run."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        dataset: Dataset,
        stages: Stages,
        programs: Programs,
        stop: Stop,
    ):
        self.settings, self.dataset = configs[0].train, dataset
        self.programs, self.stop = programs, stop
        self.monitor = monitored(configs[0], dataset)
        states, hparams = stacked_states(configs, dataset, stages)
        self.states, self.hparams = programs.runs.split(states), programs.runs.split(hparams)
        self.batches = stacked_batches(configs, dataset)
        self.best: Params = None  # until the first validation
        count = len(configs)
        self.metrics: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        self.validation: list[Scores | None] = [None] * count
        self.best_step = [0] * count
        self.best_value: list[float | None] = [None] * count
        self.failed: list[int | None] = [None] * count
        self.stale = [0] * count
        self.waiting: list[Sums] = []
        self.steps = 0
        self.per_epoch = steps_per_epoch(dataset.splits["train"], self.settings.batch_size)

    def run(self) -> None:
        """Trains until every run has failed, run out of patience or reached the last epoch."""
        for _ in range(self.settings.epochs):
            if self.programs.nearest is not None:
                neighbours = self.programs.nearest(self.states.params)
                self.states = self.states._replace(neighbours=neighbours)
            for _ in range(self.per_epoch):
                self.stop.check()
                self.step(*next(self.batches))
            self.report()
            self.validate()
            if not any(self.goes_on(run) for run in range(len(self.failed))):
                return

    def goes_on(self, run: int) -> bool:
        """Whether the run alone would still be training."""
        ended = exhausted(self.stale[run], self.settings.patience)
        return self.failed[run] is None and not ended

    def step(self, batch: Batch, own: bool) -> None:
        """Dispatches one step of all runs."""
        place = self.programs.runs.split if own else self.programs.runs.whole
        with jax.transfer_guard("disallow"):
            self.states, sums = self.programs.step[own](self.states, place(batch), self.hparams)
        self.waiting.append(sums)
        self.steps += 1
        if self.steps % self.settings.log_steps == 0:
            self.report()

    def report(self) -> None:
        """Adds up the steps since the last report; marks the runs whose loss was not finite."""
        if not self.waiting:
            return
        rows = jax.device_get(self.waiting)
        first = self.steps - len(rows) + 1
        sums = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        self.waiting.clear()
        for run in range(len(self.failed)):
            wrong = np.flatnonzero(~np.isfinite(sums["loss"][:, run]))
            if self.goes_on(run) and len(wrong):
                self.failed[run] = first + int(wrong[0])
                logger.warning("a run's loss is not finite at step %d", self.failed[run])
            elif self.goes_on(run):
                total = {name: float(each[:, run].sum()) for name, each in sums.items()}
                self.write(run, "train", step_means(total))

    def validate(self) -> None:
        """Scores validation, and keeps the parameters of the runs that are better than before."""
        found = self.scored(self.states.params, "validation")
        better = np.zeros(len(found), bool)
        values = []
        for run, each in enumerate(found):
            if not self.goes_on(run):
                continue
            better[run], self.best_value[run], self.stale[run] = selected(
                each, self.monitor, self.best_value[run], self.stale[run]
            )
            if better[run]:
                self.validation[run], self.best_step[run] = each, self.steps
            self.write(run, "validation", each)
            values.append(each[self.monitor])
        if values:
            epoch, of = self.steps // self.per_epoch, self.settings.epochs
            span = f"{min(values):.4g} to {max(values):.4g}"
            logger.info("epoch %d of %d: validation %s %s", epoch, of, self.monitor, span)
        params = self.states.params
        before = params if self.best is None else self.best
        self.best = self.programs.keep(self.programs.runs.split(better), params, before)

    def scored(self, params: Params, split: str) -> list[Scores]:
        """The scores of each run on a split; empty for one that failed or trains no longer."""

        def call(batch: Batch) -> dict[str, np.ndarray]:
            return jax.device_get(self.programs.evaluate(params, self.programs.runs.whole(batch)))

        rows, size = self.dataset.splits[split], self.settings.batch_size
        outputs = gather_rows(call, rows, self.dataset.shapes, size, self.stop.check, axis=1)
        found: list[Scores] = [{} for _ in self.failed]
        for run, losses in enumerate(outputs["loss"]):
            if self.failed[run] is not None or (split == "validation" and not self.goes_on(run)):
                continue
            known = scores_if_finite(rows.labels, outputs["probabilities"][run], losses)
            if known is None:
                self.failed[run] = self.steps  # by the update that this step made
                logger.warning("a run's %s loss is not finite at step %d", split, self.steps)
            else:
                found[run] = known
        return found

    def write(self, run: int, split: str, values: Mapping[str, float | None]) -> None:
        """Adds one row of metrics."""
        epoch = self.steps / self.per_epoch
        self.metrics[run].append({"step": self.steps, "epoch": epoch, "split": split, **values})

    def outcomes(self) -> list[Outcome]:
        """Tests the best parameters."""
        test = self.scored(self.best, "test")
        best = jax.device_get(self.best)
        return [
            Outcome(
                None if failed else jax.tree.map(lambda a, run=run: a[run], best),
                None if failed else self.best_step[run],
                None if failed else self.validation[run],
                None if failed else test[run],
                failed,
                self.metrics[run],
            )
            for run, failed in enumerate(self.failed)
        ]


def stacked_batches(configs: Sequence[RunConfig], dataset: Dataset) -> Iterator[tuple[Batch, bool]]:
    """The training batches of the runs from the first step on, and whether they are stacked.

    Runs of one seed share a batch. Runs of several seeds get [runs, batch, ...], padded to the
    longest of them, which changes no result.
    """
    streams = {each.seed: training_batches(each, dataset) for each in configs}
    places = [list(streams).index(each.seed) for each in configs]
    for parts in zip(*streams.values(), strict=True):
        if len(parts) == 1:
            yield parts[0], False
            continue
        text = max(each.tokens.shape[1] for each in parts)
        query = max(0 if each.query is None else each.query.shape[1] for each in parts)
        wide = [widened(each, text, query) for each in parts]
        yield jax.tree.map(lambda *leaves: np.stack(leaves)[places], *wide), True
