"""A folder of the user's own files, or an official release, to examples."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from attnjax.data.examples import Example, Reading, Splits
from attnjax.data.folders import (
    Found,
    find_files,
    find_others,
    not_texts,
    nothing_found,
    texts_of,
    without_texts,
)
from attnjax.data.formats import LINES, SUFFIXES, read_rows, suffix_of
from attnjax.data.labels import settle
from attnjax.data.lines import read_lines
from attnjax.data.rationales import find_rationale, has_marks
from attnjax.data.releases import LAYOUTS, read_release, recognise, refuse_part
from attnjax.data.splits import TARGETS
from attnjax.data_config import DataConfig
from attnjax.errors import UserError, suggest

# task -> the parts of an example that must be there; candidates may be missing
PARTS = {
    "classification": ("text", "label"),
    "nli": ("premise", "hypothesis", "label"),
    "qa": ("story", "question", "answer", "candidates"),
}


def read_files(config: DataConfig, task: str, alone: bool = False) -> Reading:
    """Reads every split found at `config.path`, own files or an official release.

    alone  of own files one split is enough, and is called train: the test split where there is one,
           else validation

    The splits are train and, where there are such, validation and test (of IMDB's release also
    unlabelled). Raises UserError that names the file and line of whatever is wrong.
    """
    folder = Path(os.path.expanduser(config.path))
    if not os.path.exists(folder):  # False too for a name that the system cannot hold
        raise UserError(
            f"data.path: there is no folder {folder}; give the folder of the data files"
        )
    if folder.is_file():
        if not suffix_of(folder.name):
            raise UserError(
                f"data.path: {folder} is a file that does not end in {', '.join(SUFFIXES)}; give "
                "such a file, or the folder that holds it"
            )
        return _own(Found({"train": [folder]}, {}, []), config, task)
    found = find_files(folder)
    layout = recognise(folder)
    # AG News' official train.csv has no header row, so it must not be read as one of the user's.
    if layout and (not found.files or layout == "ag_news"):
        splits = read_release(config, task)
        files = {split: [LAYOUTS[layout].title] for split in splits}
        return settle(splits, files, [], [], config.labels, task)
    if not found.files:
        refuse_part(folder)
        others = find_others(folder, found)
        if others is None:
            titles = (each.title for each in LAYOUTS.values())
            raise nothing_found(folder, found, titles)
        found = others
    if alone:
        found = found._replace(files=_one_split(found.files), classes=_one_split(found.classes))
    elif "train" not in (found.files or found.classes):
        every = (found.files or found.classes).values()
        names = ", ".join(path.name for paths in every for path in paths)
        raise UserError(
            f"data.path: {folder} has {names}, but no train file; add train.jsonl, .csv or .tsv"
        )
    return _own(found, config, task)


def _one_split(parts: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """The part that is tested, under the name of train; nothing of nothing."""
    split = next((each for each in ("test", "validation", "train") if each in parts), "")
    return {"train": parts[split]} if split else {}


def _own(found: Found, config: DataConfig, task: str) -> Reading:
    notes: list[str] = []
    splits: Splits = {}
    for split, paths in found.files.items():
        splits[split] = [
            each for path in paths for each in _labelled(path, config, task, split, notes)
        ]
    if found.classes:
        splits = _read_classes(found.classes, task, notes)
    files = {split: [path.name for path in paths] for split, paths in found.files.items()}
    files |= {
        split: [f"{path.parent.name}/{path.name}" for path in paths]
        for split, paths in found.classes.items()
    }
    if found.unread:
        notes.append(
            f"not read: {', '.join(found.unread[:10])}"
            f"{f' and {len(found.unread) - 10} more' if len(found.unread) > 10 else ''}; files are "
            "named train, validation (valid, val, dev, eval) and test"
        )
    return settle(splits, files, found.unread, notes, config.labels, task)


def _read_classes(classes: dict[str, list[Path]], task: str, notes: list[str]) -> Splits:
    """A text a file, whose folder is its class."""
    if task != "classification":
        raise UserError(
            f"data.path: folders of a class each are for classification, not task='{task}'"
        )
    splits: Splits = {}
    names: dict[str, None] = {}
    passed: list[str] = []
    empty: list[str] = []
    for split, folders in classes.items():
        splits[split] = []
        empty += without_texts(folders)
        for folder in folders:
            names[folder.name] = None
            texts = texts_of(folder)
            passed += not_texts(folder)
            for path in texts:
                place = f"{folder.parent.name}/{folder.name}/{path.name}"
                text = "".join(line for _, line in read_lines(path, place))
                splits[split].append(Example(text, None, folder.name, place=place))
    notes.append(f"a file is a text and its folder the class: {', '.join(list(names)[:10])}")
    if passed:
        notes.append(
            f"{len(passed)} names in the folders of classes are no .txt files, and not read (the "
            f"first: {passed[0]})"
        )
    if empty:
        notes.append(f"folders without a text are no classes: {', '.join(empty[:10])}")
    return splits


def read_unlabelled(
    path: str | Path,
    config: DataConfig,
    task: str,
    name: str = "data.unlabelled",
    title: str = "",
) -> tuple[list[Example], list[str]]:
    """Reads one file of examples whose label column may be missing; every label is "".

    Returns them, each with its columns, and notes. A row that is no example has a `problem`.
    name  the flag or field of the file, title  what it is called if not by its name, for messages
    Raises UserError where no row is an example.
    """
    path = Path(os.path.expanduser(path))
    if not os.path.isfile(path):
        raise UserError(f"{name}: there is no file {path}; give the path of a data file")
    known = (*SUFFIXES, *LINES) if task == "classification" else SUFFIXES
    if not suffix_of(path.name, known):
        raise UserError(f"{name}: {path} must end in {', '.join(known)}, for what it holds")
    notes: list[str] = []
    rows = list(_examples(path, config, task, notes, labelled=False, title=title))
    examples = [_problem(row) if isinstance(row, _Row) else row for row in rows]
    if all(each.problem for each in examples):
        raise UserError(examples[0].problem)
    return examples, notes


class _Row(NamedTuple):
    """A row that is no example, and why."""

    place: str
    columns: dict[str, Any]
    error: UserError


def _problem(row: _Row) -> Example:
    return Example("", None, "", place=row.place, columns=row.columns, problem=str(row.error))


def _labelled(
    path: Path, config: DataConfig, task: str, split: str, notes: list[str]
) -> Iterator[Example]:
    """The examples of a split's file; without any label, where a test split has no such column."""
    target = TARGETS[task]
    column = getattr(config.fields, target)
    lacking = ""  # where a label's column is missing
    labelled = False
    for row in _examples(path, config, task, notes):
        if isinstance(row, _Row):
            raise row.error
        labelled |= row.problem == ""
        lacking = lacking or row.problem
        yield row._replace(columns=None, problem="")
    if lacking and (labelled or split == "train"):
        raise UserError(
            f"{lacking}; name the right one by --config.data.fields.{target}, or add '{column}'"
        )


def _examples(
    path: Path,
    config: DataConfig,
    task: str,
    notes: list[str],
    labelled: bool = True,
    title: str = "",
) -> Iterator[Example | _Row]:
    """The rows of a file as examples, or as a `_Row` where they are none.

    An example without the label's column has that for its problem, and the label "".
    """
    title = title or path.name
    wanted = {part: asdict(config.fields)[part] for part in PARTS[task]}
    in_groups = _group_stories(title) if task == "qa" else lambda text: ""
    found: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {}
    told: set[str] = set()
    empty = True
    line, why = config.fields.text, config.fields.rationale if labelled else ""
    everywhere = (row for _, row in read_rows(path, config.quoting, [], title, line))
    marks = bool(why) and has_marks(everywhere, why)
    for place, row in read_rows(path, config.quoting, notes, title, line):
        empty = False
        place = f"{title}, {place}"
        if tuple(row) not in found:
            found[tuple(row)] = {part: _columns(row, each) for part, each in wanted.items()}
            for part, columns in found[tuple(row)].items():
                if len(columns) == 1 and columns[0] not in (wanted[part], *told):
                    told.add(columns[0])
                    notes.append(f"{title}: column '{columns[0]}' is read as '{wanted[part]}'")
        try:
            columns = found[tuple(row)]
            example = _example(row, columns, wanted, task, place, labelled)
            if why:
                texts = [row[each] for each in columns[PARTS[task][0]]]
                names = why, config.fields.tokens
                rationale = find_rationale(row, *names, texts, example.text, place, marks)
                example = example._replace(rationale=rationale)
        except UserError as error:
            yield _Row(place, row, error)
        else:
            yield example._replace(group=in_groups(example.text), columns=row)
    if empty:
        raise UserError(f"{title}: has no rows; fill it, or leave it out")


def _columns(row: dict[str, Any], wanted: str) -> tuple[str, ...]:
    """The columns of this name, or of these names; of another letter case where that is all.

    _columns({"Title": "", "b": ""}, "title") == ("Title",); _columns(row, "a,b") == ("a", "b")
    """
    if wanted in row:
        return (wanted,)
    alike = [name for name in row if name.strip().casefold() == wanted.strip().casefold()]
    if len(alike) == 1:
        return (alike[0],)
    several = [_columns(row, each.strip()) for each in wanted.split(",")] if "," in wanted else []
    if several and all(len(each) == 1 for each in several):
        return tuple(each for (each,) in several)
    return ()


def _missing(row: dict[str, Any], wanted: str, place: str) -> str:
    names = [each.strip() for each in wanted.split(",")] if "," in wanted else [wanted]
    column = next((each for each in names if not _columns(row, each)), wanted)
    near = suggest(column, row).partition("; did")
    held = ", ".join(row)
    held = held if len(held) <= 200 else held[:197] + "..."
    headless = any(len(name.split()) > 4 or name.strip().isdecimal() for name in row)
    first = "; the first row must name the columns" if headless else ""
    return f"{place}: no column '{column}' (it has {held}){''.join(near[1:])}{first}"


def _example(
    row: dict[str, Any],
    columns: dict[str, tuple[str, ...]],
    wanted: dict[str, str],
    task: str,
    place: str,
    labelled: bool,
) -> Example:
    target = TARGETS[task]
    texts = []
    for part in PARTS[task]:
        if part in (target, "candidates"):
            continue
        if not columns[part]:
            raise UserError(
                f"{_missing(row, wanted[part], place)}; name the right one by "
                f"--config.data.fields.{part}"
            )
        pieces = [_text(row[column], column, place) for column in columns[part]]
        texts.append(pieces[0] if len(pieces) == 1 else " ".join(filter(None, pieces)))
    query = texts[1] if len(texts) == 2 else None
    if labelled and not columns[target]:
        problem = _missing(row, wanted[target], place)
        return Example(texts[0], query, "", place=place, problem=problem)
    label = _label(row[columns[target][0]], columns[target][0], place) if labelled else ""
    if task != "qa":
        return Example(texts[0], query, label, place=place)
    (name,) = columns["candidates"] or ("",)
    candidates = _candidates(row.get(name), name, place)
    if label and candidates and label not in candidates:
        raise UserError(
            f"{place}: the answer '{label}' is not among the row's candidates "
            f"({', '.join(candidates[:10])}); add it, or leave the row out"
        )
    return Example(texts[0], query, label, candidates, place=place)


def _text(value: Any, column: str, place: str) -> str:
    """Returns a text, or the sentences of a list joined by blanks; "" where there is none."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(value)
    if value is None or _is_nan(value):
        return ""
    if not isinstance(value, str):
        raise _wrong_type(place, column, value, "text")
    return value


def _label(value: Any, column: str, place: str) -> str:
    """Returns a class name; whole numbers as their digits (1 and 1.0 are "1"); "" where none is."""
    if value is None or _is_nan(value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int):
        raise _wrong_type(place, column, value, "a name or a whole number")
    return str(value).strip()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _candidates(value: Any, column: str, place: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = [each for each in value.split("|") if each.strip()]
    if not isinstance(value, list):
        raise _wrong_type(place, column, value, "a list, or text split at '|'")
    names = [_label(each, column, place) for each in value]
    if not all(names):
        raise UserError(f"{place}: '{column}' has an empty answer; fill it, or leave it out")
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
