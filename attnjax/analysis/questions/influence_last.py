"""Influence through the last layer alone: exact there, blind to what a text did to those below."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from attnjax.analysis import influence
from attnjax.analysis.influence import Head, Problem, Weights
from attnjax.analysis.last_inputs import Seen, make_by_word, make_inputs
from attnjax.analysis.questions.influence_texts import Asked, Found, extremes, words_of
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, collate, map_rows
from attnjax.types import Batch


class Last(NamedTuple):
    """The last layer with all training texts: its problem, derivatives and inverse Hessian."""

    problem: Problem
    weights: Weights
    found: Head
    inverted: np.ndarray
    damping: float

    @property
    def self_influence(self) -> np.ndarray:
        """Of each training text."""
        return influence.self_influence(self.problem, self.found, self.inverted)


def last_layer(asked: Asked, damping: float) -> Last:
    """Raises UserError where the Hessian is not positive, or too large."""
    call = partial(jax.jit(make_inputs(asked.stages)), asked.params)
    problem = _problem(call, asked.training, asked)
    last = asked.params["decode"]["logits"]
    weights = np.concatenate([last["kernel"], last["bias"][None]]).T.astype(np.float64)
    found = influence.head(problem, weights)
    whole = influence.hessian(problem, found, damping)
    return Last(problem, weights, found, influence.inverse(whole, damping), damping)


def effects_of_last(
    asked: Asked, config: AnalysisConfig, last: Last, random: np.random.Generator
) -> Found:
    """The effects on the tests' losses."""
    problem, found, inverted = last.problem, last.found, last.inverted
    call = partial(jax.jit(make_inputs(asked.stages)), asked.params)
    test = _problem(call, asked.tests, asked)
    tested = influence.head(test, last.weights)
    solved = influence.solutions(test, tested, inverted)
    left = influence.corrected(problem, found, inverted) if config.influence_leverage else found
    effects = influence.effects(problem, left, solved)
    checked = None
    if config.influence_check:
        checked = influence.check(
            problem, test, last.weights, effects, last.damping, config.influence_check, random
        )
    slopes = influence.gradients(test, tested)
    whole = influence.hessian(problem, found, last.damping)
    missed = whole @ solved.reshape(len(slopes), -1).T - slopes.T
    sizes = np.maximum(np.linalg.norm(slopes, axis=1), np.finfo(float).tiny)
    mean = influence.gradients(problem, found).mean(axis=0)
    summary = {
        "scope": "last layer",
        "parameters": inverted.shape[0],
        "damping": last.damping,
        "leverage": config.influence_leverage,
        "gradient_norm": float(np.linalg.norm(mean)),
        "residual": float((np.linalg.norm(missed, axis=0) / sizes).max(initial=0)),
    }
    return Found(effects, _by_word(asked, effects, solved), summary, checked)


def _problem(call: Callable[[Batch], Seen], split: EncodedSplit, asked: Asked) -> Problem:
    """The rows of a split as the last map sees them."""

    def host(batch: Batch) -> Any:
        return jax.device_get(call(batch)._asdict())

    found = map_rows(host, split, asked.shapes, min(asked.chunk, len(split)), asked.check)
    inputs = np.stack(found["inputs"]).astype(np.float64)
    classes = len(found["probabilities"][0])
    shared = asked.params["decode"]["logits"]["kernel"].shape[1] < classes
    return Problem(inputs, split.labels, classes, shared, split.candidates)


def _by_word(
    asked: Asked, effects: np.ndarray, solved: np.ndarray
) -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """What every word of the texts that are told adds to the effect of its text."""
    training, call = asked.training, jax.jit(make_by_word(asked.stages))
    pairs = [(row, of) for of, rows in enumerate(extremes(effects, asked.most)) for row in rows]
    found, size = {}, min(asked.chunk, len(pairs))
    for start in range(0, len(pairs), max(size, 1)):
        asked.check()
        some = pairs[start : start + size]
        filled = [*some, *[some[0]] * (size - len(some))]
        batch = collate(training, np.array([row for row, _ in filled]), size, asked.shapes)
        factor = solved[[of for _, of in filled]].astype(np.float32)
        values = jax.device_get(call(asked.params, batch, factor / np.float32(len(training))))
        for place, (row, of) in enumerate(some):
            found[row, of] = words_of(values, place, training, row)
    return found
