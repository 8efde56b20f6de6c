"""How steps meet devices: jit over a sharded batch, or pmap. The only file that names either mesh.

Both split the rows of a global batch over the devices and keep the state whole on each; both take
and return the state without a device axis. Their results agree up to the order of summation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from attnjax.config import TrainConfig
from attnjax.errors import UserError
from attnjax.types import Batch

AXIS = "data"


class Parallel(NamedTuple):
    """How to place values and compile functions for one set of devices.

    axis           the axis name for `psum` inside a step, or None where sums are global already
    place          host batch -> batch on the devices, rows split
    replicate      host tree -> tree on every device
    compile_step   step(state, batch, hparams) -> (state, sums), state donated
    compile_rows   function(params, batch) -> tree of arrays with one row per example
    collect        output of a compiled row function -> NumPy arrays, [batch, ...]
    """

    devices: int
    axis: str | None
    place: Callable[[Batch], Batch]
    replicate: Callable[[Any], Any]
    compile_step: Callable[[Callable[..., Any]], Callable[..., Any]]
    compile_rows: Callable[[Callable[..., Any]], Callable[..., Any]]
    collect: Callable[[Any], Any]


def make_parallel(config: TrainConfig) -> Parallel:
    """Chooses devices and compile path; raises UserError where the batch cannot be split."""
    available = jax.devices()
    count = config.devices or len(available)
    if count > len(available):
        raise UserError(
            f"train.devices={count}, but there are {len(available)} {available[0].platform} "
            "devices; lower it, or set it to 0 to use all"
        )
    if config.batch_size % count:
        below = config.batch_size // count * count
        sizes = " or ".join(str(size) for size in (below, below + count) if size)
        raise UserError(
            f"train.batch_size={config.batch_size} cannot be split over {count} devices; "
            f"use {sizes}, or another train.devices"
        )
    mesh = jax.make_mesh((count,), (AXIS,), (AxisType.Auto,), devices=available[:count])
    rows = NamedSharding(mesh, PartitionSpec(AXIS))
    whole = NamedSharding(mesh, PartitionSpec())

    def replicate(tree: Any) -> Any:
        return jax.device_put(tree, whole)

    if config.parallel == "jit":
        return Parallel(
            devices=count,
            axis=None,
            place=lambda batch: jax.device_put(batch, rows),
            replicate=replicate,
            compile_step=lambda step: jax.jit(
                step,
                in_shardings=(whole, rows, whole),
                out_shardings=(whole, whole),
                donate_argnums=0,
            ),
            compile_rows=lambda function: jax.jit(
                function, in_shardings=(whole, rows), out_shardings=rows
            ),
            collect=lambda tree: jax.tree.map(np.asarray, jax.device_get(tree)),
        )

    def split(batch: Batch) -> Batch:
        """[batch, ...] -> [devices, batch / devices, ...]"""
        return jax.tree.map(lambda a: np.reshape(a, (count, -1, *np.shape(a)[1:])), batch)

    def join(tree: Any) -> Any:
        arrays = jax.device_get(tree)
        return jax.tree.map(lambda a: np.reshape(a, (-1, *np.shape(a)[2:])), arrays)

    def pmap(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        return jax.pmap(  # noqa: TID251
            function, axis_name=AXIS, devices=available[:count], **options
        )

    return Parallel(
        devices=count,
        axis=AXIS,
        place=lambda batch: jax.device_put(split(batch), rows),
        replicate=replicate,
        compile_step=lambda step: pmap(
            step, in_axes=(None, 0, None), out_axes=None, donate_argnums=0
        ),
        compile_rows=lambda function: pmap(function, in_axes=(None, 0)),
        collect=join,
    )


class Runs(NamedTuple):
    """How whole runs meet devices: each device has its own runs, and nothing passes between them.

    devices  how many
    split    host tree of [runs, ...] -> on the devices, a multiple of them split along the runs
    whole    host tree -> on every device
    compile  (function, stacked, donate) -> compiled: a device calls the function with its part of
             the arguments that `stacked` marks, and with all of the others
    """

    devices: int
    split: Callable[[Any], Any]
    whole: Callable[[Any], Any]
    compile: Callable[..., Callable[..., Any]]


def place_runs(devices: int) -> Runs:
    """Runs side by side on the first `devices` devices."""
    mesh = jax.make_mesh((devices,), ("runs",), (AxisType.Auto,), devices=jax.devices()[:devices])
    along, everywhere = PartitionSpec("runs"), PartitionSpec()

    def compile_runs(
        function: Callable[..., Any], stacked: tuple[bool, ...], donate: tuple[int, ...] = ()
    ) -> Callable[..., Any]:
        specs = tuple(along if each else everywhere for each in stacked)
        # shard_map and not shardings: no run may wait for another, whatever the compiler thinks.
        mapped = jax.shard_map(  # noqa: TID251
            function, mesh=mesh, in_specs=specs, out_specs=along, check_vma=False
        )
        return jax.jit(mapped, donate_argnums=donate)

    return Runs(
        devices=devices,
        split=lambda tree: jax.device_put(tree, NamedSharding(mesh, along)),
        whole=lambda tree: jax.device_put(tree, NamedSharding(mesh, everywhere)),
        compile=compile_runs,
    )
