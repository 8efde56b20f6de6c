"""The information measure: by how much each word may be disturbed with a state hardly changed.

Words x_i get noise sigma_i e_i, e_i standard normal. D(sigma) is the mean over a state's live units
(and tokens) of the squared change in standard deviations. sigma minimises
D(sigma) - rate * mean_i log sigma_i (Guan et al., ICML 2019, eq. 7, in the form of its code). Where
the state is linear, D = sum_i c_i sigma_i^2 and

    sigma_i = sqrt(rate / (2 n c_i)),  D = rate / 2,  c_i = sum over units of ||d state / d x_i||^2

of the state as `states.scaled` gives it. So rate is a budget of distortion. c_i is estimated with
random signs v: the mean of ||d(v . state)/dx_i||^2, one pullback for all words. States come as
functions of the word vectors [batch, length, embed] -> [batch, ...], rows independent.
Random numbers are drawn by (key, row, number, position): padding and batch mates change nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

State = Callable[[Float[Array, "batch length embed"]], Float[Array, "batch *rest"]]

BOUND = 10.0  # largest sigma, in sigma_X: that of the reference
JUDGED = 4  # times the draws of a step, to judge where the optimiser has ended
SURE = 2.0  # standard errors by which its loss is above that of the start, to go back there
FARTHEST = 2.0  # that one step moves log sigma, doubled
NEAR = 2  # places to either side within which a token is a neighbour
TINY = 1e-30  # of precisions, so that sigma is finite


class Settings(NamedTuple):
    """rate  in (0, 1); probes  0, or no fewer than one vector has units: the exact Jacobian;
    steps  of the optimiser, 0: linearised; draws  of noise in a step, and for the distortion.
    """

    rate: float
    probes: int
    steps: int
    draws: int


class Known(NamedTuple):
    """What a state knows of each word.

    sigma       [batch, length] noise that it does not notice, at most BOUND sigma_X
    retained    [batch, length] 1/2 log(1 + sigma_X^2 / sigma^2), nats per dimension; 0 on padding
    distortion  [batch] D(sigma) by the share of tokens with a sigma below the bound, on which the
                state hangs: rate / 2 where it is right
    """

    sigma: Float[Array, "batch length"]
    retained: Float[Array, "batch length"]
    distortion: Float[Array, " batch"]


class Words(NamedTuple):
    """The words of a batch.

    vectors  their vectors; mask  True on tokens; rows  numbers that random draws start from
    deviation  sigma_X, standard deviation of the corpus' word vectors
    """

    vectors: Float[Array, "batch length embed"]
    mask: Bool[Array, "batch length"]
    rows: Int[Array, " batch"]
    deviation: Float[Array, ""]

    @property
    def lengths(self) -> Float[Array, "batch 1"]:
        """Tokens of each row, at least 1."""
        return jnp.maximum(self.mask.sum(axis=-1, keepdims=True), 1).astype(self.vectors.dtype)


def measure(state: State, words: Words, key: Key[Array, ""], settings: Settings) -> Known:
    """What the state knows of each word, linearised or, with steps, optimised from there."""
    keys = jax.random.split(key, 3)
    change = squared_jacobian(state, words, keys[0], settings.probes)
    precision = 2 * words.lengths * change / settings.rate
    bound = BOUND * words.deviation
    sigma = jnp.minimum(jax.lax.rsqrt(jnp.maximum(precision, TINY)), bound)
    if settings.steps:
        sigma = optimise(state, words, sigma, keys[1], settings)
        # Of a word at the bound nothing more is known than that: perhaps nothing is kept.
        precision = jnp.where(sigma < bound, 1 / jnp.square(sigma), precision)
    retained = jnp.log1p(jnp.square(words.deviation) * precision) / 2
    distorted = distortion(state, words, sigma, keys[2], settings.draws)
    heard = jnp.sum((sigma < bound) & words.mask, axis=-1, keepdims=True).astype(sigma.dtype)
    share = jnp.where(heard > 0, heard / words.lengths, 1)[:, 0]
    return Known(sigma, jnp.where(words.mask, retained, 0), distorted / share)


def squared_jacobian(
    state: State, words: Words, key: Key[Array, ""], probes: int
) -> Float[Array, "batch length"]:
    """c_i, by so many probes; exact where there are none, or the state has no more numbers."""
    found = jax.eval_shape(state, words.vectors)
    # Of states with a vector a token that would depend on padding.
    small = found.ndim == 2 and found.shape[1] <= probes
    if probes and not small:
        return sensitivities(state, words.vectors, words.rows, key, probes)
    return exact_sensitivities(state, words.vectors)


def sensitivities(
    state: State,
    vectors: Float[Array, "batch length embed"],
    rows: Int[Array, " batch"],
    key: Key[Array, ""],
    probes: int,
) -> Float[Array, "batch length"]:
    """c_i: the squared Jacobian of the state by each word, estimated with so many random signs."""
    values, pull = jax.vjp(state, vectors)

    def add(total: Any, number: Any) -> Any:
        signs = drawn(jax.random.rademacher, key, rows, number, values)
        return total + jnp.square(pull(signs)[0]).sum(axis=-1), None

    nothing = jnp.zeros(vectors.shape[:2], vectors.dtype)
    return jax.lax.scan(add, nothing, jnp.arange(probes, dtype=jnp.int32))[0] / probes


def exact_sensitivities(
    state: State, vectors: Float[Array, "batch length embed"]
) -> Float[Array, "batch length"]:
    """The same with a pullback for every number of the state: slow, and without any error."""
    values, pull = jax.vjp(state, vectors)
    size = values[0].size

    def add(total: Any, number: Any) -> Any:
        one = (jnp.arange(size) == number).astype(values.dtype).reshape(1, *values.shape[1:])
        return total + jnp.square(pull(jnp.broadcast_to(one, values.shape))[0]).sum(axis=-1), None

    nothing = jnp.zeros(vectors.shape[:2], vectors.dtype)
    return jax.lax.scan(add, nothing, jnp.arange(size))[0]


def shares_by_distance(
    state: Callable[[Float[Array, "batch length embed"]], Float[Array, "batch length units"]],
    words: Words,
    key: Key[Array, ""],
    probes: int,
) -> Float[Array, "batch 3"]:
    """Where a token's own state comes from: itself, its neighbours within NEAR places, all others.

    Of the squared Jacobian of the token's state by every token, estimated with so many random
    signs, the three shares, which sum to 1; means over the row's tokens whose state depends on any,
    NaN where none does.

    With s_t = x_t + x_(t+1) / 2, and no further tokens than two: (0.9, 0.1, 0)
    """
    values, pull = jax.vjp(state, words.vectors)
    places = jnp.arange(values.shape[1])

    def of_token(place: Any) -> Float[Array, "batch 3"]:
        def add(total: Any, number: Any) -> Any:
            signs = drawn(jax.random.rademacher, key, words.rows, number, values)
            own = jnp.where((places == place)[None, :, None], signs, 0)
            return total + jnp.square(pull(own)[0]).sum(axis=-1), None

        nothing = jnp.zeros(words.mask.shape, values.dtype)
        numbers = jnp.arange(probes, dtype=jnp.int32)
        found = jnp.where(words.mask, jax.lax.scan(add, nothing, numbers)[0], 0)
        distance = jnp.abs(places - place)[None]
        own, near = ((jnp.where(distance <= most, found, 0)).sum(-1) for most in (0, NEAR))
        whole = found.sum(axis=-1)
        parts = jnp.stack([own, near - own, whole - near], axis=-1)
        return parts / jnp.where(whole > 0, whole, jnp.nan)[:, None]

    shares = jnp.where(words.mask.T[..., None], jax.lax.map(of_token, places), jnp.nan)
    return jnp.nanmean(shares, axis=0)


def drawn(
    sample: Callable[..., Array], key: Key[Array, ""], rows: Any, number: Any, like: Array
) -> Array:
    """Random numbers for the rows of `like`: a longer row begins with those of a shorter one."""

    def of_row(row: Any) -> Array:
        own = jax.random.fold_in(jax.random.fold_in(key, row), number)
        return sample(own, like.shape[1:], like.dtype)

    return jax.vmap(of_row)(rows)


def distortion(
    state: State, words: Words, sigma: Float[Array, "batch length"], key: Key[Array, ""], draws: int
) -> Float[Array, " batch"]:
    """D(sigma), the mean over so many draws."""
    return _distortions(state, words, sigma, key, draws).mean(axis=0)


def _distortions(
    state: State, words: Words, sigma: Float[Array, "batch length"], key: Key[Array, ""], draws: int
) -> Float[Array, "draws batch"]:
    base = state(words.vectors)

    def one(number: Any) -> Float[Array, " batch"]:
        return _squared_change(state, base, words, sigma, key, number)

    return jax.lax.map(one, jnp.arange(draws, dtype=jnp.int32))


def _squared_change(
    state: State, base: Array, words: Words, sigma: Any, key: Key[Array, ""], number: Any
) -> Float[Array, " batch"]:
    noise = drawn(jax.random.normal, key, words.rows, number, words.vectors)
    moved = words.vectors + jnp.where(words.mask, sigma, 0)[..., None] * noise
    return jnp.square(state(moved) - base).reshape(len(base), -1).sum(axis=-1)


def loss(
    state: State,
    words: Words,
    sigma: Float[Array, "batch length"],
    key: Key[Array, ""],
    settings: Settings,
    draws: int,
) -> Float[Array, " batch"]:
    """D(sigma) - rate * mean_i log sigma_i, over so many draws."""
    return distortion(state, words, sigma, key, draws) - settings.rate * _mean_log(words, sigma)


def _mean_log(words: Words, sigma: Float[Array, "batch length"]) -> Float[Array, " batch"]:
    return jnp.where(words.mask, jnp.log(sigma), 0).sum(axis=-1) / words.lengths[:, 0]


def optimise(
    state: State,
    words: Words,
    start: Float[Array, "batch length"],
    key: Key[Array, ""],
    settings: Settings,
) -> Float[Array, "batch length"]:
    """sigma of the least loss, from a start; a row whose end is worse than that stays there.

    With g_i = (n / rate) dD/dlog sigma_i, which is 1 at the optimum, the first half of the steps
    takes log sigma by -1/2 log g, which is exact where the state is linear. log g of few draws is
    biased; so the second half takes -1/2 (g - 1), and the k-th such step 1/k of it, which is a
    mean of the iterates. Where the start is so large that the state is saturated, g is about 0
    and no step leads back: the start has to be the linearised sigma.
    """
    base, highest = state(words.vectors), jnp.log(BOUND * words.deviation)
    draws, half = settings.draws, settings.steps // 2
    keys = jax.random.split(key, 2)

    def slope(logs: Array, step: Any) -> Array:
        def add(total: Any, number: Any) -> Any:
            def changed(logs: Array) -> Array:
                place = step * draws + number
                moved = _squared_change(state, base, words, jnp.exp(logs), keys[0], place)
                return moved.sum()

            return total + jax.grad(changed)(logs), None

        numbers = jnp.arange(draws, dtype=jnp.int32)
        total = jax.lax.scan(add, jnp.zeros_like(logs), numbers)[0]
        return words.lengths / settings.rate * total / draws

    def move(logs: Any, step: Any) -> Any:
        steep = slope(logs, step)
        early, late = jnp.log(jnp.maximum(steep, 1e-8)), steep - 1
        change = jnp.clip(jnp.where(step < half, early, late), -FARTHEST, FARTHEST)
        share = 1 / (1 + jnp.maximum(step - half, 0)).astype(logs.dtype)
        return jnp.minimum(logs - change * share / 2, highest), None

    steps = jnp.arange(settings.steps, dtype=jnp.int32)
    sigma = jnp.exp(jax.lax.scan(move, jnp.log(start), steps)[0])
    worse = _worse(state, words, start, sigma, keys[1], settings)
    return jnp.where(worse[:, None], start, sigma)


def _worse(
    state: State, words: Words, start: Any, end: Any, key: Key[Array, ""], settings: Settings
) -> Bool[Array, " batch"]:
    """Whether the end's loss is above the start's by more than chance, over common draws."""
    draws = JUDGED * settings.draws
    before, after = (_distortions(state, words, each, key, draws) for each in (start, end))
    error = jnp.std(after - before, axis=0) / draws**0.5
    logs = settings.rate * (_mean_log(words, end) - _mean_log(words, start))
    return (after - before).mean(axis=0) - logs > SURE * error
