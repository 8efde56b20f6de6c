"""One compiled call on a batch: attention, every importance, and what attention could have been."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.analysis.counterfactual import Adversary, adversarial, permutation, uniform
from attnjax.analysis.importance import DETACHABLE, DIAGNOSTICS, METHODS, measures_queries
from attnjax.analysis.importance.gradient import detached
from attnjax.config import AnalysisConfig
from attnjax.errors import UserError
from attnjax.losses import cross_entropy
from attnjax.model.attention import forward
from attnjax.types import Batch, Params, Stages


def make_explain(
    stages: Stages, config: AnalysisConfig, seed: int
) -> Callable[[Params, Batch], dict[str, Any]]:
    """Builds explain(params, batch) -> a tree of arrays with one row per example.

    "words", "explanations"         of the text: the mask, and [batch, length] by name: attention
                                    and each of config.methods
    "query_words", "query_explanations"  likewise of the query, without attention; pairs only, and
                                    of the methods that measure queries
    "probabilities"                 [batch, classes]
    "diagnostics"                   by method, [batch]: see `importance.DIAGNOSTICS`
    "permutation", "adversarial"    see `counterfactual`; left out where the configuration says 0
    "uniform"                       "probabilities" and "loss" under uniform attention
    """
    held = detached(stages)

    def importance(name: str, words: Any, *rest: Any) -> Any:
        hold = config.detach_attention and name in DETACHABLE
        found = METHODS[name](held if hold else stages, *rest)
        if jnp.shape(found) != words.shape:
            raise UserError(
                f"the importance method '{name}' returns {jnp.shape(found)} where "
                f"[batch, length] is {words.shape}"
            )
        return found

    def explain(params: Params, batch: Batch) -> dict[str, Any]:
        trace = forward(stages, params, batch)
        key = jax.random.key(seed)
        found: dict[str, Any] = {
            "words": batch.words,
            "explanations": {"attention": trace.weights},
            "probabilities": trace.probabilities,
            "diagnostics": {
                name: DIAGNOSTICS[name](stages, params, batch)
                for name in config.methods
                if name in DIAGNOSTICS
            },
        }
        for name in config.methods:
            found["explanations"][name] = importance(name, batch.words, params, batch, key)
        if batch.query is not None:
            found["query_words"] = batch.query_words
            found["query_explanations"] = {
                name: importance(name, batch.query_words, params, batch, key, "query")
                for name in config.methods
                if measures_queries(name)
            }
        if config.permutations:
            found["permutation"] = permutation(stages, params, batch, key, config.permutations)
        if config.adversaries:
            settings = Adversary(
                adversaries=config.adversaries,
                steps=config.adversary_steps,
                epsilon=config.adversary_epsilon,
            )
            found["adversarial"] = adversarial(stages, params, batch, key, settings)
        flat = uniform(stages, params, batch)
        logits = jnp.log(jnp.maximum(flat, jnp.finfo(flat.dtype).tiny))
        found["uniform"] = {"probabilities": flat, "loss": cross_entropy(logits, batch.labels)}
        return found

    return explain
