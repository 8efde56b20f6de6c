"""Linear systems of one matrix that can only be multiplied by, for many right-hand sides at once.

Conjugate gradients (Hestenes & Stiefel 1952): every side has steps of its own, all are multiplied
in one go. The steps tell eigenvalues of the matrix for nothing (Lanczos; Golub & Van Loan, section
11.3), which say how it would have to be damped where it is not positive or the search too slow.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Sides = Float[Array, "sides size"]
PerSide = Float[Array, " sides"]
ROUNDING = 10  # units in the last place of the largest eigenvalue that count as 0


class Solution(NamedTuple):
    """What was found.

    vectors     A^-1 b of each side, as far as the search came
    residuals   [sides] |b - A x| / |b|, of x multiplied again; 0 where b is 0
    iterations  [sides]
    lowest      and highest eigenvalue that was met: within those of A
    positive    False where p' A p was not above rounding for some p: the search stopped there
    """

    vectors: Sides
    residuals: Float[np.ndarray, " sides"]
    iterations: Int[np.ndarray, " sides"]
    lowest: float
    highest: float
    positive: bool


@jax.jit
def _squares(direction: Sides, image: Sides) -> tuple[PerSide, PerSide]:
    """p' A p and p' p of each side."""
    return (direction * image).sum(axis=-1), (direction * direction).sum(axis=-1)


@jax.jit
def _stepped(
    state: tuple[Sides, Sides, Sides, PerSide],
    image: Sides,
    curvature: PerSide,
    active: Bool[Array, " sides"],
) -> tuple[tuple[Sides, Sides, Sides, PerSide], PerSide]:
    """(solution, residual, direction, residual squared) after one step, and its beta."""
    found, left, direction, square = state
    length = jnp.where(active, square / jnp.where(active, curvature, 1), 0)
    found = found + length[:, None] * direction
    left = left - length[:, None] * image
    after = (left * left).sum(axis=-1)
    beta = jnp.where(active, after / jnp.where(active, square, 1), 0)
    direction = jnp.where(active[:, None], left + beta[:, None] * direction, 0)
    return (found, left, direction, after), beta


def solve(
    multiply: Callable[[Sides], Sides], right: Sides, tolerance: float, most: int
) -> Solution:
    """x of A x = b for each row b of `right`, by at most so many steps.

    multiply  [sides, size] -> A times each row; a side is done at a residual of `tolerance`
    """
    size = (right * right).sum(axis=-1)
    goal, state = tolerance**2 * np.asarray(size), (jnp.zeros_like(right), right, right, size)
    tiny = ROUNDING * float(jnp.finfo(right.dtype).eps)
    active, highest, positive = np.asarray(size) > goal, 0.0, True
    iterations = np.zeros(len(right), np.int64)
    inverse_steps, betas = [], []
    for _ in range(most):
        if not active.any():
            break
        image = multiply(state[2])
        curvature, length = map(np.asarray, _squares(state[2], image))
        quotient = curvature[active] / length[active]
        highest = max(highest, float(quotient.max()))
        inverse_steps.append(np.where(active, curvature / np.where(active, state[3], 1), np.nan))
        iterations += active
        if not (quotient > tiny * highest).all():
            positive = False
            break
        state, beta = _stepped(state, image, jnp.asarray(curvature), jnp.asarray(active))
        betas.append(np.asarray(beta))
        active &= np.asarray(state[3]) > goal
    missed = np.asarray(jnp.linalg.norm(right - multiply(state[0]), axis=-1))
    length = np.sqrt(np.asarray(size))
    residuals = np.where(length > 0, missed / np.where(length > 0, length, 1), 0)
    met = np.reshape(inverse_steps, (-1, len(right))), np.reshape(betas, (-1, len(right)))
    lowest, highest = _met(*met, iterations)
    return Solution(state[0], residuals, iterations, lowest, highest, positive)


def _met(
    inverse_steps: np.ndarray, betas: np.ndarray, iterations: Int[np.ndarray, " sides"]
) -> tuple[float, float]:
    """The lowest and the highest eigenvalue of the sides' tridiagonal matrices."""
    from scipy import linalg  # imported late: slow to load

    values = []
    for side, count in enumerate(iterations):
        if not count:
            continue
        own = inverse_steps[:count, side].astype(np.float64)
        beta = betas[: count - 1, side].astype(np.float64)
        diagonal = own + np.concatenate([[0.0], beta * own[:-1]])
        values.append(linalg.eigvalsh_tridiagonal(diagonal, np.sqrt(beta) * own[:-1]))
    if not values:
        return 0.0, 0.0
    return float(min(each[0] for each in values)), float(max(each[-1] for each in values))


def damping_that_works(found: Solution, damping: float, eps: float) -> float:
    """About the least damping, instead of the one within A, with which the search goes on.

    For a matrix that without damping is not negative but for rounding; eps  of its numbers
    """
    return damping - min(found.lowest, 0.0) + 10 * ROUNDING * eps * found.highest


def damping_that_converges(found: Solution, damping: float, tolerance: float, most: int) -> float:
    """The damping, instead of the one within A, with which so many steps reach the tolerance.

    Whatever the eigenvalues between are: of condition r^2 the residual is no more than
    2 r ((r - 1) / (r + 1))^steps of what it was. As far as the highest eigenvalue has been met;
    infinite where so few steps can reach it with none.
    """
    from scipy import optimize  # imported late: slow to load

    def left(root: float) -> float:
        return 2 * root * ((root - 1) / (root + 1)) ** most - tolerance

    root = float(optimize.brentq(left, 1.0, 1e9))  # pyright: ignore[reportArgumentType]
    return (found.highest - damping) / (root**2 - 1) if root > 1 else np.inf
