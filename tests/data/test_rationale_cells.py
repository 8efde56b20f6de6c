"""People's rationales: every form of a cell, own words, and one line for what fits no word."""

import json

import numpy as np
import pytest

from attnjax.config import RunConfig, changed
from attnjax.data.dataset import load_dataset
from attnjax.data.files import read_files
from attnjax.data.rationales import find_rationale, starts_of
from attnjax.data_config import DataConfig, FieldsConfig
from attnjax.errors import UserError

TEXT = "It isn't bad, at all."  # it is n't bad , at all .


def found(value, tokens=None, text=TEXT, texts=None):
    row = {"why": value} | ({} if tokens is None else {"tokens": tokens})
    return find_rationale(row, "why", "tokens", texts or [text], text, "test.jsonl, line 7")


@pytest.mark.parametrize(
    ("value", "people"),
    [
        ([2, 3], ((2, 3),)),
        ([3.0, 2.0], ((2, 3),)),
        ([0, 0, 1, 1, 0, 0, 0, 0], ((2, 3),)),
        ([False, False, True, True, False, False, False, False], ((2, 3),)),
        ([[2, 3], [], None, [7]], ((2, 3), (), (7,))),
        ([], ((),)),
        ("2 3", ((2, 3),)),
        ("2, 3", ((2, 3),)),
        ("[[2, 3], [7]]", ((2, 3), (7,))),
        ("2 3|7", ((2, 3), (7,))),
        (None, None),
        (float("nan"), None),
        (" ", None),
    ],
)
def test_forms(value, people):
    assert found(value) == people


def test_two_words_both_named_are_numbers():
    assert found([0, 1], text="so good") == ((0, 1),)
    assert found([1, 1], text="so good") == ((0, 1),), "a mark a word"


def test_marks_of_short_texts_are_those_of_their_column(tmp_path):
    """[0, 1] of two words are numbers, or a mark each where the column has marks elsewhere."""
    rows = [("so good", [0, 1]), ("really so good", [0, 0, 1]), ("bad", [1]), ("good", [0])]
    rows += [("so bad", [1, 0]), ("so bad", [[0, 1], [1, 1], [1, 0]])]
    lines = [{"text": text, "label": "a", "why": why} for text, why in rows]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    fields = FieldsConfig(rationale="why")
    config = DataConfig(source="files", path=str(tmp_path), fields=fields)
    read = read_files(config, "classification").splits["test"]
    assert [each.rationale for each in read] == [
        ((1,),),
        ((2,),),
        ((0,),),
        ((),),
        ((0,),),
        ((1,), (0, 1), (0,)),
    ]
    numbers = [("so good", [0, 1]), ("really so good", [2]), ("bad", [0])]
    lines = [{"text": text, "label": "a", "why": why} for text, why in numbers]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    read = read_files(config, "classification").splits["test"]
    assert [each.rationale for each in read] == [((0, 1),), ((2,),), ((0,),)]


def test_own_words_stand_for_those_they_are_split_into():
    own = ["It", "isn't", "bad,", "at", "all."]
    assert starts_of(own) == [0, 1, 3, 5, 6, 8]
    assert found([1, 4], own) == ((1, 2, 6, 7),)
    assert found([0, 1, 0, 0, 1], own) == ((1, 2, 6, 7),)
    assert found([1, 4], json.dumps(own)) == found([1, 4], " ".join(own)) == ((1, 2, 6, 7),)
    assert found([1], texts=[["It isn't", "bad, at all."]]) == ((3, 4, 5, 6, 7),), "sentences"


@pytest.mark.parametrize(
    ("value", "tokens", "message"),
    [
        ([2, 8], None, "names word 8, and the text has 8 words, counted from 0"),
        ([-1], None, "names word -1"),
        ([10**400], None, "names word 10000"),
        ([5], ["It", "isn't", "bad,", "at", "all."], "'tokens' has 5 words"),
        ([2, 2], None, "names word 2 twice"),
        ([0, 1, 1], None, "marks 3 words, and the text has 8"),
        ([0.5, 1], None, "'why' must be the numbers of words"),
        ([[1], 2], None, "'why' must be the numbers of words"),
        ("because it is bad", None, "'why' must be the numbers of words"),
        (["bad"], None, "'why' must be the numbers of words"),
        ("9" * 5000, None, "'why' must be the numbers of words"),
        ({"a": 1}, None, "'why' must be the numbers of words"),
        ([1], ["It", "is", "bad"], "'tokens' has not the words of the text (word 2 is 'bad', and"),
        ([1], ["It", "isn't"], "(word 3 is none, and 'bad' in the text)"),
        ([1], [1, 2], "'tokens' must be a list of words"),
    ],
)
def test_what_is_wrong_names_row_and_file(value, tokens, message):
    with pytest.raises(UserError) as caught:
        found(value, tokens)
    assert str(caught.value).startswith("test.jsonl, line 7: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def rows(count, **more):
    return [
        {"text": f"word{'abcdefgh'[n % 8]} is {('bad', 'good')[n % 2]}", "label": n % 2, **more}
        for n in range(count)
    ]


def data(folder, test, train=None, **fields):
    for name, lines in (("train", train or rows(12)), ("validation", rows(4)), ("test", test)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    return DataConfig(source="files", path=str(folder), fields=FieldsConfig(**fields))


def loaded(config):
    return load_dataset(changed(RunConfig(task="classification"), {"data": config}))


def test_rows_keep_theirs_and_nothing_else_changes(tmp_path):
    test = [{**row, "why": [[2], [0, 2]][: 1 + n % 2]} for n, row in enumerate(rows(4))]
    with_ = loaded(data(tmp_path, test, rationale="why"))
    without = loaded(data(tmp_path, test))
    assert with_.fingerprint() == without.fingerprint()
    assert with_.splits["train"].rationales is None
    assert without.splits["test"].rationales is None
    one, both = ((2,),), ((2,), (0, 2))
    assert with_.splits["test"].rationales == [one, both, one, both]
    taken = with_.splits["test"].take(np.array([3, 0]))
    assert taken.rationales == [both, one]
    test[2]["why"] = [0]
    short = loaded(changed(data(tmp_path, test[:3], rationale="why"), {"max_length": 2}))
    assert short.splits["test"].rationales == [((),), ((), (0,)), ((0,),)], "the rest is not read"


def test_no_row_of_the_test_split_has_one(tmp_path):
    train = rows(12, why=[2])
    with pytest.raises(UserError, match=r"test.jsonl, line 1: neither .* 'why'"):
        loaded(data(tmp_path, rows(4), train, rationale="why"))
    with pytest.raises(UserError, match="line 1: 'why' names word 3"):
        read_files(data(tmp_path, rows(4, why=[3]), rationale="why"), "classification")


def test_a_column_of_that_name_is_nobodys_business_unless_it_is_named(tmp_path):
    assert loaded(data(tmp_path, rows(4, rationale="since I say so", tokens=3)))
