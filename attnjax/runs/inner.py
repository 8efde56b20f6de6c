"""The self-attention of a loaded run's encoder, text by text."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attnjax.data.batches import EncodedSplit, Shapes, evaluation_batches
from attnjax.runs.texts import Checked
from attnjax.types import Batch, Params, Segment, Stages

ENDS = ("<sos>", "<eos>")  # the tokens around every text's words


class SelfAttention(NamedTuple):
    """Every layer's and head's attention, text by text.

    tokens   the words of each text between <sos> and <eos>; none of one that cannot be read
    weights  [layers, heads, tokens, tokens] of each text: from a token (row) to all; rows sum to 1,
             of pairs that are encoded together less, which lacks what goes to the other segment
    query_tokens, query_weights  likewise of its question or hypothesis; None of single texts
    problems  why a text cannot be read, "" where it can
    """

    tokens: list[list[str]]
    weights: list[np.ndarray]
    query_tokens: list[list[str]] | None
    query_weights: list[np.ndarray] | None
    problems: list[str]

    def __repr__(self) -> str:
        layers, heads = next((each.shape[:2] for each in self.weights if each.size), (0, 0))
        return f"<Self-attention of {len(self.tokens)} texts: {layers} layers of {heads} heads>"


def make_weights(stages: Stages) -> Callable[[Params, Batch], Any]:
    """Builds (params, batch) -> segment -> [batch, layers, heads, length, length]."""

    def weights(params: Params, batch: Batch) -> dict[Segment, Array]:
        embedded = stages.embed(params, batch)
        names: list[Segment] = ["text"] if batch.query is None else ["text", "query"]
        found = {}
        for name in names:
            layers = stages.layers(params, embedded, batch, name)
            every = jnp.stack([each.weights for each in layers], axis=1)
            found[name] = stages.of_words(batch, every, name)
        return found

    return weights


def attended(call: Callable[[Batch], Any], split: EncodedSplit, checked: Checked) -> SelfAttention:
    """What `make_weights` gives for the split, cut to each text's tokens.

    split  the texts that can be read, in the order of all that were checked
    """
    pair, kept = split.query is not None, checked.readable
    nothing = np.zeros((0, 0, 0, 0), np.float32)
    tokens = {"text": [], "query": []}
    for each, problem in zip(checked.words, checked.problems, strict=True):
        for segment, words in (("text", each.text), ("query", each.query or [])):
            tokens[segment].append([] if problem else [ENDS[0], *words, ENDS[1]])
    weights = {segment: [nothing] * len(checked.words) for segment in tokens}
    for batch in evaluation_batches(split, Shapes((16,), (16,) if pair else ()), 8):
        for segment, values in call(batch).items():
            for row, found in zip(batch.rows, np.asarray(values), strict=True):
                if row >= 0:
                    number = kept[row]
                    size = len(tokens[segment][number])
                    weights[segment][number] = found[:, :, :size, :size]
    query = (tokens["query"], weights["query"]) if pair else (None, None)
    return SelfAttention(tokens["text"], weights["text"], *query, checked.problems)
