"""Which words may stand in a word's place: its nearest, or any that leave the text as likely.

The nearest are those of the highest cosine, of words made of pieces by that between the means and
those of no more pieces. With `analysis.flip_prior` they are all words of the vocabulary that cost
the text at most so many nats under the bigram model of the training texts; those are tried that by
first order lower the explained logit most (Ebrahimi et al. 2018, arXiv:1712.06751, eq. 10).
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import sparse

from attnjax.analysis.bigrams import Bigrams, count_bigrams
from attnjax.analysis.importance.target import class_logit
from attnjax.analysis.questions.question import Names
from attnjax.analysis.rows import BUCKETS
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, choose_shapes, map_rows
from attnjax.data.tokens import NUMBER, tokenize
from attnjax.data.word_values import read_word_values
from attnjax.errors import UserError
from attnjax.model.stages import mean_vectors, pieces_of, sees_pieces, vocabulary_size
from attnjax.perturb.differences import nearest_words
from attnjax.types import EOS, PAD, Batch, Params, Stages

logger = logging.getLogger(__name__)

DIGITS = 6  # to which the change of a logit is compared
WIDER = 5  # times as many near words are looked at where some have too many pieces


class Prepared(NamedTuple):
    """What flips need beside the parameters, once a run.

    options  [words, ways] ids that may stand in a word's place, PAD where there are fewer; with a
             prior [rows, longest, ways], of each token of the rows
    costs    [words] of changing a word
    rows     [rows] their numbers, ascending, with a prior; else None
    nats     [rows, longest, ways] what each option costs the text's log-probability, with a prior
    """

    options: Int[Array, "..."]
    costs: Float[Array, " words"]
    rows: Int[Array, " rows"] | None = None
    nats: Float[Array, "rows longest ways"] | None = None


def prepare(
    stages: Stages,
    params: Params,
    split: EncodedSplit,
    config: AnalysisConfig,
    names: Names,
    training: Callable[[], EncodedSplit],
) -> Prepared:
    """What may stand in every word's place, and the costs that a file gives.

    training  gives the training texts, which are asked for where there is a prior
    Raises UserError where no word has a replacement, or where the file of costs is wrong.
    """
    words = vocabulary_size(stages, params)
    costs = jnp.asarray(costs_of(config, names, words))
    if config.flip_costs:
        logger.info("flips: costs of %d words that the model knows", int((costs != 1).sum()))
    vectors, pieces = (np.asarray(each) for each in mean_vectors(stages, params, words))
    if config.flip_prior < 0:
        return Prepared(jnp.asarray(_nearest(vectors, pieces, split, config)), costs)
    model = count_bigrams(training().tokens, words)
    order = np.argsort(split.row_numbers, kind="stable")
    options, nats = likely(stages, params, split.take(order), config, model, vectors, pieces)
    rows = jnp.asarray(split.row_numbers[order].astype(np.int32))
    return Prepared(jnp.asarray(options), costs, rows, jnp.asarray(nats))


def at_tokens(prepared: Prepared, batch: Batch) -> tuple[Array, Array]:
    """[batch, length, ways] each: what may stand at each token, and its nats, 0 of near words.

    Worked: with a prior and rows 4 and 9 prepared, the row of number 9 has the second's options.
    """
    if prepared.rows is None or prepared.nats is None:
        near = prepared.options[batch.tokens]
        return near, jnp.zeros(near.shape, prepared.costs.dtype)
    place = jnp.searchsorted(prepared.rows, batch.rows)
    length, longest = batch.tokens.shape[1], prepared.options.shape[1]
    room = ((0, 0), (0, max(length - longest, 0)), (0, 0))
    found = (jnp.pad(each[place], room)[:, :length] for each in (prepared.options, prepared.nats))
    options, nats = found
    return options, nats


def lost_by(
    tokens: Int[Array, "batch length"],
    options: Int[Array, "batch length ways"],
    nats: Float[Array, "batch length ways"],
    moved: Bool[Array, "batch length"],
) -> Float[Array, " batch"]:
    """The nats of the replacements of a text, summed; a word that is deleted has none."""
    lost = jnp.sum(nats, axis=-1, where=options == tokens[..., None])
    return jnp.sum(lost, axis=-1, where=moved & (tokens != PAD))


def _nearest(
    vectors: np.ndarray, pieces: np.ndarray, split: EncodedSplit, config: AnalysisConfig
) -> Int[np.ndarray, "words ways"]:
    """The nearest words of every word of the split."""
    words = len(vectors)
    used = np.unique(np.concatenate([*split.tokens, np.zeros(1, np.int32)]))
    count = min(config.flip_neighbours, words)
    many = count if (pieces == 1).all() else min(WIDER * count, words)
    nearest = np.asarray(nearest_words(jnp.asarray(vectors), many, EOS + 1, of=jnp.asarray(used)))
    unit = _units(vectors)
    near = np.einsum("ue,uke->uk", unit[used], unit[nearest])
    real = (nearest > EOS) & (nearest != used[:, None])  # of few words the list is filled up
    real &= pieces[nearest] <= pieces[used][:, None]
    allowed = real & (near >= config.flip_similarity)
    if not allowed.any():
        raise UserError(
            f"no word has another within analysis.flip_similarity={config.flip_similarity:g}: the "
            f"nearest two have a cosine of {near[real].max(initial=-1):.2f}; lower it"
        )
    options = np.full((words, count), PAD, np.int32)
    first = np.argsort(~allowed, axis=1, kind="stable")[:, :count]
    options[used] = np.take_along_axis(np.where(allowed, nearest, PAD), first, axis=1)
    return options


def _units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-15)


class Costly(NamedTuple):
    """log p of every two neighbours, taken apart: what a pair never seen has, and what counts add.

    after   [words, words] added where the row's word is before; before  the same, column by column
    totals  [words] log of the denominator of what follows the word
    """

    after: sparse.csr_array
    before: sparse.csc_array
    totals: np.ndarray


def taken_apart(model: Bigrams) -> Costly:
    """log p(w | v) = log 1/2 - totals[v] + after[v, w]."""
    after = model.counts.astype(np.float64).copy()
    after.data = np.log(2 * after.data + 1)
    totals = np.log(model.totals + model.support / 2)
    return Costly(after, sparse.csc_array(after), totals)


def nats_lost(
    costly: Costly, tokens: Int[np.ndarray, " length"]
) -> Float[np.ndarray, "inner words"]:
    """By how much a text <sos> ... <eos> is less likely with any word in the place of each inner.

    Of `log_probability` before less after, one place at a time; below 0 of a likelier word.
    """
    before, own, after = tokens[:-2], tokens[1:-1], tokens[2:]
    gain = costly.after[before].toarray() + costly.before[:, after].toarray().T
    gain -= costly.totals[None]
    return gain[np.arange(len(own)), own][:, None] - gain


def likely(
    stages: Stages,
    params: Params,
    split: EncodedSplit,
    config: AnalysisConfig,
    model: Bigrams,
    vectors: np.ndarray,
    pieces: np.ndarray,
) -> tuple[Int[np.ndarray, "rows longest ways"], Float[np.ndarray, "rows longest ways"]]:
    """Ids of what may stand at each token of the rows by `analysis.flip_prior`, and its nats."""
    count, costly = min(config.flip_neighbours, len(vectors)), taken_apart(model)
    shapes = choose_shapes([split], BUCKETS)
    slopes = jax.jit(make_slopes(stages))
    found = map_rows(
        lambda batch: jax.device_get(slopes(params, batch)), split, shapes, config.chunk_size
    )
    unit, longest = _units(vectors), max((len(each) for each in split.tokens), default=0)
    options = np.full((len(split), longest, count), PAD, np.int32)
    nats = np.zeros(options.shape, np.float32)
    for row, (tokens, slope) in enumerate(zip(split.tokens, found, strict=True)):
        own = tokens[1:-1]
        if not len(own):
            continue
        lost = nats_lost(costly, tokens)
        allowed = _allowed(lost, own, unit, pieces, config)
        falls = np.round(slope[1 : len(own) + 1] @ vectors.T, DIGITS)  # below it, rounding
        falls = np.where(allowed, falls, np.inf)
        best = np.sort(np.argpartition(falls, count - 1, axis=1)[:, :count], axis=1)
        order = np.argsort(np.take_along_axis(falls, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        real = np.take_along_axis(allowed, best, axis=1)
        options[row, 1 : len(own) + 1] = np.where(real, best, PAD)
        nats[row, 1 : len(own) + 1] = np.where(real, np.take_along_axis(lost, best, axis=1), 0)
    if not (options != PAD).any():
        raise UserError(
            "no word may stand in another's place at "
            f"analysis.flip_prior={config.flip_prior:g} and "
            f"analysis.flip_similarity={config.flip_similarity:g}: raise the first or lower the "
            "second"
        )
    return options, nats


def _allowed(
    lost: np.ndarray,
    own: Int[np.ndarray, " inner"],
    unit: np.ndarray,
    pieces: np.ndarray,
    config: AnalysisConfig,
) -> Bool[np.ndarray, "inner words"]:
    """Real words other than the one there, of no more pieces, within both bounds."""
    words = np.arange(lost.shape[1])
    allowed = (words > EOS)[None] & (words[None] != own[:, None])
    allowed &= (lost <= config.flip_prior) & (pieces[None] <= pieces[own][:, None])
    if config.flip_similarity > -1:
        allowed &= unit[own] @ unit.T >= config.flip_similarity
    return allowed


def make_slopes(stages: Stages) -> Callable[[Params, Batch], Float[Array, "batch length width"]]:
    """Builds (params, batch) -> the explained logit's slope by each word's vector.

    Of a word made of pieces it is the sum of theirs, by which the mean of all would move.
    """

    def slopes(params: Params, batch: Batch) -> Float[Array, "batch length width"]:
        embedded, score = stages.embed(params, batch), class_logit(stages, params, batch)
        slope = jax.grad(lambda embedded: score(embedded).sum())(embedded).text
        if not sees_pieces(stages):
            return slope
        _, real = pieces_of(params, embedded.text)
        parts = slope.reshape(*real.shape, -1)
        return jnp.sum(parts, axis=-2, where=real[..., None])

    return slopes


def costs_of(config: AnalysisConfig, names: Names, words: int) -> np.ndarray:
    """1 for each word, or what the file says of it; raises UserError for a wrong file."""
    costs = np.ones(words, np.float32)
    if not config.flip_costs:
        return costs
    given = read_word_values(config.flip_costs, "analysis.flip_costs")
    if least := [word for word, cost in given.items() if cost <= 0]:
        raise UserError(f"analysis.flip_costs: the cost of '{least[0]}' must be above 0")
    numbers = {word: number for number, word in enumerate(names.words) if number > EOS}
    known: dict[int, float] = {}
    for word, cost in given.items():
        read = [word] if word in numbers else tokenize(word)  # 'Good' is 'good' where texts are
        if len(read) == 1 and read[0] in numbers and read[0] != NUMBER:
            known.setdefault(numbers[read[0]], cost)
    if not known:
        raise UserError(
            "analysis.flip_costs: none of the file's words is one that the model knows; write "
            "them as the run's vocab.json does"
        )
    costs[list(known)] = list(known.values())
    return costs
