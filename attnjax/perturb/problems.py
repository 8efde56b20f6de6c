"""What a technique of each level perturbs: word vectors, attention scores, self-attention's scores.

They know no model: what they need of it comes as arrays, or as functions that give some.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnjax.config import AdversaryConfig
from attnjax.errors import UserError
from attnjax.perturb.ascent import Problem
from attnjax.perturb.differences import (
    along_directions,
    score_direction,
    score_start,
    word_directions,
)
from attnjax.perturb.norms import Delta, gaussian_pairs
from attnjax.perturb.techniques import Technique
from attnjax.types import Batch, Embedded

Losses = Callable[[Any], Float[Array, " batch"]]


def score_problem(
    losses: Losses,
    scores: Float[Array, "batch length"],
    words: Bool[Array, "batch length"],
    batch: Batch,
    technique: Technique,
    adversary: AdversaryConfig,
) -> Problem:
    """Perturbing the attention scores of an example's words, those that are attended to."""
    problem = Problem(losses, jnp.zeros_like(scores), words, batch.rows)
    if not technique.interpretable:
        return problem
    if adversary.reference_compat == "amep":
        # The released iAT drops its directions and descends: it is minus AT (papers 1.3, 2 and 3).
        return problem._replace(direction=lambda gradient: -gradient)
    return _along_differences(problem, scores, adversary)


def word_problem(
    losses: Losses,
    embedded: Embedded,
    gradient: Embedded | None,
    mask: Embedded,
    batch: Batch,
    technique: Technique,
    adversary: AdversaryConfig,
    neighbours: Int[Array, "words nearest"] | None,
    vectors_of: Callable[[int], Float[Array, "words embed"]],
) -> Problem:
    """Perturbing the word vectors of an example, of text and query together.

    gradient    of the losses where nothing is perturbed, None if it is not known
    mask        True on entries of vectors that the encoder reads
    vectors_of  number of words -> all their vectors; called for techniques towards other words
    """
    zeros = jax.tree.map(jnp.zeros_like, embedded)
    problem = Problem(losses, zeros, mask, batch.rows, gradient=gradient)
    if not technique.interpretable:
        return problem
    assert neighbours is not None
    table = vectors_of(len(neighbours))
    tokens = Embedded(batch.tokens, batch.query)  # pyright: ignore
    directions = jax.tree.map(
        lambda vectors, ids: word_directions(table, vectors, ids, neighbours), embedded, tokens
    )
    axis = adversary.alpha_axis
    return problem._replace(
        direction=lambda g: jax.tree.map(
            lambda each, towards: along_directions(each, towards, axis), g, directions
        ),
        start=jax.tree.map(lambda towards: towards.mean(axis=2), directions),
    )


def inner_problem(
    losses: Losses,
    zeros: Float[Array, "batch layers heads places places"],
    gradient: Delta | None,
    rows: Int[Array, " batch"],
    real: Bool[Array, "batch places"],
    technique: Technique,
    adversary: AdversaryConfig,
    scores_of: Callable[[], Float[Array, "batch layers heads places places"]],
) -> Problem:
    """Perturbing the scores of self-attention over an example's text.

    One vector, whose norm is epsilon, holds all that may be moved: every score from a token to a
    token, <sos> and <eos> among them, of every head in the layers of `adversary.layers`, all layers
    where that is empty. The attention techniques are defined for the one row of scores that words
    have (Kitada & Iyatomi, arXiv:2009.12064); here a row is what one head's softmax of one token
    takes, and the differences of iAT and iVAT are those within a row, for softmax sees no others.
    Where they are normalised over the sentence, that is over all rows.
    real       True on what the layers see; scores_of  gives the clean scores; called for techniques
               along their differences
    """
    tokens = real[:, None, None, :, None] & real[:, None, None, None, :]
    layers = np.arange(zeros.shape[1]) + 1
    if (last := max(adversary.layers, default=0)) > len(layers):
        raise UserError(f"adversary.layers names layer {last}, and the encoder has {len(layers)}")
    chosen = np.isin(layers, adversary.layers) if adversary.layers else layers > 0
    mask = tokens & jnp.asarray(chosen)[None, :, None, None, None]
    mask = jnp.broadcast_to(mask, zeros.shape)
    problem = Problem(losses, zeros, mask, rows, gradient=gradient, noise=gaussian_pairs)
    if not technique.interpretable:
        return problem
    return _along_differences(problem, scores_of(), adversary)


def _along_differences(problem: Problem, scores: Array, adversary: AdversaryConfig) -> Problem:
    """The problem whose steps follow differences within a row of scores."""
    words, axes = problem.mask, (adversary.difference_axis, adversary.alpha_axis)
    return problem._replace(
        direction=lambda g: score_direction(g, scores, words, *axes),
        start=score_start(scores, words, adversary.difference_axis),
    )
