"""Integrals along the straight path of integrated gradients, by panels that split where needed.

A panel [a, b] of the path has a Gauss-Legendre sum of `NODES` points, and its own test: the sum of
all tokens' contributions should be p(b) - p(a). Row by row, the panel that misses it most is
halved, until the errors of all panels sum to less than what is asked for. What a row gets depends
on its own panels alone. Rows that are done make room for those that are not: a fixed number of
lanes takes rows up in turn, so that a batch costs about the sum of its rows' points, and not its
length times the most of them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from attnjax.analysis.importance.target import probability_of, read_logits
from attnjax.perturb.norms import widen
from attnjax.types import Batch, Embedded, Factors, Params, Stages

NODES = 8  # of a panel
MOST = 512  # points of a row
SPLITS = MOST // (2 * NODES)  # each gives two new panels; the first halves the whole path
LANES = 8  # a batch of so many rows keeps one lane busy


class Path(NamedTuple):
    """What integration has found, row by row.

    contributions  signed, of every token of either segment; <sos> and <eos> included
    error          [batch] |sum of all contributions - (p(e) - p(0))|
    points         [batch] derivatives that were taken
    """

    contributions: Factors
    error: Float[Array, " batch"]
    points: Int[Array, " batch"]


class _Panels(NamedTuple):
    """Up to SPLITS + 1 panels a row; an empty one has width, error and contributions 0.

    low, width   where on the path; first, last  the probability at its ends
    error        by how much its contributions miss last - first
    parts        the tokens' contributions
    splits       [batch] so far
    """

    low: Float[Array, "batch panels"]
    width: Float[Array, "batch panels"]
    first: Float[Array, "batch panels"]
    last: Float[Array, "batch panels"]
    error: Float[Array, "batch panels"]
    parts: Any
    splits: Int[Array, " batch"]


@cache  # equal settings are one function: what is compiled for it is compiled once
def integrals(completeness: float) -> Callable[..., Path]:
    """Builds (stages, params, batch, key) -> Path, errors below `completeness` where they can be.

    At place a of the path from zero, a token contributes the derivative of the probability of the
    class predicted at the full input by the token's factor, all factors being a. At most MOST
    points a row: then the error is what it is, and `Path.error` tells.
    """

    def integrate(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Path:
        del key
        embedded = stages.embed(params, batch)
        ones = ones_of(embedded)
        outputs = logits_by_factors(stages, params, embedded, batch)
        full = outputs(ones)
        classes = full.argmax(axis=-1)
        rows = (embedded, batch, classes)

        def probabilities_of(rows: Any) -> Callable[[Factors], Float[Array, " rows"]]:
            embedded, batch, classes = rows
            outputs = logits_by_factors(stages, params, embedded, batch)
            return lambda factors: probability_of(outputs(factors), classes)

        start = probability_of(outputs(jax.tree.map(jnp.zeros_like, ones)), classes)
        end = probability_of(full, classes)
        lanes = max(1, len(classes) // LANES)

        def unfinished(panels: _Panels) -> Bool[Array, " batch"]:
            return (panels.error.sum(axis=1) > completeness) & (panels.splits < SPLITS)

        def step(panels: _Panels) -> _Panels:
            """Halves the worst panel of as many unfinished rows as there are lanes."""
            if len(classes) == 1:  # nothing to choose from
                return _halve(probabilities_of(rows), ones, panels)
            waiting = unfinished(panels)
            order = jnp.argsort(jnp.where(waiting, panels.splits, SPLITS + 1))
            here, own = jax.tree.map(lambda each: _rows(each, order[:lanes]), (panels, rows))
            halved = _halve(probabilities_of(own), ones_of(own[0]), here)
            # Each row looks up its lane: XLA's CPU compiler aborts (jaxlib 0.10.2) where
            # `runtime.fuse_outputs` fuses what a scatter into the rows would take.
            lane = jnp.argsort(order)
            served = waiting & (lane < lanes)
            lane = jnp.minimum(lane, lanes - 1)
            return jax.tree.map(
                lambda old, new: jnp.where(widen(served, old), _rows(new, lane), old),
                panels,
                halved,
            )

        panels = jax.lax.while_loop(
            lambda panels: unfinished(panels).any(), step, _whole(start, end, ones)
        )
        contributions = jax.tree.map(lambda parts: parts.sum(axis=1), panels.parts)
        error = jnp.abs(_total(contributions) - (end - start))
        return Path(contributions, error, 2 * NODES * panels.splits)

    return integrate


def _rows(values: Array, taken: Int[Array, " lanes"]) -> Array:
    return values.at[taken].get(mode="promise_in_bounds")


def _whole(start: Array, end: Array, ones: Factors) -> _Panels:
    """The path as one panel of which nothing is known."""
    none = jnp.zeros((len(start), SPLITS + 1), start.dtype)
    return _Panels(
        low=none,
        width=none.at[:, 0].set(1),
        first=none.at[:, 0].set(start),
        last=none.at[:, 0].set(end),
        error=none.at[:, 0].set(jnp.inf),
        parts=jax.tree.map(lambda each: jnp.zeros((*none.shape, each.shape[1]), each.dtype), ones),
        splits=jnp.zeros(len(start), jnp.int32),
    )


def _halve(
    probability: Callable[[Factors], Float[Array, " rows"]], ones: Factors, panels: _Panels
) -> _Panels:
    """Each row's worst panel becomes its left half, and the next empty one its right half."""
    numbers = jnp.arange(SPLITS + 1, dtype=panels.splits.dtype)[None, :]
    on_left = numbers == panels.error.argmax(axis=1, keepdims=True).astype(numbers.dtype)
    on_right = numbers == panels.splits[:, None] + 1
    low, width, first, last = (
        jnp.where(on_left, values, 0).sum(axis=1)
        for values in (panels.low, panels.width, panels.first, panels.last)
    )
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    inside, none = (nodes + 1) / 4, np.zeros(NODES)  # of the left half, and of the right one + 1/2
    table = np.stack(
        [
            np.concatenate([inside, inside + 0.5, [0.5]]),
            np.concatenate([weights / 4, none, [0]]),
            np.concatenate([none, weights / 4, [0]]),
        ],
        axis=1,
    )

    def value(factors: Factors) -> tuple[Float[Array, ""], Float[Array, " rows"]]:
        found = probability(factors)
        return found.sum(), found

    def add(halves: Any, node: Float[Array, " three"]) -> tuple[Any, Float[Array, " rows"]]:
        place = (low + width * node[0])[:, None]
        (_, found), slope = jax.value_and_grad(value, has_aux=True)(
            jax.tree.map(lambda one: place * one, ones)
        )
        added = [
            jax.tree.map(
                lambda sum_, new, k=k: sum_ + (width * node[k])[:, None] * new, half, slope
            )
            for k, half in enumerate(halves, 1)
        ]
        return tuple(added), found

    zeros = jax.tree.map(jnp.zeros_like, ones)
    (left, right), found = jax.lax.scan(add, (zeros, zeros), jnp.asarray(table, low.dtype))
    middle, half = found[-1], width / 2

    def both(values: Array, left: Array, right: Array) -> Array:
        first, second = (widen(on, values) for on in (on_left, on_right))
        return jnp.where(first, left[:, None], jnp.where(second, right[:, None], values))

    return _Panels(
        low=both(panels.low, low, low + half),
        width=both(panels.width, half, half),
        first=both(panels.first, first, middle),
        last=both(panels.last, middle, last),
        error=both(
            panels.error,
            jnp.abs(_total(left) - (middle - first)),
            jnp.abs(_total(right) - (last - middle)),
        ),
        parts=jax.tree.map(both, panels.parts, left, right),
        splits=panels.splits + 1,
    )


def _total(contributions: Any) -> Float[Array, " rows"]:
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda each: each.sum(axis=-1), contributions))


def ones_of(embedded: Embedded) -> Factors:
    """A factor of 1 for each token."""
    return Factors(
        *jax.tree.map(lambda vectors: jnp.ones(vectors.shape[:-1], vectors.dtype), embedded)
    )


def logits_by_factors(
    stages: Stages, params: Params, embedded: Embedded, batch: Batch
) -> Callable[[Factors], Float[Array, "batch classes"]]:
    """Factors of the tokens' vectors -> logits."""

    def logits(factors: Factors) -> Float[Array, "batch classes"]:
        encoded = stages.quick.encode_scaled(params, embedded, batch, factors)
        return read_logits(stages, params, encoded, batch)

    return logits
