"""The compiled functions that runs of one structure share, and how many runs go through at once.

On a device runs go through a step by `vmap`, by `lax.map`, or one alone ("turn"). Which is fastest
depends on the machine and the model, so `choose` measures.
"""

import itertools
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Wrapped
from jaxtyping import Array

from attnjax.config import RunConfig, changed
from attnjax.data.batches import steps_per_epoch, widened
from attnjax.data.dataset import Dataset
from attnjax.errors import UserError
from attnjax.perturb.norms import widen
from attnjax.sweeps.points import SWEPT
from attnjax.training.parallel import Runs
from attnjax.training.setup import (
    hparams_of,
    make_nearest,
    starting_state,
    step_of,
    training_batches,
)
from attnjax.training.step import make_evaluate
from attnjax.types import Batch, HParams, Params, RowFunction, Stages, TrainState

WAYS = ("vmap", "map", "turn")
TOGETHER = (8, 128)  # runs on a device that are tried: few fit a cache, many fill a GPU
MEASURED = 3  # steps of each way
CACHED = 2**22  # bytes that a core's cache surely holds
SEEN = 200  # training batches that the measured ones are taken from

logger = logging.getLogger(__name__)


class Programs(NamedTuple):
    """The compiled functions of one structure.

    way, together  how runs share a device, and how many do
    step           (states, batch, hparams) -> (states, sums), by whether batches are stacked
    evaluate       (params, batch) -> per-example outputs, [runs, batch, ...]
    nearest        params -> neighbours, or None
    keep           (better [runs], params, best) -> best
    """

    way: str
    together: int
    runs: Runs
    step: dict[bool, Wrapped]
    evaluate: RowFunction
    nearest: Callable[[Params], Array] | None
    keep: Callable[[Array, Params, Params], Params]

    @property
    def chunk(self) -> int:
        """Runs that train at once, over all devices."""
        return self.together * self.runs.devices


def structure(config: RunConfig) -> RunConfig:
    """The configuration without what runs of one program may differ in.

    A weight of 0 leaves the relevance loss out of the program, so it is a structure of its own.
    """
    relevance = float(config.relevance.weight > 0)
    alike = dict.fromkeys(SWEPT.values(), 0.0)
    return changed(config, {**alike, "seed": 0, "relevance.weight": relevance})


def across(way: str, function: Callable[..., Any], stacked: tuple[Any, ...]) -> Callable[..., Any]:
    """function of one run -> function of runs: the marked arguments have a first axis of runs.

    stacked  a mark for each argument, or a tree of marks for one that is a tree (vmap alone)

    "turn" is for a single run: `vmap` over an axis of one. Dropping the axis and putting it back
    keeps XLA from updating in place: 1.5 times the step at SST's sizes.
    """
    if way != "map":
        return jax.vmap(function, in_axes=jax.tree.map(lambda each: 0 if each else None, stacked))

    def mapped(*arguments: Any) -> Any:
        def one(parts: list[Any]) -> Any:
            left = iter(parts)
            return function(
                *(next(left) if each else a for a, each in zip(arguments, stacked, strict=True))
            )

        return jax.lax.map(one, [a for a, each in zip(arguments, stacked, strict=True) if each])

    return mapped


def make_programs(
    config: RunConfig, dataset: Dataset, stages: Stages, runs: Runs, way: str, together: int
) -> Programs:
    """Compiles nothing yet; config  any run of the structure."""
    step, find = step_of(config, dataset, stages), make_nearest(config, dataset, stages)

    def compiled(
        function: Callable[..., Any], stacked: tuple[bool, ...], donate: tuple[int, ...] = ()
    ) -> Wrapped:
        return runs.compile(across(way, function, stacked), stacked, donate)

    def keep(better: Array, params: Params, best: Params) -> Params:
        return jax.tree.map(lambda new, old: jnp.where(widen(better, new), new, old), params, best)

    return Programs(
        way,
        together,
        runs,
        {own: compiled(step, (True, own, True), (0,)) for own in (False, True)},
        compiled(make_evaluate(stages), (True, False)),
        None if find is None else compiled(find, (True,)),
        jax.jit(keep),
    )


def choose(
    config: RunConfig,
    dataset: Dataset,
    stages: Stages,
    runs: Runs,
    count: int,
    mode: str,
    memory: int | None,
) -> tuple[Programs, dict[str, float]]:
    """Picks how `count` runs of one structure train, and says what each way took.

    mode    "auto" measures a few steps of each way after compilation, or one of WAYS
    memory  bytes that the runs of a chunk may take on all devices; None takes half of what is there
    Returns the programs and milliseconds by "way x runs on a device", per run and step. Raises
    UserError where not even one run on each device fits.
    """
    runs_each = -(-count // runs.devices)
    limits = fitting(config, dataset, stages, runs, memory or free_memory(runs.devices))
    sizes = {
        "turn": [1],
        "map": [min(runs_each, limits["map"], TOGETHER[0])],
        "vmap": sorted({min(runs_each, limits["vmap"], size) for size in TOGETHER}),
    }
    tried = [(way, size) for way in WAYS for size in sizes[way] if mode in ("auto", way)]
    if mode == "auto":  # of a single run, all ways are the same
        tried = [each for each in tried if each[1] > 1 or each[0] == "turn"]
    else:
        tried = tried[-1:]
    programs = [make_programs(config, dataset, stages, runs, way, size) for way, size in tried]
    if len(programs) == 1:
        return programs[0], {}
    took = {}
    batch = _typical(config, dataset)[0]
    for each in programs:
        took[f"{each.way} x {each.together}"] = 1000 * _measure(
            each, config, dataset, stages, batch
        )
    fastest = min(range(len(programs)), key=lambda k: list(took.values())[k])
    logger.info("ms a step and run: %s", ", ".join(f"{name} {ms:.2f}" for name, ms in took.items()))
    return programs[fastest], took


def way_on_a_core(config: RunConfig, dataset: Dataset, stages: Stages) -> str:
    """The way of a process that has one core: not measured, since that compiles all of them.

    Where a run's state fits the core's cache, a way is as good as another (8.7 to 9.5 ms a step of
    bAbI 1). `lax.map` copies the state out of the stacked ones and back at every step, which with
    the table of SST takes longer than the step itself (96 ms in all on one core, 36 in turn).
    """
    state = jax.eval_shape(lambda: starting_state(config, dataset, stages))
    return "map" if _size(state) <= CACHED else "turn"


def fitting(
    config: RunConfig, dataset: Dataset, stages: Stages, runs: Runs, memory: int
) -> dict[str, int]:
    """How many runs fit a device's share of the memory, by way.

    Each has its state and its best parameters; what a step needs beside them (known from compiling
    one run's step at the longest padded length) exists for all runs under vmap, once under map,
    which also copies one run's state at a time.
    """
    programs = make_programs(config, dataset, stages, runs, "turn", 1)
    states, hparams = stacked_states([config] * runs.devices, dataset, stages)
    longest = _typical(config, dataset)[1]
    ends = [shapes[-1] if shapes else 0 for shapes in dataset.shapes]
    longest = widened(longest, *ends)  # as the longest text of any split
    lowered = programs.step[False].lower(states, longest, hparams)
    needed: Any = lowered.compile().memory_analysis()
    step = needed.temp_size_in_bytes
    held = _size(states) // runs.devices + _size(states.params) // runs.devices
    share = memory // runs.devices
    if held + step > share:
        raise UserError(
            f"one run on each of {runs.devices} devices needs "
            f"{runs.devices * (held + step) / 1e9:.2g} GB, but there are {memory / 1e9:.2g}; "
            "raise --sweep.memory, or lower --config.train.devices or --config.train.batch_size"
        )
    copied = _size(states) // runs.devices
    return {"vmap": share // (held + step), "map": max(1, (share - step - copied) // held)}


def free_memory(devices: int) -> int:
    """Half of the memory of the devices, in bytes; CPU devices share the machine's."""
    first = jax.devices()[0]
    if first.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return devices * first.memory_stats()["bytes_limit"] // 2


def stacked_states(
    configs: Sequence[RunConfig], dataset: Dataset, stages: Stages
) -> tuple[TrainState, HParams]:
    """Starting states and hyper-parameters with a first axis of runs, on the host."""
    starts = {
        each.seed: jax.device_get(starting_state(each, dataset, stages))
        for each in {each.seed: each for each in configs}.values()
    }
    hparams = jax.device_get([hparams_of(each) for each in configs])

    def stack(*leaves: Any) -> np.ndarray:
        return np.stack(leaves)

    return (
        jax.tree.map(stack, *(starts[each.seed] for each in configs)),
        jax.tree.map(stack, *hparams),
    )


def _typical(config: RunConfig, dataset: Dataset) -> tuple[Batch, Batch]:
    """Of the first batches, the one of median size and the largest."""
    count = min(SEEN, steps_per_epoch(dataset.splits["train"], config.train.batch_size))
    seen = list(itertools.islice(training_batches(config, dataset), count))
    seen.sort(key=lambda batch: batch.tokens.shape[1])
    return seen[len(seen) // 2], seen[-1]


def _measure(
    programs: Programs, config: RunConfig, dataset: Dataset, stages: Stages, batch: Batch
) -> float:
    """Seconds of one step of one run, compilation left out."""
    states, hparams = (
        programs.runs.split(each)
        for each in stacked_states([config] * programs.chunk, dataset, stages)
    )
    placed = programs.runs.whole(batch)
    states, sums = programs.step[False](states, placed, hparams)
    jax.block_until_ready(sums)
    started = time.perf_counter()
    for _ in range(MEASURED):
        states, sums = programs.step[False](states, placed, hparams)
    jax.block_until_ready(sums)
    return (time.perf_counter() - started) / MEASURED / programs.chunk


def _size(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
