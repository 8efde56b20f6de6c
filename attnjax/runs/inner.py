"""The self-attention of a loaded run's encoder, text by text."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array

from attnjax.config import RunConfig
from attnjax.data.batches import EncodedSplit, Shapes, evaluation_batches
from attnjax.data.dataset import Dataset
from attnjax.hosts import is_first_process
from attnjax.model_checks import attends
from attnjax.report.examples import shown_ids
from attnjax.runs.texts import Checked
from attnjax.types import PAD, Batch, Params, Segment, Stages
from attnjax.workdir import EXAMPLES, SELF_ATTENTION, delete, read_json_lines, write_arrays

ENDS = ("<sos>", "<eos>")  # the tokens around every text's words


class SelfAttention(NamedTuple):
    """Every layer's and head's attention, text by text.

    tokens   the words of each text between <sos> and <eos>; none of one that cannot be read
    weights  [layers, heads, tokens, tokens] of each text: from a token (row) to all; rows sum to 1,
             of pairs that are encoded together less, which lacks what goes to the other segment;
             those of tokens that a pretrained model does not see, a query's <sos> too, are 0
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


def write_self_attention(
    folder: epath.Path, config: RunConfig, dataset: Dataset, stages: Stages, params: Params
) -> None:
    """Writes analysis/self_attention.npz: `id` -> [layers, heads, tokens, tokens] of its text.

    Of the examples that the report shows, of all with analysis.keep_self_attention; an earlier
    file goes where there is none, as of encoders without self-attention.
    """
    if not is_first_process():
        return
    examples = read_json_lines(folder / EXAMPLES) if attends(config.model.encoder) else []
    ids = shown_ids(examples)
    if config.analysis.keep_self_attention:
        ids = [each["id"] for each in examples]
    if not ids:
        delete(folder / SELF_ATTENTION)
        return
    call = partial(jax.jit(make_weights(stages)), jax.device_get(params))
    found = weights_of(call, dataset.splits["test"].take(np.array(ids)))["text"]
    write_arrays(folder / SELF_ATTENTION, {str(ids[row]): each for row, each in found.items()})


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


def weights_of(
    call: Callable[[Batch], Any], split: EncodedSplit
) -> dict[Segment, dict[int, np.ndarray]]:
    """Segment -> place in the split -> [layers, heads, tokens, tokens], in single precision.

    call  what `make_weights` gives, of a batch
    """
    rows = dataclasses.replace(split, numbers=np.arange(len(split)))
    shapes = Shapes((16,), () if split.query is None else (16,))
    found: dict[Segment, dict[int, np.ndarray]] = {}
    for batch in evaluation_batches(rows, shapes, 8):
        for segment, values in call(batch).items():
            ids = batch.tokens if segment == "text" else batch.query
            sizes = (np.asarray(ids) != PAD).sum(axis=-1)
            for row, size, each in zip(batch.rows, sizes, np.asarray(values), strict=True):
                if row >= 0:
                    found.setdefault(segment, {})[int(row)] = each[:, :, :size, :size]
    return found


def attended(call: Callable[[Batch], Any], split: EncodedSplit, checked: Checked) -> SelfAttention:
    """What `make_weights` gives for the split, cut to each text's tokens.

    split  the texts that can be read, in the order of all that were checked
    """
    pair, kept = split.query is not None, checked.readable
    nothing = np.zeros((0, 0, 0, 0), np.float32)
    tokens: dict[Segment, list[list[str]]] = {"text": [], "query": []}
    for each, problem in zip(checked.words, checked.problems, strict=True):
        segments: tuple[tuple[Segment, list[str]], ...]
        segments = ("text", each.text), ("query", each.query or [])
        for segment, words in segments:
            tokens[segment].append([] if problem else [ENDS[0], *words, ENDS[1]])
    weights = {segment: [nothing] * len(checked.words) for segment in tokens}
    for segment, found in weights_of(call, split).items():
        for row, values in found.items():
            weights[segment][kept[row]] = values
    query = (tokens["query"], weights["query"]) if pair else (None, None)
    return SelfAttention(tokens["text"], weights["text"], *query, checked.problems)
