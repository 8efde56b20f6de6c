"""The whole model retrained without single training texts: what influence is compared with.

From the stored parameters p on, (1/n) sum of the losses + damping / 2 |parameters - p|^2 is
minimised with all texts, and without one of them from there. The damping holds the model where it
was, as in the formula: with it the formula foretells this retraining, not one from the start (Bae
et al., arXiv:2209.05364). In float64: the effects are small differences.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from attnjax.losses import cross_entropy
from attnjax.model.attention import forward
from attnjax.types import Batch, Params, Stages

logger = logging.getLogger(__name__)
GRADIENT = 1e-7  # largest entry at which a minimum is reached
NEAR = 1e-5  # an entry above it is told: rounding may end a search before GRADIENT
STEPS = 3000
MEMORY = 20  # pairs of L-BFGS

Measure = Callable[[Params, Batch], Any]  # of examples, [*several, batch]


class Fit(NamedTuple):
    """What is minimised, once it is compiled.

    run    (flat start, number of the row left out, -1 of none) -> flat minimum, and the largest
           entry of the gradient there
    begin  the stored parameters, flat; unravel  flat -> as the model takes them
    """

    run: Callable[[np.ndarray, int], tuple[np.ndarray, float]]
    begin: np.ndarray
    unravel: Callable[[Any], Params]


def settled(
    stages: Stages,
    params: Params,
    training: Sequence[Batch],
    damping: float,
    check: Callable[[], None] = lambda: None,
) -> Params:
    """The minimum with all texts, in float32: where the premise of influence functions holds.

    training  as `retrained` takes it
    """
    with jax.enable_x64(True):
        fit = _fit(stages, params, training, damping, check)
        found = fit.unravel(fit.run(fit.begin, -1)[0])
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), found)


def retrained(
    stages: Stages,
    params: Params,
    measure: Measure,
    training: Sequence[Batch],
    tests: Batch,
    damping: float,
    rows: Int[np.ndarray, " removals"],
    check: Callable[[], None] = lambda: None,
) -> tuple[Float[np.ndarray, "removals *tests"], int]:
    """Change of each test's measure when a training row is left out and the rest is trained on.

    And how many of the trainings, that with all rows among them, have not come to a minimum: a line
    says so.
    training  on the host, every row once; `Batch.rows` says which each is, -1 filler
    rows      those left out, one at a time
    """
    with jax.enable_x64(True):
        fit = _fit(stages, params, training, damping, check)
        told = jax.jit(lambda flat, batch: measure(fit.unravel(flat), batch))
        tested = jax.device_put(_wide(tests))
        whole, left = fit.run(fit.begin, -1)
        before, found, slopes = np.asarray(told(whole, tested)), [], [left]
        for row in rows:
            minimum, left = fit.run(whole, int(row))
            found.append(np.asarray(told(minimum, tested)) - before)
            slopes.append(left)
    if unfinished := sum(each > NEAR for each in slopes):
        logger.warning(
            "influence: %d of %d trainings have not come to a minimum in %d steps (largest entry "
            "of a gradient %.1g); raise analysis.influence_damping",
            unfinished,
            len(slopes),
            STEPS,
            max(slopes),
        )
    return np.stack(found), unfinished


def _fit(
    stages: Stages,
    params: Params,
    training: Sequence[Batch],
    damping: float,
    check: Callable[[], None],
) -> Fit:
    """In float64, which must be on."""
    wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
    flat, unravel = ravel_pytree(wide)
    begin, real = np.asarray(flat), sum(int((each.rows >= 0).sum()) for each in training)

    @jax.jit
    def part(flat: Any, batch: Batch, share: Any) -> Any:
        def total(flat: Any) -> Any:
            logits = forward(stages, unravel(flat), batch).logits
            return jnp.sum(share * cross_entropy(logits, batch.labels))

        return jax.value_and_grad(total)(flat)

    placed = [jax.device_put(_wide(each)) for each in training]

    def run(start: np.ndarray, left: int) -> tuple[np.ndarray, float]:
        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            check()
            away = flat - begin
            value, slope = damping / 2 * float(away @ away), damping * away
            for host, batch in zip(training, placed, strict=True):
                share = (host.rows >= 0) & (host.rows != left)
                found, gradient = part(flat, batch, share / real)
                value, slope = value + float(found), slope + np.asarray(gradient)
            return value, slope

        return minimised(objective, start)

    return Fit(run, begin, unravel)


def minimised(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray
) -> tuple[np.ndarray, float]:
    """The minimum of (value, gradient), by L-BFGS (Liu & Nocedal 1989), and the gradient's size."""
    from scipy import optimize  # imported late: slow to load

    options = {"gtol": GRADIENT, "ftol": 0.0, "maxiter": STEPS, "maxfun": STEPS, "maxcor": MEMORY}
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return found.x, float(np.abs(found.jac).max())


def _wide(batch: Batch) -> Batch:
    return batch._replace(weight=np.asarray(batch.weight, np.float64))
