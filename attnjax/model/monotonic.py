"""The monotonic part of a model: what listed words add to the score of class 1, beside the network.

With u_s the sum over a text's words of sign s of their weights (at least 0), the logit of class 1
gets B_+(u_+) - B_-(u_-), B two piecewise-linear calibrators with B(0) = 0 and no falling piece. The
network is blind to these words: its text closes up without them, so that it sees neither which one
stands where nor that one does. So one more word of sign +, or a stronger one in its place, never
lowers the score, whatever is learnt (Gupta et al. 2016, JMLR 17:109; here without a lattice).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnjax.model.quick import kept_order
from attnjax.types import Batch, Inner, Layer, Listed, Params

KEYPOINTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # of u; the last piece goes on
LEVELS = 10  # keypoints of the strengths, at their quantiles
SLOPE = 0.5413  # softplus of it is 1: at first a calibrator hands on what it is given
WEIGHT = -1.0  # softplus of it is 0.31, the first weight of a word
SIGNS = (1, -1)


class Closed(NamedTuple):
    """How texts close up without their listed words.

    order  [batch, length] where each place's token comes from; real  True where one comes
    back   where each token's place is; stays  True on those that have one
    """

    order: Int[Array, "batch length"]
    real: Bool[Array, "batch length"]
    back: Int[Array, "batch length"]
    stays: Bool[Array, "batch length"]


def closed(listed: Listed, batch: Batch) -> Closed:
    """The order in which the network reads the texts."""
    stays = unlisted(listed, batch, batch.mask)
    order, real = kept_order(stays)
    return Closed(order, real, jnp.argsort(order, axis=-1), stays)


def unlisted(
    listed: Listed, batch: Batch, among: Bool[Array, "batch length"]
) -> Bool[Array, "batch length"]:
    """Those among the texts' tokens that are no listed words."""
    return among & ~jnp.asarray(listed.signs != 0)[words_of(listed, batch)]


def words_of(listed: Listed, batch: Batch) -> Int[Array, "batch length"]:
    """The text's words, of tokens of `analysis.moved` those that they stand for."""
    return batch.tokens % len(listed.signs)


def moved(values: Array, places: Array, real: Array, axes: tuple[int, ...] = (1,)) -> Array:
    """Values [batch, ...] taken from these places along each of the axes, 0 where none is real."""
    for axis in axes:
        shape = [1] * values.ndim
        shape[0], shape[axis] = places.shape
        found = jnp.take_along_axis(values, places.reshape(shape), axis)
        values = jnp.where(real.reshape(shape), found, 0)
    return values


def inner_of_closed(inner: Inner, how: Closed) -> Inner:
    """What disturbs self-attention among all tokens, of those that stay; keys are of rows."""

    def of(values: Array | None) -> Array | None:
        if values is None:
            return None
        return moved(values.swapaxes(0, 1), how.order, how.real, (3, 4)).swapaxes(0, 1)

    return inner._replace(score=of(inner.score), factor=of(inner.factor))


def layer_of_whole(layer: Layer, how: Closed) -> Layer:
    """A layer over closed texts as one over all tokens, 0 on listed words."""
    axes = {"weights": (2, 3), "scores": (2, 3), "values": (2,)}
    found: dict[str, Any] = {
        name: None if each is None else moved(each, how.back, how.stays, axes.get(name, (1,)))
        for name, each in layer._asdict().items()
    }
    return Layer(**found)


def keypoints(listed: Listed) -> np.ndarray:
    """Ascending strengths between which weights are interpolated, at quantiles of the words'."""
    assert listed.strengths is not None
    known = listed.strengths[listed.signs != 0]
    return np.unique(np.quantile(known, np.linspace(0, 1, LEVELS)).astype(np.float32))


def initial(listed: Listed) -> Params:
    """{"weights": of each listed word or, by sign, of each strength's level; "slopes": by sign}."""
    if listed.strengths is None:
        shape: tuple[int, ...] = (int((listed.signs != 0).sum()),)
    else:
        shape = (len(SIGNS), len(keypoints(listed)))
    return {
        "weights": jnp.full(shape, WEIGHT, jnp.float32),
        "slopes": jnp.full((len(SIGNS), len(KEYPOINTS)), SLOPE, jnp.float32),
    }


def word_weights(params: Params, listed: Listed) -> Float[Array, " words"]:
    """The weight of every word, at least 0; 0 of those that are not listed.

    With strengths it is the same for words of one sign and strength, and rises with the strength.
    """
    rises, marks = jax.nn.softplus(params["weights"]), listed.signs != 0
    if listed.strengths is None:
        places = np.where(marks, np.cumsum(marks) - 1, 0)
        return jnp.where(marks, rises[places], 0)
    points = keypoints(listed)
    inside = (listed.strengths[:, None] - points[None, :-1]) / np.diff(points)[None]
    shares = np.concatenate([np.ones((len(marks), 1)), np.clip(inside, 0, 1)], axis=1)
    by_sign = jnp.asarray(shares, rises.dtype) @ rises.T  # [words, signs]
    return jnp.where(marks, jnp.where(listed.signs > 0, by_sign[:, 0], by_sign[:, 1]), 0)


def calibrated(slopes: Float[Array, " pieces"], sums: Float[Array, "..."]) -> Float[Array, "..."]:
    """B(u), u at least 0: the integral of softplus(slope) of the pieces up to u."""
    lifted = (*(1,) * sums.ndim, -1)
    low = jnp.asarray(KEYPOINTS, sums.dtype).reshape(lifted)
    wide = jnp.asarray((*np.diff(KEYPOINTS), np.inf), sums.dtype).reshape(lifted)
    within = jnp.clip(sums[..., None] - low, 0, wide)
    return (within * jax.nn.softplus(slopes).reshape(lifted)).sum(axis=-1)


def added(params: Params, listed: Listed, batch: Batch) -> Float[Array, " batch"]:
    """What the listed words of each text add to the logit of class 1."""
    words = words_of(listed, batch)
    weights, signs = word_weights(params, listed)[words], jnp.asarray(listed.signs)[words]
    total = jnp.zeros(len(weights), weights.dtype)
    for place, sign in enumerate(SIGNS):
        sums = jnp.where(signs == sign, weights, 0).sum(axis=-1)
        total = total + sign * calibrated(params["slopes"][place], sums)
    return total


def bounds(params: Params, listed: Listed) -> dict[str, float]:
    """What makes the promise, found of all parameters at once: each is at least 0.

    weight  the least of a listed word; slope  the least of a piece of the calibrators; and with
    strengths, rise  the least from one strength to the next, of words of one sign
    """
    weights = np.asarray(word_weights(params, listed))
    found = {
        "weight": float(weights[listed.signs != 0].min()),
        "slope": float(jax.nn.softplus(params["slopes"]).min()),
    }
    if listed.strengths is not None:
        rises = [np.zeros(0)]
        for sign in SIGNS:
            of_sign = np.flatnonzero(listed.signs == sign)
            order = np.argsort(listed.strengths[of_sign], kind="stable")
            rises.append(np.diff(weights[of_sign[order]]))
        found["rise"] = float(np.concatenate(rises).min(initial=np.inf))
    return found
