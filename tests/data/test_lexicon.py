"""Word lists that name concepts: what they may say, and what is wrong with them."""

import pytest

from attnjax.data.lexicon import read_lexicon
from attnjax.data.vocabulary import Vocabulary
from attnjax.errors import UserError

VOCABULARY = Vocabulary.build([["good", "fine", "bad", "<num>", "film"]])


def read(tmp_path, text):
    path = tmp_path / "words.txt"
    path.write_text(text)
    return read_lexicon(str(path), VOCABULARY)


def test_words_are_those_of_texts_and_unknown_ones_are_left_out(tmp_path):
    found = read(tmp_path, "# two\n\npositive: Good fine splendid\nnumbers: 7 1998\n")
    words = {name: VOCABULARY.words(ids) for name, ids in found.concepts.items()}
    assert {name: set(each) for name, each in words.items()} == {
        "positive": {"good", "fine"},
        "numbers": {"<num>"},
    }
    assert VOCABULARY.words(found.words) == list(VOCABULARY.tokens[4:])


def test_marks_beside_words_are_no_members(tmp_path):
    vocabulary = Vocabulary.build([["good", "fine", "top", "notch", ",", ".", "-", "!"]])
    text = "  # a note\npositive: good, top-notch; fine.\nmarks: , !\n"
    (tmp_path / "words.txt").write_text(text)
    found = read_lexicon(str(tmp_path / "words.txt"), vocabulary)
    words = {name: set(vocabulary.words(ids)) for name, ids in found.concepts.items()}
    assert words == {"positive": {"good", "top", "notch", "fine"}, "marks": {",", "!"}}


def test_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "words.txt").write_text("a: good\n")
    assert list(read_lexicon("~/words.txt", VOCABULARY).concepts) == ["a"]
    (tmp_path / "words").mkdir()
    with pytest.raises(UserError, match=r"analysis\.concepts: words: it is a folder"):
        read_lexicon("~/words", VOCABULARY)


def test_numbers_are_words_where_a_model_reads_them_as_such(tmp_path):
    (tmp_path / "words.txt").write_text("numbers: 1998 7 good\n")
    found = read_lexicon(str(tmp_path / "words.txt"), Vocabulary.build([["1998", "good", "x"]]))
    assert set(found.concepts["numbers"]) == set(found.words[:2])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "words.txt names no concept"),
        ("good fine\n", "words.txt, line 1: a line of a lexicon is"),
        ("a: good\na: fine\n", "words.txt, line 2: a line of a lexicon is"),
        ("a: good\nb: splendid\n", "line 2: the concept 'b' has no word that the training texts"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        read(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"none.txt: cannot be read \(No such file"):
        read_lexicon(str(tmp_path / "none.txt"), VOCABULARY)
