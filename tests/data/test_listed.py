"""The file of model.monotonic: words, signs, strengths, and what is wrong with them."""

import numpy as np
import pytest

from attnjax.data.listed import known_words, listed_of, read_listed
from attnjax.data.vocabulary import Vocabulary
from attnjax.errors import UserError

VOCABULARY = Vocabulary.build([["a", "good", "fine", "bad", ","]])


def known(path, labels=("0", "1")):
    return known_words(str(path), VOCABULARY, labels)


def test_words_with_signs_and_strengths(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# mine\nGood 1 2\n\nbad\t-1\t0.5\nunheard +1 1\n, 1 3\n")
    found, note = known(path)
    assert found == {"good": (1, 2), "bad": (-1, 0.5), ",": (1, 3)}
    assert "of 4 listed words 3 are known: 2 never lower the score of '1', 1 never raise it" in note
    assert "not by those that differentiate or move word vectors" in note
    listed = listed_of(found, VOCABULARY)
    ids = {word: int(VOCABULARY.ids([word])[1]) for word in ("good", "bad", ",", "a")}
    assert [int(listed.signs[ids[word]]) for word in ids] == [1, -1, 1, 0]
    assert [float(listed.strengths[ids[word]]) for word in ids] == [2, 0.5, 3, 0]
    assert np.count_nonzero(listed.signs) == 3


def test_without_strengths_and_without_a_list(tmp_path):
    (tmp_path / "words.txt").write_text("good 1\nbad -1\n")
    listed = listed_of(known(tmp_path / "words.txt")[0], VOCABULARY)
    assert listed.strengths is None
    assert np.count_nonzero(listed.signs) == 2
    assert listed_of(None, VOCABULARY) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("good 1\ngood -1\n", "line 2: 'good' has -1 here and 1 before; keep one"),
        ("good 1\nGood -1\n", "'good' and 'Good' are both read as 'good', and have other"),
        ("good 1 1e39\n", "'good' has 1 1e+39; write a word and 1 or -1"),
        ("10 1\ngood 1\n", "'10' is read as '<num>', as every number is; write '<num>' for all"),
        ("good 2\n", "'good' has 2; write a word and 1 or -1"),
        ("good 1 0\n", "'good' has 1 0; write a word and 1 or -1"),
        ("good 1\nbad -1 2\n", "line 2: the lines before have another number of cells"),
        ("good up\n", "line 1: write a word and 1 or -1"),
        ("good 1 2 3\n", "line 1: write a word and 1 or -1"),
        ("nowhere 1\n", "none of the file's words is one that the training texts have"),
        ("", "has no word"),
        (None, "there is no file"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(content, message, tmp_path):
    if content is not None:
        (tmp_path / "words.txt").write_text(content)
    with pytest.raises(UserError, match=r"^model\.monotonic") as caught:
        known(tmp_path / "words.txt")
    assert message in str(caught.value)


def test_of_more_than_two_classes_there_is_no_one_score(tmp_path):
    (tmp_path / "words.txt").write_text("good 1\n")
    with pytest.raises(UserError, match="for two classes, and the data has 3"):
        known(tmp_path / "words.txt", ("a", "b", "c"))
    assert read_listed(str(tmp_path / "words.txt")) == {"good": (1,)}
