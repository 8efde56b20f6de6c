"""Pretrained word vectors, from the files that GloVe, fastText and word2vec users have."""

import gzip
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from attnjax.data.lines import BOM
from attnjax.errors import UserError
from attnjax.types import EOS, PAD, SOS, UNK

TEXT_SUFFIXES = (".vec", ".txt", ".vec.gz", ".txt.gz")
_REMEDY = "fetch the file again, or leave data.vectors empty"


def coverage(found: np.ndarray, sentences: Iterable[np.ndarray]) -> dict[str, float]:
    """Returns the shares of running "tokens" and of word "types" that have a vector.

    found [words] is read_vectors', sentences are ids as `Vocabulary.ids` gives them; <pad>, <sos>
    and <eos> do not count, <unk> counts as a word without a vector.
    """
    counts = np.zeros(len(found), np.int64)
    for sentence in sentences:
        np.add.at(counts, sentence, 1)
    counts[[PAD, SOS, EOS]] = 0
    hits = found & (np.arange(len(found)) != UNK)
    types = counts > 0
    return {
        "tokens": float(counts[hits].sum() / max(counts.sum(), 1)),
        "types": float((types & hits).sum() / max(types.sum(), 1)),
    }


def read_vectors(
    path: str | Path, words: Sequence[str], dimension: int
) -> tuple[np.ndarray, np.ndarray]:
    """Looks `words` up in a vector file; a word that the file lists twice keeps its first vector.

    Returns (vectors float32 [n, dimension], found bool [n]); rows not found are zero.
    Reads .vec and .txt (a word and its numbers a line, fastText's header allowed, .gz allowed)
    and .npz ("vectors", and "words" or a vocab.txt beside it).
    Raises UserError for a missing or damaged file and for another dimension.
    """
    path = Path(os.path.expanduser(path))
    if not os.path.isfile(path):
        raise UserError(f"data.vectors: there is no file {path}; give the path of a vector file")
    vectors = np.zeros((len(words), dimension), np.float32)
    found = np.zeros(len(words), bool)
    rows = {word: row for row, word in reversed(list(enumerate(words)))}
    if path.suffix == ".npz":
        entries = _npz_entries(path, rows, dimension)
    elif path.name.endswith(TEXT_SUFFIXES):
        entries = _text_entries(path, rows, dimension)
    else:
        raise UserError(
            f"data.vectors: {path} is neither .npz nor {', '.join(TEXT_SUFFIXES)}; "
            "convert it, or rename it to what it is"
        )
    for row, vector, place in entries:
        if found[row]:
            continue
        if not np.isfinite(vector).all():
            raise UserError(f"data.vectors: {place}: '{words[row]}' is not finite; {_REMEDY}")
        vectors[row] = vector
        found[row] = True
    if not found.any():
        raise UserError(
            f"data.vectors: {path} has a vector for none of the {len(words)} words of the train "
            "split; its words must be lower-case tokens"
        )
    for row, word in enumerate(words):  # a word listed twice in `words` gets the vector twice
        first = rows[word]
        vectors[row], found[row] = vectors[first], found[first]
    return vectors, found


def _check_dimension(path: Path, found: int, wanted: int) -> None:
    if found != wanted:
        raise UserError(
            f"data.vectors: {path} has vectors of {found} numbers, but model.embed_dim={wanted}; "
            f"set --config.model.embed_dim={found} or take another file"
        )


def _text_entries(
    path: Path, rows: dict[str, int], dimension: int
) -> Iterator[tuple[int, np.ndarray, str]]:
    # A line may start with a word that contains blanks (". . ." in glove.840B): the first piece
    # decides cheaply whether the line can matter, the whole word whether it does.
    first_pieces = {word.encode().split(None, 1)[0] for word in rows if word.strip()}
    checked = False
    for number, line in enumerate(_lines(path), 1):
        place = f"{path}, line {number}"
        if not checked:
            fields = line.split()
            header = len(fields) == 2 and all(map(bytes.isdigit, fields)) and len(line) < 40
            if number == 1 and header:
                _check_dimension(path, int(fields[1]), dimension)
                continue
            _check_dimension(path, _count_numbers(fields, place), dimension)
            checked = True
        first, *_ = line.split(None, 1) or [b""]
        if first not in first_pieces:
            continue
        word, *numbers = line.strip().rsplit(None, dimension)
        row = rows.get(word.decode("utf-8", "replace"))
        if row is None and len(numbers) == dimension:
            continue
        try:
            vector = np.array(numbers, np.float32)
        except ValueError:
            vector = np.zeros(0, np.float32)
        if len(vector) != dimension or row is None:
            raise UserError(
                f"data.vectors: {place} is not a word and {dimension} numbers; {_REMEDY}"
            )
        yield row, vector, place
    if not checked:
        raise UserError(f"data.vectors: {path} has no vectors; {_REMEDY}")


def _lines(path: Path) -> Iterator[bytes]:
    """Yields lines ended by \\n alone, as bytes: words may hold other line separators."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as handle:
            for number, line in enumerate(handle):
                yield line if number else line.removeprefix(BOM)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"data.vectors: {path} cannot be read ({error}); {_REMEDY}") from error


def _count_numbers(fields: list[bytes], place: str) -> int:
    """Returns how many of the fields after the first, counted from the end, are numbers."""
    count = 0
    for each in reversed(fields[1:]):
        try:
            float(each)
        except ValueError:
            break
        count += 1
    if not count:
        raise UserError(f"data.vectors: {place} is not a word followed by numbers; {_REMEDY}")
    return count


def _npz_entries(
    path: Path, rows: dict[str, int], dimension: int
) -> Iterator[tuple[int, np.ndarray, str]]:
    beside = path.with_name("vocab.txt")
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as archive:
            missing = [key for key in ("vectors", "words") if key not in archive]
            if "vectors" in missing:
                keys = ", ".join(archive.files) or "no keys"
                raise UserError(f"data.vectors: {path} has no key 'vectors' (it has {keys})")
            vectors = archive["vectors"]
            if not missing:
                words = archive["words"].tolist()
                listed = [w.decode() if isinstance(w, bytes) else str(w) for w in words]
            elif beside.is_file():
                listed = beside.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
            else:
                raise UserError(
                    f"data.vectors: {path} has no key 'words' and there is no {beside}; "
                    "save the words in either, in the order of the vectors"
                )
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"data.vectors: {path} cannot be read ({error}); {_REMEDY}") from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise UserError(
            f"data.vectors: 'vectors' in {path} is {vectors.dtype}{list(vectors.shape)}; "
            "it must be a [words, dimension] array of numbers"
        )
    _check_dimension(path, vectors.shape[1], dimension)
    if len(listed) != len(vectors):
        raise UserError(
            f"data.vectors: {path} has {len(vectors)} vectors but {len(listed)} words; {_REMEDY}"
        )
    for position, word in enumerate(listed):
        row = rows.get(word)
        if row is not None:
            yield row, vectors[position].astype(np.float32), f"{path}, word {position + 1}"
