"""Perturbations of norm epsilon that raise a loss: random, worst case, and virtual.

They know no model. A `Problem` holds the losses as a function of the perturbation and the shape of
the perturbation, word vectors or attention scores alike; the interpretable techniques differ only
in `Problem.direction`, the map from a gradient to the step it suggests (`perturb.differences`).
Results are constants to autodiff.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from attnjax.perturb.norms import Delta, gaussian, keep, project, rescale


class Problem(NamedTuple):
    """What there is to perturb.

    losses     perturbation -> [batch], each example's loss depending on its own part alone
    zeros      the perturbation that changes nothing; gives tree and shapes
    mask       tree of booleans [batch, length], or as many axes as zeros have: what may be moved
    rows       [batch] row numbers, which seed random draws
    direction  gradient -> step of the ascent, up to length; identity for AT and VAT
    start      where virtual techniques measure first, up to length; None draws at random
    gradient   of the losses at zero where it is known already, else None
    noise      (zeros, rows, key) -> standard normal, whatever the padding
    """

    losses: Callable[[Delta], Float[Array, " batch"]]
    zeros: Delta
    mask: Delta
    rows: Int[Array, " batch"]
    direction: Callable[[Delta], Delta] = lambda gradient: gradient
    start: Delta | None = None
    gradient: Delta | None = None
    noise: Callable[[Delta, Array, Array], Delta] = gaussian


class Settings(NamedTuple):
    """epsilon  L2 norm; steps  of the ascent; power_steps and xi  of the virtual techniques."""

    epsilon: Float[Array, ""]
    steps: int = 1
    power_steps: int = 1
    xi: float = 0.1


def random_perturbation(problem: Problem, settings: Settings, key: Key[Array, ""]) -> Delta:
    """epsilon * z / ||z||, z standard normal over the positions that may be moved."""
    noise = keep(problem.noise(problem.zeros, problem.rows, key), problem.mask)
    return jax.lax.stop_gradient(rescale(noise, settings.epsilon))


def worst_case(problem: Problem, settings: Settings, key: Key[Array, ""]) -> Delta:
    """epsilon * d / ||d||, d the direction of steepest ascent (arXiv:1605.07725, section 3).

    With identity as direction d is the gradient: AT. More steps go on from there: each adds
    epsilon * d / ||d|| for d at the present point and returns to the ball of radius epsilon.
    """
    del key
    delta = problem.zeros
    for number in range(settings.steps):
        gradient = problem.gradient if number == 0 else None
        if gradient is None:
            gradient = _gradient(problem, delta)
        delta = _ascend(problem, delta, gradient, settings.epsilon)
    return jax.lax.stop_gradient(delta)


def virtual(problem: Problem, settings: Settings, key: Key[Array, ""]) -> Delta:
    """The worst case of a divergence whose gradient at zero vanishes (arXiv:1605.07725, eq. 6).

    Power iteration: the gradient is taken at distance xi along the start, and again along what it
    gives, `power_steps` times. Then as many further ascent steps as asked for.
    """
    start = problem.start
    if start is None:
        start = problem.noise(problem.zeros, problem.rows, key)
    here = keep(start, problem.mask)
    for _ in range(settings.power_steps):
        near = rescale(here, settings.xi)
        here = keep(problem.direction(_gradient(problem, near)), problem.mask)
    delta = rescale(here, settings.epsilon)
    for _ in range(settings.steps - 1):
        delta = _ascend(problem, delta, _gradient(problem, delta), settings.epsilon)
    return jax.lax.stop_gradient(delta)


def _gradient(problem: Problem, delta: Delta) -> Delta:
    return jax.grad(lambda each: problem.losses(each).sum())(delta)


def _ascend(problem: Problem, delta: Delta, gradient: Delta, epsilon: Float[Array, ""]) -> Delta:
    step = rescale(keep(problem.direction(keep(gradient, problem.mask)), problem.mask), epsilon)
    return project(jax.tree.map(jnp.add, delta, step), epsilon)
