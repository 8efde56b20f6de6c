"""Test accuracy under perturbations of growing size: is the trained model robust, and to what?"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attnjax.analysis.questions.question import About, Given, Question
from attnjax.config import AnalysisConfig
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


def make_robustness(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask(params, batch, given) -> kind -> [batch, epsilons], 1 where still predicted right.

    Kinds: random and worst-case perturbations of L2 norm epsilon, of word vectors and of attention
    scores, where the model has some over its states. The worst case takes `robustness_steps` ascent
    steps on the loss of the true label.
    """
    kinds = [kind for kind in KINDS if stages.over_words or KINDS[kind][0] == "word"]

    def ask(
        params: Params, batch: Batch, given: Given
    ) -> dict[str, Float[Array, "batch epsilons"]]:
        trace, key = given.trace, jax.random.key(seed)

        def by_words(delta: Embedded) -> Float[Array, "batch classes"]:
            return forward(stages, params, batch, Perturbation(embed=delta)).logits

        def by_scores(delta: Float[Array, "batch length"]) -> Float[Array, "batch classes"]:
            return attend(stages, params, trace.encoded, trace.scores + delta, batch)[1]

        words: Any = stages.attended(batch)
        mask: Any = Embedded(words, None if batch.query is None else batch.query_words)  # pyright: ignore
        levels = {
            "word": (by_words, jax.tree.map(jnp.zeros_like, trace.embedded), mask),
            "attention": (by_scores, jnp.zeros_like(trace.scores), words),
        }

        def right(kind: str, epsilon: Float[Array, ""]) -> Float[Array, " batch"]:
            level, find = KINDS[kind]
            logits, zeros, where = levels[level]
            problem = Problem(
                lambda delta: cross_entropy(logits(delta), batch.labels), zeros, where, batch.rows
            )
            delta = find(problem, Settings(epsilon, config.robustness_steps), key)
            predicted = logits(delta).argmax(axis=-1).astype(batch.labels.dtype)
            return (predicted == batch.labels).astype(trace.scores.dtype)

        grid = jnp.asarray(sorted(config.robustness), trace.scores.dtype)
        return {
            kind: jax.lax.map(lambda epsilon, kind=kind: right(kind, epsilon), grid).T
            for kind in kinds
        }

    return ask


def _answer(found: dict[str, np.ndarray], about: About) -> dict[str, Any]:
    """Accuracy of each kind at each epsilon."""
    accuracies = {kind: [float(v) for v in np.mean(rows, axis=0)] for kind, rows in found.items()}
    return {"robustness": {"epsilon": sorted(about.config.robustness), **accuracies}}


ROBUSTNESS = Question(
    make_robustness,
    _answer,
    empty={"robustness": None},
    wanted=lambda config: bool(config.robustness),
    place="results",
)
