"""Which files of a folder are read, as which split, and what is said of the others."""

import json
import os
import re

import pytest

from attnjax.data.files import read_files
from attnjax.data_config import DataConfig, FieldsConfig
from attnjax.errors import UserError

WORDS = ["awful", "lovely", "dull", "great", "boring", "warm", "weak", "superb"]


def rows(count=12, labels=("0", "1")):
    return [
        (f"{WORDS[n % 8]} film {WORDS[n % 7]} {n}", labels[n % len(labels)]) for n in range(count)
    ]


def table(found, head="text,label"):
    return "\n".join([head, *(f"{text},{label}" for text, label in found)])


def read(tmp_path, files, task="classification", **data):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return read_files(DataConfig(path=str(tmp_path), **data), task)


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("train.csv", "val.csv", "validation"),
        ("Train.csv", "DEV.CSV", "validation"),
        ("training.csv", "Eval.csv", "validation"),
        ("TRAIN.CSV", "Testing.csv", "test"),
        ("train-00000-of-00001.csv", "Development.csv", "validation"),
    ],
)
def test_names_of_splits(tmp_path, train, other, split):
    files = {train: table(rows()), other: table(rows(4)), "test.csv": table(rows(5))}
    if split == "test":
        del files["test.csv"]
    found = read(tmp_path, files)
    assert found.files[split] == [other]
    assert len(found.splits[split]) == 4
    assert not found.unread
    assert not found.notes


def test_files_that_look_like_data_and_are_not_read_are_named(tmp_path):
    others = ("extra.csv", "labels.xlsx", "train (1).csv", "notes.txt")
    files = dict.fromkeys((*others, ".hidden.csv", "README.txt", "plot.png"), "")
    splits = {"train.csv": table(rows()), "test.csv": table(rows(4))}
    found = read(tmp_path, {**files, **splits})
    assert sorted(found.unread) == sorted(others)
    assert all(name in found.notes[0] for name in others)


def test_the_parts_of_a_split_are_read_in_order(tmp_path):
    parts = {f"train-0000{n}-of-00002.csv": table([(f"part {n}", str(n))]) for n in (1, 0)}
    found = read(tmp_path, {**parts, "test.csv": table([("a", "1")])})
    assert [row.text for row in found.splits["train"]] == ["part 0", "part 1"]
    (tmp_path / "train-00001-of-00002.csv").unlink()
    with pytest.raises(UserError, match="1 of the 2 parts of train, numbered from 0: it lacks 1"):
        read(tmp_path, {})


@pytest.mark.parametrize("name", ["IMDB Dataset.csv", "train.csv", "data/train.csv"])
def test_one_file_is_train_alone(tmp_path, name):
    found = read(tmp_path, {name: table(rows())})
    assert list(found.splits) == ["train"]
    assert len(read_files(DataConfig(path=str(tmp_path / name)), "classification").splits["train"])


def test_a_folder_of_texts_for_each_class(tmp_path):
    places = [(split, label) for split in ("Train", "test") for label in ("bad", "good")]
    files = {f"{a}/{b}/{n}.txt": f"a {b} film {n}" for a, b in places for n in (10, 9)}
    found = read(tmp_path, files)
    assert [(row.text, row.label) for row in found.splits["train"]] == [
        (f"a {label} film {n}", label) for label in ("bad", "good") for n in (9, 10)
    ]
    assert found.splits["test"][0].place == "test/bad/9.txt"
    assert found.notes == ["a file is a text and its folder the class: bad, good"]
    with pytest.raises(UserError, match="are for classification, not task='nli'"):
        read(tmp_path, {}, "nli")


def test_classes_without_splits_are_train_alone(tmp_path):
    found = read(tmp_path, {f"{label}/{n}": "text" for label in "ab" for n in range(3)})
    assert {name: len(each) for name, each in found.splits.items()} == {"train": 6}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("a.csv", "b.csv"), "has a.csv, b.csv, none of which is named after a split"),
        (("dev.csv", "val.csv", "train.csv"), "two files for validation, dev.csv and val.csv"),
        (("train.csv", "TRAIN.tsv"), "two files for train"),
        (("train.xlsx", "test.xlsx"), "test.xlsx, train.xlsx, which cannot be read; export each"),
        (("train.zip",), r"nothing to read in .*\(it has train.zip\)"),
        (("test.csv",), "has test.csv, but no train file"),
    ],
)
def test_folders_that_need_the_user(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, dict.fromkeys(files, ""))


def test_several_columns_are_one_text(tmp_path):
    content = "Title,Description,Class Index\na,b c,1\n,d,2\n"
    fields = FieldsConfig(text="title, description", label="Class Index")
    found = read(tmp_path, {"train.csv": content, "test.csv": content}, fields=fields)
    assert [(row.text, row.label) for row in found.splits["train"]] == [("a b c", "1"), ("d", "2")]
    comma = FieldsConfig(text="a,b")
    content = '"a,b",label\nx,1\n'
    (tmp_path / "train.csv").write_text(content)
    (tmp_path / "test.csv").write_text(content)
    assert read(tmp_path, {}, fields=comma).splits["test"][0].text == "x"
    with pytest.raises(UserError, match="no column 'a'"):
        read(tmp_path, {}, fields=FieldsConfig(text="a,body"))


def test_columns_of_another_letter_case_are_told(tmp_path):
    files = {name: table(rows(), "TEXT,Label") for name in ("train.csv", "test.csv")}
    found = read(tmp_path, files)
    assert found.notes[0] == "train.csv: column 'TEXT' is read as 'text'"
    assert found.splits["train"][1].label == "1"


def lines(labels, task):
    parts = {"nli": ("premise", "hypothesis"), "classification": ("text",)}[task]
    return "\n".join(json.dumps({**dict.fromkeys(parts, "a b"), "label": each}) for each in labels)


@pytest.mark.parametrize(
    ("task", "labels", "kept"),
    [
        ("nli", ["yes", "-", "no"], ["yes", "no"]),
        ("nli", [0, -1, 1, 2], ["0", "1", "2"]),
        ("classification", [0, -1, 1, 2], ["0", "1", "2"]),
        ("classification", [0, -1, 1], ["0", "-1", "1"]),
        ("classification", ["+", "-"], ["+", "-"]),
        ("classification", ["a", "-", "b"], ["a", "b"]),
        ("classification", [True, None, False, float("nan")], ["true", "false"]),
        ("classification", ["a", "nan", "NaN", "b", " ", "<NA>"], ["a", "b"]),
        ("classification", ["none", "hate", "None"], ["none", "hate", "None"]),
    ],
)
def test_labels_that_mean_none(tmp_path, task, labels, kept):
    found = read(
        tmp_path, {"train.jsonl": lines(labels, task), "test.jsonl": lines(labels[:1], task)}, task
    )
    assert [row.label for row in found.splits["train"]] == kept
    left_out = len(labels) - len(kept)
    assert found.unlabelled["train"] == left_out
    assert [f"{left_out} rows of train have no label" in note for note in found.notes] == (
        [True] * bool(left_out)
    )


@pytest.mark.parametrize("test", ["text\nx\n", "text,label\nx,-1\n", "text,label\nx,\n"])
def test_a_split_without_labels_is_left_out(tmp_path, test):
    files = {"train.csv": table(rows()), "dev.csv": table(rows(3)), "test.csv": test}
    found = read(tmp_path, files)
    assert {name: len(each) for name, each in found.splits.items()} == {"train": 12, "test": 3}
    assert found.files["test"] == ["dev.csv"]
    assert found.notes[0] == "no row of test has a label, so it is left out"
    assert "validation is the test split" in found.notes[1]


def test_some_labels_missing_altogether_is_a_mistake(tmp_path):
    train = lines([0, 1], "classification") + '\n{"text": "x"}'
    with pytest.raises(UserError, match=r"train.jsonl, line 3: no column 'label'"):
        read(tmp_path, {"train.jsonl": train})


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.symlink_to("gone.csv"), "a link to nothing"),
        (lambda path: path.symlink_to(path.name), "a link to nothing"),
        (lambda path: os.mkfifo(path), "a pipe or a device"),
        (lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
    ],
)
@pytest.mark.parametrize("name", ["train.csv", "test.csv", "dev.jsonl"])
def test_what_has_a_splits_name_and_is_no_file_is_refused(tmp_path, name, make, what):
    files = {"train.csv": table(rows()), "test.csv": table(rows(5))}
    files.pop(name, None)
    make(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name} is named as \w+ is, but it is {what}"):
        read(tmp_path, files)


@pytest.mark.parametrize(
    ("names", "lacking"),
    [
        (["train-0-of-2"], "has 1 of the 2 parts of train, numbered from 0: it lacks 1"),
        (["train-1-of-2", "train-2-of-2"], "it lacks 0"),
        (["train-0-of-0"], "has 1 of the 0 parts of train, numbered from 0: it has one too many"),
        (["train-0-of-99999999999"], "it lacks 1, 2, 3, 4, 5;"),
        ([f"train-0-of-{'9' * 100}"], "it lacks 1, 2, 3, 4, 5;"),
        (["train-00-of-2", "train-0-of-2"], "it lacks 1"),
    ],
)
def test_parts_that_are_not_all_there(tmp_path, names, lacking):
    with pytest.raises(UserError, match=re.escape(lacking)):
        read(tmp_path, {f"{name}.csv": table(rows()) for name in names})


def test_all_in_the_folders_of_classes_is_read_or_told(tmp_path):
    files = {
        f"{split}/{label}/{n}.txt": f"{text} {split}"
        for split in ("train", "test")
        for n, (text, label) in enumerate(rows(12, ("pos", "neg")))
    }
    (tmp_path / "train" / "neutral").mkdir(parents=True)
    (tmp_path / "train" / "pos").mkdir()
    (tmp_path / "train" / "pos" / "lost.txt").symlink_to("gone")
    more = {"train/pos/deep/1.txt": "a", "train/pos/a.html": "b", "train/pos/.hidden": "c"}
    found = read(tmp_path, files | more)
    assert {split: len(found.splits[split]) for split in found.splits} == {"train": 12, "test": 12}
    assert found.notes == [
        "a file is a text and its folder the class: neg, pos",
        "3 names in the folders of classes are no .txt files, and not read (the first: "
        "train/pos/a.html)",
        "folders without a text are no classes: neutral",
    ]
    with pytest.raises(UserError, match="'other' never occurs in train"):
        read(tmp_path, {"test/other/1.txt": "a film"})


def test_folders_are_named_where_nothing_can_be_read(tmp_path):
    with pytest.raises(UserError, match=r"nothing to read in \S+ \(it has mine/\)"):
        read(tmp_path, {"mine/train.csv": table(rows())})
