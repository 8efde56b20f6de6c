"""How steps meet devices: jit over a sharded batch, or pmap. The only file that names either mesh.

Both split the rows of a global batch over the devices and keep the state whole on each; both take
and return the state without a device axis. Their results agree up to the order of summation.

Under jit the step is a `shard_map`: each device computes its own rows and the step's `psum`s are
all that devices exchange. Left to the partitioner, a reshape that merges time with the batch makes
every device gather and compute all rows, and each part of a table's gradient is summed over the
devices by itself: 2 and 1.2 times the step on 8 CPU devices, measured.

With several processes (hosts) the devices are those of all of them: every process knows the whole
batch, hands over the rows of its own devices, and gets the outputs of all rows back.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.stages import Wrapped

from attnjax.config import TrainConfig
from attnjax.errors import UserError
from attnjax.runtime import platform_of_devices, quick_compile
from attnjax.training.step import Step
from attnjax.types import (
    Batch,
    Compile,
    Compiled,
    HParams,
    Params,
    RowCall,
    RowFunction,
    TrainState,
)

AXIS = "data"


class Parallel(NamedTuple):
    """How to place values and compile functions for one set of devices.

    devices        how many, over all processes
    axis           the axis name for `psum` inside a step, or None for one device
    place          host batch -> batch on the devices, rows split; UserError if it cannot be
    replicate      host tree -> tree on every device
    compile_step   step(state, batch, hparams) -> (state, sums), state donated
    compile_rows   (builder, *settings) -> builder(*settings), a function of rows, compiled
    collect        output of a compiled row function -> NumPy arrays, [batch, ...]
    """

    devices: int
    axis: str | None
    place: Callable[[Batch], Batch]
    replicate: Callable[[Any], Any]
    compile_step: Callable[[Step], Step]
    compile_rows: Compile[RowFunction]
    collect: Callable[[Any], Any]

    def fit(self, rows: int) -> int:
        """The smallest number of rows that is no less and can be split: fit(30) == 32 over 4."""
        return -(-rows // self.devices) * self.devices

    def bind(self, params: Params) -> Compile[RowCall]:
        """`compile_rows` with these parameters, on the devices: host batch -> NumPy arrays."""

        def compile_rows(builder: Callable[..., RowFunction], *settings: Hashable) -> RowCall:
            compiled = self.compile_rows(builder, *settings)
            return lambda batch: self.collect(compiled(params, self.place(batch)))

        return compile_rows


def remembered(compile_function: Callable[[RowFunction], Compiled]) -> Compile[Compiled]:
    """Compiles builder(*settings) with `compile_function`, for equal settings only once."""
    known: dict[tuple[Callable[..., RowFunction], tuple[Hashable, ...]], Compiled] = {}

    def compile_once(builder: Callable[..., RowFunction], *settings: Hashable) -> Compiled:
        if (builder, settings) not in known:
            known[builder, settings] = compile_function(builder(*settings))
        return known[builder, settings]

    return compile_once


def make_parallel(config: TrainConfig) -> Parallel:
    """Chooses devices and compile path; raises UserError where the batch cannot be split."""
    parallel = make_row_parallel(config)
    require_divisible("train.batch_size", config.batch_size, parallel.devices)
    return parallel


def make_row_parallel(config: TrainConfig) -> Parallel:
    """Likewise for work on rows alone, in batches of whatever size `fit` allows."""
    return (_with_jit if config.parallel == "jit" else _with_pmap)(_device_count(config.devices))


def require_divisible(name: str, size: int, count: int) -> None:
    """Raises UserError, with the sizes next to it that do, if `size` rows do not split evenly."""
    if size % count:
        below = size // count * count
        sizes = " or ".join(str(each) for each in (below, below + count) if each)
        raise UserError(
            f"{name}={size} cannot be split over {count} devices; "
            f"use {sizes}, or another train.devices"
        )


def _device_count(wanted: int) -> int:
    platform = platform_of_devices()
    available = len(jax.devices())
    if wanted > available:
        raise UserError(
            f"train.devices={wanted}, but there are {available} {platform} "
            "devices; lower it, or set it to 0 to use all"
        )
    if jax.process_count() > 1 and wanted not in (0, available):
        raise UserError(
            f"train.devices={wanted}, but a run of {jax.process_count()} processes uses all of "
            f"their {available} devices; set it to 0"
        )
    return wanted or available


def _with_jit(count: int) -> Parallel:
    mesh = jax.make_mesh((count,), (AXIS,), (AxisType.Auto,), devices=jax.devices()[:count])
    per_row, all_of_it = PartitionSpec(AXIS), PartitionSpec()
    rows, whole = NamedSharding(mesh, per_row), NamedSharding(mesh, all_of_it)

    def place(batch: Batch) -> Batch:
        require_divisible("the number of rows", len(batch.rows), count)
        if jax.process_count() == 1:
            return jax.device_put(batch, rows)
        return _from_host(batch, rows)

    def on_each(function: Callable[..., Any], takes: Any, gives: Any) -> Callable[..., Any]:
        if count == 1:
            return function
        # check_vma would count every device's gradient of the shared parameters once more
        return jax.shard_map(  # noqa: TID251
            function, mesh=mesh, in_specs=takes, out_specs=gives, check_vma=False
        )

    return Parallel(
        devices=count,
        axis=None if count == 1 else AXIS,
        place=place,
        replicate=lambda tree: _replicate(tree, whole),
        compile_step=lambda step: jax.jit(
            on_each(step, (all_of_it, per_row, all_of_it), all_of_it),
            in_shardings=(whole, rows, whole),
            out_shardings=(whole, whole),
            donate_argnums=0,
        ),
        compile_rows=remembered(
            lambda function: jax.jit(
                on_each(function, (all_of_it, per_row), per_row),
                in_shardings=(whole, rows),
                out_shardings=rows,
                compiler_options=quick_compile(),
            )
        ),
        collect=_gather,
    )


def _with_pmap(count: int) -> Parallel:
    # In the order of the processes: each hands over, and gets back, only its own devices' part.
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))[:count]
    local = [k for k, device in enumerate(devices) if device.process_index == jax.process_index()]

    def mesh(chosen: list[Any]) -> Mesh:
        return Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,))

    rows = NamedSharding(mesh([devices[k] for k in local]), PartitionSpec(AXIS))
    whole = NamedSharding(mesh(devices), PartitionSpec())

    def place(batch: Batch) -> Batch:
        """[batch, ...] -> [devices, batch / devices, ...], this process's devices alone."""
        require_divisible("the number of rows", len(batch.rows), count)
        split = jax.tree.map(lambda a: np.reshape(a, (count, -1, *np.shape(a)[1:]))[local], batch)
        return jax.device_put(split, rows)

    def collect(tree: Any) -> Any:
        return jax.tree.map(lambda a: np.reshape(a, (-1, *np.shape(a)[2:])), _gather(tree))

    def pmap(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        return jax.pmap(function, axis_name=AXIS, devices=devices, **options)  # noqa: TID251

    def compile_step(step: Step) -> Step:
        compiled = pmap(step, in_axes=(None, 0, None), out_axes=None, donate_argnums=0)
        if jax.process_count() == 1:
            return compiled

        def run(
            state: TrainState, batch: Batch, hparams: HParams
        ) -> tuple[TrainState, dict[str, Any]]:
            state, sums = compiled(state, batch, hparams)
            return _same_on_all(state, whole), sums

        return run

    return Parallel(
        devices=count,
        axis=AXIS,
        place=place,
        replicate=lambda tree: _replicate(tree, whole),
        compile_step=compile_step,
        compile_rows=remembered(lambda function: pmap(function, in_axes=(None, 0))),
        collect=collect,
    )


def _replicate(tree: Any, whole: NamedSharding) -> Any:
    if jax.process_count() == 1:
        return jax.device_put(tree, whole)
    return _from_host(jax.device_get(tree), whole)


def _from_host(tree: Any, sharding: NamedSharding) -> Any:
    """One array over the devices of all processes, each of which sends its own devices' part."""
    with jax.transfer_guard("allow"):  # it is meant, but JAX counts it as implicit
        return jax.tree.map(
            lambda a: jax.make_array_from_callback(
                np.shape(a), sharding, lambda index: np.asarray(a)[index]
            ),
            tree,
        )


def _same_on_all(tree: Any, whole: NamedSharding) -> Any:
    """Makes one array of the copies on every process's devices; nothing is moved.

    pmap returns each process its own copies; checkpoints want one array that all of them share.
    """
    return jax.tree.map(
        lambda a: jax.make_array_from_single_device_arrays(
            a.shape, whole, [shard.data for shard in a.addressable_shards]
        ),
        tree,
    )


def _gather(tree: Any) -> Any:
    """The rows of all processes, as NumPy arrays on each."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, jax.device_get(tree))
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)


class Runs(NamedTuple):
    """How whole runs meet devices: each device has its own runs, and nothing passes between them.

    devices  how many
    split    host tree of [runs, ...] -> on the devices, a multiple of them split along the runs
    whole    host tree -> on every device
    compile  (function, stacked, donate, options) -> compiled: a device calls the function with its
             part of the arguments that `stacked` marks (or of their parts: a tree of marks), and
             with all of the others
    """

    devices: int
    split: Callable[[Any], Any]
    whole: Callable[[Any], Any]
    compile: Callable[..., Wrapped]


def place_runs(devices: int) -> Runs:
    """Runs side by side on the first `devices` devices."""
    mesh = jax.make_mesh((devices,), ("runs",), (AxisType.Auto,), devices=jax.devices()[:devices])
    along, everywhere = PartitionSpec("runs"), PartitionSpec()

    def compile_runs(
        function: Callable[..., Any],
        stacked: tuple[Any, ...],
        donate: tuple[int, ...] = (),
        options: dict[str, str] | None = None,
    ) -> Wrapped:
        specs = jax.tree.map(lambda each: along if each else everywhere, stacked)
        # shard_map and not shardings: no run may wait for another, whatever the compiler thinks.
        mapped = jax.shard_map(  # noqa: TID251
            function, mesh=mesh, in_specs=specs, out_specs=along, check_vma=False
        )
        return jax.jit(mapped, donate_argnums=donate, compiler_options=options)

    return Runs(
        devices=devices,
        split=lambda tree: jax.device_put(tree, NamedSharding(mesh, along)),
        whole=lambda tree: jax.device_put(tree, NamedSharding(mesh, everywhere)),
        compile=compile_runs,
    )
