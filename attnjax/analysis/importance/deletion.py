"""Importance by deleting words."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from attnjax.analysis.importance.method import Method, traced
from attnjax.analysis.importance.target import fall, read_logits
from attnjax.model import segments
from attnjax.model.attention import forward
from attnjax.types import UNK, Batch, Params, Segment, Stages, Trace

BOTH: tuple[Segment, ...] = ("text", "query")


class Deleted(NamedTuple):
    """What deleting each word of a segment does to the output, [batch, length], 0 off the words.

    variation  total variation between the class probabilities with and without it, in [0, 1]
    drop       by how much the probability of the predicted class falls, in [-1, 1]
    """

    variation: Float[Array, "batch length"]
    drop: Float[Array, "batch length"]


def deletions(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]
) -> dict[str, Deleted]:
    """Segment -> `Deleted`; the class is the one predicted of the whole example.

    The word is really deleted: the sequence closes up and is one token shorter. What is left of a
    one-word text gets no attention at all, which is defined.
    """
    del key
    trace = forward(stages, params, batch)
    embedded, probabilities = trace.embedded, trace.probabilities
    classes = trace.logits.argmax(axis=-1)
    others = jnp.arange(probabilities.shape[-1])[None] != classes[:, None]

    def of_segment(segment: Segment) -> Deleted:
        words = segments.words(batch, segment)
        without = stages.quick.encode_without(params, embedded, batch, segment)

        def change(position: Int[Array, ""]) -> tuple[Array, Array]:
            encoded, left = without(position)
            shorter = segments.with_tokens(batch, segment, left)
            logits = read_logits(stages, params, encoded, shorter)
            drop = fall(trace.logits, logits, classes)
            change = jnp.abs(probabilities - jax.nn.softmax(logits, axis=-1))
            return (jnp.abs(drop) + change.sum(axis=-1, where=others)) / 2, drop

        def add(position: Int[Array, ""], found: tuple[Array, Array]) -> tuple[Array, Array]:
            variation, drop = (
                each.at[position].set(new)
                for each, new in zip(found, change(position), strict=True)
            )
            return variation, drop

        # One position after the other, so that memory stays that of one pass; none after the last
        # word.
        end = jnp.max(jnp.where(words, jnp.arange(1, words.shape[1] + 1), 0))
        nothing = jnp.zeros(words.shape[::-1], probabilities.dtype)
        found = jax.lax.fori_loop(0, end, add, (nothing, nothing))
        return Deleted(*(jnp.where(words, each.T, 0) for each in found))

    return {each: of_segment(each) for each in BOTH if each == "text" or batch.query is not None}


def leave_one_out(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: dict[str, Deleted],
) -> Float[Array, "batch length"]:
    """Total variation between the output and the output without the word (papers 3.3), in [0, 1].

    Over all classes: half the sum of |differences| of their probabilities. Of two classes that is
    how far the predicted one's moves, of more it also counts what passes between the others;
    `leave_one_out_signed` is about the predicted class alone.
    shared  `deletions`
    """
    del stages, params, batch, key
    return shared[segment].variation


def leave_one_out_signed(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: dict[str, Deleted],
) -> Float[Array, "batch length"]:
    """p(e) - p(e without the word), p the predicted class's probability, in [-1, 1].

    + where the word speaks for the class: without it the probability falls.
    shared  `deletions`
    """
    del stages, params, batch, key
    return shared[segment].drop


def occlusion(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    shared: Trace,
) -> Float[Array, "batch length"]:
    """p(e) - p(e with the unknown word in the word's place), p of the predicted class; signed.

    The text keeps its length, unlike where a word is left out.
    shared  `traced`
    """
    del key
    words, tokens = segments.words(batch, segment), segments.tokens(batch, segment)
    classes = shared.logits.argmax(axis=-1)

    def add(position: Int[Array, ""], drops: Float[Array, "length batch"]) -> Array:
        hidden = segments.with_tokens(batch, segment, tokens.at[:, position].set(UNK))
        logits = forward(stages, params, hidden).logits
        return drops.at[position].set(fall(shared.logits, logits, classes))

    end = jnp.max(jnp.where(words, jnp.arange(1, words.shape[1] + 1), 0))
    drops = jnp.zeros(words.shape[::-1], shared.probabilities.dtype)
    return jnp.where(words, jax.lax.fori_loop(0, end, add, drops).T, 0)


LEAVE_ONE_OUT = Method(
    leave_one_out,
    segments=BOTH,
    shared=deletions,
    passes=lambda config, words: (1 + words, 0),
    reference="Jain & Wallace 2019, arXiv:1902.10186",
)
LEAVE_ONE_OUT_SIGNED = LEAVE_ONE_OUT._replace(find=leave_one_out_signed, signed=True)
OCCLUSION = Method(
    occlusion,
    signed=True,
    segments=BOTH,
    shared=traced,
    passes=lambda config, words: (1 + words, 0),
    reference="Zeiler & Fergus 2014, arXiv:1311.2901",
)
