"""The compiled functions that runs of one structure share, and how many runs go through at once.

On a device runs go through a step by `vmap`, by `lax.map`, or one alone ("turn"). Which is fastest
depends on the machine and the model, so `choose` measures.
"""

import itertools
import logging
import os
import time
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.config import RunConfig, changed
from attnjax.data.batches import mixed_batches, steps_per_epoch, train_batches, widened
from attnjax.data.dataset import Dataset
from attnjax.errors import UserError
from attnjax.losses import balanced_class_weights, make_gradients, reads_whole_table
from attnjax.perturb.norms import widen
from attnjax.train.loop import _nearest, hparams_of, starting_state
from attnjax.train.optimizer import make_optimizer, make_schedule
from attnjax.train.parallel import Runs
from attnjax.train.points import SWEPT
from attnjax.train.step import make_evaluate, make_train_step
from attnjax.types import Batch, Params, Stages, TrainState

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
    step: dict[bool, Any]
    evaluate: Callable[..., Any]
    nearest: Callable[..., Any] | None
    keep: Callable[..., Any]

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


def across(way: str, function: Callable[..., Any], stacked: tuple[bool, ...]) -> Callable[..., Any]:
    """function of one run -> function of runs: the marked arguments have a first axis of runs.

    "turn" is for a single run: `vmap` over an axis of one. Dropping the axis and putting it back
    keeps XLA from updating in place: 1.5 times the step at SST's sizes.
    """
    if way != "map":
        return jax.vmap(function, in_axes=tuple(0 if each else None for each in stacked))

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
    split = dataset.splits["train"]
    weights = None
    if config.train.class_weighted:
        weights = balanced_class_weights(split.labels, len(dataset.labels))
    total = config.train.epochs * steps_per_epoch(split, config.train.batch_size)
    step = make_train_step(
        make_gradients(config, stages, weights),
        make_optimizer(config.train),
        make_schedule(config.train, total),
        whole_table=reads_whole_table(config),
    )

    def compiled(
        function: Callable[..., Any], stacked: tuple[bool, ...], donate: tuple[int, ...] = ()
    ) -> Callable[..., Any]:
        return runs.compile(across(way, function, stacked), stacked, donate)

    like = jax.eval_shape(lambda: starting_state(config, dataset, stages))
    nearest = None
    if like.neighbours is not None:
        find = _nearest(config.adversary.neighbours, stages, len(dataset.vocabulary))
        nearest = compiled(find, (True,))

    def keep(better: Any, params: Params, best: Params) -> Params:
        return jax.tree.map(lambda new, old: jnp.where(widen(better, new), new, old), params, best)

    return Programs(
        way,
        together,
        runs,
        {own: compiled(step, (True, own, True), (0,)) for own in (False, True)},
        compiled(make_evaluate(stages), (True, False)),
        nearest,
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
    step = lowered.compile().memory_analysis().temp_size_in_bytes
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


def training_batches(config: RunConfig, dataset: Dataset) -> Iterator[Batch]:
    """The batches of one run from its first step on."""
    size, split = config.train.batch_size, dataset.splits["train"]
    unlabelled = dataset.splits.get("unlabelled")
    if unlabelled is None:
        return train_batches(split, dataset.shapes, size, config.seed, 0)
    further = config.adversary.unlabelled_batch or size
    return mixed_batches(split, unlabelled, dataset.shapes, size, further, config.seed, 0)


def stacked_states(
    configs: Sequence[RunConfig], dataset: Dataset, stages: Stages
) -> tuple[TrainState, Any]:
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


def remembered(compile_rows: Callable[..., Any]) -> Callable[..., Any]:
    """`compile_rows` that compiles functions which compute the same only once.

    The analysis builds its functions anew for every run. Two functions compute the same if they
    have the same code and close over the same values, functions among them compared likewise.
    """
    known: dict[Any, tuple[Any, Any]] = {}

    def compile_once(function: Callable[..., Any]) -> Any:
        identity = _identity(function, ())
        if identity not in known:  # the function is kept, so that no id in it is used again
            known[identity] = compile_rows(function), function
        return known[identity][0]

    return compile_once


def _identity(value: Any, within: tuple[int, ...]) -> Any:
    """Something hashable that is equal for values which are interchangeable."""
    if id(value) in within:
        return "itself"
    within = (*within, id(value))
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        parts = [cells, value.__defaults__, value.__kwdefaults__]
        return value.__code__, _identity(parts, within)
    if isinstance(value, types.MethodType):
        return value.__func__, _identity(value.__self__, within)
    if isinstance(value, list | tuple):
        return type(value), tuple(_identity(each, within) for each in value)
    if isinstance(value, dict):
        return tuple((name, _identity(each, within)) for name, each in value.items())
    try:
        return type(value), hash(value), value
    except TypeError:
        return type(value), id(value)
