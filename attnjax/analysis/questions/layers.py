"""Which layers and heads of self-attention agree with importance."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attnjax.analysis.agreement import kendall_tau
from attnjax.analysis.findings import describe
from attnjax.analysis.importance import method_named
from attnjax.analysis.importance.attention import SELF_ATTENTION, Matrix, read_by
from attnjax.analysis.questions.question import About, Given, Question
from attnjax.config import AnalysisConfig
from attnjax.types import Batch, Params, Stages


def make_layers(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask(params, batch, given) -> {"layers", "off_words"}.

    layers     importance -> [batch, layers, heads], Kendall's tau, over the text's words, of the
               importance's magnitudes with what a head attends to, read where attention over words
               reads: sum_i a_i A_ij
    off_words  [batch, layers, heads], the share of what is read that falls on no word of the text:
               on its ends, where words have pieces on their markers, and of pairs that are encoded
               as one sequence on the query; NaN without a word
    """
    del seed
    names = [name for name in config.methods if method_named(name).kind == "importance"]

    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        trace = given.trace
        layers = stages.layers(params, trace.embedded, batch, "text")
        if not layers:  # the configuration refuses this; a program without output would abort
            nothing = jnp.zeros((len(batch.rows), 0, 0), trace.weights.dtype)
            return {"layers": dict.fromkeys(names, nothing), "off_words": nothing}
        every = jnp.stack([each.weights for each in layers])  # [layers, batch, heads, from, to]
        heads = every.swapaxes(1, 2).reshape(-1, *every.shape[1:2], *every.shape[3:])

        def of_heads(of_head: Callable[[Matrix], Float[Array, " batch"]]) -> Array:
            return jax.lax.map(of_head, heads).T.reshape(len(batch.rows), len(layers), -1)

        def off_words(matrix: Matrix) -> Float[Array, " batch"]:
            read = read_by(trace.weights, stages.of_words(batch, matrix), batch).sum(axis=-1)
            return jnp.where(batch.words.any(axis=-1), 1 - read, jnp.nan)

        def agreement(importance: Float[Array, "batch length"]) -> Array:
            def of_head(matrix: Matrix) -> Float[Array, " batch"]:
                read = read_by(trace.weights, stages.of_words(batch, matrix), batch)
                return kendall_tau(read, jnp.abs(importance), batch.words)

            return of_heads(of_head)

        taus = {name: agreement(given.explanations[name]["text"]) for name in names}
        return {"layers": taus, "off_words": of_heads(off_words)}

    return ask


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """importance -> a list of layers, first to last, each a list of its heads' summaries.

    Likewise the shares that fall on no word.
    """
    del about
    return {
        "layers": {name: by_head(values) for name, values in found["layers"].items()},
        "off_words": by_head(found["off_words"]),
    }


def by_head(values: np.ndarray) -> list[list[dict[str, Any]]]:
    """[rows, layers, heads] -> a list of layers, each a list of its heads' summaries."""
    rows, layers, heads = values.shape
    columns = values.reshape(rows, layers * heads).T
    described = list(describe({str(k): column for k, column in enumerate(columns)}).values())
    return [described[layer * heads : (layer + 1) * heads] for layer in range(layers)]


LAYERS = Question(make_layers, _answer, empty={}, encoders=SELF_ATTENTION)
