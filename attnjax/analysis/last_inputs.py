"""What the decoder's last map is given, and which words of a training text count for it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.analysis.all_parameters import ByWord, word_numbers
from attnjax.model.attention import attend
from attnjax.types import Batch, Embedded, Params, Stages


class Seen(NamedTuple):
    """A batch as the decoder's last map sees it.

    inputs  [batch, width], the last column 1; probabilities  [batch, classes]
    """

    inputs: Float[Array, "batch width"]
    probabilities: Float[Array, "batch classes"]


def last_inputs(stages: Stages, params: Params, embedded: Embedded, batch: Batch) -> Seen:
    """What the decoder's last map is given: the attended state, of pairs the layer behind it."""
    encoded = stages.encode(params, embedded, batch)
    weights, logits = attend(stages, params, encoded, stages.score(params, encoded), batch)
    found, head = jnp.einsum("bl,blw->bw", weights, encoded.states), params["decode"]
    if encoded.query is not None:
        hidden = found @ head["context"]["kernel"] + head["context"]["bias"][None]
        hidden = hidden + encoded.query @ head["query"]["kernel"] + head["query"]["bias"][None]
        if "product" in head:
            hidden = hidden + (found * encoded.query) @ head["product"]["kernel"]
        found = jnp.tanh(hidden)
    found = jnp.concatenate([found, jnp.ones_like(found[:, :1])], axis=-1)
    return Seen(found, jax.nn.softmax(logits, axis=-1))


def make_inputs(stages: Stages) -> Callable[[Params, Batch], Seen]:
    """Builds (params, batch) -> `Seen`."""
    return lambda params, batch: last_inputs(stages, params, stages.embed(params, batch), batch)


def make_by_word(stages: Stages) -> Callable[..., ByWord]:
    """Builds (params, batch, solved [batch, columns, width]) -> `word_numbers` of the effect.

    The vector of each word times the derivative by it of grad L(z) H^-1 g: what the word adds, to
    first order, to the effect of its text on the loss that `solved` is of (Koh & Liang, eq. 5,
    times -1; divided by the number of training texts it is in the units of the effect).
    """

    def by_word(
        params: Params, batch: Batch, solved: Float[Array, "batch columns width"]
    ) -> ByWord:
        embedded = stages.embed(params, batch)

        def effect(embedded: Embedded) -> Float[Array, ""]:
            seen = last_inputs(stages, params, embedded, batch)
            classes = seen.probabilities.shape[-1]
            target = jax.nn.one_hot(batch.labels, classes, dtype=seen.probabilities.dtype)
            errors = (seen.probabilities - target)[:, classes - solved.shape[1] :]
            return jnp.einsum("bc,bcw,bw->", errors, solved, seen.inputs)

        return word_numbers(jax.grad(effect)(embedded), embedded, batch)

    return by_word
