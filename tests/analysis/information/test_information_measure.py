"""The information measure: closed forms, the published toy, invariances, and where to start."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit

from attnjax.analysis.information.measure import (
    BOUND,
    Settings,
    Words,
    distortion,
    exact_sensitivities,
    loss,
    measure,
    optimise,
    sensitivities,
    shares_by_distance,
)
from attnjax.analysis.information.states import moments, scaled, spread_of

KEY = jax.random.key(0)
EXACT = Settings(rate=0.1, probes=0, steps=0, draws=16)
pytestmark = pytest.mark.usefixtures("double_precision")


def spread(samples, whiten=False):
    """Of states [samples, units]."""
    real = jnp.ones(len(samples), bool)
    found = moments(jnp.asarray(samples), real, whiten)
    return spread_of(found, "toy", jnp.float64)


def words_of(vectors, deviation=1.0):
    vectors = jnp.asarray(vectors)
    mask = jnp.ones(vectors.shape[:2], bool)
    return Words(vectors, mask, jnp.arange(len(vectors)), jnp.asarray(deviation))


def measured(state, words, settings=EXACT, key=KEY):
    return jax.device_get(quick_jit(lambda words: measure(state, words, key, settings))(words))


def toy():
    """(state, words) of the released toy: sum_i w_i x_i of five words of 256 entries each."""
    weights = jnp.array([10.0, 20.0, 5.0, -20.0, -10.0])
    random = np.random.default_rng(0)
    corpus = random.normal(0, 0.01, (100, 5, 256))

    def sums(vectors):
        return jnp.einsum("i,bik->bk", weights, vectors)

    units = spread(np.asarray(sums(jnp.asarray(corpus))))
    words = words_of(random.normal(0, 0.01, (1, 5, 256)), 0.01)
    return (lambda vectors: scaled(sums(vectors), units, words.mask)), words


PUBLISHED = [0.003161, 0.001586, 0.006298, 0.001586, 0.003083]  # Guan et al.'s own notebook


def test_the_published_toy_linearised_and_optimised():
    state, words = toy()
    exact = measured(state, words)
    np.testing.assert_allclose(exact.sigma[0], PUBLISHED, rtol=0.03)
    np.testing.assert_allclose(exact.sigma[0] * [10, 20, 5, 20, 10], exact.sigma[0, 0] * 10)
    np.testing.assert_allclose(exact.distortion, 0.05, rtol=0.05)
    far = jnp.asarray(exact.sigma) * jnp.array([[3.0, 0.3, 2.0, 1.0, 0.5]])
    settings = EXACT._replace(steps=40)
    found = quick_jit(lambda start: optimise(state, words, start, KEY, settings))(far)
    np.testing.assert_allclose(found, exact.sigma, rtol=0.02)
    probed = measured(state, words, EXACT._replace(probes=64))
    np.testing.assert_allclose(probed.sigma, exact.sigma, rtol=0.05)


def test_probes_estimate_the_squared_jacobian():
    """Without bias: the mean over many is within their own standard error of it."""
    state, words = curved(4)
    exact = exact_sensitivities(state, words.vectors)
    jacobian = jax.jacrev(lambda vectors: state(vectors).sum(axis=0))(words.vectors)
    np.testing.assert_allclose(exact, jnp.square(jacobian).sum(axis=(0, 3)), rtol=1e-12)
    found = sensitivities(state, words.vectors, words.rows, KEY, 2000)
    np.testing.assert_allclose(found, exact, rtol=0.1)


def curved(gain=1.0, change=lambda values: values, size=0.3):
    """(state, words): tanh of a random map of three words, over the corpus' own spread."""
    random = np.random.default_rng(1)
    matrix, corpus = random.normal(size=(3, 5, 6)), random.normal(size=(400, 3, 5))

    def values(vectors):
        return change(jnp.tanh(gain * jnp.einsum("bik,iku->bu", vectors, matrix)))

    words = words_of(random.normal(0, size, (2, 3, 5)))
    units = spread(np.asarray(values(jnp.asarray(corpus))))
    return (lambda vectors: scaled(values(vectors), units, words.mask)), words


def test_scaling_and_permuting_units_change_nothing():
    settings = EXACT._replace(steps=6, draws=4)
    scale, order = np.array([1, 20, 0.1, 3, 7, -2.0]), np.array([4, 2, 0, 5, 1, 3])
    one = measured(*curved(0.3), settings)
    other = measured(*curved(0.3, lambda values: (values * scale[None])[:, order]), settings)
    for found, expected in zip(other, one, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_rotation_moves_the_figure_and_whitening_holds_it():
    """Units of variance 1, correlation 0.99, turned by 45 degrees: c goes from 1 to 50."""
    random = np.random.default_rng(2)
    corpus = random.normal(size=(20_000, 2)) @ np.linalg.cholesky([[1, 0.99], [0.99, 1]]).T
    turn = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    words = words_of(random.normal(size=(1, 1, 2)))

    def retained(matrix, whiten):
        units = spread(corpus @ matrix, whiten)
        state = partial(turned, matrix, units, words.mask)
        return measured(state, words).retained[0, 0]

    plain = retained(turn, False) - retained(np.eye(2), False)
    assert plain == pytest.approx(np.log(50.25) / 2, abs=0.05)
    assert retained(turn, True) == pytest.approx(retained(np.eye(2), True), rel=1e-6)


def turned(matrix, units, mask, vectors):
    return scaled(vectors[:, 0] @ jnp.asarray(matrix), units, mask)


@pytest.mark.parametrize("far", [1.0, 4.0])
def test_the_optimiser_ends_no_worse_than_it_starts(far):
    """By fresh draws that are the same for both; and lower where the start was far off."""
    state, words = curved(1.5, size=0.1)
    settings = EXACT._replace(steps=30)
    start = jnp.asarray(measured(state, words).sigma) * far
    end = quick_jit(lambda start: optimise(state, words, start, KEY, settings))(start)
    fresh = jax.random.key(99)
    before, after = (loss(state, words, each, fresh, settings, 2000) for each in (start, end))
    assert (after < before + (1e-3 if far == 1 else -0.1)).all()
    assert (jnp.abs(distortion(state, words, end, fresh, 2000) / 0.05 - 1) < 0.5).all()


def test_half_the_bound_is_no_start_where_the_state_saturates():
    """There the noise drowns the state, whose slope is about 0: the reference never leaves."""
    state, words = curved(gain=40.0, size=0.001)
    settings = EXACT._replace(steps=30)
    half = jnp.full(words.mask.shape, BOUND / 2)
    bad = optimise(state, words, half, KEY, settings)
    linearised = jnp.asarray(measured(state, words).sigma)
    good = optimise(state, words, linearised, KEY, settings)
    worse, better = (loss(state, words, each, KEY, settings, 500) for each in (bad, good))
    assert (bad > BOUND / 4).all()
    assert (good < BOUND / 40).all()
    assert (worse > better + 0.1).all()


def blurred(vectors):
    """s_t = tanh(x_t + x_(t+1) / 2 + x_(t+4) / 4), of what there is."""
    later = [jnp.pad(vectors, ((0, 0), (0, n), (0, 0)))[:, n:] for n in (0, 1, 4)]
    return jnp.tanh(later[0] + later[1] / 2 + later[2] / 4)


def test_shares_by_distance_are_those_of_the_jacobian():
    vectors = np.random.default_rng(0).normal(0, 1, (2, 7, 3))
    words = words_of(vectors)
    words = words._replace(mask=words.mask.at[1, 5:].set(False))
    found = quick_jit(lambda words: shares_by_distance(blurred, words, KEY, 1))(words)
    for row, length in ((0, 7), (1, 5)):
        jacobian = jax.jacobian(lambda x: blurred(x[None])[0])(jnp.asarray(vectors[row]))
        square = np.square(np.asarray(jacobian)).sum(axis=(1, 3))[:length, :length]
        distance = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
        parts = [distance == 0, (distance > 0) & (distance <= 2), distance > 2]
        shares = [np.mean((square * part).sum(1) / square.sum(1)) for part in parts]
        # Each unit of a state depends on its own entry alone: every draw of signs is exact.
        np.testing.assert_allclose(found[row], shares, rtol=1e-9)
        assert found[row].sum() == pytest.approx(1)
    assert (np.asarray(found) > 0.001).all()


def test_shares_by_distance_of_a_state_that_nothing_moves_are_none():
    """Of the means over tokens such a one is left out; where all are such there is none."""
    words = words_of(np.random.default_rng(0).normal(0, 1, (1, 5, 3)))

    def some(vectors):
        return jnp.where((jnp.arange(5) < 2)[None, :, None], 0.5, blurred(vectors))

    found = quick_jit(lambda words: shares_by_distance(some, words, KEY, 2))(words)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-9)
    none = shares_by_distance(lambda vectors: vectors * 0, words, KEY, 2)
    assert np.isnan(none).all()


def test_shares_by_distance_do_not_depend_on_padding():
    vectors = np.random.default_rng(1).normal(0, 1, (1, 5, 3))
    mixing = jnp.asarray(np.random.default_rng(2).normal(0, 1, (3, 3)))
    alone = words_of(vectors)
    longer = words_of(np.pad(vectors, ((0, 0), (0, 4), (0, 0))))
    longer = longer._replace(mask=jnp.arange(9)[None] < 5)
    one, two = (
        quick_jit(lambda words: shares_by_distance(lambda x: blurred(x @ mixing), words, KEY, 3))(
            each
        )
        for each in (alone, longer)
    )
    np.testing.assert_allclose(one, two, rtol=1e-12)


@pytest.mark.parametrize("steps", [0, 20])
def test_tokens_on_which_a_state_does_not_hang_are_no_distortion_and_kept_not_at_all(steps):
    """Of a sum of a text's words without its ends, as short as the text may be."""
    random = np.random.default_rng(3)
    units = spread(random.normal(size=(50, 8)))
    matrix = jnp.asarray(random.normal(size=(6, 8)))
    settings = Settings(rate=0.1, probes=0, steps=steps, draws=2000)
    for length in (3, 4, 10):
        words = words_of(random.normal(size=(1, length, 6)))
        ends = jnp.zeros(length, bool).at[jnp.array([0, length - 1])].set(True)

        def state(vectors, ends=ends, words=words):
            summed = jnp.where(ends[None, :, None], 0, vectors).sum(axis=1) @ matrix
            return scaled(summed, units, words.mask)

        found = measured(state, words, settings)
        np.testing.assert_allclose(found.distortion, 0.05, rtol=0.1)
        assert found.retained[0, 0] == found.retained[0, -1] == 0
        assert (found.retained[0, 1:-1] > 0.05).all()
