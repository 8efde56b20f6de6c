"""Rows without a label, whatever the source wrote in its place, and splits made of such rows."""

from collections import Counter

from attnjax.data.examples import Example, Reading, Splits
from attnjax.data.splits import TARGETS, check_labels, is_number, keep_labels
from attnjax.errors import UserError

NEVER = ("nan", "<na>", "nat", "#n/a")  # what programs write for a missing value; no class's name
LABELLED = ("train", "validation", "test")


def settle(
    splits: Splits,
    files: dict[str, list[str]],
    unread: list[str],
    notes: list[str],
    wanted: tuple[str, ...],
    task: str,
) -> Reading:
    """The splits with the rows that have a label, of those that `data.labels` wants.

    A split without any label is left out; where that or the source leaves no test split, validation
    takes its place. Raises UserError for a label that cannot be learnt from train.
    """
    notes = list(notes)
    read = {split: len(rows) for split, rows in splits.items()}
    known = {each.label for each in splits["train"]}
    unlabelled: dict[str, int] = {}
    for split in (name for name in LABELLED if name in splits):
        rows = splits[split]
        counts = Counter(each.label for each in rows)
        none = _none(counts, known, task)
        kept = [each for each in rows if each.label not in none]
        unlabelled[split] = len(rows) - len(kept)
        if kept:
            splits = {**splits, split: kept}
            if unlabelled[split]:
                notes.append(_left_out(rows, none, split, task))
        elif split == "train":
            raise UserError(
                f"{rows[0].place if rows else 'train'}: no row of train has a {TARGETS[task]}"
            )
        else:
            splits = {name: each for name, each in splits.items() if name != split}
            notes.append(f"no row of {split} has a {TARGETS[task]}, so it is left out")
    if "test" not in splits and "validation" in splits:
        notes.append(
            "there is no labelled test split, so validation is the test split, and validation is "
            "cut from train"
        )
        splits = {"test" if name == "validation" else name: each for name, each in splits.items()}
        files = {**files, "test": files.get("validation", [])}
        files.pop("validation", None)
        read["test"] = read.pop("validation")
        unlabelled["test"] = unlabelled.pop("validation")
    labelled = {split: len(rows) for split, rows in splits.items()}
    splits = keep_labels(splits, wanted)
    check_labels(splits, task)
    others = {split: labelled[split] - len(rows) for split, rows in splits.items()}
    return Reading(splits, files, read, unlabelled, others, unread, notes)


def _none(counts: Counter[str], known: set[str], task: str) -> set[str]:
    """Which of a split's labels stand for no label at all; known  those of train.

    "-" (SNLI), -1 (TFDS) and what programs write for a missing value. But "-" is a class beside
    "+", and so is -1 where nothing says that classes are counted from 0.
    """
    none = {label for label in counts if not label or label.lower() in NEVER}
    if "-" in counts and "+" not in known and (task != "classification" or len(known) > 2):
        none.add("-")
    numbers = {int(each) for each in known if is_number(each)}
    counted = max(numbers, default=-1) > 1 and min(numbers) >= -1
    counted &= task == "classification"
    if "-1" in counts and (task == "nli" or counted or "-1" not in known):
        none.add("-1")
    return none


def _left_out(rows: list[Example], none: set[str], split: str, task: str) -> str:
    places = [each.place for each in rows if each.label in none]
    shown = sorted({each.label or "nothing" for each in rows if each.label in none})
    return (
        f"{len(places)} rows of {split} have no {TARGETS[task]} ({', '.join(shown)}; the first: "
        f"{places[0]}), and are left out"
    )
