"""The section on the data, from results.json alone."""

from etils import epath

from attnjax.report.answers.answer import Shown, Terms, Told
from attnjax.report.data import DATA

NOTHING = {"unlabelled": 0, "other_labels": 0, "moved": 0, "passed": 0, "dropped": 0, "one_word": 0}
SPLITS = {
    "train": {**NOTHING, "files": ["train.csv"], "read": 10, "moved": 2, "rows": 8},
    "validation": {**NOTHING, "files": [], "read": None, "rows": 2},
}


def blocks(data):
    return DATA.blocks(Told(epath.Path("."), {"data": data}, {}, []))


def test_what_was_read_shared_and_noted():
    splits = {name: {**each, "cut": 1, "unknown": 0.25} for name, each in SPLITS.items()}
    shared = {"train~validation": 1, "train~test": 0}
    found = blocks({"splits": splits, "shared": shared, "notes": ["odd"]})
    (table,) = [each.table for each in found if isinstance(each, Shown)]
    assert table.columns == ("split", "rows", "read", "for other splits", "cut", "<unk>", "files")
    assert table.text() == [
        ["train", "8", "10", "2", "1", "0.250", "train.csv"],
        ["validation", "2", "–", "0", "1", "0.250", "cut from train"],
    ]
    assert [each.terms for each in found if isinstance(each, Terms)] == [
        [("train and validation", "rows of the second that have a text of the first: 1")],
        [("Note 1", "odd")],
    ]


def test_a_run_of_before_has_no_such_section():
    assert blocks({"words": 7}) == []
