"""Shapes, order and padding of batches."""

import dataclasses
import itertools

import numpy as np
import pytest
from helpers import sentences

from attnjax.data.batches import (
    EncodedSplit,
    Shapes,
    bucket,
    choose_shapes,
    epoch_order,
    evaluation_batches,
    gather_rows,
    mixed_batches,
    padded_lengths,
    sample,
    steps_per_epoch,
    train_batches,
)


def split_of(count=103, pair=False, seed=0):
    lengths = np.random.default_rng(seed).integers(1, 40, count)
    return EncodedSplit(
        tokens=sentences(lengths),
        query=sentences(lengths[::-1] % 7 + 1) if pair else None,
        labels=np.arange(count) % 3,
        candidates=None,
    )


def test_padded_lengths_are_the_cheapest_by_exhaustion():
    lengths = np.random.default_rng(0).integers(1, 41, 60)
    rounded = -(-lengths // 4) * 4

    def cost(chosen):
        return sum(min(c for c in chosen if c >= length) for length in rounded)

    for count in (1, 2, 3):
        best = min(
            cost((*some, rounded.max()))
            for some in itertools.combinations(np.unique(rounded), count - 1)
        )
        assert cost(padded_lengths(lengths.tolist(), count)) == best
    assert padded_lengths([3, 3, 3, 20], 2) == (4, 20)
    assert padded_lengths([5], 6) == (8,)


def test_bucket():
    assert [bucket(n, (8, 20)) for n in (1, 8, 9, 20, 21, 41)] == [8, 8, 20, 20, 40, 60]


@pytest.mark.parametrize("pair", [False, True])
def test_an_epoch_holds_every_row_once_in_few_shapes(pair):
    split = split_of(pair=pair)
    shapes = choose_shapes([split], 6)
    batches = list(itertools.islice(train_batches(split, shapes, 8, seed=1, start=0), 13))
    assert steps_per_epoch(split, 8) == 13
    rows = np.concatenate([b.rows[b.rows >= 0] for b in batches])
    assert sorted(rows) == list(range(103))
    seen = {(b.tokens.shape, None if b.query is None else b.query.shape) for b in batches}
    assert len(seen) <= 8
    for batch in batches:
        assert batch.tokens.shape[0] == 8
        assert batch.tokens.shape[1] in shapes.text
        np.testing.assert_array_equal(batch.weight, batch.rows >= 0)
        for place, row in enumerate(batch.rows):
            if row < 0:
                continue
            length = len(split.tokens[row])
            np.testing.assert_array_equal(batch.tokens[place, :length], split.tokens[row])
            assert not batch.tokens[place, length:].any()
            assert batch.labels[place] == split.labels[row]


def test_order_depends_on_seed_and_epoch_alone_and_resumes_anywhere():
    split, shapes = split_of(), Shapes((44,), ())
    full = [b.rows for b in itertools.islice(train_batches(split, shapes, 8, 5, 0), 30)]
    for start in (0, 1, 12, 13, 14, 27):
        resumed = next(train_batches(split, shapes, 8, 5, start)).rows
        np.testing.assert_array_equal(resumed, full[start])
    other_seed = np.concatenate(epoch_order(split, shapes, 8, 6, 0))
    other_epoch = np.concatenate(epoch_order(split, shapes, 8, 5, 1))
    first = np.concatenate(epoch_order(split, shapes, 8, 5, 0))
    assert (first != other_seed).any()
    assert (first != other_epoch).any()


def test_pools_sorted_by_length_leave_little_padding():
    split = split_of(2000)
    shapes = choose_shapes([split], 6)
    batches = list(itertools.islice(train_batches(split, shapes, 16, 0, 0), 125))
    filled = sum((b.tokens > 0).sum() for b in batches) / sum(b.tokens.size for b in batches)
    assert filled > 0.8
    assert len({b.tokens.shape for b in batches[:20]}) > 1, "batches of one length must not cluster"


def test_mixed_batches_hold_both_splits_and_resume():
    split, other, shapes = split_of(20), split_of(9, seed=1), Shapes((44,), ())
    other = dataclasses.replace(other, labels=np.full(9, -1))

    def rows(start, count):
        batches = itertools.islice(mixed_batches(split, other, shapes, 6, 4, 5, start), count)
        return [(b.rows, b.labels, b.tokens.shape) for b in batches]

    full = rows(0, 12)
    seen = np.concatenate([each[0] for each in full[:12]])
    assert set(seen[seen >= 20]) == set(range(20, 29)), "every unlabelled row comes up"
    assert sorted(np.concatenate([r[(r >= 0) & (r < 20)] for r, _, _ in full[:4]])) == list(
        range(20)
    )
    for each, labels, shape in full:
        assert shape == (10, 44)
        assert (labels[each >= 20] == -1).all()
        assert (labels[(each >= 0) & (each < 20)] >= 0).all()
    for start in (1, 5, 11):
        np.testing.assert_array_equal(rows(start, 1)[0][0], full[start][0])


def test_a_sample_is_ascending_distinct_and_from_everywhere():
    found = sample(1000, 100, seed=0)
    assert len(found) == 100
    assert (np.diff(found) > 0).all()
    assert found[0] < 100
    assert found[-1] >= 900
    np.testing.assert_array_equal(found, sample(1000, 100, seed=0))
    assert (found != sample(1000, 100, seed=1)).any()
    for count in (-1, 1000, 2000):
        np.testing.assert_array_equal(sample(1000, count, seed=0), np.arange(1000))


def test_rows_that_are_taken():
    split = split_of(pair=True)
    taken = split.take(np.array([5, 2]))
    assert [len(row) for row in taken.tokens] == [len(split.tokens[5]), len(split.tokens[2])]
    np.testing.assert_array_equal(taken.query[1], split.query[2])
    assert taken.labels.tolist() == [5 % 3, 2]


def test_evaluation_covers_each_row_once():
    split = split_of(21)
    batches = list(evaluation_batches(split, Shapes((44,), ()), 8))
    assert [int((b.rows < 0).sum()) for b in batches] == [0, 0, 3]
    assert sorted(np.concatenate([b.rows for b in batches])[:21]) == list(range(21))


@pytest.mark.parametrize("axis", [0, 1])
def test_gathered_rows_stand_in_the_order_of_the_split(axis):
    split = split_of(21)

    def stacked(sums):
        return np.stack([sums, 2 * sums], axis=1 - axis)

    found = gather_rows(
        lambda batch: {"sums": stacked(batch.tokens.sum(axis=1))},
        split,
        Shapes((12, 44), ()),
        8,
        lambda: None,
        axis,
    )
    sums = np.array([each.sum() for each in split.tokens])
    np.testing.assert_array_equal(found["sums"], stacked(sums))
