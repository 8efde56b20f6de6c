"""The file of `model.monotonic` -> the listed words of a vocabulary, and what a run keeps of them.

A line has a word, its sign and perhaps its strength: "good 1" or "good 1 2.5". Words of sign 1
never lower the score of the second class, those of sign -1 never raise it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attnjax.data.tokens import NUMBER, tokenize
from attnjax.data.vocabulary import Vocabulary
from attnjax.data.word_values import read_word_numbers
from attnjax.errors import UserError
from attnjax.types import EOS, Listed

FIELD = "model.monotonic"
FORM = "a word and 1 or -1 on each line, and on all or none a strength above 0, as 'good 1 2.5'"

LEAST, MOST = (float(each) for each in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))
Values = tuple[float, ...]  # of a word: its sign, perhaps its strength


def known_words(
    path: str, vocabulary: Vocabulary, labels: Sequence[str]
) -> tuple[dict[str, Values], str]:
    """The file's words that the vocabulary has, and a note on them for the report.

    Raises UserError for a wrong file, one without a known word, and other than two classes.
    """
    if len(labels) != 2:
        raise UserError(
            f"{FIELD} is for two classes, and the data has {len(labels)}: of more there is no one "
            "score to raise; leave it out, or choose two with data.labels"
        )
    given, numbers = read_listed(path), set(vocabulary.tokens[EOS + 1 :])
    known = {word: values for word, values in given.items() if word in numbers}
    if not known:
        raise UserError(
            f"{FIELD}: none of the file's words is one that the training texts have; write them as "
            "the run's vocab.json does"
        )
    plus = sum(values[0] > 0 for values in known.values())
    return known, (
        f"{FIELD}: of {len(given):,} listed words {len(known):,} are known: {plus:,} never lower "
        f"the score of '{labels[1]}', {len(known) - plus:,} never raise it. The network does not "
        "see them, and attention is 0 there; what they do is seen by explanations that edit the "
        "text (leave one out, occlusion, LIME, Shapley), not by those that differentiate or move "
        "word vectors"
    )


def read_listed(path: str) -> dict[str, Values]:
    """Word, as texts are read -> its values; raises UserError, also where two lines contradict."""
    found: dict[str, Values] = {}
    written: dict[str, str] = {}
    for word, values in read_word_numbers(path, FIELD, (1, 2), FORM).items():
        if values[0] not in (1, -1) or not all(LEAST <= each <= MOST for each in values[1:]):
            wrong = " ".join(f"{each:g}" for each in values)
            raise UserError(f"{FIELD}: '{word}' has {wrong}; write {FORM}")
        read = tokenize(word)
        name = read[0] if len(read) == 1 else word
        if name == NUMBER != word:
            raise UserError(
                f"{FIELD}: '{word}' is read as '{NUMBER}', as every number is; write '{NUMBER}' "
                "for all of them, or take it out"
            )
        if found.setdefault(name, values) != values:
            raise UserError(
                f"{FIELD}: '{written[name]}' and '{word}' are both read as '{name}', and have "
                "other values; keep one"
            )
        written.setdefault(name, word)
    return found


def listed_of(words: Mapping[str, Sequence[Any]] | None, vocabulary: Vocabulary) -> Listed | None:
    """The listed words by their ids; None where nothing is listed."""
    if not words:
        return None
    ids = vocabulary.ids(list(words))[1:-1]
    values = np.array([list(each) for each in words.values()], np.float32)
    signs, strengths = np.zeros(len(vocabulary), np.int32), np.zeros(len(vocabulary), np.float32)
    signs[ids] = values[:, 0]
    if values.shape[1] == 1:
        return Listed(signs, None)
    strengths[ids] = values[:, 1]
    return Listed(signs, strengths)
