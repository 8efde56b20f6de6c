"""Splits of any source: labels that are wanted and known, and splits that are cut off train."""

import re
from collections import Counter

import numpy as np

from attnjax.data.examples import Example, Splits
from attnjax.errors import UserError, suggest

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")  # what tokens do not tell apart
TARGETS = {"classification": "label", "nli": "label", "qa": "answer"}


def is_number(label: str) -> bool:
    """Whether a label is a whole number, of as many digits as Python turns into one."""
    return re.fullmatch("-?[0-9]{1,1000}", label) is not None


def keep_labels(splits: Splits, labels: tuple[str, ...]) -> Splits:
    """Returns the splits with only the rows of these labels; no labels keep all rows.

    Raises UserError for a label that no row of train has.
    """
    if not labels:
        return splits
    known = {example.label for example in splits["train"]}
    for label in labels:
        if label not in known:
            raise UserError(
                f"data.labels: no row of train has the label '{label}'"
                f"{suggest(label, sorted(known)[:50])}"
            )
    return {
        split: [row for row in rows if split == "unlabelled" or row.label in labels]
        for split, rows in splits.items()
    }


def check_labels(splits: Splits, task: str) -> None:
    """Raises UserError, naming the row, for a label or answer that cannot be learnt from train.

    In qa, an answer counts as known if train has it as an answer or as a candidate.
    """
    known = {example.label for example in splits["train"]}
    for example in splits["train"]:
        known.update(example.candidates)
    for split in ("validation", "test"):
        for example in splits.get(split, ()):
            if example.label not in known:
                raise UserError(
                    f"{example.place}: the {TARGETS[task]} '{example.label}' never occurs in train"
                    f"{suggest(example.label, sorted(known)[:50])}; correct it, or drop the row"
                )


def cut(splits: Splits, name: str, fraction: float, seed: int | list[int]) -> Splits:
    """Cuts about `fraction` of train off as split `name`, each class by its share.

    Rows of one group stay on one side, and so do rows of equal text where there are enough others.
    Order is kept, and so is at least one row of every class in train.
    Raises UserError where either side would be empty.
    """
    train = splits["train"]
    wanted = round(fraction * len(train))
    chosen = _choose(train, _together(train, texts=True), fraction, seed)
    if 2 * len(chosen) < wanted:  # a few texts over and over: those of one cannot stay together
        chosen = _choose(train, _together(train, texts=False), fraction, seed)
    if not chosen or len(chosen) == len(train):
        if max(Counter(each.label for each in train).values(), default=0) == 1:
            raise UserError(
                f"no {name} split can be cut from train: each of its {len(train)} rows has a label "
                "of its own; name the column of the classes by data.fields"
            )
        groups = len(set(_together(train, texts=False)))
        raise UserError(
            f"train has {len(train)} rows in {groups} groups, too few to cut "
            f"data.validation_fraction={fraction} off for {name}; add a {name} file"
        )
    parts: Splits = {"train": [], name: []}
    for row, example in enumerate(train):
        parts[name if row in chosen else "train"].append(example)
    return {**splits, **parts}


def _choose(
    train: list[Example], groups: list[int], fraction: float, seed: int | list[int]
) -> set[int]:
    """The rows to cut off, whole groups of them."""
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    sizes = Counter(each.label for each in train)
    wanted = round(fraction * len(train))
    # Every class has a row on each side, as far as it has rows and does not share them with many.
    least = 1 if 2 * len(sizes) <= wanted else 0
    quota = {label: min(max(round(fraction * n), least), n - 1) for label, n in sizes.items()}
    names = list(members)
    order = [names[each] for each in np.random.default_rng(seed).permutation(len(members))]
    chosen: set[int] = set()
    taken: Counter[str] = Counter()
    for group in order if wanted else ():
        labels = Counter(train[row].label for row in members[group])
        if all(taken[label] + n <= quota[label] for label, n in labels.items()):
            chosen.add(group)
            taken += labels
    # Groups of several classes may fit no quota; what lacks most of the rows is filled up by size.
    for group in order:
        labels = Counter(train[row].label for row in members[group])
        fits = labels.total() <= wanted - taken.total()
        left = all(taken[label] + n < sizes[label] for label, n in labels.items())
        if group not in chosen and fits and left:
            chosen.add(group)
            taken += labels
    return {row for group in chosen for row in members[group]}


def _together(rows: list[Example], texts: bool) -> list[int]:
    """A number for each row, equal for rows of one group and, where asked, for equal texts.

    Chains count: a row whose text is another's, whose group is a third's, stays with both.
    """
    parent = list(range(len(rows)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    first: dict[tuple[str, ...], int] = {}
    for row, each in enumerate(rows):
        keys: list[tuple[str, ...]] = [("group", each.group)] if each.group else []
        if texts:
            plain = (
                " ".join(_NUMBER.sub("0", part.lower()).split())
                for part in (each.text, each.query or "")
            )
            keys.append(("text", *plain))
        for key in keys:
            one, other = root(first.setdefault(key, row)), root(row)
            parent[max(one, other)] = min(one, other)
    return [root(row) for row in range(len(rows))]
