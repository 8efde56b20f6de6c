"""Words as pieces: by the folder's own tokenizer, and what it must be."""

import json
import sys

import numpy as np
import pytest
from bert_folder import PIECES, POSITIONS, write_folder

from attnjax.data.examples import Tokenized
from attnjax.data.pieces import cut_to_positions, pieces_of, read_reader, unread
from attnjax.data.tokens import tokenize
from attnjax.data.vocabulary import Vocabulary
from attnjax.errors import UserError
from attnjax.types import EOS, PAD, SOS, UNK


@pytest.mark.parametrize("words", ["vocab.txt", "tokenizer.json"])
def test_words_are_split_as_wordpiece_does(words, tmp_path):
    """The longest piece first, accents and unknown letters as BERT has them; each word alone."""
    reader = read_reader(str(write_folder(tmp_path / "bert", words=words)))
    spelled = ["unbelievably", "wordword", "the", "fílm", "é", "7", "\u00ad", "§", "badness!"]
    found = [[PIECES[row] for row in each] for each in reader.split(spelled)]
    assert found == [
        ["un", "##believ", "##ably"],
        ["word", "##word"],
        ["the"],
        ["film"],
        ["e"],
        ["7"],
        [],
        ["[UNK]"],
        ["bad", "##ness", "!"],
    ]


def test_every_word_has_its_row_and_texts_their_room(tmp_path):
    reader = read_reader(str(write_folder(tmp_path / "bert")))
    texts = [Tokenized(["unbelievably"], None), Tokenized(["the", "film", "the"], None)]
    vocabulary = Vocabulary.build([each.text for each in texts])
    pieces = pieces_of(reader, vocabulary, texts)
    names = [[PIECES[row] for row in each if row >= 0] for each in pieces.ids]
    assert (names[PAD], names[UNK], names[SOS], names[EOS]) == ([], ["[UNK]"], ["[CLS]"], ["[SEP]"])
    assert names[vocabulary.ids(["unbelievably"])[1]] == ["un", "##believ", "##ably"]
    assert pieces.room == (0, 0, 0, 5, 5, 5), "3 tokens, 5 pieces; 5 tokens, 5 pieces"
    assert [pieces.places(each) for each in (2, 3, 5, 100)] == [0, 5, 5, 5]
    assert pieces.places(3, 3) == 10
    unknown = pieces_of(reader, vocabulary)
    assert [unknown.places(each) for each in (2, 3, 100)] == [6, 9, POSITIONS]
    np.testing.assert_array_equal(unknown.ids, pieces.ids)


def test_words_without_a_piece_are_told_of(tmp_path):
    reader = read_reader(str(write_folder(tmp_path / "bert")))
    seen, lost = Vocabulary.build([["good"]]), Vocabulary.build([["good", "\x81", "\x82\x83"]])
    assert unread(pieces_of(reader, seen), seen) == []
    (line,) = unread(pieces_of(reader, lost), lost)
    assert line.startswith("2 of 3 words, such as '\\x81', have no piece in the")


def test_texts_beyond_the_positions_lose_their_last_words(tmp_path):
    """24 positions, two of them markers, three of a pair: the longer segment loses first."""
    reader = read_reader(str(write_folder(tmp_path / "bert")))
    long = Tokenized(["the"] * 20 + ["unbelievably", "a"], None)
    pair = Tokenized(["the"] * 15, ["a"] * 10)
    fits = Tokenized(["the"] * 22, None)
    texts = [long, pair, fits]
    found, cut = cut_to_positions(texts, reader.counts(texts), reader.geometry)
    assert [len(each.text) for each in found] == [20, 11, 22]
    assert found[1].query == ["a"] * 10
    assert cut == 2


def test_a_word_of_more_pieces_than_there_are_places_is_read_by_its_first(tmp_path, caplog):
    """So that a text keeps its first word, and a pair one of each side: (24 - 3) / 2 pieces."""
    reader = read_reader(str(write_folder(tmp_path / "bert")))
    word, short = "a" * 40, "a" * 10
    assert reader.split([word, short]) == 2 * reader.split([short])
    texts = [Tokenized([word], None), Tokenized([word, "the"], [word]), Tokenized([short], None)]
    counts = reader.counts(texts)
    assert counts == {word: 10, short: 10, "the": 1}
    (told,) = caplog.messages
    assert told.startswith("data: 1 words, such as 'aaaaaaaaaaaaaaaaaaaa', have more than 10")
    found, cut = cut_to_positions(texts, counts, reader.geometry)
    assert (found, cut) == (texts, 0)
    both = Tokenized([word, word], [word])
    assert cut_to_positions([both], counts, reader.geometry) == ([Tokenized([word], [word])], 1)


def test_lines_of_a_vocabulary_end_at_line_feeds_alone(tmp_path):
    """bert-base-chinese has the piece U+2028, at which Python ends lines as well."""
    from tokenizers import models

    folder = write_folder(tmp_path / "bert", {"vocab_size": len(PIECES) + 2})
    listed = folder / "vocab.txt"
    listed.write_text("\n".join([*PIECES[:9], "\u2028", "\x85", *PIECES[9:], ""]))
    known = models.WordPiece.read_file(str(listed))
    (found,) = read_reader(str(folder)).split(["unbelievably"])
    assert found == [known[each] for each in ("un", "##believ", "##ably")]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("vocab.txt", None, r"neither tokenizer\.json nor vocab\.txt"),
        ("tokenizer.json", "{", r"tokenizer\.json is damaged"),
        ("vocab.txt", "\n".join(PIECES).replace("[CLS]", "[XXX]"), "CLS|cls_token"),
        ("vocab.txt", "\n".join([*PIECES, "more"]), "60 pieces, and config.json a table of"),
        ("tokenizer_config.json", json.dumps({"do_lower_case": False}), "tells capital letters"),
    ],
)
def test_a_tokenizer_of_something_else_is_refused(file, content, message, tmp_path):
    folder = write_folder(tmp_path / "bert")
    (folder / file).unlink(missing_ok=True)
    if content is not None:
        (folder / file).write_text(content)
    if "table" in message:
        message = message.replace("60", str(len(PIECES) + 1))
    with pytest.raises(UserError, match=message):
        read_reader(str(folder))


def test_a_tokenizer_of_bytes_is_refused(tmp_path):
    from tokenizers import Tokenizer, models

    folder = write_folder(tmp_path / "bert")
    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    with pytest.raises(UserError, match="splits words by BPE, and only WordPiece is read"):
        read_reader(str(folder))


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "bert")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"tokenizers, which .*pip install 'attnjax\[bert\]'"):
        read_reader(str(folder))


def test_words_keep_their_digits_where_pieces_are_read():
    text = "The 7th, 1,000.50 -LRB- R2D2 -RRB-"
    assert tokenize(text, keep_numbers=True) == ["the", "7th", ",", "1,000.50", "(", "r2d2", ")"]
    assert tokenize(text) == ["the", "<num>", ",", "<num>", "(", "<num>", ")"]


def test_a_vocabulary_grows_at_its_end():
    vocabulary = Vocabulary.build([["b", "a"]])
    longer = vocabulary.extended([["d", "a"], ["c"]])
    assert longer.tokens == (*vocabulary.tokens, "c", "d")
    assert vocabulary.extended([["a"]]) is vocabulary
