"""Inputs that a score is highest of: vectors by ascent, and words under a prior over texts.

Vectors climb from noise (Simonyan et al., arXiv:1312.6034, eq. 1, with the norm's penalty of
Montavon et al., arXiv:1706.07979, eq. 2). Words are sought by relaxed one-hots at a falling
temperature and then changed one at a time, while any change in all of the vocabulary does better.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from attnjax.analysis.adam import Moments, at_rest, descend
from attnjax.analysis.bigrams import Bigrams, following, log_probability, preceding
from attnjax.types import EOS, SOS

RATE = 0.1  # of Adam at the start; it falls to 0
HOT, COLD = 1.0, 0.1  # temperatures of the relaxed words, first and last
TIE = 1e-6  # nats by which a change must do better: equal texts differ by rounding

Score = Callable[[Float[Array, "restarts words embed"]], Float[Array, " restarts"]]
Read = Callable[[np.ndarray], np.ndarray]  # [texts, words] ids -> [texts] log-probabilities


class Prior(NamedTuple):
    """The bigram model of some words, for relaxed texts of them.

    within  [some, some] log p(second | first); first  [some] after <sos>; last  [some] of <eos>
    """

    within: Float[Array, "some some"]
    first: Float[Array, " some"]
    last: Float[Array, " some"]


def noise(key: Key[Array, ""], restarts: int, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """[restarts, *shape] of N(0, 1); that of a restart hangs on the key and its number alone."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(restarts))
    return jax.vmap(lambda each: jax.random.normal(each, shape))(keys)


def climb(
    objective: Callable[[Array, Array], Float[Array, " restarts"]],
    start: Float[Array, "restarts words entries"],
    steps: int,
) -> Float[Array, "restarts words entries"]:
    """Adam up the objective of every restart, each by itself.

    The rate falls from RATE to 0 on a line.
    objective  (values, share of the steps that are done) -> [restarts]
    """

    def step(number: Array, state: tuple[Array, Moments]) -> tuple[Array, Moments]:
        values, moments = state
        done = number.astype(values.dtype) / steps
        slope = jax.grad(lambda values: -objective(values, done).sum())(values)
        return descend(values, moments, slope, number, RATE * (1 - done))

    return jax.lax.fori_loop(0, steps, step, (start, at_rest(start)))[0]


def ascend(
    score: Score,
    start: Float[Array, "restarts words embed"],
    scale: Float[Array, ""],
    penalty: float,
    steps: int,
) -> Float[Array, "restarts words embed"]:
    """Vectors V that maximise score(V) - penalty * sum |v|^2 / (2 scale^2), one set a restart.

    start  in units of scale, the standard deviation of the entries of word vectors
    Of a linear score w . mean(v) each of n vectors becomes w scale^2 / (n penalty).
    """

    def objective(units: Array, done: Array) -> Float[Array, " restarts"]:
        del done
        return score(units * scale) - penalty / 2 * jnp.square(units).sum(axis=(1, 2))

    return climb(objective, start, steps) * scale


def relax(
    score: Score,
    vectors: Float[Array, "some embed"],
    prior: Prior,
    weight: float,
    start: Float[Array, "restarts words some"],
    steps: int,
) -> Int[Array, "restarts words"]:
    """Texts of n of these words that a climb over softmax(theta / temperature) E ends at.

    It climbs score + weight * expected log-probability; returns numbers of rows of `vectors`.
    """

    def objective(theta: Array, done: Array) -> Float[Array, " restarts"]:
        shares = jax.nn.softmax(theta / (HOT * (COLD / HOT) ** done), axis=-1)
        likely = shares[:, 0] @ prior.first + shares[:, -1] @ prior.last
        pairs = jnp.einsum("rtv,vw,rtw->r", shares[:, :-1], prior.within, shares[:, 1:])
        return score(jnp.einsum("rtv,ve->rte", shares, vectors)) + weight * (likely + pairs)

    return climb(objective, start, steps).argmax(axis=-1)


def framed(texts: np.ndarray) -> np.ndarray:
    """[texts, words] -> [texts, words + 2] with <sos> and <eos>."""
    return np.pad(texts, ((0, 0), (1, 1)), constant_values=((0, 0), (SOS, EOS)))


def improved(
    read: Read, prior: Bigrams, weight: float, text: np.ndarray
) -> tuple[np.ndarray, float]:
    """The text with its words changed one at a time until no single change does better.

    read    gives log-probabilities of the class, which are at most 0: only words whose prior alone
            beats what is reached need to be read, and all those are
    weight  of the prior's log-probability, which is added
    Returns the text and its objective.
    """
    text = text.copy()
    every = np.arange(len(prior.totals))
    value = float(read(text[None])[0] + weight * log_probability(prior, framed(text[None]))[0])
    place, settled = 0, 0
    while settled < len(text):
        before = int(text[place - 1]) if place else SOS
        after = int(text[place + 1]) if place + 1 < len(text) else EOS
        rest = log_probability(prior, framed(text[None]))[0]
        steps = following(prior, before) + preceding(prior, after)
        likely = weight * (rest - steps[text[place]] + steps) if weight else np.zeros(len(every))
        worth = np.flatnonzero((likely > value + TIE) & (every > EOS) & (every != text[place]))
        settled += 1
        if len(worth):
            tries = np.repeat(text[None], len(worth), axis=0)
            tries[:, place] = worth
            found = read(tries) + likely[worth]
            best = int(found.argmax())
            if found[best] > value + TIE:
                text, value, settled = tries[best], float(found[best]), 1
        place = (place + 1) % len(text)
    return text, value
