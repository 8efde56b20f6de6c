"""What a run starts from, alone or in a sweep: state, numbers, batches, and its training step."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.config import RunConfig
from attnjax.data.batches import mixed_batches, steps_per_epoch, train_batches
from attnjax.data.dataset import Dataset
from attnjax.errors import UserError
from attnjax.losses import make_gradients, reads_whole_table
from attnjax.model.pretrained import read_weights
from attnjax.model.stages import word_vectors
from attnjax.model_checks import attends
from attnjax.perturb.differences import nearest_words
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.training.optimizer import make_optimizer, make_schedule
from attnjax.training.parallel import require_divisible
from attnjax.training.step import Step, init_state, make_train_step
from attnjax.types import EOS, Batch, HParams, Params, Stages, TrainState

FROZEN = ("embed", "encode")  # parts that a frozen encoder leaves as they are


def hparams_of(config: RunConfig) -> HParams:
    """The run's numbers that a sweep may vary, as float32 scalars."""
    return HParams(
        learning_rate=jnp.float32(config.train.learning_rate),
        epsilon=jnp.float32(config.adversary.epsilon),
        weight=jnp.float32(config.adversary.weight),
        relevance=jnp.float32(config.relevance.weight),
    )


def starting_state(config: RunConfig, dataset: Dataset, stages: Stages) -> TrainState:
    """Parameters from the seed, pretrained ones where there are some, fresh moments."""
    optimizer = make_optimizer(config.train)
    state = init_state(stages, optimizer, config.seed, frozen_parts(config))
    if dataset.vectors is not None:
        vectors, found = dataset.vectors
        table = state.params["embed"]["table"]
        table = jnp.where(jnp.asarray(found)[:, None], jnp.asarray(vectors, table.dtype), table)
        state = state._replace(params={**state.params, "embed": {"table": table}})
    if dataset.pieces is not None:
        table, weights = read_weights(dataset.pieces.geometry)
        read = jax.tree.map(jnp.asarray, {"embed": table, "encode": {"text": weights}})
        state = state._replace(params={**state.params, **read})
    if _reads_neighbours(config):
        shape = (len(dataset.vocabulary), config.adversary.neighbours)
        state = state._replace(neighbours=jnp.zeros(shape, jnp.int32))
    return state


def frozen_parts(config: RunConfig) -> tuple[str, ...]:
    """The parts of the parameters that the run leaves as they start."""
    return FROZEN if config.model.freeze_encoder else ()


def training_batches(
    config: RunConfig, dataset: Dataset, start: int = 0, devices: int = 1
) -> Iterator[Batch]:
    """Training batches from a step on, with unlabelled rows where there are some.

    Raises UserError where a batch with unlabelled rows cannot be split over the devices.
    """
    size, split = config.train.batch_size, dataset.splits["train"]
    unlabelled = dataset.splits.get("unlabelled")
    if unlabelled is None:
        return train_batches(split, dataset.shapes, size, config.seed, start)
    further = config.adversary.unlabelled_batch or size
    require_divisible("train.batch_size + adversary.unlabelled_batch", size + further, devices)
    return mixed_batches(split, unlabelled, dataset.shapes, size, further, config.seed, start)


def step_of(config: RunConfig, dataset: Dataset, stages: Stages, axis: str | None = None) -> Step:
    """The step of `make_train_step` with the objective, optimizer and schedule of this run."""
    split = dataset.splits["train"]
    weights = None
    if config.train.class_weighted:
        weights = balanced_class_weights(split.labels, len(dataset.labels))
    total = config.train.epochs * steps_per_epoch(split, config.train.batch_size)
    return make_train_step(
        make_gradients(config, stages, weights),
        make_optimizer(config.train),
        make_schedule(config.train, total, attends(config.model.encoder)),
        axis,
        whole_table=reads_whole_table(config),
        frozen=frozen_parts(config),
    )


def balanced_class_weights(labels: Any, classes: int) -> Float[Array, " classes"]:
    """Weights inversely proportional to class frequency, mean 1 over the examples.

    balanced_class_weights([0, 0, 0, 1], 2) == [2/3, 2]
    """
    counts = jnp.bincount(jnp.asarray(labels), length=classes)
    return (jnp.sum(counts) / (classes * jnp.maximum(counts, 1))).astype(jnp.float32)


def make_nearest(
    config: RunConfig, dataset: Dataset, stages: Stages
) -> Callable[[Params], Array] | None:
    """Builds params -> [words, nearest], the nearest words of every word.

    None where the technique reads none; raises UserError where the vocabulary has too few.
    """
    if not _reads_neighbours(config):
        return None
    count, words = config.adversary.neighbours, len(dataset.vocabulary)
    if count > words - EOS - 2:
        raise UserError(
            f"adversary.neighbours={count}, but the vocabulary has {words - EOS - 1} words beside "
            f"the special ones; use at most {max(words - EOS - 2, 0)}"
        )
    return jax.jit(
        lambda params: nearest_words(word_vectors(stages, params, words), count, EOS + 1)
    )


def _reads_neighbours(config: RunConfig) -> bool:
    technique = TECHNIQUES.get(config.adversary.technique)
    return technique is not None and technique.reads_neighbours
