"""From files to encoded splits, and what is refused on the way."""

import json

import numpy as np
import pytest
from etils import epath

from attnjax.config import from_config_dict
from attnjax.data.dataset import LONGEST, label_names, load_dataset, refuse_table, shared
from attnjax.data.examples import Example
from attnjax.errors import UserError
from attnjax.types import EOS, SOS, UNK
from attnjax.workdir import finite, read_json, write_json

TRAIN = [("a good film", "pos"), ("a bad film", "neg"), ("good good", "pos"), ("bad", "neg")]


def write(folder, train=TRAIN, test=(("good unseen", "pos"),), validation=(("bad film", "neg"),)):
    for name, rows in (("train", train), ("test", test), ("validation", validation)):
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))


def load(folder, **data):
    return load_dataset(
        from_config_dict(
            {
                "task": "classification",
                "data": {"source": "files", "path": str(folder), **data},
                "model": {"embed_dim": 2},
            }
        )
    )


def test_encoding_of_a_small_folder(tmp_path):
    write(tmp_path)
    found = load(tmp_path)
    assert found.labels == ("neg", "pos")
    assert found.vocabulary.tokens[4:] == ("good", "a", "bad", "film")
    test = found.splits["test"]
    good = found.vocabulary.tokens.index("good")
    np.testing.assert_array_equal(test.tokens[0], [SOS, good, UNK, EOS])
    np.testing.assert_array_equal(found.splits["train"].labels, [1, 0, 1, 0])
    assert not found.pair
    assert found.summary["examples"] == {"train": 4, "validation": 1, "test": 1}


def test_limits_on_length_and_count(tmp_path):
    write(tmp_path, test=(("good", "pos"), ("a very good film", "pos")))
    found = load(tmp_path, min_length=2, max_length=3, min_count=2, train_examples=3)
    assert len(found.splits["train"]) < 4
    assert [len(row) for row in found.splits["test"].tokens] == [3 + 2]
    assert found.summary["dropped"]["test"] == 1
    assert found.summary["cut"] == 1


def test_integer_labels_are_ordered_by_value():
    rows = [Example("x", None, label) for label in ("10", "2", "-1")]
    assert label_names(rows) == ("-1", "2", "10")


def test_classes_have_one_order_whatever_their_names():
    rows = [Example("x", None, label) for label in ("1", "01", "²", "--1")]
    assert label_names(rows[:2]) == label_names(rows[1::-1]) == ("01", "1")
    assert label_names(rows) == ("--1", "01", "1", "²")


def test_a_class_that_loses_its_last_row_of_train_still_counts(tmp_path):
    rows = (("good film", "pos"), ("a bad one", "neg"), ("odd", "strange"))
    write(tmp_path, train=rows, test=(*rows, ("an odd film", "strange")))
    found = load(tmp_path, min_length=2)
    assert found.labels == ("neg", "pos", "strange")
    assert found.splits["train"].labels.tolist() == [1, 0]
    assert found.splits["test"].labels.tolist() == [1, 0, 2]


def test_pretrained_vectors_and_their_coverage(tmp_path):
    write(tmp_path)
    (tmp_path / "some.vec").write_text("good 1 2\nbad 3 4\nelse 5 6\n")
    found = load(tmp_path, vectors=str(tmp_path / "some.vec"))
    vectors, known = found.vectors
    np.testing.assert_array_equal(vectors[found.vocabulary.tokens.index("bad")], [3, 4])
    assert known.sum() == 2
    assert found.summary["vectors"] == {"tokens": pytest.approx(5 / 9), "types": 0.5}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([*TRAIN, ("", "pos")], r"train.jsonl, line 5: the text has no token; .*drop_empty"),
        (
            [*TRAIN, ("w " * 10_000, "pos")],
            r"train.jsonl, line 5: the text has 10,000 tokens; .*data.max_length",
        ),
        ([("good", "pos"), ("bad", "pos")], "at least two classes"),
    ],
)
def test_texts_that_need_a_decision(tmp_path, train, message):
    write(tmp_path, train=train, validation=(("good", "pos"),))
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_the_decisions_that_the_messages_offer(tmp_path):
    write(tmp_path, train=[*TRAIN, ("", "pos"), ("w " * 10_000, "pos")])
    found = load(tmp_path, drop_empty=True, max_length=50)
    assert len(found.splits["train"]) == 5
    assert max(len(row) for row in found.splits["train"].tokens) == 52
    assert LONGEST < 10_000


def test_labels_that_a_split_has_none_of(tmp_path):
    rows = (("good", "pos"), ("bad", "neg"), ("odd", "strange"))
    write(tmp_path, train=rows * 3, test=(("odd", "strange"),))
    with pytest.raises(UserError, match=r"test split has no row left of data.labels=pos,neg"):
        load(tmp_path, labels=("pos", "neg"))


def test_nothing_left(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match=r"no row left with at least data\.min_length=9 words"):
        load(tmp_path, min_length=9)


def test_the_account_of_what_was_read(tmp_path, caplog):
    extra = [("a good film", "neg"), ("", "pos"), ("long " * 9 + "film", "neg"), ("x y", "-")]
    write(tmp_path, train=[*TRAIN, *extra], test=(("A good film", "pos"), ("zzz qqq", "neg")))
    (tmp_path / "more.csv").write_text("text,label\n")
    found = load(tmp_path, drop_empty=True, max_length=3, min_count=2).summary
    train, test = found["splits"]["train"], found["splits"]["test"]
    counts = {"read": 8, "unlabelled": 1, "dropped": 1, "cut": 1, "rows": 6, "one_word": 1}
    assert {name: train[name] for name in counts} == counts
    assert (test["files"], test["unknown"]) == (["test.jsonl"], 2 / 5)
    assert (train["majority"], test["majority"]) == (2 / 3, 1 / 2)
    assert found["shared"] == {"train~validation": 0, "train~test": 1, "validation~test": 0}
    assert found["unread"] == ["more.csv"]
    told = [
        "not read: more.csv",
        "1 rows of train have no label",
        "1 rows have a text of more than data.max_length=3",
        "1 rows of train have no words",
        "1 of 2 rows of test have the text of a row of train",
        "1 texts of train occur with more than one label",
    ]
    for part in told:
        assert sum(part in note for note in found["notes"]) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"data: {note}" for note in found["notes"]
    ]


def test_splits_that_are_cut_from_train(tmp_path):
    rows = [(f"film {chr(97 + n)} is", "pos" if n % 2 else "neg") for n in range(20)]
    write(tmp_path, train=rows)
    (tmp_path / "test.jsonl").unlink()
    (tmp_path / "validation.jsonl").unlink()
    found = load(tmp_path, validation_fraction=0.2, train_examples=10)
    splits = found.summary["splits"]
    assert {name: each["rows"] for name, each in splits.items()} == {
        "train": 10,
        "validation": 4,
        "test": 4,
    }
    assert (splits["train"]["moved"], splits["train"]["passed"]) == (8, 2)
    assert splits["test"]["read"] is None
    assert "4 rows are cut from train for it" in found.summary["notes"][0]
    texts = [row.text for each in found.examples.values() for row in each]
    assert len(set(texts)) == 18


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        (["zz yy", "xx ww"], "100% of the words of test are <unk>"),
        (["good"], "texts of test have one"),
    ],
)
def test_texts_that_leave_nothing_to_explain_are_told(tmp_path, texts, part):
    write(tmp_path, test=[(text, "pos") for text in texts])
    assert any(part in note for note in load(tmp_path).summary["notes"])


@pytest.mark.parametrize("label", ["7" * 5000, "--5", "\u00b2", "\u0663", "1e999"])
def test_labels_that_are_no_numbers_python_has(tmp_path, label):
    write(tmp_path, train=[*TRAIN, ("odd", label)])
    assert load(tmp_path).labels == tuple(sorted(("neg", "pos", label)))


def test_files_of_names_that_are_no_utf8_are_told_and_stored(tmp_path):
    write(tmp_path)
    (tmp_path / b"odd\xff\n.csv".decode(errors="surrogateescape")).write_text("text,label\n")
    summary = load(tmp_path).summary
    assert summary["notes"][0].startswith("not read: odd\\udcff .csv; files are named train")
    write_json(epath.Path(tmp_path) / "out" / "data.json", summary)
    assert read_json(epath.Path(tmp_path) / "out" / "data.json") == finite(summary)


def test_what_lies_beside_the_files_makes_no_other_data(tmp_path):
    write(tmp_path)
    one = load(tmp_path)
    (tmp_path / "more.csv").write_text("text,label\n")
    other = load(tmp_path)
    assert one.summary != other.summary
    assert shared(one.summary) == shared(other.summary)
    assert one.fingerprint() == other.fingerprint()


def test_vectors_that_no_machine_holds_are_refused_before_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**20}.get)
    with pytest.raises(
        UserError,
        match=r"^data.vectors: 2,000,000 words of model.embed_dim=100000 numbers need 745 GiB, and "
        r"this machine has 4; lower model.embed_dim, or raise data.min_count for fewer words$",
    ):
        refuse_table(2_000_000, 100_000)
    refuse_table(10_000, 100_000)
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 10}.get)
    write(tmp_path)
    with pytest.raises(UserError, match=r"8 words of model.embed_dim=2 numbers"):
        load(tmp_path, vectors=str(tmp_path / "missing.vec"))
