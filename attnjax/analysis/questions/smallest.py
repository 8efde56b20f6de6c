"""The smallest set of changed words for which something turns: a search that reads each candidate.

All single words, in each of the ways that a word may change, then all pairs, then larger sets by a
beam, and in the end sets that are one word smaller. Candidates of all texts of a batch stand in one
line, which is read piece by piece.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

WIDE = 64  # words of a text, those whose change alone does most, that are changed together
BEAM = 5  # sets of words that are kept from one size to the next
TOGETHER = 64  # texts that are read at once, at least
DIGITS = 1e5  # probabilities are compared to that part: below it equal words differ by rounding


class Texts(NamedTuple):
    """The batch as the search sees it, for one kind of change.

    tokens   [batch, length]; places  [batch, length] positions of the words, in order
    changeable  [batch] how many these are; limit  [batch] most that may be changed
    options  [batch, length, ways] what may stand at each position; ways  how many of them count
    costs    [batch, length]
    """

    tokens: Int[Array, "batch length"]
    places: Int[Array, "batch length"]
    changeable: Int[Array, " batch"]
    limit: Int[Array, " batch"]
    options: Int[Array, "batch length ways"]
    allowed: Bool[Array, "batch length ways"]
    ways: Int[Array, ""]
    costs: Float[Array, "batch length"]


Edits = tuple[Int[Array, "some changes"], Int[Array, "some changes"]]  # places, tokens

# (rows, places in them, tokens there) -> the predicted class's probability, whether another is
# predicted
Output = Callable[
    [Int[Array, " some"], Int[Array, "some changes"], Int[Array, "some changes"]],
    tuple[Float[Array, " some"], Bool[Array, " some"]],
]


class Ranked(NamedTuple):
    """The words of each text, from the one whose change alone does most.

    position, token  [batch, wide] where it stands and what comes in its place
    ranks            [batch] how many there are; costs  [batch, wide]
    """

    position: Int[Array, "batch wide"]
    token: Int[Array, "batch wide"]
    ranks: Int[Array, " batch"]
    costs: Float[Array, "batch wide"]


class Best(NamedTuple):
    """The smallest sets found that flip: words by their rank, filled up with the number of ranks.

    size  [batch], 0 where none is found; probability  [batch] of the class that was predicted
    """

    size: Int[Array, " batch"]
    words: Int[Array, "batch most"]
    probability: Float[Array, " batch"]


def evaluated(
    output: Output,
    counts: Int[Array, " batch"],
    slots: int,
    edits: Callable[[Int[Array, " some"], Int[Array, " some"]], Edits],
    dtype: Any,
) -> tuple[Float[Array, "batch slots"], Bool[Array, "batch slots"]]:
    """Probabilities and flips of the first `counts` candidates of each row; else inf and False.

    edits  (rows, numbers of their candidates) -> places and tokens. All rows' candidates stand in
    one line, which is read in pieces: a row that needs none costs nothing.
    """
    batch = len(counts)
    some = max(batch, TOGETHER)
    ends = jnp.cumsum(counts)

    def piece(turn: Int[Array, ""], found: Any) -> Any:
        item = turn * some + jnp.arange(some, dtype=jnp.int32)
        row = jnp.searchsorted(ends, item, side="right").astype(jnp.int32)
        row = jnp.minimum(row, batch - 1)
        number = item - (ends - counts)[row]
        value, flips = output(row, *edits(row, jnp.minimum(number, slots - 1)))
        slot = jnp.where(item < ends[-1], row * slots + number, batch * slots)
        return (
            found[0].at[slot].set(value, mode="drop"),
            found[1].at[slot].set(flips, mode="drop"),
        )

    nothing = (jnp.full(batch * slots, jnp.inf, dtype), jnp.zeros(batch * slots, bool))
    turns = (ends[-1] + some - 1) // some
    value, flips = jax.lax.fori_loop(0, turns, piece, nothing)
    return value.reshape(batch, slots), flips.reshape(batch, slots)


def _key(value: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.round(value * DIGITS)


def _cheapest(
    flips: Bool[Array, "batch many"], costs: Float[Array, "batch many"], value: Array
) -> Int[Array, " batch"]:
    """Of the candidates that flip, the cheapest; of equals the one that does most."""
    priced = jnp.where(flips, costs, jnp.inf)
    least = priced.min(axis=1, keepdims=True)
    return jnp.argmin(jnp.where(priced <= least * (1 + 1e-6), _key(value), jnp.inf), axis=1)


def single(output: Output, texts: Texts, most: int) -> tuple[Ranked, Best]:
    """Every word changed alone, in each of its ways: their ranks, and the flips that suffice."""
    length, ways = texts.options.shape[1:]

    def edits(row: Int[Array, " some"], number: Int[Array, " some"]) -> Edits:
        position = texts.places[row, number // texts.ways]
        new = texts.options[row, position, number % texts.ways]
        return position[:, None], new[:, None]

    counts = jnp.where(texts.limit > 0, texts.changeable * texts.ways, 0)
    value, flips = evaluated(output, counts, length * ways, edits, texts.costs.dtype)
    word, each = (jnp.arange(count, dtype=jnp.int32) for count in (length, ways))
    slot = word[:, None] * texts.ways + each[None, :]
    slot = jnp.minimum(slot, length * ways - 1)
    by_word = jnp.take_along_axis(texts.allowed, texts.places[..., None], axis=1)
    real = (word[None, :] < texts.changeable[:, None])[..., None] & by_word
    real &= (each < texts.ways)[None, None]
    value = jnp.where(real, value[:, slot], jnp.inf)  # [batch, word, way]
    flips = flips[:, slot] & real
    # What flips comes first: of several classes a lower probability need not.
    key = jnp.where(flips, _key(value) - 2 * DIGITS, _key(value))
    way = jnp.argmin(key, axis=-1)[..., None]
    key, value, flips = (
        jnp.take_along_axis(each, way, axis=-1)[..., 0] for each in (key, value, flips)
    )
    order = jnp.argsort(key, axis=1, stable=True)[:, :WIDE].astype(jnp.int32)
    key, value, flips, way = (
        jnp.take_along_axis(each, order, axis=1) for each in (key, value, flips, way[..., 0])
    )
    position = jnp.take_along_axis(texts.places, order, axis=1)
    offered = jnp.take_along_axis(texts.options, position[..., None], axis=1)
    ranked = Ranked(
        position,
        jnp.take_along_axis(offered, way[..., None], axis=-1)[..., 0],
        jnp.isfinite(value).sum(axis=1).astype(jnp.int32),
        jnp.take_along_axis(texts.costs, position, axis=1),
    )
    first = _cheapest(flips, ranked.costs, value).astype(jnp.int32)
    found = flips.any(axis=1) & (texts.limit > 0)
    wide = order.shape[1]
    words = jnp.full((len(order), most), wide, jnp.int32)
    words = words.at[:, 0].set(jnp.where(found, first, wide))
    probability = jnp.take_along_axis(value, first[:, None], axis=1)[:, 0]
    return ranked, Best(found.astype(jnp.int32), words, jnp.where(found, probability, jnp.inf))


def edits_of(ranked: Ranked, texts: Texts, words: Array, rows: Array) -> Edits:
    """Where these words of the rows stand, and what comes in their places: PAD deletes."""
    nowhere = jnp.minimum(words, ranked.position.shape[1] - 1)
    real = words < ranked.position.shape[1]
    position = ranked.position[rows[:, None], nowhere]
    places = jnp.where(real, position, texts.tokens.shape[1])
    return places, ranked.token[rows[:, None], nowhere]


def changed(ranked: Ranked, texts: Texts, words: Array) -> Int[Array, "batch length"]:
    """The tokens of all rows with these words of theirs changed, PAD where one is deleted."""
    rows = jnp.arange(len(texts.tokens), dtype=jnp.int32)
    places, new = edits_of(ranked, texts, words, rows)
    return texts.tokens.at[rows[:, None], places].set(new, mode="drop")


def search(output: Output, texts: Texts, most: int) -> tuple[Ranked, Best]:
    """The smallest sets of at most `most` words that flip; of equal size the cheapest.

    Turns of one loop: all pairs, then beams of 3 to `most` words, then sets without one of their
    words, as often as a set may shrink.
    """
    ranked, best = single(output, texts, most)
    if most == 1:
        return ranked, best
    batch, wide = ranked.position.shape
    second, first = np.tril_indices(wide, -1)  # the pairs of the first m words come first
    slots = max(len(first), BEAM * wide, most)
    pairs = np.full((slots, most), wide, np.int32)
    pairs[: len(first), 0], pairs[: len(first), 1] = first, second
    codes = np.random.default_rng(0).integers(1, 2**32, wide + 1, dtype=np.uint32)
    codes[wide] = 0
    prices = jnp.pad(ranked.costs, ((0, 0), (0, 1)))

    def all_pairs(turn: Array, best: Best, beam: Array) -> Any:
        del turn, beam
        count = ranked.ranks * (ranked.ranks - 1) // 2
        return jnp.broadcast_to(jnp.asarray(pairs), (batch, slots, most)), count

    def extended(turn: Array, best: Best, beam: Int[Array, "batch beam most"]) -> Any:
        # Number w * BEAM + b: the set b with the word w.
        sets = jnp.full((batch, slots, most), wide, jnp.int32)
        word = jnp.repeat(jnp.arange(wide, dtype=jnp.int32), BEAM)
        grown = jnp.tile(beam, (1, wide, 1))
        twice = (grown == word[None, :, None]).any(axis=-1) | (grown[..., 0] == wide)
        grown = grown.at[..., turn + 1].set(word[None])
        grown = jnp.where(twice[..., None], wide, grown)
        return sets.at[:, : BEAM * wide].set(grown), ranked.ranks * BEAM

    def shrunk(turn: Array, best: Best, beam: Array) -> Any:
        sets = jnp.full((batch, slots, most), wide, jnp.int32)
        without = jnp.where(jnp.eye(most, dtype=bool)[None], wide, best.words[:, None, :])
        smaller = jnp.where((best.words < wide)[..., None], without, wide)
        # Every set of two was tried: only of four and more one may be one too many.
        return sets.at[:, :most].set(smaller), jnp.where(best.size >= 4, jnp.int32(most), 0)

    def take(turn: Array, state: Any) -> Any:
        best, beam = state
        kind = jnp.where(turn == 0, 0, jnp.where(turn < most - 1, 1, 2))
        sets, counts = jax.lax.switch(kind, (all_pairs, extended, shrunk), turn, best, beam)
        size = turn.astype(jnp.int32) + 2
        open_ = (best.size == 0) & (size <= texts.limit)
        counts = jnp.where((kind == 2) | open_, counts, 0)

        def edits(row: Int[Array, " some"], number: Int[Array, " some"]) -> Edits:
            return edits_of(ranked, texts, sets[row, number], row)

        value, flips = evaluated(output, counts, slots, edits, texts.costs.dtype)
        real = sets[..., 0] < wide
        real = jnp.where(kind == 2, (sets < wide).any(axis=-1), real)
        value, flips = jnp.where(real, value, jnp.inf), flips & real
        costs = jax.vmap(lambda price, some: price[some].sum(axis=-1))(prices, sets)
        chosen = _cheapest(flips, costs, value)[:, None]
        found = flips.any(axis=1)
        words = jnp.sort(jnp.take_along_axis(sets, chosen[..., None], axis=1)[:, 0], axis=-1)
        better = Best(
            jnp.where(found, (words < wide).sum(axis=-1).astype(jnp.int32), best.size),
            jnp.where(found[:, None], words, best.words),
            jnp.where(found, jnp.take_along_axis(value, chosen, axis=1)[:, 0], best.probability),
        )
        return better, _first(sets, value, jnp.asarray(codes))

    beam = jnp.full((batch, BEAM, most), wide, jnp.int32)
    turns = (most - 1) + max(most - 3, 0)
    best, _ = jax.lax.fori_loop(jnp.int32(0), jnp.int32(turns), take, (best, beam))
    return ranked, best


def _first(
    sets: Int[Array, "batch slots most"], value: Array, codes: Array
) -> Int[Array, "batch beam most"]:
    """The BEAM sets that do most, each once; sets are told apart by the sum of random codes."""
    sums = codes[sets].sum(axis=-1, dtype=jnp.uint32)
    key, kept = _key(value), []
    for _ in range(BEAM):
        place = jnp.argmin(key, axis=1)[:, None]
        none = ~jnp.isfinite(jnp.take_along_axis(key, place, axis=1))
        chosen = jnp.take_along_axis(sets, place[..., None], axis=1)[:, 0]
        kept.append(jnp.where(none, sets.dtype.type(codes.shape[0] - 1), chosen))
        key = jnp.where(sums == jnp.take_along_axis(sums, place, axis=1), jnp.inf, key)
    return jnp.stack(kept, axis=1)
