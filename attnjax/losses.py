"""Parameters and a batch -> the gradient of the training objective, and what it is made of."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from attnjax.config import RunConfig
from attnjax.model.attention import forward
from attnjax.types import Batch, HParams, Params, Stages, filler_free

Sums = dict[str, Float[Array, ""]]
Gradients = Callable[
    [Params, Batch, HParams, Key[Array, ""], Float[Array, ""]], tuple[Params, Sums]
]


def cross_entropy(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Negative log-probability of each label, in nats; two logits [0, z] give the binary form."""
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1)[:, 0]


def make_gradients(
    config: RunConfig, stages: Stages, class_weights: Float[Array, " classes"] | None = None
) -> Gradients:
    """Builds gradients(params, batch, hparams, key, count) -> (gradient, sums).

    The objective is the sum over real examples divided by `count`, the number of real examples in
    the global batch; `sums` are not divided: "loss" (the objective), "correct" and "examples".
    class_weights multiplies each example's loss by the weight of its class.
    """
    del config

    def gradients(
        params: Params,
        batch: Batch,
        hparams: HParams,
        key: Key[Array, ""],
        count: Float[Array, ""],
    ) -> tuple[Params, Sums]:
        del hparams, key

        def objective(params: Params) -> tuple[Float[Array, ""], Sums]:
            logits = forward(stages, params, batch).logits
            losses = cross_entropy(logits, batch.labels)
            if class_weights is not None:
                losses = losses * class_weights[batch.labels]
            loss = filler_free(losses, batch)
            return loss / count, {"loss": loss, **prediction_sums(logits, batch)}

        gradient, sums = jax.grad(objective, has_aux=True)(params)
        return gradient, sums

    return gradients


def prediction_sums(logits: Float[Array, "batch classes"], batch: Batch) -> Sums:
    """Counts of right predictions and of real examples."""
    right = (logits.argmax(axis=-1) == batch.labels).astype(logits.dtype)
    return {"correct": filler_free(right, batch), "examples": batch.weight.sum()}


def balanced_class_weights(labels: Any, classes: int) -> Float[Array, " classes"]:
    """Weights inversely proportional to class frequency, mean 1 over the examples.

    balanced_class_weights([0, 0, 0, 1], 2) == [2/3, 2]
    """
    counts = jnp.bincount(jnp.asarray(labels), length=classes)
    return (jnp.sum(counts) / (classes * jnp.maximum(counts, 1))).astype(jnp.float32)
