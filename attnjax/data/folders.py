"""A folder of the user's -> which of its files, or folders of a class each, are which split."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from attnjax.data.formats import SUFFIXES, suffix_of
from attnjax.data.lines import what_is
from attnjax.errors import UserError

NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing"),
}
SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_ALIKE = (  # what people keep data in, and this package does not read
    *SPREADSHEETS,
    *(".txt", ".txt.gz", ".arrow", ".feather", ".orc", ".pkl", ".pickle", ".xml", ".yaml", ".db"),
    *(".zip", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".gz", ".sqlite", ".pt", ".npz"),
)
_ABOUT = re.compile(r"(read.?me|licen[cs]e|notice|citation|changelog|requirements|vocab|classes)")
_SHARD = re.compile(r"(.+?)[-_.](\d+)[-_]of[-_](\d+)")


class Found(NamedTuple):
    """What lies in a folder.

    files   split -> its files, the parts of one in their order
    classes split -> folders of texts, one a class
    unread  names of what looks like data and is no split's
    """

    files: dict[str, list[Path]]
    classes: dict[str, list[Path]]
    unread: list[str]


def find_files(folder: Path) -> Found:
    """Finds the files named after a split: train.csv, Test.JSON, val.tsv.gz, and their parts.

    Parts are named train-00000-of-00002.parquet. Raises UserError where a split has two files, or
    lacks a part.
    """
    whole: dict[str, list[Path]] = {split: [] for split in NAMES}
    parts: dict[str, list[tuple[int, int, Path]]] = {split: [] for split in NAMES}
    unread = []
    for path in _entries(folder):
        suffix = suffix_of(path.name)
        stem = path.name.lower().removesuffix(suffix) if suffix else ""
        shard = _SHARD.fullmatch(stem)
        split = SPLIT_OF.get(shard[1] if shard else stem)
        if split:
            if not path.is_file():
                raise UserError(
                    f"data.path: {path} is named as {split} is, but {what_is(path)}; put the file "
                    "there, or rename it"
                )
            if shard:
                parts[split].append((int(shard[2]), int(shard[3]), path))
            else:
                whole[split].append(path)
        elif not path.is_dir() and looks_like_data(path):
            unread.append(path.name)
    files = {}
    for split in NAMES:
        found = whole[split] + _in_order(folder, split, parts[split])
        if len(whole[split]) > 1 or (whole[split] and parts[split]):
            raise UserError(
                f"data.path: {folder} has two files for {split}, {found[0].name} and "
                f"{found[1].name}; keep one"
            )
        if found:
            files[split] = found
    return Found(files, {}, unread)


def _in_order(folder: Path, split: str, parts: list[tuple[int, int, Path]]) -> list[Path]:
    """The parts of one file, (number, of how many, path) each; raises UserError for one too few."""
    counts = {count for _, count, _ in parts}
    numbers = [number for number, _, _ in parts]
    count = max(counts, default=0)
    if (
        len(counts) > 1
        or len(numbers) != count
        or len(set(numbers)) != count
        or max(numbers, default=-1) >= count
    ):
        first = range(min(count, len(numbers) + 5))  # a name may speak of any number of parts
        missing = [str(each) for each in first if each not in numbers][:5]
        lacking = f"lacks {', '.join(missing)}" if missing else "has one too many"
        raise UserError(
            f"data.path: {folder} has {len(parts)} of the {count} parts of {split}, numbered from "
            f"0: it {lacking}; put that right"
        )
    return [path for *_, path in sorted(parts)]


def find_others(folder: Path, found: Found) -> Found | None:
    """Finds what a folder without files of splits may hold, or None where it holds neither.

    One file, whatever its name; folders of a class each, of all or one split; "data", a folder of
    such. Raises UserError where nobody could say which of several files is train.
    """
    candidates = [name for name in found.unread if suffix_of(name)]
    if len(candidates) == 1:
        rest = [name for name in found.unread if name != candidates[0]]
        return Found({"train": [folder / candidates[0]]}, {}, rest)
    if candidates:
        raise UserError(
            f"data.path: {folder} has {_some(candidates)}, none of which is named after a split; "
            "name them train, validation and test"
        )
    folders = [path for path in _entries(folder) if path.is_dir()]
    splits: dict[str, list[Path]] = {}
    for path in folders:
        split = SPLIT_OF.get(path.name.lower())
        if split and (classes := _classes(path)):
            if split in splits:
                first = splits[split][0].parent.name
                raise UserError(
                    f"data.path: {folder} has two folders for {split}, {first} and {path.name}; "
                    "keep one"
                )
            splits[split] = classes
    if splits:
        return Found({}, splits, found.unread)
    if len(classes := _classes(folder)) > 1:
        return Found({}, {"train": classes}, found.unread)
    inner = [path for path in folders if path.name.lower() == "data"]
    if inner:
        below = find_files(inner[0])
        return below if below.files else find_others(inner[0], below)
    return None


def nothing_found(folder: Path, found: Found, releases: Iterable[str]) -> UserError:
    """What is told of a folder that holds no data."""
    sheets = [name for name in found.unread if name.lower().endswith(SPREADSHEETS)]
    if sheets:
        return UserError(
            f"data.path: {folder} has {_some(sheets)}, which cannot be read; export each sheet as "
            "CSV (UTF-8), as train.csv and test.csv"
        )
    names = [*found.unread, *(f"{path.name}/" for path in _entries(folder) if path.is_dir())]
    held = f" (it has {_some(names)})" if names else ""
    return UserError(
        f"data.path: nothing to read in {folder}{held}; it must hold train and test files (and may "
        f"hold validation, valid, val, dev or eval) ending in {', '.join(SUFFIXES)}, or one such "
        f"file, or a folder of texts for each class, or the official release of "
        f"{', '.join(releases)}"
    )


def texts_of(folder: Path) -> list[Path]:
    """The text files of a class folder, in the order of their names, numbers by value."""
    return sorted(
        (path for path in _entries(folder) if path.is_file() and _is_text(path)),
        key=lambda path: [
            (int(each), "") if each.isdecimal() else (-1, each)
            for each in re.split(r"(\d+)", path.name)
        ],
    )


def not_texts(folder: Path) -> list[str]:
    """What else lies in a class folder, as a user would name it: "train/ham/more"."""
    texts = set(texts_of(folder))
    return [
        f"{folder.parent.name}/{folder.name}/{path.name}"
        for path in _entries(folder)
        if path not in texts
    ]


def without_texts(folders: list[Path]) -> list[str]:
    """The folders beside those of the classes that hold no text, and so are no class."""
    beside = _entries(folders[0].parent)
    return [path.name for path in beside if path.is_dir() and path not in folders]


def looks_like_data(path: Path) -> bool:
    """Whether a file might hold examples, by its name."""
    name = path.name.lower()
    return bool(suffix_of(name)) or (name.endswith(_ALIKE) and not _ABOUT.match(name))


def _classes(folder: Path) -> list[Path]:
    """The folders in this one that hold texts."""
    return [path for path in _entries(folder) if path.is_dir() and texts_of(path)]


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in ("", ".txt", ".text")


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in the order of the names."""
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] not in ".~")
    except OSError as error:
        raise UserError(
            f"data.path: {folder} cannot be read ({error.strerror or error})"
        ) from error


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
