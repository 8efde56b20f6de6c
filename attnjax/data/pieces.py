"""Words as the pieces of a pretrained model: the only file that imports tokenizers.

The package's words stay what is attended over and explained. A word's pieces are a function of the
word alone, so that they are looked up by its id; whatever exchanges or deletes words does so with
their pieces.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnjax.data.examples import Tokenized
from attnjax.data.tokens import tokenize
from attnjax.data.vocabulary import SPECIALS, Vocabulary
from attnjax.errors import UserError, encodable
from attnjax.geometry import Geometry, Pieces, missing_extra, read_geometry
from attnjax.types import EOS, SOS, UNK
from attnjax.workdir import absolute, read_json

logger = logging.getLogger(__name__)

MARKERS = {SOS: "[CLS]", EOS: "[SEP]", UNK: "[UNK]"}  # token id -> what stands for it


class Reader(NamedTuple):
    """A pretrained model's own way from words to pieces.

    tokenizer  a `tokenizers.Tokenizer`
    markers    token id -> row of the model's table
    own_words  of a classifier trained elsewhere: its tokenizer splits texts into words as well
    cased      whether it tells capital letters apart
    """

    geometry: Geometry
    tokenizer: Any
    markers: Mapping[int, int]
    own_words: bool = False
    cased: bool = False

    @property
    def most(self) -> int:
        """Pieces that a word may have: a word of the text and one of the query find room."""
        return (self.geometry.positions - 3) // 2

    def split(self, words: Sequence[str]) -> list[list[int]]:
        """The rows of each word's pieces; none of a word that is only what the model drops.

        Of a word of more than `most` pieces the first.
        """
        return [each[: self.most] for each in self._split(words)]

    def _split(self, words: Sequence[str]) -> list[list[int]]:
        """`split`, all pieces of a long word."""
        found = self.tokenizer.encode_batch(
            [[word] for word in words], is_pretokenized=True, add_special_tokens=False
        )
        return [each.ids for each in found]

    def words(self, text: str) -> list[str]:
        """The words that the tokenizer itself makes of a text, whose pieces `split` gives again.

        Of an uncased model in lower case, letter by letter as it does that.
        """
        if not encodable(text):
            return [text]  # what is wrong with it is told of its words
        read, found = self.tokenizer.encode(text, add_special_tokens=False), {}
        for word, (start, end) in zip(read.word_ids, read.offsets, strict=True):
            found[word] = found.get(word, "") + text[start:end]
        if self.cased:
            return list(found.values())
        return [
            each if self.tokenizer.token_to_id(each) is not None else "".join(map(str.lower, each))
            for each in found.values()
        ]

    def tokenize(self, text: str) -> list[str]:
        """The words of a text, however it is split: as this package does, or the tokenizer."""
        return self.words(text) if self.own_words else tokenize(text, keep_numbers=True)

    def counts(self, texts: Iterable[Tokenized]) -> dict[str, int]:
        """word -> how many pieces are read of it, of every word of these texts.

        Words of which not all are read are one line on the log.
        """
        words = sorted({word for each in texts for word in (*each.text, *(each.query or ()))})
        counts = dict(zip(words, map(len, self._split(words)), strict=True))
        if long := [word for word, count in counts.items() if count > self.most]:
            logger.warning(
                "data: %d words, such as '%.20s', have more than %d pieces, for which a model of "
                "%d positions has no room: it reads their first",
                len(long),
                long[0],
                self.most,
                self.geometry.positions,
            )
        return {word: min(count, self.most) for word, count in counts.items()}


def read_reader(path: str, own_words: bool = False) -> Reader:
    """The tokenizer of the model in this folder: tokenizer.json, or vocab.txt.

    own_words  it splits texts into words as well: then these may keep their case
    Raises UserError where there is none, or it is of another kind.
    """
    geometry, folder = read_geometry(path), absolute(path)
    try:
        import tokenizers
        from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer
    except ImportError as error:
        raise missing_extra("tokenizers") from error
    whole, listed = folder / "tokenizer.json", folder / "vocab.txt"
    file = whole if whole.exists() else listed
    if not file.exists():
        raise UserError(
            f"model.pretrained: {folder} has neither tokenizer.json nor vocab.txt; put it there"
        )
    settings = folder / "tokenizer_config.json"
    said = read_json(settings, dict) if settings.exists() else {}
    try:
        if file == whole:
            tokenizer = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
        else:  # a piece may be what `splitlines` takes for the end of a line, such as U+2028
            pieces = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            tokenizer = BertWordPieceTokenizer(
                {piece: number for number, piece in enumerate(pieces)},
                handle_chinese_chars=said.get("tokenize_chinese_chars", True),
                strip_accents=said.get("strip_accents"),
                lowercase=said.get("do_lower_case", True),
            )
    except Exception as error:  # tokenizers raises no other
        raise UserError(f"model.pretrained: {file} is damaged ({error}); fetch it again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    markers = _markers(tokenizer, said, str(file))
    return _checked(Reader(geometry, tokenizer, markers, own_words), file)


def _markers(tokenizer: Any, said: dict[str, Any], file: str) -> dict[int, int]:
    """Token id -> row, by the names that the settings give."""
    found = {}
    for token, usual in MARKERS.items():
        name = said.get({"[CLS]": "cls_token", "[SEP]": "sep_token"}.get(usual, "unk_token"), usual)
        name = name.get("content", usual) if isinstance(name, dict) else name
        row = tokenizer.token_to_id(str(name))
        if row is None:
            raise UserError(f"model.pretrained: {file} has no piece '{name}'; fetch it again")
        found[token] = row
    return found


def _checked(reader: Reader, file: Any) -> Reader:
    """The reader; raises UserError where it does not go with the table, or wants cased text."""
    kind = json.loads(reader.tokenizer.to_str())["model"]["type"] if file.suffix == ".json" else ""
    if kind not in ("", "WordPiece"):
        raise UserError(
            f"model.pretrained: {file} splits words by {kind}, and only WordPiece is read; take "
            "a BERT's folder"
        )
    size = reader.tokenizer.get_vocab_size()
    if size > reader.geometry.rows:
        raise UserError(
            f"model.pretrained: {file} has {size} pieces, and config.json a table of "
            f"{reader.geometry.rows}; the files are not of one model: fetch them again"
        )
    upper, lower = reader.split(["A", "a"])
    if upper != lower and not reader.own_words:
        raise UserError(
            f"model.pretrained: {file} tells capital letters apart, and words are read in lower "
            "case here; take an uncased model"
        )
    return reader._replace(cased=upper != lower)


def kept_words(
    words: Tokenized, counts: Mapping[str, int], geometry: Geometry
) -> tuple[int, int | None]:
    """How many words of text and query have room among the model's positions.

    What is too long loses its last words, always of the segment that has more pieces; the first
    stays, since no word has more pieces than half of the room (`Reader.most`).
    """
    text, query = ([counts[word] for word in part or ()] for part in words)
    room = geometry.positions - (2 if words.query is None else 3)
    while sum(text) + sum(query) > room:
        (text if sum(text) >= sum(query) else query).pop()
    return len(text), None if words.query is None else len(query)


def cut_to_positions(
    words: Sequence[Tokenized], counts: Mapping[str, int], geometry: Geometry
) -> tuple[list[Tokenized], int]:
    """(the texts with the words that have room, how many texts lost some)."""
    found, cut = [], 0
    for each in words:
        text, query = kept_words(each, counts, geometry)
        read = Tokenized(each.text[:text], each.query[:query] if each.query is not None else None)
        cut += read != each
        found.append(read)
    return found, cut


def every_text(words: Mapping[str, Sequence[Tokenized]]) -> list[Tokenized]:
    """The texts of all splits: a pretrained model knows the words of all of them."""
    return [each for texts in words.values() for each in texts]


def within_positions(
    reader: Reader, words: Mapping[str, Sequence[Tokenized]]
) -> tuple[dict[str, list[Tokenized]], int]:
    """(the splits' texts within the model's positions, how many were cut)."""
    found, beyond = {}, 0
    counts = reader.counts(every_text(words))
    for name, texts in words.items():
        found[name], cut = cut_to_positions(texts, counts, reader.geometry)
        beyond += cut
    if beyond:
        logger.warning(
            "data: %d texts have more than the %d pieces that %s reads, and lost their last words",
            beyond,
            reader.geometry.positions,
            reader.geometry.folder,
        )
    return found, beyond


def unread(pieces: Pieces, vocabulary: Vocabulary) -> list[str]:
    """A line on the words that have no piece, as those of control characters have none."""
    without = np.flatnonzero((pieces.ids[len(SPECIALS) :] < 0).all(axis=1))
    if not len(without):
        return []
    word = vocabulary.tokens[len(SPECIALS) + int(without[0])]
    return [
        f"{len(without)} of {len(pieces.ids) - len(SPECIALS)} words, such as {word!r:.40}, have no "
        "piece in the pretrained model's tokenizer: it does not see them, and attends to none"
    ]


def pieces_of(
    reader: Reader, vocabulary: Vocabulary, texts: Iterable[Tokenized] | None = None
) -> Pieces:
    """The pieces of every word of a vocabulary, and of texts the room that they need."""
    specials = [
        [reader.markers[token]] if token in reader.markers else [] for token in range(len(SPECIALS))
    ]
    rows = [*specials, *reader.split(vocabulary.tokens[len(SPECIALS) :])]
    ids = np.full((len(rows), max(map(len, rows))), -1, np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    if texts is None:
        return Pieces(reader.geometry, ids)
    # A word without a piece counts as one: what takes its place, <unk> for example, has one.
    counts = np.maximum((ids >= 0).sum(axis=1), 1)
    known = dict(zip(vocabulary.tokens[len(SPECIALS) :], counts[len(SPECIALS) :], strict=True))
    most: dict[int, int] = {}
    for each in texts:
        for part in (each.text, *([] if each.query is None else [each.query])):
            length = len(part) + 2
            total = 2 + sum(int(known[word]) for word in part)
            most[length] = max(most.get(length, 0), total)
    lengths = np.zeros(max(most, default=0) + 1, np.int64)
    for length, total in most.items():
        lengths[length] = total
    return Pieces(reader.geometry, ids, tuple(np.maximum.accumulate(lengths).tolist()))
