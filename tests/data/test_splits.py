"""Validation cut off train: whole groups, in order, and never all or nothing."""

import pytest

from attnjax.data.examples import Example
from attnjax.data.splits import cut
from attnjax.errors import UserError


def grouped(sizes):
    return [
        Example(f"{group} {n}", None, "x", group=f"g{group}")
        for group, size in enumerate(sizes)
        for n in range(size)
    ]


def test_validation_is_cut_by_whole_groups_in_order():
    train = grouped([5] * 40)
    splits = cut({"train": train, "test": train[:1]}, "validation", 0.15, seed=1)
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 170,
        "validation": 30,
        "test": 1,
    }
    groups = [{row.group for row in splits[name]} for name in ("train", "validation")]
    assert not groups[0] & groups[1]
    for name in ("train", "validation"):
        positions = [train.index(row) for row in splits[name]]
        assert positions == sorted(positions)
    assert cut({"train": train, "test": []}, "validation", 0.15, seed=1)["train"] == splits["train"]
    assert cut({"train": train, "test": []}, "validation", 0.15, seed=2)["train"] != splits["train"]


def test_rows_without_group_are_cut_one_by_one():
    train = [Example(str(n), None, "x") for n in range(100)]
    splits = cut({"train": train, "test": []}, "validation", 0.1, seed=0)
    assert len(splits["validation"]) == 10
    rows = sorted(int(row.text) for row in splits["validation"])
    assert rows != list(range(rows[0], rows[0] + 10))


@pytest.mark.parametrize(("sizes", "fraction"), [([1, 1], 0.1), ([9], 0.5), ([4, 4], 0.1)])
def test_too_few_rows_to_cut(sizes, fraction):
    with pytest.raises(UserError, match=r"too few to cut data\.validation_fraction"):
        cut({"train": grouped(sizes), "test": []}, "validation", fraction, seed=0)
