import dataclasses

import numpy as np
import pytest

from attnjax.data.vocabulary import SPECIALS, Vocabulary
from attnjax.errors import UserError
from attnjax.types import EOS, PAD, SOS, UNK

SENTENCES = [["b", "a", "d"], ["b", "c", "a"], ["b"]]


def test_frequent_words_come_first_then_the_alphabet_decides():
    assert Vocabulary.build(SENTENCES, 1).tokens == (*SPECIALS, "b", "a", "c", "d")


def test_rare_words_are_left_out():
    assert Vocabulary.build(SENTENCES, 2).tokens[4:] == ("b", "a")


def test_order_of_sentences_does_not_matter():
    assert Vocabulary.build(SENTENCES[::-1], 1) == Vocabulary.build(SENTENCES, 1)


def test_ids_frame_the_sentence():
    ids = Vocabulary.build(SENTENCES, 2).ids(["a", "never", "b"])
    assert ids.dtype == np.int32
    assert ids.tolist() == [SOS, 5, UNK, 4, EOS]


def test_an_empty_sentence_still_has_its_frame():
    assert Vocabulary.build(SENTENCES, 1).ids([]).tolist() == [SOS, EOS]


def test_words_undo_ids():
    vocabulary = Vocabulary.build(SENTENCES, 1)
    words = ["d", "a", "c"]
    assert vocabulary.words(vocabulary.ids(words)) == ["<sos>", *words, "<eos>"]
    assert vocabulary.words([PAD, UNK]) == ["<pad>", "<unk>"]
    assert len(vocabulary) == 8


def test_a_text_that_spells_a_special_does_not_become_one():
    vocabulary = Vocabulary.build([["<eos>", "a"]], 1)
    assert vocabulary.tokens == (*SPECIALS, "a")
    assert vocabulary.ids(["<eos>", "<pad>"]).tolist() == [SOS, UNK, UNK, EOS]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [(("a", "b"), "starts with <pad>"), ((*SPECIALS, "a", "b", "a"), "'a' twice")],
)
def test_damaged_vocabularies_are_refused(tokens, message):
    with pytest.raises(UserError, match=message):
        Vocabulary(tokens)


def test_it_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Vocabulary(SPECIALS).tokens = ()  # pyright: ignore
