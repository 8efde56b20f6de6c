"""What a frozen encoder makes of every text, computed once and read at every step and epoch."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from typing import Any

import numpy as np

from attnjax.config import RunConfig
from attnjax.data.batches import map_rows
from attnjax.data.dataset import Dataset
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.training.parallel import Parallel
from attnjax.types import PAD, Batch, Params, RowCall, RowFunction, Stages

SPLITS = ("train", "unlabelled", "validation")  # those that are read more than once
GIB = 2**30

logger = logging.getLogger(__name__)

Progress = Callable[[str, int], Callable[[int], None]]  # (doing, of how many) -> advance(by)


def disturbed(config: RunConfig) -> str:
    """The field by which each step encodes differently; empty where an encoding can be kept."""
    technique = TECHNIQUES.get(config.adversary.technique)
    if technique is not None and technique.level != "attention":
        return f"adversary.technique='{config.adversary.technique}'"
    for name in ("train.embed_dropout", "model.dropout"):
        if (rate := attrgetter(name)(config)) > 0:
            return f"{name}={rate}"
    return ""


def size_of(dataset: Dataset, width: int) -> int:
    """Bytes of the states, `width` float32 numbers a token and one more such row a query."""
    splits = [dataset.splits[name] for name in SPLITS if name in dataset.splits]
    rows = sum(len(tokens) for split in splits for tokens in split.tokens)
    if dataset.pair:
        rows += sum(map(len, splits))
    return rows * width * np.dtype(np.float32).itemsize


def with_encodings(
    config: RunConfig,
    dataset: Dataset,
    stages: Stages,
    parallel: Parallel,
    params: Params,
    check: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
) -> Dataset:
    """The data set whose batches bring what a frozen encoder makes of them.

    params    on the devices; check  is called between batches and may raise to stop
    As it is where that is known already or the encoder is trained; and, with a line on the log,
    where steps disturb what it reads or its states would take more than train.encodings_gib.
    """
    known = dataset.splits["train"].states is not None
    if known or not config.model.freeze_encoder or dataset.pieces is None:
        return dataset
    if field := disturbed(config):
        logger.info("the frozen encoder runs at every step, since %s disturbs it", field)
        return dataset
    need, bound = size_of(dataset, dataset.pieces.geometry.width), config.train.encodings_gib
    if need > bound * GIB:
        logger.warning(
            "the frozen encoder runs at every step: its states of all texts would take %.3g GiB, "
            "and train.encodings_gib=%g",
            need / GIB,
            bound,
        )
        return dataset
    started = time.perf_counter()
    read = {name: dataset.splits[name] for name in SPLITS if name in dataset.splits}
    count = sum(map(len, read.values()))
    advance = progress("encoding", count) if progress else lambda _: None
    call = _told(parallel.bind(params)(make_encode, stages), advance)
    size = parallel.fit(config.train.batch_size)  # a sweep has a device a core
    for name, split in read.items():
        found = map_rows(_cut(call), split, dataset.shapes, size, check)
        read[name] = replace(split, states=found["states"], summaries=found["query"])
    seconds = time.perf_counter() - started
    told = f"{count:,} texts once: {seconds:.1f} s, {need / GIB:.3g} GiB"
    logger.info("the frozen encoder has read %s", told)
    return dataset._replace(splits={**dataset.splits, **read})


def make_encode(stages: Stages) -> RowFunction:
    """Builds encode(params, batch) -> {"states", "query"} of the batch's `Encoded`."""

    def encode(params: Params, batch: Batch) -> dict[str, Any]:
        return stages.encode(params, stages.embed(params, batch), batch)._asdict()

    return encode


def _told(call: RowCall, advance: Callable[[int], None]) -> RowCall:
    """The same call, which says how many rows it has done."""

    def told(batch: Batch) -> Any:
        found = call(batch)
        advance(int((batch.rows >= 0).sum()))
        return found

    return told


def _cut(call: RowCall) -> RowCall:
    """The same call, with each row's states without padding, so that this is let go of."""

    def cut(batch: Batch) -> Any:
        found = call(batch)
        rows = np.empty(len(batch.tokens), object)
        for row, count in enumerate((np.asarray(batch.tokens) != PAD).sum(axis=1)):
            rows[row] = found["states"][row, :count].copy()
        return {**found, "states": rows}

    return cut
