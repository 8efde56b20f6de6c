"""The section on the data: what was read, left out, cut, unknown and shared between splits."""

from typing import Any

from attnjax.report.answers.answer import Answer, Block, Paragraph, Shown, Terms, Told
from attnjax.report.tables import Table

# heading -> key of results.json["data"]["splits"][SPLIT]
COLUMNS = {
    "rows": "rows",
    "read": "read",
    "without label": "unlabelled",
    "other labels": "other_labels",
    "for other splits": "moved",
    "beyond train_examples": "passed",
    "without words or short": "dropped",
    "cut": "cut",
    "one word": "one_word",
    "<unk>": "unknown",
}
ALWAYS = ("rows", "read", "cut", "<unk>")


def _blocks(told: Told) -> list[Block]:
    data = told.results.get("data") or {}
    splits = data.get("splits") or {}
    if not splits:
        return []
    columns = [name for name in COLUMNS if name in ALWAYS or _any(splits, COLUMNS[name])]
    rows = [
        {"split": name, "files": _files(each)} | {key: each.get(COLUMNS[key]) for key in columns}
        for name, each in splits.items()
    ]
    caption = "What became of the rows of each split"
    blocks: list[Block] = [
        Shown(Table("data", caption, ("split", *columns, "files"), rows), caption),
        Paragraph(
            "Rows are those read less those left out or cut off. Cut: rows with a text of more "
            "than data.max_length words; <unk>: share of the words that train does not have.",
            note=True,
        ),
    ]
    shared = [
        (pair.replace("~", " and "), f"rows of the second that have a text of the first: {count:,}")
        for pair, count in (data.get("shared") or {}).items()
        if count
    ]
    if shared:
        blocks.append(Terms(shared))
    if notes := data.get("notes"):
        blocks.append(Terms([(f"Note {n}", note) for n, note in enumerate(notes, 1)]))
    return blocks


def _any(splits: dict[str, dict[str, Any]], key: str) -> bool:
    return any(each.get(key) for each in splits.values())


def _files(split: dict[str, Any]) -> str:
    files = split.get("files") or []
    if split.get("read") is None:
        return "cut from train"
    return ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")


DATA = Answer("data", "Data", "What was read", _blocks)
