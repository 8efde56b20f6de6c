"""How functions of rows run: compiled by an `Engine`, batch by batch, shared work done once.

A builder(*settings) gives a row function (params, batch, given) -> tree of arrays with one row an
example; given is what earlier row functions of the same batch have found, still on the devices.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Shaped

from attnjax.data.batches import EncodedSplit, choose_shapes, map_rows
from attnjax.types import Batch, Compile, Params, RowFunction

BUCKETS = 2  # padded lengths: compiling costs more than padding here

Ragged = list[np.ndarray]  # one array an example, over its words
Builder = Callable[..., Callable[[Any, Batch, Any], Any]]
Call = Callable[[Any, Any], Any]  # (placed batch, given) -> tree on the devices


class AtWords(NamedTuple):
    """One value a token, of which the words' count: `ragged` keeps those alone."""

    values: Shaped[Array, "batch length"]
    words: Bool[Array, "batch length"]


class Engine(NamedTuple):
    """Where row functions run, and with whose parameters.

    params   of each run: one, or several that answer at once
    devices  into how many parts a batch is split
    place    batch -> on the devices
    compile  (builder, settings, extra) -> call(placed batch, given): compiled once for equal
             builders and settings. The row function's parameters are the run's, or with extra, one
             tree a run, the pair of both.
    collect  what the calls return -> NumPy arrays, one tree a run
    renewed  parameters, one tree a run -> the engine of those, with all that is compiled
    """

    params: Sequence[Params]
    devices: int
    place: Callable[[Batch], Any]
    compile: Callable[[Builder, tuple[Hashable, ...], Sequence[Any] | None], Call]
    collect: Callable[[Any], list[Any]]
    renewed: Callable[[Sequence[Params]], "Engine"]


def engine_for(
    params: Params,
    compile_rows: Compile[RowFunction],
    *,
    replicate: Callable[[Any], Any] = lambda tree: tree,
    place: Callable[[Batch], Any] = lambda batch: batch,
    collect: Callable[[Any], Any] = jax.device_get,
    devices: int = 1,
) -> Engine:
    """The engine of one run."""

    def of(params: Params) -> Engine:
        def compile_bound(
            builder: Builder, settings: tuple[Hashable, ...], extra: Sequence[Any] | None
        ) -> Call:
            compiled = compile_rows(of_rows, builder, *settings)
            own = params if extra is None else (params, replicate(extra[0]))
            return lambda placed, given: compiled(own, (placed, given))

        return Engine(
            [params],
            devices,
            place,
            compile_bound,
            lambda tree: [collect(tree)],
            lambda several: of(replicate(several[0])),
        )

    return of(params)


def of_rows(builder: Builder, *settings: Hashable) -> Callable[[Any, Any], Any]:
    """A builder's row function as one of (params, (batch, given)), which is what is compiled."""
    function = builder(*settings)
    return lambda params, rows: function(params, *rows)


def in_chunks(
    call: Callable[[Batch], Any],
    split: EncodedSplit,
    chunk_size: int,
    devices: int,
    check: Callable[[], None],
) -> Any:
    """`map_rows` in chunks that split over the devices, padded to few lengths."""
    chunk = -(-min(chunk_size, len(split)) // devices) * devices
    return map_rows(call, split, choose_shapes([split], BUCKETS), chunk, check)


def ragged(tree: Any) -> Any:
    """Lists of rows -> one array a leaf, and of `AtWords` one array over the words a row."""

    def gather(leaf: Any) -> Any:
        if isinstance(leaf, AtWords):
            return [values[on] for values, on in zip(leaf.values, leaf.words, strict=True)]
        return np.stack(leaf)

    return jax.tree.map(gather, tree, is_leaf=lambda leaf: isinstance(leaf, AtWords | list))
