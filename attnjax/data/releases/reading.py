"""bAbI and CNN: a story, a question, an answer."""

import re
from collections.abc import Iterator
from pathlib import Path

from attnjax.data.babi import SUPPORTING, StoryQuestion, to_example
from attnjax.data.examples import Example, Splits
from attnjax.data.lines import read_lines
from attnjax.data.releases.folders import first_with, read_text
from attnjax.data_config import DataConfig
from attnjax.errors import UserError, suggest

_BABI_FILE = re.compile(r"qa(\d+)_(?:.+_)?(train|valid|test)\.txt$")
_BABI_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
_CNN_SPLITS = {"train": "training", "validation": "validation", "test": "test"}


def find_babi(path: Path) -> Path | None:
    """Finds qa1_single-supporting-fact_train.txt, qa2_..., as in tasks_1-20_v1-2/en."""
    splits = {split for files in _babi_tasks(path).values() for split in files}
    return path if "train" in splits else None


def read_babi(root: Path, config: DataConfig) -> Splits:
    """Reads the only task of the folder, or the one that `config.name` names ("2" or "qa2")."""
    tasks = {task: files for task, files in _babi_tasks(root).items() if "train" in files}
    wanted = config.name.removeprefix("qa")
    if len(tasks) == 1:
        (wanted,) = tasks
    if wanted not in tasks:
        raise UserError(
            f"data.name: {root} has no bAbI task '{config.name}'{suggest(wanted, tasks)}"
        )
    files = tasks[wanted]
    if "test" not in files:
        raise UserError(f"{root}: has {files['train'].name} but no test file; unpack it again")
    supporting = config.fields.rationale == SUPPORTING
    return {
        split: [to_example(question, place, supporting) for place, question in read_questions(path)]
        for split, path in files.items()
    }


def _babi_tasks(path: Path) -> dict[str, dict[str, Path]]:
    """Returns task number -> split -> file."""
    tasks: dict[str, dict[str, Path]] = {}
    for file in sorted(path.glob("qa*.txt")):
        match = _BABI_FILE.match(file.name)
        if match:
            tasks.setdefault(match[1], {})[_BABI_SPLITS[match[2]]] = file
    return tasks


def read_questions(path: Path) -> Iterator[tuple[str, StoryQuestion]]:
    """Yields (place, question) of an official bAbI file; line numbers become places in the story.

    "1 Mary went home." "2 Where is Mary? <tab>home<tab>1" -> story ("Mary went home.",),
    answer "home", supporting (0,)
    """
    story: list[str] = []
    positions: dict[int, int] = {}  # the release's line number, questions counted -> place in story
    group = 0
    for number, line in read_lines(path):
        if not line.strip():
            continue
        place = f"{path.name}, line {number}"
        head, _, rest = line.rstrip("\r\n").partition(" ")
        fields = rest.split("\t")
        if not head.isdecimal() or len(head) > 18 or len(fields) not in (1, 3):
            raise UserError(
                f"{place}: neither a numbered statement nor a question with its answer and "
                "supporting lines between tabs; fetch the release again"
            )
        if int(head) == 1:
            story, positions = [], {}
            group += 1
        if len(fields) == 1:
            positions[int(head)] = len(story)
            story.append(rest.strip())
            continue
        question, answer, facts = (field.strip() for field in fields)
        try:
            supporting = tuple(positions[int(fact)] for fact in facts.split())
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{place}: supporting lines '{facts}' are no earlier statements; "
                "fetch the release again"
            ) from error
        if not answer:
            raise UserError(f"{place}: the question has no answer; fetch the release again")
        yield (
            place,
            StoryQuestion(tuple(story), question, answer, supporting, f"{path.name}:{group}"),
        )
    if not group:
        raise UserError(f"{path.name}: has no stories; fetch the release again")


def find_cnn(path: Path) -> Path | None:
    """Finds questions/{training,validation,test} with .question files, or is that folder."""
    root = first_with(path, ("questions", "cnn/questions"), tuple(_CNN_SPLITS.values()))
    if root is None or not any((root / "training").glob("*.question")):
        return None
    return root


def read_cnn(root: Path, config: DataConfig) -> Splits:
    """Reads every .question file; candidates are the entities that it lists."""
    del config
    splits: Splits = {}
    for split, folder in _CNN_SPLITS.items():
        paths = sorted((root / folder).glob("*.question"))
        if not paths:
            raise UserError(f"{root / folder}: has no .question files; unpack the release again")
        splits[split] = [_cnn_question(path, f"{folder}/{path.name}") for path in paths]
    return splits


def _cnn_question(path: Path, place: str) -> Example:
    parts = [part.strip() for part in re.split(r"\r?\n\r?\n", read_text(path, place), maxsplit=4)]
    if len(parts) != 5 or "@placeholder" not in parts[2]:
        raise UserError(
            f"{place}: not an address, a story, a question with @placeholder, an answer and "
            "entities, a blank line between them; unpack the release again"
        )
    address, story, question, answer, entities = parts
    candidates = tuple(line.partition(":")[0].strip() for line in entities.splitlines())
    if answer not in candidates:
        raise UserError(
            f"{place}: the answer '{answer}' is not among its entities; unpack the release again"
        )
    # Questions about one article share its address.
    return Example(story, question, answer, candidates, group=address, place=place)
