"""Does an explanation depend on what the model has learnt? It is asked under other parameters.

Methods that learn from training data, or that run on the host, are left out.
"""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.analysis.agreement import spearman
from attnjax.analysis.findings import by_class, describe
from attnjax.analysis.importance.subsets import random_ranks
from attnjax.analysis.moved import words_of
from attnjax.analysis.questions.question import About, Again, Question
from attnjax.config import AnalysisConfig
from attnjax.types import Batch, Stages

CASCADE = ("decode", "score", "encode", "embed")  # the order in which stages are drawn anew


def make_randomisation(
    stages: Stages, config: AnalysisConfig, seed: int, again: Again
) -> Callable[..., list[dict[str, Any]]]:
    """Builds ask(...) of `Question` -> for each run {"randomisation": name -> stage -> [batch]}.

    Spearman's correlation, over the text's words, of an explanation's magnitudes with those under
    parameters of which the stages down to this one, from the decoder on, are drawn anew (Adebayo et
    al., arXiv:1810.03292). An explanation that stays near 1 says nothing about what the model has
    learnt. "random" is that of two random orders.
    """
    del config
    drawn = jax.jit(stages.init)(jax.random.fold_in(jax.random.key(seed), len(CASCADE)))
    fresh = jax.device_get(drawn)
    cascades = {}
    for last, stage in enumerate(CASCADE):
        renewed = [
            {name: fresh[name] if name in CASCADE[: last + 1] else params[name] for name in params}
            for params in again.engine.params
        ]
        cascades[stage] = again.bind(again.engine.renewed(renewed))
    chance = jax.jit(lambda batch: _chance(batch, seed))
    correlation = jax.jit(spearman)

    def ask(
        batch: Batch,
        first: list[dict[str, np.ndarray]],
        names: Collection[str],
        advance: Callable[[float], None],
    ) -> list[dict[str, Any]]:
        placed, words = again.engine.place(batch), words_of(batch)
        nothing, able = np.full(len(batch.rows), np.nan), set(again.names) - again.fitted
        asked = [name for name in names if name in able]
        found: list[dict[str, Any]] = [
            {name: dict.fromkeys(CASCADE, nothing) for name in each if name in able}
            for each in first
        ]
        for stage, explain in cascades.items():
            for run, (before, after) in enumerate(
                zip(first, explain(placed, None, asked), strict=True)
            ):
                for name in asked:
                    found[run][name][stage] = np.asarray(
                        correlation(np.abs(before[name]), np.abs(after[name]), words)
                    )
            advance(float(np.sum(batch.rows >= 0)) / len(CASCADE))
        floor = np.asarray(chance(batch._replace(query=None)))
        return [
            {"randomisation": each | {"random": dict.fromkeys(CASCADE, floor)}} for each in found
        ]

    return ask


def _chance(batch: Batch, seed: int) -> Any:
    key, dtype = jax.random.key(seed), jnp.asarray(batch.weight).dtype
    one, other = (random_ranks(key, jnp.asarray(k), batch).astype(dtype) for k in range(2))
    return spearman(one, other, batch.words)


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    predictions, labels = about.study.predictions, about.labels
    return {
        "randomisation": {
            name: {**describe(each), "by_class": by_class(each, predictions, labels)}
            for name, each in found["randomisation"].items()
        }
    }


RANDOMISATION = Question(
    make_randomisation,
    _answer,
    empty={"randomisation": None},
    record=("randomisation",),
    over="methods",
)
