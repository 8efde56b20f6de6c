"""Configuration -> the encoded data set: the one way from any source to ids."""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnjax.checks import SIMULATED
from attnjax.config import RunConfig
from attnjax.data.account import Account, told
from attnjax.data.babi import read_babi
from attnjax.data.batches import EncodedSplit, Shapes, choose_shapes
from attnjax.data.examples import Example, Reading, Splits, Tokenized
from attnjax.data.files import read_files, read_unlabelled
from attnjax.data.labels import settle
from attnjax.data.listed import Values, known_words
from attnjax.data.pieces import every_text, pieces_of, read_reader, unread, within_positions
from attnjax.data.reverse import read_reverse
from attnjax.data.splits import cut, is_number
from attnjax.data.tfds import read_tfds
from attnjax.data.tokens import tokenize
from attnjax.data.vectors import coverage, read_vectors
from attnjax.data.vocabulary import Vocabulary
from attnjax.data_config import DataConfig
from attnjax.errors import UserError
from attnjax.geometry import Pieces
from attnjax.model_checks import refuse_state

LONGEST = 4096  # words of the longest text that is read without data.max_length

logger = logging.getLogger(__name__)


class Dataset(NamedTuple):
    """A data set ready for training.

    splits      name -> encoded rows; `train`, `validation`, `test`, perhaps `unlabelled`; of a
                classifier trained elsewhere `test` alone
    examples    name -> the same rows as text
    labels      class names, in the order of the class numbers
    frequencies  [words] share of each word among the tokens of train
    shapes      the padded lengths
    vectors     (float32 [words, embed], found [words]), or None without data.vectors
    summary     counts for the log and the report
    pieces      of a pretrained model that each word is made of; None where words have vectors
    listed      known word of model.monotonic -> its sign, perhaps its strength; None without
    """

    splits: dict[str, EncodedSplit]
    examples: Splits
    vocabulary: Vocabulary
    labels: tuple[str, ...]
    frequencies: np.ndarray
    shapes: Shapes
    vectors: tuple[np.ndarray, np.ndarray] | None
    summary: dict[str, Any]
    pieces: Pieces | None = None
    listed: dict[str, Values] | None = None

    @property
    def pair(self) -> bool:
        """Whether examples have a query."""
        return self.splits["test"].query is not None

    def fingerprint(self) -> str:
        """Equal for data sets with the same words, labels and rows, in the same order."""
        digest = hashlib.sha256(repr((self.vocabulary.tokens, self.labels, self.listed)).encode())
        for name, split in self.splits.items():
            digest.update(f"{name} {len(split)}".encode())
            for rows in (split.tokens, split.query or []):
                digest.update(np.array([len(each) for each in rows], np.int64).tobytes())
                digest.update(np.concatenate([*rows, np.empty(0, np.int32)]).tobytes())
            digest.update(split.labels.tobytes())
            digest.update(b"" if split.candidates is None else split.candidates.tobytes())
        return digest.hexdigest()


def load_dataset(config: RunConfig) -> Dataset:
    """Reads, tokenises, builds the vocabulary on train, encodes, and picks the padded lengths.

    What is odd about the data is logged, a line each, once all of it is right.
    Raises UserError for anything wrong in the files, naming file and line.
    """
    data = config.data
    reading, moved = _read(config)
    reader, beyond = None, 0
    if reads_pieces(config):
        reader = read_reader(config.model.pretrained)
    splits, words, dropped, cut = read_words(
        reading.splits, data, tokenize if reader is None else reader.tokenize
    )
    if reader is not None:
        words, beyond = within_positions(reader, words)
        refuse_state(config.analysis.information_state, config.model, reader.geometry.layers)
    if len(alone := label_names(splits["train"])) < 2:
        raise UserError(
            f"every row of the train split has the label '{''.join(alone)}'; "
            "training needs at least two classes"
        )
    _require_rationales(splits["test"], data.fields.rationale)
    # A class may have lost its last row of train by now, and still counts in the other splits.
    others = [each._replace(candidates=()) for each in (*splits["validation"], *splits["test"])]
    labels = label_names([*splits["train"], *others])
    # A pretrained model knows every word by its pieces, those of other splits as well.
    known, least = (words["train"], data.min_count) if reader is None else (every_text(words), 1)
    vocabulary = Vocabulary.build(
        (sequence for each in known for sequence in (each.text, each.query or [])), least
    )
    pieces = None if reader is None else pieces_of(reader, vocabulary, known)
    encoded = {name: encode(splits[name], words[name], vocabulary, labels) for name in splits}
    account = Account(reading, moved, dropped, cut, data.max_length)
    summary: dict[str, Any] = {
        "examples": {name: len(rows) for name, rows in encoded.items()},
        "dropped": dropped,
        "cut": sum(cut.values()),
        "words": len(vocabulary),
        "mean_length": float(np.mean([len(each.text) for each in words["train"]])),
        **told(account, splits, words, encoded, data.source in SIMULATED),
    }
    listed = None
    if config.model.monotonic:
        listed, note = known_words(config.model.monotonic, vocabulary, labels)
        summary["notes"] = [*summary["notes"], note]
    if pieces is not None:
        summary["notes"] += unread(pieces, vocabulary)
        summary |= {"pieces_of_longest": pieces.room[-1], "beyond_positions": beyond}
    vectors = None
    if data.vectors:
        refuse_table(len(vocabulary), config.model.embed_dim)
        vectors = read_vectors(data.vectors, vocabulary.tokens, config.model.embed_dim)
        summary["vectors"] = coverage(vectors[1], encoded["train"].tokens)
    shapes = choose_shapes(list(encoded.values()), data.buckets)
    summary["padded_lengths"] = shapes._asdict()
    frequencies = word_frequencies(encoded["train"], len(vocabulary))
    for note in summary["notes"]:
        logger.warning("data: %s", note)
    found = Dataset(encoded, splits, vocabulary, labels, frequencies, shapes, vectors, summary)
    return found._replace(pieces=pieces, listed=listed)


class Words(NamedTuple):
    """The rows of all splits that are kept, and as words; how many rows were left out, or cut."""

    splits: Splits
    words: dict[str, list[Tokenized]]
    dropped: dict[str, int]
    cut: dict[str, int]


def read_words(splits: Splits, data: DataConfig, split: Callable[[str], list[str]]) -> Words:
    """Splits texts into words, and leaves out or cuts what the configuration says.

    split  a text -> its words; raises UserError where a split has no row left
    """
    found = Words(dict(splits), {}, {}, {})
    for name, rows in splits.items():
        words = [tokenize_example(each, split) for each in rows]
        keep = [_keep(e, t, data) for e, t in zip(rows, words, strict=True)]
        found.dropped[name] = keep.count(False)
        found.splits[name] = [e for e, kept in zip(rows, keep, strict=True) if kept]
        words = [t for t, kept in zip(words, keep, strict=True) if kept]
        if not words:
            length = f"with at least data.min_length={data.min_length} words"
            wanted = length if found.dropped[name] else f"of data.labels={','.join(data.labels)}"
            raise UserError(f"the {name} split has no row left {wanted}")
        found.cut[name] = 0
        if data.max_length > 0:
            found.cut[name] = sum(is_cut(each, data.max_length) for each in words)
            words = [_cut(each, data.max_length) for each in words]
        found.words[name] = words
    return found


def refuse_table(words: int, dimension: int) -> None:
    """Raises UserError where the machine cannot hold vectors of so many words, 4 bytes a number."""
    need, have = 4 * words * dimension, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > have:
        raise UserError(
            f"data.vectors: {words:,} words of model.embed_dim={dimension} numbers need "
            f"{need / 2**30:,.0f} GiB, and this machine has {have / 2**30:,.0f}; lower "
            "model.embed_dim, or raise data.min_count for fewer words"
        )


def brief(summary: dict[str, Any]) -> dict[str, Any]:
    """The counts of a summary that fit a line of the log."""
    return {name: each for name, each in summary.items() if name not in ("splits", "notes")}


def shared(summary: dict[str, Any]) -> dict[str, Any]:
    """What processes that read the same data have in common, whatever lies beside their files."""
    return {name: each for name, each in brief(summary).items() if name != "unread"}


def word_frequencies(split: EncodedSplit, words: int) -> np.ndarray:
    """Share of each word among the tokens of text and query, float32 [words]; sums to 1."""
    counts = np.bincount(np.concatenate([*split.tokens, *(split.query or ())]), minlength=words)
    return (counts / counts.sum()).astype(np.float32)


def _read(config: RunConfig) -> tuple[Reading, dict[str, dict[str, int]]]:
    """The three splits as the source has them or as they are cut, and rows that moved: from, to."""
    data = config.data
    readers = {
        "files": lambda: read_files(data, config.task),
        "tfds": lambda: read_tfds(data, config.task),
        "babi_simulator": lambda: settle(read_babi(data), {}, [], [], (), config.task),
        "reverse_simulator": lambda: settle(read_reverse(data), {}, [], [], (), config.task),
    }
    reading = readers[data.source]()
    splits, moved = reading.splits, {}
    for number, name in enumerate(("test", "validation")):
        if name not in splits:
            seed = data.seed if name == "validation" else [data.seed, number]
            splits = cut(splits, name, data.validation_fraction, seed)
            moved[name] = len(splits[name])
    splits = {name: splits[name] for name in ("train", "validation", "test")}
    notes = list(reading.notes)
    if "test" in moved:
        notes.append(
            f"there is no labelled test split, so {moved['test']} rows are cut from train for it"
        )
    if data.unlabelled:
        examples, said = read_unlabelled(data.unlabelled, data, config.task)
        for each in examples:
            if each.problem:
                raise UserError(each.problem)
        splits["unlabelled"] = [each._replace(columns=None) for each in examples]
        notes += said
    passed = 0
    if data.train_examples > 0:
        order = np.random.default_rng(data.seed).permutation(len(splits["train"]))
        passed = len(splits["train"][data.train_examples :])
        splits["train"] = [splits["train"][row] for row in order[: data.train_examples]]
    return reading._replace(splits=splits, notes=notes), {"cut": moved, "passed": {"train": passed}}


def reads_pieces(config: RunConfig) -> bool:
    """Whether the model reads words by their pieces, so that it is given them as they are."""
    return config.model.encoder == "bert"


def tokenize_example(example: Example, split: Callable[[str], list[str]] = tokenize) -> Tokenized:
    """Splits text and query into words; split  a text -> its words."""
    query = None if example.query is None else split(example.query)
    return Tokenized(split(example.text), query)


def _keep(example: Example, words: Tokenized, data: DataConfig) -> bool:
    """Whether the row stays; raises UserError for texts that need the user's decision."""
    for sequence, name in ((words.text, "text"), (words.query, "second text")):
        if sequence is None:
            continue
        if not sequence and not data.drop_empty:
            raise UserError(
                f"{example.place}: the {name} has no token; put the row right, or leave such rows "
                "out with --config.data.drop_empty=True"
            )
        if not sequence:
            return False
        if len(sequence) > LONGEST and data.max_length < 0:
            raise UserError(
                f"{example.place}: the {name} has {len(sequence):,} tokens; cut long texts with "
                "--config.data.max_length=N (words kept)"
            )
    return len(words.text) >= data.min_length


def is_cut(words: Tokenized, length: int) -> bool:
    """Whether the text or the query has more words than this."""
    return max(len(words.text), len(words.query or ())) > length


def _cut(words: Tokenized, length: int) -> Tokenized:
    return Tokenized(words.text[:length], None if words.query is None else words.query[:length])


def label_names(examples: Sequence[Example]) -> tuple[str, ...]:
    """Class names in order: whole numbers by value, all else alphabetically."""
    names = {name for each in examples for name in (each.label, *each.candidates)}
    if all(map(is_number, names)):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def encode(
    examples: Sequence[Example],
    words: Sequence[Tokenized],
    vocabulary: Vocabulary,
    labels: tuple[str, ...],
) -> EncodedSplit:
    """Turns words into ids, labels into class numbers, candidate lists into rows of booleans."""
    numbers = {name: number for number, name in enumerate(labels)}
    pair = bool(words) and words[0].query is not None
    candidates = None
    if any(each.candidates for each in examples):
        candidates = np.zeros((len(examples), len(labels)), bool)
        for row, each in enumerate(examples):
            allowed = [numbers[name] for name in each.candidates if name in numbers]
            candidates[row, allowed or slice(None)] = True
    return EncodedSplit(
        tokens=[vocabulary.ids(each.text) for each in words],
        query=[vocabulary.ids(each.query or []) for each in words] if pair else None,
        labels=np.array([numbers.get(each.label, -1) for each in examples], np.int32),
        candidates=candidates,
        rationales=_rationales(examples, words),
    )


def _rationales(
    examples: Sequence[Example], words: Sequence[Tokenized]
) -> list[tuple[tuple[int, ...], ...] | None] | None:
    """Each row's rationales, of the words that are left of its text; None where no row has any."""
    if all(each.rationale is None for each in examples):
        return None
    return [
        None
        if each.rationale is None
        else tuple(tuple(n for n in person if n < len(read.text)) for person in each.rationale)
        for each, read in zip(examples, words, strict=True)
    ]


def _require_rationales(rows: list[Example], column: str) -> None:
    """Raises UserError unless somebody named a word of one of these rows."""
    if column and not any(any(each.rationale or ()) for each in rows):
        raise UserError(
            f"{rows[0].place}: neither this nor another row of the test split has a word in the "
            f"rationale '{column}'; name the right column by --config.data.fields.rationale"
        )
