"""A folder of {train,validation,test}.{jsonl,csv,tsv}, or an official release, to examples."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attnjax.config import DataConfig
from attnjax.data.examples import Example, Splits
from attnjax.data.lines import read_json_rows, read_table
from attnjax.data.releases import LAYOUTS, read_release, recognise
from attnjax.data.splits import TARGETS, check_labels, keep_labels
from attnjax.errors import UserError, suggest

NAMES = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}
SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
# task -> the parts of an example that must be there; candidates may be missing
PARTS = {
    "classification": ("text", "label"),
    "nli": ("premise", "hypothesis", "label"),
    "qa": ("story", "question", "answer", "candidates"),
}


def read_files(config: DataConfig, task: str) -> Splits:
    """Reads every split found in the folder `config.path`, own files or an official release.

    Returns train, test and, where there is one, validation (IMDB's release also: unlabelled).
    Raises UserError that names the file and line of whatever is wrong.
    """
    folder = Path(os.path.expanduser(config.path))
    if not os.path.exists(folder):  # False too for a name that the system cannot hold
        raise UserError(
            f"data.path: there is no folder {folder}; give the folder of the data files"
        )
    if not folder.is_dir():
        raise UserError(f"data.path: {folder} is a file; give the folder that holds it")
    found = _find_splits(folder)
    layout = recognise(folder)
    # AG News' official train.csv has no header row, so it must not be read as one of the user's.
    if layout and (not found or layout == "ag_news"):
        splits = read_release(config, task)
    elif found:
        missing = [split for split in ("train", "test") if split not in found]
        if missing:
            files = ", ".join(path.name for path in found.values())
            raise UserError(
                f"data.path: {folder} has {files}, but no {missing[0]} file; "
                f"add {missing[0]}.jsonl, .csv or .tsv"
            )
        splits = {split: list(_read(path, config, task)) for split, path in found.items()}
    else:
        raise UserError(
            f"data.path: nothing to read in {folder}; it must hold train and test files (and may "
            f"hold validation, valid or dev) ending in {', '.join(SUFFIXES)}, or the official "
            f"release of {', '.join(layout.title for layout in LAYOUTS.values())}"
        )
    splits = keep_labels(splits, config.labels)
    check_labels(splits, task)
    return splits


def read_unlabelled(
    path: str | Path, config: DataConfig, task: str, name: str = "data.unlabelled"
) -> list[Example]:
    """Reads one file of examples whose label column may be missing; every label is "".

    name  what the user called the file by, for messages
    """
    path = Path(os.path.expanduser(path))
    if not os.path.isfile(path):
        raise UserError(f"{name}: there is no file {path}; give the path of a data file")
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{name}: {path} must end in {', '.join(SUFFIXES)}, for what it holds")
    return list(_read(path, config, task, labelled=False))


def _find_splits(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for split, names in NAMES.items():
        paths = [folder / (name + suffix) for name in names for suffix in SUFFIXES]
        present = [path for path in paths if path.is_file()]
        if len(present) > 1:
            raise UserError(
                f"data.path: {folder} has two files for {split}, {present[0].name} and "
                f"{present[1].name}; keep one"
            )
        if present:
            found[split] = present[0]
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if ".jsonl" in path.suffixes[-2:]:
        return read_json_rows(path)
    return read_table(path, "\t" if ".tsv" in path.suffixes[-2:] else ",")


def _read(path: Path, config: DataConfig, task: str, labelled: bool = True) -> Iterator[Example]:
    columns = {part: asdict(config.fields)[part] for part in PARTS[task]}
    optional = {"candidates"} if labelled else {"candidates", TARGETS[task]}
    in_groups = _group_stories(path.name) if task == "qa" else lambda text: ""
    empty = True
    for number, row in _rows(path):
        empty = False
        place = f"{path.name}, line {number}"
        values: dict[str, Any] = {}
        for part, column in columns.items():
            if column in row:
                values[part] = row[column]
            elif part not in optional:
                near = suggest(column, row).partition("; did")
                raise UserError(
                    f"{place}: no column '{column}' (it has {', '.join(row)}){''.join(near[1:])}; "
                    f"name the right one by --config.data.fields.{part}"
                )
        example = _example(values, columns, task, place, labelled)
        yield example._replace(group=in_groups(example.text))
    if empty:
        raise UserError(f"{path.name}: has no rows; fill {path}, or leave it out")


def _example(
    values: dict[str, Any], columns: dict[str, str], task: str, place: str, labelled: bool
) -> Example:
    texts = [
        _text(values[part], columns[part], place)
        for part in PARTS[task]
        if part not in (TARGETS[task], "candidates")
    ]
    label = _label(values[TARGETS[task]], columns[TARGETS[task]], place) if labelled else ""
    query = texts[1] if len(texts) == 2 else None
    if task != "qa":
        return Example(texts[0], query, label, place=place)
    candidates = _candidates(values.get("candidates"), columns["candidates"], place)
    if labelled and candidates and label not in candidates:
        raise UserError(
            f"{place}: the answer '{label}' is not among the row's candidates "
            f"({', '.join(candidates[:10])}); add it, or leave the row out"
        )
    return Example(texts[0], query, label, candidates, place=place)


def _text(value: Any, column: str, place: str) -> str:
    """Returns a text, or the sentences of a list joined by blanks."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(value)
    if not isinstance(value, str):
        raise _wrong_type(place, column, value, "text")
    return value


def _label(value: Any, column: str, place: str) -> str:
    """Returns a class name; whole numbers as their digits (1 and 1.0 are "1")."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _wrong_type(place, column, value, "a name or a whole number")
    label = str(value).strip()
    if not label:
        raise UserError(f"{place}: '{column}' is empty; fill it, or leave the row out")
    return label


def _candidates(value: Any, column: str, place: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = [each for each in value.split("|") if each.strip()]
    if not isinstance(value, list):
        raise _wrong_type(place, column, value, "a list, or text split at '|'")
    names = [_label(each, column, place) for each in value]
    return tuple(dict.fromkeys(names))


def _wrong_type(place: str, column: str, value: Any, wanted: str) -> UserError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return UserError(f"{place}: '{column}' must be {wanted}, not {shown}; correct the row")


def _group_stories(name: str) -> Callable[[str], str]:
    """Returns a function of consecutive stories that names the group of each.

    A story that continues the one before, as bAbI's do, belongs to the same group.
    """
    before: str | None = None
    count = 0

    def group(story: str) -> str:
        nonlocal before, count
        rest = story.removeprefix(before) if before and story.startswith(before) else None
        if rest is None or (rest and not rest[0].isspace()):
            count += 1
        before = story
        return f"{name}:{count}"

    return group
