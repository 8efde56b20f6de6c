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


def test_the_cut_keeps_the_shares_of_classes():
    train = [Example(str(n) + " x", None, "rare" if n < 5 else "often") for n in range(200)]
    train = [each._replace(text=f"{each.label} {chr(97 + n % 26)}{chr(97 + n // 26)}")
             for n, each in enumerate(train)]  # fmt: skip
    for seed in range(5):
        splits = cut({"train": train}, "validation", 0.15, seed)
        labels = [row.label for row in splits["validation"]]
        assert (labels.count("rare"), labels.count("often")) == (1, 29)


def test_classes_of_a_few_rows_take_no_more_than_the_share():
    train = [Example(f"text {chr(97 + n % 26)} {chr(97 + n // 26)}", None, f"c{n // 2}")
             for n in range(200)]  # fmt: skip
    splits = cut({"train": train}, "test", 0.15, 0)
    assert len(splits["test"]) == 30
    assert {row.label for row in splits["train"]} == {row.label for row in train}


def test_equal_texts_stay_together():
    texts = [f"film {chr(97 + n)}" for n in range(20)]
    train = [Example(f"{text.upper() if n else text}  {n}0.5", None, "01"[place % 2])
             for n in range(5) for place, text in enumerate(texts)]  # fmt: skip
    splits = cut({"train": train}, "validation", 0.15, 3)
    plain = [{row.text.lower().split()[1] for row in splits[name]} for name in splits]
    assert not plain[0] & plain[1]
    assert len(splits["validation"]) in (10, 15)


def test_a_few_texts_over_and_over_are_cut_all_the_same():
    train = [Example("ab"[n % 2], None, str(n % 2)) for n in range(60)]
    assert len(cut({"train": train}, "validation", 0.15, 0)["validation"]) == 9


def test_labels_of_one_row_each_are_no_classes():
    train = [Example(chr(97 + n), None, str(n)) for n in range(20)]
    with pytest.raises(UserError, match="each of its 20 rows has a label of its own"):
        cut({"train": train}, "validation", 0.2, 0)
