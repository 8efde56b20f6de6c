"""Systems solved by conjugate gradients: as exactly, and told as plainly, as by a factorisation."""

import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.analysis.conjugate import damping_that_converges, damping_that_works, solve

EPS = float(np.finfo(np.float64).eps)


def matrix(values, seed=0):
    """Symmetric, of these eigenvalues."""
    size = len(values)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return basis @ np.diag(values) @ basis.T


def by(whole):
    whole = jnp.asarray(whole)
    return lambda rows: rows @ whole


def sides(count, size, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, size)))


def test_it_is_the_inverse(double_precision):
    whole = matrix(np.geomspace(0.01, 10, 30))
    right = sides(4, 30).at[2].set(0)
    found = solve(by(whole), right, 1e-12, 500)
    expected = np.linalg.solve(whole, np.asarray(right).T).T
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-8, atol=1e-10)
    assert found.positive
    assert found.residuals.max() < 1e-11
    assert found.iterations[2] == 0
    assert not np.asarray(found.vectors[2]).any()
    assert 0.0099 < found.lowest < 0.011
    assert 9.9 < found.highest < 10.01


def test_a_side_is_found_as_if_it_were_alone(double_precision):
    whole, right = (
        matrix(np.geomspace(0.1, 10, 12)),
        sides(3, 12) * jnp.array([[1.0], [1e-3], [50]]),
    )
    together = solve(by(whole), right, 1e-6, 100)
    for side in range(3):
        alone = solve(by(whole), right[side : side + 1], 1e-6, 100)
        np.testing.assert_allclose(together.vectors[side], alone.vectors[0], rtol=1e-6)
        assert abs(together.iterations[side] - alone.iterations[0]) <= 1


def test_few_eigenvalues_take_few_steps(double_precision):
    found = solve(by(matrix([1.0] * 10 + [2.0] * 10 + [5.0] * 10)), sides(2, 30), 1e-10, 100)
    assert list(found.iterations) == [3, 3]


@pytest.mark.parametrize("lowest", [-1e-15, 0.0])
def test_what_is_positive_but_for_rounding_tells_the_damping_it_needs(lowest, double_precision):
    whole = matrix(np.concatenate([[lowest], np.geomspace(0.1, 10, 19)]))
    found = solve(by(whole), sides(2, 20), 1e-12, 500)
    assert not found.positive
    least = damping_that_works(found, 0.0, EPS)
    assert 0 < least < 1e-10
    again = solve(by(whole + least * np.eye(20)), sides(2, 20), 1e-12, 500)
    assert again.positive


def test_a_matrix_that_is_nowhere_positive_is_told_at_once(double_precision):
    for whole in (np.zeros((20, 20)), np.diag(np.where(np.arange(20) == 0, 1.0, 1e-17))):
        found = solve(by(whole), sides(2, 20), 1e-4, 10)
        assert not found.positive
        assert damping_that_works(found, 0.0, EPS) >= 0


def test_one_step_reaches_a_small_tolerance_with_no_damping(double_precision):
    found = solve(by(matrix(np.geomspace(1e-3, 10, 20))), sides(1, 20), 1e-14, 1)
    assert damping_that_converges(found, 0.0, 1e-14, 1) > 1e6


def test_the_damping_that_converges_does(double_precision):
    whole = matrix(np.geomspace(1e-6, 10, 60))
    found = solve(by(whole), sides(2, 60), 1e-6, 20)
    assert found.positive
    assert found.residuals.max() > 1e-6
    enough = damping_that_converges(found, 0.0, 1e-6, 20)
    damped = by(whole + enough * np.eye(60))
    assert solve(damped, sides(2, 60), 1e-6, 20).residuals.max() <= 1.01e-6
    again = solve(damped, sides(2, 60), 1e-6, 20)
    assert damping_that_converges(again, enough, 1e-6, 20) == pytest.approx(enough, rel=0.01)
