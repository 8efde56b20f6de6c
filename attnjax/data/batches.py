"""Encoded rows -> fixed-shape batches: a handful of padded lengths, and an order that resumes.

The order of an epoch depends on (seed, epoch) alone. Rows are shuffled, cut into pools of 50
batches, sorted by length within the pool, and cut into batches, whose order is shuffled again: a
batch holds texts of like length, so that little is padding, and every row comes once an epoch.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from attnjax.types import PAD, Batch, Encoded

POOL = 50  # batches sorted by length together


@dataclasses.dataclass(frozen=True)
class EncodedSplit:
    """Rows of one split as ids.

    tokens      one int32 array a row, <sos> ... <eos>
    query       likewise, or None
    labels      [rows] class numbers, -1 where unlabelled
    candidates  [rows, classes], True on allowed answers, or None
    numbers     [rows] what random draws for a row start from; None: its position
    rationales  for each person the numbers of the words they name, None of a row without; or None
    states      one float array [tokens, width] a row, what a frozen encoder makes of it; or None
    summaries   likewise one array [width] of its query
    """

    tokens: Sequence[np.ndarray]
    query: Sequence[np.ndarray] | None
    labels: np.ndarray
    candidates: np.ndarray | None
    numbers: np.ndarray | None = None
    rationales: Sequence[tuple[tuple[int, ...], ...] | None] | None = None
    states: Sequence[np.ndarray] | None = None
    summaries: Sequence[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def row_numbers(self) -> np.ndarray:
        """The numbers of all rows."""
        return np.arange(len(self)) if self.numbers is None else self.numbers

    def take(self, rows: np.ndarray) -> "EncodedSplit":
        """These rows alone, in this order; what is drawn at random for each stays what it was."""

        def of(values: Any) -> Any:
            return None if values is None else [values[row] for row in rows]

        return EncodedSplit(
            [self.tokens[row] for row in rows],
            of(self.query),
            self.labels[rows],
            None if self.candidates is None else self.candidates[rows],
            self.row_numbers[rows],
            of(self.rationales),
            of(self.states),
            of(self.summaries),
        )


def split_of(batches: Iterable[Batch]) -> EncodedSplit:
    """The rows of batches, without padding and filler, in the order of their numbers."""
    parts: dict[str, list[Any]] = {"tokens": [], "query": [], "labels": [], "candidates": []}
    numbers: list[int] = []
    for batch in batches:
        for place in np.flatnonzero(np.asarray(batch.rows) >= 0):
            numbers.append(int(batch.rows[place]))
            for name, values in parts.items():
                found = getattr(batch, name)
                values.append(None if found is None else np.asarray(found)[place])
    order = np.argsort(numbers, kind="stable")
    tokens, query, labels, candidates = ([values[k] for k in order] for values in parts.values())
    return EncodedSplit(
        [each[each != PAD] for each in tokens],
        None if query[0] is None else [each[each != PAD] for each in query],
        np.array(labels, np.int32),
        None if candidates[0] is None else np.stack(candidates),
        np.array(numbers)[order],
    )


def sample(rows: int, count: int, seed: int) -> np.ndarray:
    """The numbers, ascending, of `count` rows drawn at random; all of them where count is negative.

    At random, since data sets come sorted: IMDB's test split has all negative reviews first.
    """
    if not 0 <= count < rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


class Shapes(NamedTuple):
    """The padded lengths in use: ascending, for the text and for the query (empty if none)."""

    text: tuple[int, ...]
    query: tuple[int, ...]


def widened(batch: Batch, text: int, query: int) -> Batch:
    """The batch padded to these lengths, which must be no less than its own."""

    def padded(values: Any, length: int) -> np.ndarray:
        more = ((0, 0), (0, length - values.shape[1]), *[(0, 0)] * (values.ndim - 2))
        return np.pad(values, more, constant_values=PAD)  # states beyond a text are 0 as well

    encoded = batch.encoded
    if encoded is not None:
        encoded = encoded._replace(states=padded(encoded.states, text))
    return batch._replace(
        tokens=padded(batch.tokens, text),
        query=None if batch.query is None else padded(batch.query, query),
        encoded=encoded,
    )


def choose_shapes(splits: Sequence[EncodedSplit], buckets: int) -> Shapes:
    """Picks the padded lengths that waste least: `buckets` of them; for pairs 3/4 as many x 2."""
    text = [len(row) for split in splits for row in split.tokens]
    query = [len(row) for split in splits if split.query is not None for row in split.query]
    if not query:
        return Shapes(padded_lengths(text, buckets), ())
    return Shapes(padded_lengths(text, max(1, buckets * 3 // 4)), padded_lengths(query, 2))


def padded_lengths(lengths: Sequence[int], count: int, multiple: int = 4) -> tuple[int, ...]:
    """The `count` padded lengths under which these rows need the fewest padded positions.

    Lengths are rounded up to `multiple`; dynamic programming over the distinct values.
    padded_lengths([3, 3, 3, 20], count=2) == (4, 20)
    """
    rounded = -(-np.asarray(lengths) // multiple) * multiple
    values, rows = np.unique(rounded, return_counts=True)
    before = np.concatenate([[0], np.cumsum(rows)])  # rows shorter than values[k]
    count = min(count, len(values))
    # cost[k]: positions when the k shortest values are covered by the lengths chosen so far
    cost = np.where(np.arange(len(values) + 1) == 0, 0, np.iinfo(np.int64).max // 2)
    choices = []
    for _ in range(count):
        #  split at j: values[j:k] are padded to values[k - 1]
        total = cost[None, :] + (before[1:, None] - before[None, :]) * values[:, None]
        total = np.where(
            np.arange(len(cost))[None, :] <= np.arange(len(values))[:, None],
            total,
            np.iinfo(np.int64).max // 2,
        )
        choices.append(total.argmin(axis=1))
        cost = np.concatenate([[0], total.min(axis=1)])
    chosen: list[int] = []
    end = len(values)
    for choice in reversed(choices):
        if end == 0:
            break
        chosen.append(int(values[end - 1]))
        end = int(choice[end - 1])
    return tuple(sorted(chosen))


def bucket(length: int, lengths: tuple[int, ...]) -> int:
    """Smallest padded length that holds `length`; beyond the last, the next multiple of it."""
    for each in lengths:
        if length <= each:
            return each
    return -(-length // lengths[-1]) * lengths[-1]


def epoch_order(
    split: EncodedSplit, shapes: Shapes, batch_size: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """The rows of each batch of one epoch: a function of (seed, epoch) and the data alone."""
    random = np.random.default_rng([seed, epoch])
    rows = random.permutation(len(split))
    keys = np.array([_sort_key(split, shapes, row) for row in range(len(split))])
    order = []
    for start in range(0, len(rows), POOL * batch_size):
        pool = rows[start : start + POOL * batch_size]
        order.append(pool[np.argsort(keys[pool], kind="stable")])
    flat = np.concatenate(order)
    batches = [flat[start : start + batch_size] for start in range(0, len(flat), batch_size)]
    return [batches[k] for k in random.permutation(len(batches))]


def _sort_key(split: EncodedSplit, shapes: Shapes, row: int) -> int:
    length = len(split.tokens[row])
    if split.query is None:
        return length
    return bucket(length, shapes.text) * 100_000 + len(split.query[row])


def steps_per_epoch(split: EncodedSplit, batch_size: int) -> int:
    """Batches in one epoch, the last partial one included."""
    return -(-len(split) // batch_size)


def train_batches(
    split: EncodedSplit, shapes: Shapes, batch_size: int, seed: int, start: int
) -> Iterator[Batch]:
    """Endless training batches from step `start` on, as if all before had been drawn."""
    for rows in _endless(split, shapes, batch_size, seed, start):
        yield collate(split, rows, batch_size, shapes)


def mixed_batches(
    split: EncodedSplit,
    unlabelled: EncodedSplit,
    shapes: Shapes,
    batch_size: int,
    unlabelled_size: int,
    seed: int,
    start: int,
) -> Iterator[Batch]:
    """Training batches with `unlabelled_size` further rows of label -1 in each.

    Both splits go round at their own pace, each in its own order of (seed, epoch).
    """
    joined = join_splits(split, unlabelled)
    labelled = _endless(split, shapes, batch_size, seed, start)
    others = _endless(unlabelled, shapes, unlabelled_size, seed + 1_000_003, start)
    for rows, more in zip(labelled, others, strict=False):
        both = np.concatenate([rows, more + len(split)])
        yield collate(joined, both, batch_size + unlabelled_size, shapes)


def join_splits(first: EncodedSplit, second: EncodedSplit) -> EncodedSplit:
    """The rows of both, one after the other; where one lacks candidates it allows all."""
    candidates = None
    if first.candidates is not None:
        other = second.candidates
        if other is None:
            other = np.ones((len(second), first.candidates.shape[1]), bool)
        candidates = np.concatenate([first.candidates, other])

    def both(name: str) -> Any:
        one, other = getattr(first, name), getattr(second, name)
        return None if one is None or other is None else [*one, *other]

    return EncodedSplit(
        [*first.tokens, *second.tokens],
        both("query"),
        np.concatenate([first.labels, second.labels]),
        candidates,
        states=both("states"),
        summaries=both("summaries"),
    )


def _endless(
    split: EncodedSplit, shapes: Shapes, batch_size: int, seed: int, start: int
) -> Iterator[np.ndarray]:
    epoch, skip = divmod(start, steps_per_epoch(split, batch_size))
    while True:
        yield from epoch_order(split, shapes, batch_size, seed, epoch)[skip:]
        epoch, skip = epoch + 1, 0


def evaluation_batches(split: EncodedSplit, shapes: Shapes, batch_size: int) -> Iterator[Batch]:
    """Every row once, sorted by length; `Batch.rows` says which each is."""
    keys = np.array([_sort_key(split, shapes, row) for row in range(len(split))])
    order = np.argsort(keys, kind="stable")
    for start in range(0, len(order), batch_size):
        yield collate(split, order[start : start + batch_size], batch_size, shapes)


def map_rows(
    call: Callable[[Batch], Any],
    split: EncodedSplit,
    shapes: Shapes,
    batch_size: int,
    check: Callable[[], None] = lambda: None,
) -> Any:
    """Calls `call(batch)` on all rows and sorts what comes back by row.

    call   batch -> tree of arrays, each with one row per example
    check  is called between batches and may raise to stop
    Returns the same tree with a list of arrays, one per row of the split, in place of each array:
    rows of different batches may be padded to different lengths.
    """
    leaves: list[list[Any]] = []
    structure = None
    position = {number: row for row, number in enumerate(split.row_numbers.tolist())}
    for batch in evaluation_batches(split, shapes, batch_size):
        check()
        arrays, structure = jax.tree.flatten(call(batch))
        if not leaves:
            leaves = [[None] * len(split) for _ in arrays]
        for place, number in enumerate(batch.rows.tolist()):
            if number >= 0:
                for leaf, array in zip(leaves, arrays, strict=True):
                    leaf[position[number]] = array[place]
    return jax.tree.unflatten(structure, leaves)


def gather_rows(
    call: Callable[[Batch], dict[str, np.ndarray]],
    split: EncodedSplit,
    shapes: Shapes,
    batch_size: int,
    check: Callable[[], None],
    axis: int = 0,
) -> dict[str, np.ndarray]:
    """As `map_rows` on a whole split, for arrays that have no padding: one array for all rows.

    axis  of the arrays, along which the rows of a batch stand
    """
    before = (slice(None),) * axis
    collected: dict[str, np.ndarray] = {}
    for batch in evaluation_batches(split, shapes, batch_size):
        check()
        real = batch.rows >= 0
        for name, values in call(batch).items():
            if name not in collected:
                shape = (*values.shape[:axis], len(split), *values.shape[axis + 1 :])
                collected[name] = np.empty(shape, values.dtype)
            collected[name][(*before, batch.rows[real])] = values[(*before, real)]
    return collected


def collate(split: EncodedSplit, rows: np.ndarray, batch_size: int, shapes: Shapes) -> Batch:
    """Pads the rows to their bucket, and the batch with empty rows of weight 0 to `batch_size`."""
    filler = batch_size - len(rows)
    present = np.concatenate([rows, np.zeros(filler, rows.dtype)])

    def stack(sequences: Sequence[np.ndarray], lengths: tuple[int, ...]) -> np.ndarray:
        longest = max(len(sequences[row]) for row in rows)
        padded = np.full((batch_size, bucket(longest, lengths)), PAD, np.int32)
        for place, row in enumerate(rows):
            padded[place, : len(sequences[row])] = sequences[row]
        return padded

    real = np.arange(batch_size) < len(rows)
    tokens = stack(split.tokens, shapes.text)
    fields: dict[str, Any] = {
        "tokens": tokens,
        "query": None if split.query is None else stack(split.query, shapes.query),
        "labels": split.labels[present].astype(np.int32),
        "weight": real.astype(np.float32),
        "candidates": None if split.candidates is None else split.candidates[present],
        "rows": np.where(real, split.row_numbers[present], -1).astype(np.int32),
        "encoded": _encoded(split, rows, tokens.shape),
    }
    return Batch(**fields)


def _encoded(split: EncodedSplit, rows: np.ndarray, shape: tuple[int, int]) -> Any:
    """The encoding of these rows, which a frozen encoder has made; 0 beyond a text, and on filler.

    shape  of the batch's tokens
    """
    if split.states is None:
        return None
    states = np.zeros((*shape, split.states[0].shape[1]), split.states[0].dtype)
    query = None if split.summaries is None else np.zeros_like(states[:, 0])
    for place, row in enumerate(rows):
        states[place, : len(split.states[row])] = split.states[row]
        if query is not None and split.summaries is not None:
            query[place] = split.summaries[row]
    parts: dict[str, Any] = {"states": states, "query": query}  # on the host, like the batch
    return Encoded(**parts)
