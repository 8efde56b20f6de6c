"""Word lists that name concepts: a text file, a line each, "positive: good fine charming"."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from attnjax.data.lines import read_lines
from attnjax.data.tokens import tokenize
from attnjax.data.vocabulary import Vocabulary
from attnjax.errors import UserError
from attnjax.types import EOS

FIELD = "analysis.concepts"


class Lexicon(NamedTuple):
    """concepts  name -> ids of its words; words  ids of all words that the vocabulary knows."""

    concepts: dict[str, np.ndarray]
    words: np.ndarray


def read_lexicon(path: str, vocabulary: Vocabulary) -> Lexicon:
    """The concepts of a file, as far as the vocabulary knows their words.

    A line is a name, a colon and words; empty lines, and those that begin with #, say nothing. Of
    "good, top-notch." commas, hyphens and full stops are no members; of ". ! ?" all are.
    Raises UserError, naming file and line, where there is no concept, or one without a known word.
    """
    place = Path(path).expanduser()
    name = f"{FIELD}: {place.name}"
    concepts: dict[str, np.ndarray] = {}
    for number, line in read_lines(place, name):
        if not line.strip() or line.strip().startswith("#"):
            continue
        concept, colon, words = line.partition(":")
        concept = concept.strip()
        if not colon or not concept or concept in concepts:
            raise UserError(
                f"{name}, line {number}: a line of a lexicon is a concept's name, once in the "
                "file, a colon, and its words: 'positive: good fine'"
            )
        both = (_words(words, kept) for kept in (False, True))  # models differ
        ids = np.unique(np.concatenate([vocabulary.ids(each)[1:-1] for each in both]))
        known = ids[ids > EOS]
        if not len(known):
            raise UserError(
                f"{name}, line {number}: the concept '{concept}' has no word that the training "
                "texts have; add some that they have, or take it out"
            )
        concepts[concept] = known
    if not concepts:
        raise UserError(f"{name} names no concept; write a line for each: 'positive: good fine'")
    return Lexicon(concepts, np.arange(EOS + 1, len(vocabulary), dtype=np.int32))


def _words(text: str, keep_numbers: bool) -> list[str]:
    """The words between blanks, as texts are read, without the marks that stand beside a word."""
    found = []
    for piece in text.split():
        read, marks = tokenize(piece, keep_numbers=keep_numbers), not _speaks(piece)
        found += [word for word in read if marks or _speaks(word)]
    return found


def _speaks(word: str) -> bool:
    return any(each.isalnum() for each in word)
