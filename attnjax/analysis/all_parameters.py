"""Influence of training texts through all parameters of a model: conjugate gradients, and TracIn.

With G the Gauss-Newton matrix of the mean training loss (J' K J: J the logits' derivatives by the
parameters, K the loss's second ones by the logits; at least 0, which the Hessian of a network is
not) plus damping, leaving example i out of n changes a quantity q of a test by grad L_i' G^-1
grad q / n (Koh & Liang, arXiv:1703.04730, eq. 2 times -1/n). G is only multiplied by. TracIn sums
rate * grad L_i' grad q over the checkpoints that a run kept (Pruthi et al., arXiv:2002.08484, eq.
4): no inverse, and sizes that are not those of a removal.

Everything is reverse over reverse, since the LSTM's kernel has no forward mode: J v is the
transposed of the backward pass, and so grad L_i' v of all texts of a batch takes no text's own
gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from attnjax.losses import cross_entropy
from attnjax.model import segments
from attnjax.model.attention import forward
from attnjax.types import Batch, Embedded, Params, Perturbation, Segment, Stages

Many = Any  # as the parameters, with a first axis: one tree a test
ByWord = dict[str, Float[Array, "batch length"]]

LARGEST = 1 << 26  # numbers in one array of all tests: 256 MB


def make_quantity(stages: Stages, target: str) -> Callable[..., Float[Array, " batch"]]:
    """Builds (params, batch, places [batch]) -> what is influenced, in nats.

    loss       of the text's label
    attention  -ln of the weight of the word at `places`: a text that puts weight there lowers it
    """

    def quantity(
        params: Params, batch: Batch, places: Int[Array, " batch"]
    ) -> Float[Array, " batch"]:
        trace = forward(stages, params, batch)
        if target == "loss":
            return cross_entropy(trace.logits, batch.labels)
        weight = jnp.take_along_axis(trace.weights, places[:, None], axis=1)[:, 0]
        return -jnp.log(jnp.where(weight > 0, weight, 1))  # a text without words has no weights

    return quantity


def make_places(stages: Stages) -> Callable[[Params, Batch], Int[Array, " batch"]]:
    """Builds (params, batch) -> the position of the most attended word."""
    return lambda params, batch: forward(stages, params, batch).weights.argmax(axis=-1)


def make_slopes(stages: Stages, target: str) -> Callable[..., Many]:
    """Builds (params, batch, places) -> the gradient of each row's quantity."""
    quantity = make_quantity(stages, target)
    return lambda params, batch, places: jax.jacrev(quantity)(params, batch, places)


def make_slope(stages: Stages) -> Callable[[Params, Batch, Params], Params]:
    """Builds (params, batch, total) -> total + the gradient of the sum of the losses."""

    def slope(params: Params, batch: Batch, total: Params) -> Params:
        def loss(params: Params) -> Float[Array, ""]:
            losses = cross_entropy(forward(stages, params, batch).logits, batch.labels)
            return (losses * batch.weight.astype(losses.dtype)).sum()

        return jax.tree.map(jnp.add, total, jax.grad(loss)(params))

    return slope


def _both_ways(
    function: Callable[[Params], Array], params: Params
) -> tuple[Array, Callable[..., Any], Callable[[Params], Array]]:
    """(value, cotangent -> J' cotangent, vector -> J vector): the last transposes the second."""
    value, pull = jax.vjp(function, params)
    _, transposed = jax.vjp(lambda cotangent: pull(cotangent)[0], jnp.zeros_like(value))
    return value, lambda cotangent: pull(cotangent)[0], lambda vector: transposed(vector)[0]


def make_product(stages: Stages) -> Callable[[Params, Batch, Many, Many], Many]:
    """Builds (params, batch, vectors, total) -> total + sum over the batch of J' K J vectors."""

    def product(params: Params, batch: Batch, vectors: Many, total: Many) -> Many:
        logits, pull, push = _both_ways(lambda p: forward(stages, p, batch).logits, params)
        share = jax.nn.softmax(logits, axis=-1)
        weight = batch.weight.astype(logits.dtype)[:, None]

        def one(vector: Params) -> Params:
            moved = share * push(vector)
            return pull(weight * (moved - share * moved.sum(axis=-1, keepdims=True)))

        return jax.tree.map(jnp.add, total, jax.vmap(one)(vectors))

    return product


def make_changes(stages: Stages) -> Callable[[Params, Batch, Many], Float[Array, "batch tests"]]:
    """Builds (params, batch, vectors) -> grad L_i' v of each row and each vector."""

    def changes(params: Params, batch: Batch, vectors: Many) -> Float[Array, "batch tests"]:
        def losses(params: Params) -> Float[Array, " batch"]:
            return cross_entropy(forward(stages, params, batch).logits, batch.labels)

        *_, push = _both_ways(losses, params)
        return jax.vmap(push)(vectors).T

    return changes


def make_by_word(stages: Stages) -> Callable[..., ByWord]:
    """Builds (params, batch, vector) -> what each word adds to grad L_i' vector.

    segment         to first order: the word's vector times the derivative by it (Koh & Liang, eq.
                    5, times -1)
    segment + _norm the norm of that derivative: how far a change of the word could go
    """

    def by_word(params: Params, batch: Batch, vector: Params) -> ByWord:
        embedded = stages.embed(params, batch)

        def moved(added: Embedded) -> Float[Array, ""]:
            def loss(params: Params) -> Float[Array, ""]:
                trace = forward(stages, params, batch, Perturbation(embed=added))
                return cross_entropy(trace.logits, batch.labels).sum()

            products = jax.tree.map(lambda a, b: (a * b).sum(), jax.grad(loss)(params), vector)
            return jnp.stack(jax.tree.leaves(products)).sum()

        slopes = jax.grad(moved)(jax.tree.map(jnp.zeros_like, embedded))
        return word_numbers(slopes, embedded, batch)

    return by_word


def word_numbers(slopes: Embedded, embedded: Embedded, batch: Batch) -> ByWord:
    """Slope times vector of each word, and the slope's norm; 0 off the words."""
    names: tuple[Segment, ...] = ("text",) if batch.query is None else ("text", "query")
    found = {}
    for name in names:
        slope, on = segments.values(slopes, name), segments.words(batch, name)
        found[name] = jnp.where(on, (slope * segments.values(embedded, name)).sum(axis=-1), 0)
        found[f"{name}_norm"] = jnp.where(on, jnp.sqrt((slope * slope).sum(axis=-1)), 0)
    return found


class Side(NamedTuple):
    """One addend of the effects of all training texts: factor * grad L_i(params)' vectors."""

    params: Params
    vectors: Many
    factor: float


class Work(NamedTuple):
    """The training texts on the device, and what is compiled for them.

    texts  how many; check  is called between batches and may raise to stop
    """

    batches: Sequence[Batch]
    texts: int
    changes: Callable[..., Any]
    product: Callable[..., Any]
    slope: Callable[..., Any]
    check: Callable[[], None]


def work_on(
    stages: Stages, batches: Sequence[Batch], count: int, check: Callable[[], None]
) -> Work:
    """Compiles what is asked of training texts."""
    return Work(
        jax.device_put(list(batches)),
        count,
        jax.jit(make_changes(stages)),
        jax.jit(make_product(stages), donate_argnums=3),
        jax.jit(make_slope(stages), donate_argnums=2),
        check,
    )


def at_once(params: Params) -> int:
    """How many tests' vectors are held at one time."""
    return max(1, LARGEST // sum(leaf.size for leaf in jax.tree.leaves(params)))


def flat(vectors: Many) -> Float[Array, "tests parameters"]:
    """One row a test."""
    return jax.vmap(lambda tree: ravel_pytree(tree)[0])(vectors)


def effects_of(work: Work, sides: Sequence[Side]) -> Float[np.ndarray, "rows tests"]:
    """Effects of all training rows, by their number, on the tests of the sides' vectors."""
    tests = len(jax.tree.leaves(sides[0].vectors)[0])
    total = np.zeros((work.texts, tests))
    for params, vectors, factor in sides:
        for batch in work.batches:
            work.check()
            rows = np.asarray(batch.rows)
            found = np.asarray(work.changes(params, batch, vectors), np.float64)
            total[rows[rows >= 0]] += factor * found[rows >= 0]
    return total


def mean_gradient(work: Work, params: Params) -> float:
    """The norm of the gradient of the mean training loss."""
    total = jax.tree.map(jnp.zeros_like, params)
    for batch in work.batches:
        work.check()
        total = work.slope(params, batch, total)
    return float(jnp.linalg.norm(ravel_pytree(total)[0])) / work.texts


def multiplier(
    work: Work, params: Params, damping: float
) -> Callable[[Float[Array, "tests parameters"]], Float[Array, "tests parameters"]]:
    """vectors -> Gauss-Newton matrix of the work's texts, plus damping, times each of them."""
    unravel = jax.jit(jax.vmap(ravel_pytree(params)[1]))
    to_rows = jax.jit(flat)

    def multiply(
        rows: Float[Array, "tests parameters"],
    ) -> Float[Array, "tests parameters"]:
        vectors = unravel(rows)
        total = jax.tree.map(jnp.zeros_like, vectors)
        for batch in work.batches:
            work.check()
            total = work.product(params, batch, vectors, total)
        return to_rows(total) / work.texts + damping * rows

    return multiply
