"""Which layers and heads of self-attention agree with importance."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attnjax.analysis.agreement import kendall_tau
from attnjax.analysis.findings import describe
from attnjax.analysis.importance import method_named
from attnjax.analysis.importance.attention import SELF_ATTENTION, read_by
from attnjax.analysis.questions.question import About, Given, Question
from attnjax.config import AnalysisConfig
from attnjax.types import Batch, Params, Stages


def make_layers(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask(params, batch, given) -> {"layers": importance -> [batch, layers, heads]}.

    Kendall's tau, over the text's words, of the importance's magnitudes with what a head attends
    to, read where attention over words reads: sum_i a_i A_ij.
    """
    del seed
    names = [name for name in config.methods if method_named(name).kind == "importance"]

    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        trace = given.trace
        layers = stages.layers(params, trace.embedded, batch, "text")
        if not layers:  # the configuration refuses this; a program without output would abort
            nothing = jnp.zeros((len(batch.rows), 0, 0), trace.weights.dtype)
            return {"layers": dict.fromkeys(names, nothing)}
        every = jnp.stack([each.weights for each in layers])  # [layers, batch, heads, from, to]
        heads = every.swapaxes(1, 2).reshape(-1, *every.shape[1:2], *every.shape[3:])

        def agreement(importance: Float[Array, "batch length"]) -> Array:
            def of_head(matrix: Float[Array, "batch places places"]) -> Float[Array, " batch"]:
                read = read_by(trace.weights, stages.of_words(batch, matrix), batch)
                return kendall_tau(read, jnp.abs(importance), batch.words)

            found = jax.lax.map(of_head, heads)
            return found.T.reshape(len(batch.rows), len(layers), -1)

        return {"layers": {name: agreement(given.explanations[name]["text"]) for name in names}}

    return ask


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """importance -> a list of layers, first to last, each a list of its heads' summaries."""
    del about
    return {"layers": {name: by_head(values) for name, values in found["layers"].items()}}


def by_head(values: np.ndarray) -> list[list[dict[str, Any]]]:
    """[rows, layers, heads] -> a list of layers, each a list of its heads' summaries."""
    rows, layers, heads = values.shape
    columns = values.reshape(rows, layers * heads).T
    described = list(describe({str(k): column for k, column in enumerate(columns)}).values())
    return [described[layer * heads : (layer + 1) * heads] for layer in range(layers)]


LAYERS = Question(make_layers, _answer, empty={}, encoders=SELF_ATTENTION)
