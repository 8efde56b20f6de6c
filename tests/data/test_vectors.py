import gzip
import json

import numpy as np
import pytest

from attnjax.data.tokens import tokenize
from attnjax.data.vectors import coverage, read_vectors
from attnjax.data.vocabulary import SPECIALS, Vocabulary
from attnjax.errors import UserError

# As GloVe's 840B file: words with blanks, a no-break space, a word that is a number.
GLOVE = (
    "the 1 2 3\n. 4 5 6\n. . . 7 8 9\n2.5 1 1 1\nat name 9 9 9\nnon\u00a0stop 3 3 3\nthe 0 0 0\n"
)
WORDS = ["the", "missing", ".", "non\u00a0stop"]
VECTORS = [[1, 2, 3], [0, 0, 0], [4, 5, 6], [3, 3, 3]]


def _write(path, text):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.txt.gz", "v.vec.gz"])
@pytest.mark.parametrize("header", ["", "7 3\n"])
def test_text_files(tmp_path, name, header):
    vectors, found = read_vectors(_write(tmp_path / name, header + GLOVE), WORDS, 3)
    assert vectors.dtype == np.float32
    assert found.dtype == bool
    np.testing.assert_array_equal(vectors, VECTORS)
    assert found.tolist() == [True, False, True, True]


def test_words_with_blanks_are_found_whole(tmp_path):
    path = _write(tmp_path / "v.txt", GLOVE)
    vectors, found = read_vectors(path, [". . .", "at name", "at"], 3)
    np.testing.assert_array_equal(vectors, [[7, 8, 9], [9, 9, 9], [0, 0, 0]])
    assert found.tolist() == [True, True, False]


def test_fasttext_lines_end_in_a_blank_and_windows_files_in_a_return(tmp_path):
    path = _write(tmp_path / "v.vec", "2 2\r\na 1 2 \r\nb 3 4 \r\n")
    np.testing.assert_array_equal(read_vectors(path, ["b", "a"], 2)[0], [[3, 4], [1, 2]])


def test_lines_that_do_not_matter_may_be_in_another_encoding(tmp_path):
    path = _write(tmp_path / "v.vec", b"a 1 2\n\xff\xfe 3 4\nb 5 6\n")
    np.testing.assert_array_equal(read_vectors(path, ["b"], 2)[0], [[5, 6]])


def test_a_word_wanted_twice_is_filled_twice(tmp_path):
    path = _write(tmp_path / "v.txt", "a 1 2\n")
    vectors, found = read_vectors(path, ["a", "a"], 2)
    np.testing.assert_array_equal(vectors, [[1, 2], [1, 2]])
    assert found.all()


@pytest.mark.parametrize("beside", [True, False])
def test_npz_files(tmp_path, beside):
    words = ["b", "a", "b"]
    arrays = {"vectors": np.array([[1, 2], [3, 4], [5, 6]], np.float16)}
    if beside:
        (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    else:
        arrays["words"] = np.array(words)
    np.savez(tmp_path / "v.npz", **arrays)
    vectors, found = read_vectors(tmp_path / "v.npz", ["a", "c", "b"], 2)
    np.testing.assert_array_equal(vectors, [[3, 4], [0, 0], [1, 2]])
    assert vectors.dtype == np.float32
    assert found.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.txt", GLOVE, r"vectors of 3 numbers, but model.embed_dim=4.*embed_dim=3"),
        ("v.vec", "7 3\n" + GLOVE, "vectors of 3 numbers"),
        ("v.vec", "7 " + "9" * 5000 + "\n" + GLOVE, "vectors of 1 numbers"),
        ("v.txt", "", "no vectors"),
        ("v.vec", "7 4\n", "no vectors"),
        ("v.txt", "the cat sat down\n", "line 1 is not a word followed by numbers"),
        ("v.txt", "a 1 2 3 4\nthe 1 2 3\n", "line 2 is not a word and 4 numbers"),
        ("v.txt", "a 1 2 3 4\nthe 1 x 3 4\n", "line 2 is not a word and 4 numbers"),
        ("v.txt", "a 1 2 3 4\nthe 1 nan 3 4\n", "line 2: 'the' is not finite"),
        ("v.txt.gz", None, "cannot be read"),
        ("v.bin", GLOVE, "neither .npz nor .vec"),
        ("v.npz", b"PK\x03\x04 torn", "cannot be read"),
        ("v.npz", b"", "cannot be read"),
        ("v.npz", b"\x93NUMPY\x01\x00", "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is None:
        path.write_bytes(gzip.compress(b"a 1 2 3 4\n" * 9999)[:-20])
    else:
        _write(path, content)
    with pytest.raises(UserError, match=message) as caught:
        read_vectors(path, WORDS, 4)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "vocabulary", "message"),
    [
        ({"words": ["a"]}, None, "no key 'vectors' .it has words"),
        ({"vectors": np.ones((1, 4))}, None, "no key 'words'"),
        ({"vectors": np.ones((2, 4))}, "a\n", "2 vectors but 1 words"),
        ({"vectors": np.ones(4), "words": ["a"]}, None, "must be a .words, dimension. array"),
        ({"vectors": np.ones((1, 3)), "words": ["a"]}, None, "vectors of 3 numbers"),
        ({"vectors": np.ones((1, 4)), "words": np.array(["a"], object)}, None, "cannot be read"),
        ({"vectors": np.full((1, 4), np.inf), "words": ["the"]}, None, "not finite"),
    ],
)
def test_what_is_wrong_in_an_npz_is_one_line(tmp_path, arrays, vocabulary, message):
    np.savez(tmp_path / "v.npz", **arrays)
    if vocabulary:
        (tmp_path / "vocab.txt").write_text(vocabulary)
    with pytest.raises(UserError, match=message):
        read_vectors(tmp_path / "v.npz", WORDS, 4)


@pytest.mark.parametrize("line", ["the\t1\t2\n", " the 1 2\n", "the  1   2\n"])
def test_words_and_numbers_may_stand_apart_in_any_way(tmp_path, line):
    vectors, found = read_vectors(_write(tmp_path / "v.txt", line), ["the"], 2)
    assert found.all()
    np.testing.assert_array_equal(vectors, [[1, 2]])


def test_npz_with_words_as_bytes(tmp_path):
    np.savez(tmp_path / "v.npz", words=np.array([b"the"]), vectors=np.ones((1, 2)))
    assert read_vectors(tmp_path / "v.npz", ["the"], 2)[1].all()


def test_vectors_of_other_words_alone(tmp_path):
    with pytest.raises(UserError, match="a vector for none of the 1 words"):
        read_vectors(_write(tmp_path / "v.txt", "The 1 2\n"), ["the"], 2)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"no file .*gone\.txt"):
        read_vectors(tmp_path / "gone.txt", WORDS, 4)


def test_coverage_counts_words_and_not_the_frame():
    vocabulary = Vocabulary.build([["a", "a", "b", "c"]], 1)
    found = np.zeros(len(vocabulary), bool)
    found[[0, 1, 2, 3, vocabulary.tokens.index("a")]] = True  # specials do not count
    rows = [vocabulary.ids(["a", "b"]), vocabulary.ids(["a", "unheard"])]
    assert coverage(found, rows) == {"tokens": 2 / 4, "types": 1 / 3}


def test_coverage_of_nothing_is_none():
    assert coverage(np.ones(4, bool), []) == {"tokens": 0.0, "types": 0.0}


def test_real_glove(real_data):
    """The README of the vectors gives 75 % of the running tokens and 22 % of the types."""
    with gzip.open(real_data / "sst2/test.jsonl.gz", "rt", encoding="utf-8") as lines:
        sentences = [tokenize(json.loads(line)["text"]) for line in lines]
    vocabulary = Vocabulary.build(sentences, 1)
    path = real_data / "vectors/glove.6B.100d/vectors.npz"
    vectors, found = read_vectors(path, vocabulary.tokens, 100)
    share = coverage(found, [vocabulary.ids(sentence) for sentence in sentences])
    assert 0.72 < share["tokens"] < 0.79
    assert 0.20 < share["types"] < 0.25
    assert not found[: len(SPECIALS)].any()
    assert not vectors[~found].any()
    assert 3 < np.linalg.norm(vectors[found], axis=1).mean() < 7


def test_real_glove_gives_the_same_as_a_text_file(real_data, tmp_path):
    folder = real_data / "vectors/glove.6B.100d"
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:300]
    with np.load(folder / "vectors.npz") as archive:
        rows = archive["vectors"][:300].astype(np.float32)
    lines = (f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, rows, strict=True))
    path = _write(tmp_path / "v.txt.gz", "".join(lines))
    vectors, found = read_vectors(path, words, 100)
    np.testing.assert_array_equal(vectors, read_vectors(folder / "vectors.npz", words, 100)[0])
    assert found.all()


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    for name, head in (("a.vec", "2 3\n"), ("b.txt", "")):
        _write(tmp_path / name, f"\ufeff{head}the 1 2 3\ncat 4 5 6\n")
        vectors, found = read_vectors(tmp_path / name, ["the", "cat"], 3)
        assert found.all()
        assert vectors[0].tolist() == [1, 2, 3]
