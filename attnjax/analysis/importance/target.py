"""What is explained: the probability of the predicted class, or its logit.

The class is the one predicted at the unchanged input, fixed before anything is disturbed. Of two
classes of a single text the logit is its difference from the other's. Models that are trained here
have one logit z, handed on as [0, z]: class 1 is explained by z, class 0 by -z. Taking "logit 0"
literally would explain the constant 0.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.model.attention import attend, forward
from attnjax.types import Batch, Embedded, Encoded, Params, Stages

Score = Callable[[Embedded], Float[Array, " batch"]]


def predicted(stages: Stages, params: Params, batch: Batch) -> Int[Array, " batch"]:
    """The likeliest class of each example."""
    return forward(stages, params, batch).logits.argmax(axis=-1)


def of_classes(
    values: Float[Array, "batch classes"], classes: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """One value a row, that of its class: [[5, 6], [7, 8]], [0, 1] -> [5, 8]."""
    return jnp.take_along_axis(values, classes[:, None], axis=1)[:, 0]


def probability_of(
    logits: Float[Array, "batch classes"], classes: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """The class's probability; its derivative takes 1 - p from the logits, not from a p near 1."""
    return jnp.exp(-jax.nn.softplus(-_margin(logits, classes)))


def predicted_probability(logits: Float[Array, "batch classes"]) -> Float[Array, " batch"]:
    """The probability of the likeliest class."""
    return probability_of(logits, logits.argmax(axis=-1))


def fall(
    before: Float[Array, "batch classes"],
    after: Float[Array, "batch classes"],
    classes: Int[Array, " batch"],
) -> Float[Array, " batch"]:
    """By how much the class's probability falls, from logits: in float32 p near 1 has few digits.

    Where p is above a half it is the rise of the other classes' probability, 1 - p.
    """
    one, other = _margin(before, classes), _margin(after, classes)
    p, later, q, later_q = (jnp.exp(-jax.nn.softplus(each)) for each in (-one, -other, one, other))
    return jnp.where(one > 0, later_q - q, p - later)


def _margin(
    logits: Float[Array, "batch classes"], classes: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """ln(p / (1 - p)) of the class: its logit less ln of the sum of the others' exponentials."""
    numbers = jnp.arange(logits.shape[-1], dtype=classes.dtype)
    own = numbers[None] == classes[:, None]
    others = jnp.where(own, -jnp.inf, logits)
    alone = ~jnp.isfinite(others).any(axis=-1)  # the one candidate: certain, whatever its logit
    others = jnp.where(alone[:, None], 0, others)
    rest = jnp.where(alone, -jnp.inf, jax.nn.logsumexp(others, axis=-1))
    # A sum, for of a gather beside other methods' XLA's CPU compiler aborts (jaxlib 0.10.2).
    return jnp.where(own, logits, 0).sum(axis=-1) - rest


def logit_of(
    logits: Float[Array, "batch classes"], classes: Int[Array, " batch"], batch: Batch
) -> Float[Array, " batch"]:
    """The explained logit: the class's own, or of two classes of single texts +z or -z."""
    own = of_classes(logits, classes)
    shared = batch.query is None and logits.shape[-1] == 2
    return own - of_classes(logits, 1 - classes) if shared else own


def class_logit(stages: Stages, params: Params, batch: Batch) -> Score:
    """Vectors of the batch's tokens -> the explained logit, of the class that they predict."""
    return lambda embedded: predicted_logit(_logits(stages, params, embedded, batch), batch)


def predicted_logit(logits: Float[Array, "batch classes"], batch: Batch) -> Float[Array, " batch"]:
    """The explained logit of the likeliest class."""
    return logit_of(logits, logits.argmax(axis=-1), batch)


def class_probability(stages: Stages, params: Params, batch: Batch) -> Score:
    """Vectors of the batch's tokens -> the predicted class's probability."""
    classes = predicted(stages, params, batch)

    def probability(embedded: Embedded) -> Float[Array, " batch"]:
        return probability_of(_logits(stages, params, embedded, batch), classes)

    return probability


def _logits(
    stages: Stages, params: Params, embedded: Embedded, batch: Batch
) -> Float[Array, "batch classes"]:
    return read_logits(stages, params, stages.encode(params, embedded, batch), batch)


def read_logits(
    stages: Stages, params: Params, encoded: Encoded, batch: Batch
) -> Float[Array, "batch classes"]:
    """Logits of what is encoded."""
    return attend(stages, params, encoded, stages.score(params, encoded), batch)[1]
