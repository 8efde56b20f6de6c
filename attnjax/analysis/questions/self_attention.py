"""Does the output need what each head attends to? Self-attention shuffled, one head at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from attnjax.analysis.importance.attention import SELF_ATTENTION
from attnjax.analysis.questions.counterfactual import random_permutations, total_variation
from attnjax.analysis.questions.layers import by_head
from attnjax.analysis.questions.question import About, Given, Question
from attnjax.config import AnalysisConfig
from attnjax.model.attention import attend
from attnjax.types import Batch, Inner, Params, Stages, Trace


def shuffled_heads(
    stages: Stages, params: Params, batch: Batch, trace: Trace, key: Key[Array, ""], count: int
) -> Float[Array, "batch layers heads"]:
    """Median total variation of the output over `count` shuffles of each head's self-attention.

    The permutation of attention (Jain & Wallace, arXiv:1902.10186, algorithm 2) put to a head of a
    layer: each token's row is shuffled among the text's tokens, <sos> and <eos> included, and what
    follows, attention over words too, is computed anew. A row of equal weights changes nothing.
    """
    layers = stages.layers(params, trace.embedded, batch, "text")
    if not layers:  # the configuration refuses this; a program without output would abort
        return jnp.zeros((len(batch.rows), 0, 0), trace.weights.dtype)
    scores = jnp.stack([each.scores for each in layers])  # [layers, batch, heads, from, to]
    real = stages.places(batch)
    tokens = real[:, :, None] & real[:, None, :]

    def change(place: Int[Array, "3"]) -> Float[Array, " batch"]:
        layer, head, _ = place
        own = scores[layer, :, head]
        # Softmax of shuffled scores is their softmax shuffled, and of no weight a ratio is taken.
        moved = jnp.take_along_axis(own, shuffles(real, batch.rows, key, place), axis=-1)
        difference = jnp.where(tokens, moved - own, 0)
        inner = Inner(score=jnp.zeros_like(scores).at[layer, :, head].set(difference))
        encoded = stages.encode(params, trace.embedded, batch, inner=inner)
        _, logits = attend(stages, params, encoded, stages.score(params, encoded), batch)
        return total_variation(jax.nn.softmax(logits, axis=-1), trace.probabilities)

    sizes = (len(layers), scores.shape[2], count)
    places = jnp.asarray(np.indices(sizes).reshape(3, -1).T, jnp.int32)
    changes = jax.lax.map(change, places).reshape(*sizes, -1)
    return jnp.moveaxis(jnp.median(changes, axis=2), -1, 0)


def shuffles(
    real: Bool[Array, "batch length"],
    rows: Int[Array, " batch"],
    key: Key[Array, ""],
    place: Int[Array, "3"],
) -> Int[Array, "batch length length"]:
    """For each token of each text a random order of its tokens, which are where `real` is True.

    At the place of each that of another: of tokens at 0, 1 and 3 a row is perhaps [3, 0, -, 1].
    place  layer, head and number of the shuffle, on which with the text's row and the token's place
    in it all depends
    """
    for each in place:
        key = jax.random.fold_in(key, each)
    keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)
    ranks = random_permutations(real, keys, jnp.arange(real.shape[-1]))
    tokens = jnp.argsort(~real, axis=-1, stable=True)  # of some models listed words lie between
    return jax.vmap(jnp.take)(tokens, ranks.swapaxes(0, 1))


def _ask(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        key, count = jax.random.key(seed), config.head_permutations
        return {"change": shuffled_heads(stages, params, batch, given.trace, key, count)}

    return ask


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """The number of shuffles, and a list of layers, each a list of its heads' summaries."""
    count = about.config.head_permutations
    return {"self_attention": {"permutations": count, "median_change": by_head(found["change"])}}


SELF_ATTENTION_QUESTION = Question(
    _ask,
    _answer,
    empty={"self_attention": None},
    wanted=lambda config: config.head_permutations > 0,
    encoders=SELF_ATTENTION,
)
