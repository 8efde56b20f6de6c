"""Test accuracy under perturbations of growing size: is the trained model robust, and to what?"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attnjax.losses import cross_entropy
from attnjax.model.attention import attend, forward
from attnjax.perturb.ascent import Problem, Settings, random_perturbation, worst_case
from attnjax.types import Batch, Embedded, Params, Perturbation, Stages

KINDS = {
    "word_random": ("word", random_perturbation),
    "word_worst": ("word", worst_case),
    "attention_random": ("attention", random_perturbation),
    "attention_worst": ("attention", worst_case),
}


def make_robustness(
    stages: Stages, epsilons: tuple[float, ...], steps: int, seed: int
) -> Callable[[Params, Batch], dict[str, Float[Array, "batch epsilons"]]]:
    """Builds evaluate(params, batch) -> kind -> [batch, epsilons], 1 where still predicted right.

    Kinds: random and worst-case perturbations of L2 norm epsilon, of word vectors and of attention
    scores. The worst case takes `steps` ascent steps on the loss of the true label.
    """

    def evaluate(params: Params, batch: Batch) -> dict[str, Float[Array, "batch epsilons"]]:
        trace = forward(stages, params, batch)
        key = jax.random.key(seed)

        def by_words(delta: Embedded) -> Float[Array, "batch classes"]:
            return forward(stages, params, batch, Perturbation(embed=delta)).logits

        def by_scores(delta: Float[Array, "batch length"]) -> Float[Array, "batch classes"]:
            return attend(stages, params, trace.encoded, trace.scores + delta, batch)[1]

        mask: Any = Embedded(batch.words, None if batch.query is None else batch.query_words)  # pyright: ignore
        levels = {
            "word": (by_words, jax.tree.map(jnp.zeros_like, trace.embedded), mask),
            "attention": (by_scores, jnp.zeros_like(trace.scores), batch.words),
        }

        def right(kind: str, epsilon: Float[Array, ""]) -> Float[Array, " batch"]:
            level, find = KINDS[kind]
            logits, zeros, where = levels[level]
            problem = Problem(
                lambda delta: cross_entropy(logits(delta), batch.labels), zeros, where, batch.rows
            )
            delta = find(problem, Settings(epsilon, steps), key)
            predicted = logits(delta).argmax(axis=-1).astype(batch.labels.dtype)
            return (predicted == batch.labels).astype(trace.scores.dtype)

        grid = jnp.asarray(epsilons, trace.scores.dtype)
        return {
            kind: jax.lax.map(lambda epsilon, kind=kind: right(kind, epsilon), grid).T
            for kind in KINDS
        }

    return evaluate


def summarise_robustness(
    found: dict[str, list[np.ndarray]], epsilons: tuple[float, ...]
) -> dict[str, list[float]]:
    """Accuracy of each kind at each epsilon; found  kind -> one row [epsilons] an example."""
    accuracies = {kind: [float(v) for v in np.mean(rows, axis=0)] for kind, rows in found.items()}
    return {"epsilon": list(epsilons), **accuracies}
