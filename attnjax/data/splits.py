"""Splits of any source: labels that are wanted and known, and a validation split cut off train."""

import numpy as np

from attnjax.data.examples import Splits
from attnjax.errors import UserError, suggest

TARGETS = {"classification": "label", "nli": "label", "qa": "answer"}


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


def cut_validation(splits: Splits, fraction: float, seed: int) -> Splits:
    """Cuts about `fraction` of train off as validation, whole groups at a time.

    Where there is a validation split already, returns the splits as they are. Order is kept.
    Raises UserError where either side would be empty.
    """
    if "validation" in splits:
        return splits
    train = splits["train"]
    # A row without a group is its own.
    groups = [example.group or f"\0{row}" for row, example in enumerate(train)]
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    names = list(sizes)
    wanted = round(fraction * len(train))
    chosen: set[str] = set()
    taken = 0
    for position in np.random.default_rng(seed).permutation(len(names)):
        if taken >= wanted:
            break
        chosen.add(names[position])
        taken += sizes[names[position]]
    if not chosen or taken == len(train):
        raise UserError(
            f"train has {len(train)} rows in {len(names)} groups, too few to cut "
            f"data.validation_fraction={fraction} off for validation; add a validation file"
        )
    parts: Splits = {"train": [], "validation": []}
    for example, group in zip(train, groups, strict=True):
        parts["validation" if group in chosen else "train"].append(example)
    return {**splits, **parts}
