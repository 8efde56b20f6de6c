"""Influence through all parameters, on a test's loss or its attention; and TracIn, its rival."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from attnjax.analysis import all_parameters, influence, removals
from attnjax.analysis.all_parameters import Many, Side, Work
from attnjax.analysis.conjugate import (
    Solution,
    damping_that_converges,
    damping_that_works,
    solve,
)
from attnjax.analysis.questions.influence_texts import Asked, Found, extremes, words_of
from attnjax.analysis.questions.question import Kept
from attnjax.config import OPTIONS, AnalysisConfig
from attnjax.data.batches import EncodedSplit, collate, evaluation_batches, sample
from attnjax.errors import UserError
from attnjax.types import Params

logger = logging.getLogger(__name__)

ROUNDED = 10  # times the tolerance that rounding may leave

# A group of tests, its gradients by given parameters -> the addends of its effects
Sides = Callable[[Callable[[Params], Many]], list[Side]]


class Way(NamedTuple):
    """How the effects come about: their addends, and what they rest on, once all are found."""

    sides: Sides
    summary: Callable[[], dict[str, Any]]


def effects_of_all(
    asked: Asked,
    config: AnalysisConfig,
    kept: Callable[[], Sequence[Kept]],
    seed: int,
    random: np.random.Generator,
) -> Found:
    """The effects on what `influence_target` names of each test.

    Raises UserError where the damped matrix is not positive, or no checkpoint is kept.
    """
    params, target = jax.tree.map(jnp.asarray, asked.params), config.influence_target
    size = min(asked.chunk, len(asked.training))
    batches = list(evaluation_batches(asked.training, asked.shapes, size))
    work = all_parameters.work_on(asked.stages, batches, len(asked.training), asked.check)
    if config.influence_scope == "tracin":
        way = _tracin(kept())
    else:
        way = _conjugate(work, params, asked, config, seed)
    slopes = jax.jit(all_parameters.make_slopes(asked.stages, target))
    places = jax.jit(all_parameters.make_places(asked.stages))
    by_word = jax.jit(all_parameters.make_by_word(asked.stages))
    together = min(len(asked.tests), all_parameters.at_once(params))
    effects, words, looked_at = [], {}, []
    for start in range(0, len(asked.tests), together):
        rows = np.arange(start, min(start + together, len(asked.tests)))
        filled = np.resize(rows, together)  # one shape for all groups
        batch = collate(asked.tests, filled, together, asked.shapes)
        looked = places(params, batch)
        sides = way.sides(partial(slopes, batch=batch, places=looked))
        effects.append(all_parameters.effects_of(work, sides)[:, : len(rows)])
        looked_at.append(np.asarray(looked)[: len(rows)])
        for place, told in enumerate(extremes(effects[-1], asked.most)):
            for row, values in _by_word(asked, by_word, sides, place, told).items():
                words[row, start + place] = values
    whole = np.concatenate(effects, axis=1)
    checked = None
    if config.influence_check:
        rows = influence.removed(whole, config.influence_check, random)
        real, unfinished = retrained_without(asked, config, rows)
        checked = influence.compared(rows, real.ravel(), whole[rows].ravel())
        checked = checked._replace(unfinished=unfinished)
    summary = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "leverage": False,
        "gradient_norm": all_parameters.mean_gradient(work, params),
        **way.summary(),
    }
    # <sos> is no word
    attended = np.concatenate(looked_at) - 1 if target == "attention" else None
    return Found(whole, words, summary, checked, attended)


def _conjugate(work: Work, params: Params, asked: Asked, config: AnalysisConfig, seed: int) -> Way:
    """The gradients, solved for in the damped Gauss-Newton matrix."""
    damping, count = config.influence_damping, config.influence_curvature
    rows = sample(len(asked.training), count, seed)
    curved = work
    if len(rows) < len(asked.training):
        part = asked.training.take(rows)
        batches = list(evaluation_batches(part, asked.shapes, min(asked.chunk, len(part))))
        curved = work._replace(batches=jax.device_put(batches), texts=len(part))
    multiply = all_parameters.multiplier(curved, params, damping)
    unravel = jax.vmap(ravel_pytree(params)[1])
    solutions: list[Solution] = []

    def sides(slopes: Callable[[Params], Many]) -> list[Side]:
        right = all_parameters.flat(slopes(params))
        most, tolerance = config.influence_iterations, config.influence_tolerance
        found = solve(multiply, right, tolerance, most)
        if not found.positive:
            least = damping_that_works(found, damping, float(jnp.finfo(right.dtype).eps))
            raise UserError(
                f"influence: the matrix of all parameters is not positive with "
                f"analysis.influence_damping={damping:g}; the smallest that works is about "
                f"{least:.2g}"
            )
        solutions.append(found)
        return [Side(params, unravel(found.vectors), 1 / work.texts)]

    def summary() -> dict[str, Any]:
        return _solved(solutions, len(asked.tests), len(rows), config)

    return Way(sides, summary)


def _solved(
    solutions: list[Solution], tests: int, rows: int, config: AnalysisConfig
) -> dict[str, Any]:
    """What the search came to; warns where it did not come to its end.

    tests  how many there are: the last group is filled up with others
    """
    residuals = np.concatenate([each.residuals for each in solutions])[:tests]
    iterations = np.concatenate([each.iterations for each in solutions])[:tests]
    most, tolerance = config.influence_iterations, config.influence_tolerance
    # Rounding may leave a little more than the steps themselves knew of.
    allowed = np.where(iterations < most, ROUNDED, 1) * tolerance
    missed = residuals > allowed
    needed = max(
        damping_that_converges(each, config.influence_damping, tolerance, most)
        for each in solutions
    )
    possible = needed <= OPTIONS["analysis.influence_damping"].most
    if missed.any():
        advice = f", or analysis.influence_damping to {needed:.2g}" if possible else ""
        logger.warning(
            "influence: conjugate gradients have not converged after %d iterations (residual "
            "%.2g); raise analysis.influence_iterations%s",
            most,
            residuals.max(),
            advice,
        )
    return {
        "scope": "all parameters",
        "damping": config.influence_damping,
        "residual": float(residuals.max(initial=0)),
        "iterations": int(iterations.max(initial=0)),
        "not_converged": int(missed.sum()),
        "damping_that_converges": needed if missed.any() and possible else None,
        "curvature_examples": rows,
    }


def _tracin(kept: Sequence[Kept]) -> Way:
    """The gradients themselves, at every checkpoint."""
    if not kept:
        raise UserError(
            "analysis.influence_scope=tracin sums over the checkpoints that a run kept, and here "
            "are none; use python -m attnjax.analyze on the run's folder"
        )
    if not any(each.rate for each in kept):
        raise UserError(
            "analysis.influence_scope=tracin weighs checkpoints by their learning rates, and those "
            "of all that the run kept are 0; set analysis.influence_scope to all, or to last_layer"
        )

    def sides(slopes: Callable[[Params], Many]) -> list[Side]:
        return [Side(each.params, slopes(each.params), each.rate) for each in kept]

    def summary() -> dict[str, Any]:
        return {
            "scope": "TracIn",
            "damping": None,
            "residual": None,
            "checkpoints": [each.step for each in kept],
            "rates": [each.rate for each in kept],
        }

    return Way(sides, summary)


def _by_word(
    asked: Asked, call: Callable[..., Any], sides: Sequence[Side], place: int, rows: list[int]
) -> dict[int, dict[str, np.ndarray]]:
    """What every word of these training rows adds to their effects on one test of the sides'."""
    asked.check()
    size = min(2 * asked.most, len(asked.training))
    filled = np.array([*rows, *[rows[0]] * (size - len(rows))])
    batch = collate(asked.training, filled, size, asked.shapes)
    parts = []
    for params, vectors, factor in sides:
        own = jax.tree.map(lambda leaf: leaf[place], vectors)
        found = jax.device_get(call(params, batch, own))
        parts.append({name: factor * values for name, values in found.items()})
    total = {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}
    return {row: words_of(total, at, asked.training, row) for at, row in enumerate(rows)}


def retrained_without(
    asked: Asked, config: AnalysisConfig, rows: Int[np.ndarray, " removals"]
) -> tuple[Float[np.ndarray, "removals tests"], int]:
    """`removals.retrained`: changes of what is asked of the tests without each of the rows."""
    quantity = all_parameters.make_quantity(asked.stages, config.influence_target)
    size, count = min(asked.chunk, len(asked.training)), len(asked.tests)
    tests = collate(asked.tests, np.arange(count), count, asked.shapes)
    places = jax.jit(all_parameters.make_places(asked.stages))(asked.params, tests)
    return removals.retrained(
        asked.stages,
        asked.params,
        lambda params, batch: quantity(params, batch, places),
        list(evaluation_batches(asked.training, asked.shapes, size)),
        tests,
        config.influence_damping,
        rows,
        asked.check,
    )


def labelled(split: EncodedSplit, rows: Int[np.ndarray, " some"]) -> Int[np.ndarray, " known"]:
    """Those of the rows whose label some training text has: others have no loss."""
    return rows[split.labels[rows] >= 0]
