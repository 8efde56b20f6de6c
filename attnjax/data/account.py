"""What was read, left out, cut, unknown and shared: the "data" of results.json."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from attnjax.data.batches import EncodedSplit
from attnjax.data.doubts import MOST, doubts
from attnjax.data.examples import Example, Reading, Splits, Tokenized
from attnjax.errors import one_line
from attnjax.types import UNK


class Account(NamedTuple):
    """What happened to rows between the files and the splits.

    moved   "cut": split -> rows cut from train for it; "passed": rows beyond data.train_examples
    dropped split -> rows without words, or shorter than data.min_length
    cut     split -> rows of which a text is longer than max_length
    """

    reading: Reading
    moved: dict[str, dict[str, int]]
    dropped: dict[str, int]
    cut: dict[str, int]
    max_length: int


def told(
    account: Account,
    splits: Splits,
    words: dict[str, list[Tokenized]],
    encoded: dict[str, EncodedSplit],
    simulated: bool,
) -> dict[str, Any]:
    """What results.json says of it.

    "splits": split -> {"files", "read", "unlabelled", "other_labels", "moved" (rows cut from train
    for other splits), "passed" (beyond data.train_examples), "dropped", "cut", "unknown" (share of
    the tokens that are <unk>), "one_word" (texts of one word), "rows", "majority" (share of the
    most frequent label)}; read is None of a split that was cut from train. "shared": "train~test"
    -> rows of test whose text train has, and so on. "unread": files that are no split's. "notes":
    what is odd, a line each, all of this included.
    simulated  nobody wrote the data: nothing is doubted
    """
    reading, moved = account.reading, account.moved["cut"]
    found = {}
    for name, rows in encoded.items():
        counts = {
            "files": reading.files.get(name, []),
            "read": None if name in moved else reading.read.get(name, len(rows)),
            "unlabelled": 0 if name in moved else reading.unlabelled.get(name, 0),
            "other_labels": 0 if name in moved else reading.others.get(name, 0),
            "moved": sum(moved.values()) if name == "train" else 0,
            "passed": account.moved["passed"].get(name, 0),
            "dropped": account.dropped[name],
            "cut": account.cut[name],
            "unknown": unknown_share(rows),
            "one_word": sum(len(each.text) == 1 for each in words[name]),
            "rows": len(rows),
            "majority": _majority(splits[name]),
        }
        found[name] = counts
    shared = _shared(words)
    notes = [*reading.notes, *_cuts(found, account)]
    if not simulated:  # a simulator repeats itself, as its task does
        notes += [*_overlaps(found, shared), *doubts(splits)]
    notes = [one_line(note) for note in notes]
    return {"splits": found, "shared": shared, "unread": reading.unread, "notes": notes}


def _majority(rows: Sequence[Example]) -> float | None:
    """The share of the most frequent label; None of rows without one."""
    labels = Counter(each.label for each in rows if each.label)
    return labels.most_common(1)[0][1] / len(rows) if labels else None


def unknown_share(split: EncodedSplit) -> float:
    """The share of <unk> among the words of texts and queries."""
    tokens = np.concatenate([each[1:-1] for each in (*split.tokens, *(split.query or ()))])
    return float(np.mean(tokens == UNK)) if len(tokens) else 0.0


def _shared(words: dict[str, list[Tokenized]]) -> dict[str, int]:
    """ "train~test" -> rows of test with the words of a row of train; likewise the others."""
    keys = {
        name: [("\0".join(each.text), "\0".join(each.query or ())) for each in rows]
        for name, rows in words.items()
        if name != "unlabelled"
    }
    names = list(keys)
    return {
        f"{one}~{other}": sum(key in known for key in keys[other])
        for place, one in enumerate(names)
        for known in [set(keys[one])]
        for other in names[place + 1 :]
    }


def _cuts(found: dict[str, dict[str, Any]], account: Account) -> list[str]:
    notes = []
    cut = sum(each["cut"] for each in found.values())
    if cut:
        notes.append(
            f"{cut} rows have a text of more than data.max_length={account.max_length} words, "
            "which was cut"
        )
    for name, each in found.items():
        if each["dropped"]:
            notes.append(
                f"{each['dropped']} rows of {name} have no words, or fewer than data.min_length, "
                "and are left out"
            )
        if each["unknown"] > MOST:
            notes.append(
                f"{each['unknown']:.0%} of the words of {name} are <unk>, for train has them less "
                "than data.min_count times; are its texts of the same language and kind?"
            )
        if each["one_word"] > MOST * each["rows"]:
            notes.append(
                f"{each['one_word']} of {each['rows']} texts of {name} have one word: no attention "
                "to compare; is it the right column, and does its script put blanks between words?"
            )
    return notes


def _overlaps(found: dict[str, dict[str, Any]], shared: dict[str, int]) -> list[str]:
    notes = []
    for pair, count in shared.items():
        one, other = pair.split("~")
        if count:
            notes.append(
                f"{count} of {found[other]['rows']} rows of {other} have the text of a row of {one}"
            )
    return notes
