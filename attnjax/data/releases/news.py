"""20 Newsgroups, by date, and AG News."""

import re
from pathlib import Path

from attnjax.data.examples import Example, Splits
from attnjax.data.lines import read_cells
from attnjax.data.releases.folders import by_number, first_with, read_text
from attnjax.data_config import DataConfig
from attnjax.errors import UserError, suggest

_NEWSGROUPS = {"train": "20news-bydate-train", "test": "20news-bydate-test"}
NEWSGROUPS_FILES = tuple(_NEWSGROUPS.values())
_QUOTE = re.compile(r"writes in|writes:|wrote:|says:|said:|^In article|^Quoted from|^\||^>")
_AG_NEWS_LABELS = {"1": "World", "2": "Sports", "3": "Business", "4": "Sci/Tech"}
_AG_NEWS_ROWS_SEEN = 20  # rows that tell the release from a user's own train.csv


def find_newsgroups(path: Path) -> Path | None:
    """Finds the folders 20news-bydate-train and 20news-bydate-test."""
    return first_with(path, ("20news-bydate",), NEWSGROUPS_FILES)


def read_newsgroups(root: Path, config: DataConfig) -> Splits:
    """Reads the groups in `config.labels` (all of them where it is empty).

    Headers, quoted lines and footers are taken out, as scikit-learn's
    fetch_20newsgroups(remove=("headers", "footers", "quotes")) does: they give the group away.
    """
    splits: Splits = {}
    for split, folder in _NEWSGROUPS.items():
        groups = sorted(each.name for each in (root / folder).iterdir() if each.is_dir())
        for label in config.labels:
            if label not in groups:
                raise UserError(
                    f"data.labels: {root / folder} has no group '{label}'{suggest(label, groups)}"
                )
        splits[split] = []
        for group in groups:
            if config.labels and group not in config.labels:
                continue
            for path in sorted((root / folder / group).iterdir(), key=by_number):
                place = f"{folder}/{group}/{path.name}"
                text = strip_post(read_text(path, place, "latin-1"))
                splits[split].append(Example(text, None, group, place=place))
        if not splits[split]:
            raise UserError(f"{root / folder}: has no posts; unpack the release again")
    return splits


def strip_post(text: str) -> str:
    """Returns a post without its header, its signature and the lines it quotes."""
    body = text.partition("\n\n")[2]
    lines = body.strip().split("\n")
    # The signature follows the last line that is blank or made of hyphens.
    breaks = [n for n, line in enumerate(lines) if not line.strip().strip("-")]
    if breaks and breaks[-1] > 0:
        body = "\n".join(lines[: breaks[-1]])
    return "\n".join(line for line in body.split("\n") if not _QUOTE.search(line))


def find_ag_news(path: Path) -> Path | None:
    """Finds train.csv and test.csv without a header row: class 1-4, title, description."""
    root = first_with(path, ("ag_news_csv",), ("train.csv", "test.csv"))
    if root is None:
        return None
    try:
        for _, (_, cells) in zip(
            range(_AG_NEWS_ROWS_SEEN), read_cells(root / "train.csv", ","), strict=False
        ):
            if len(cells) != 3 or cells[0] not in _AG_NEWS_LABELS:
                return None
    except UserError:  # not even a CSV file: the reader of the user's own files says so
        return None
    return root if (root / "train.csv").stat().st_size else None


def read_ag_news(root: Path, config: DataConfig) -> Splits:
    """Reads train.csv and test.csv: text is title and description, labels are the class names."""
    del config
    return {split: _ag_news(root / f"{split}.csv") for split in ("train", "test")}


def _ag_news(path: Path) -> list[Example]:
    examples = []
    for number, cells in read_cells(path, ","):
        place = f"{path.name}, line {number}"
        if len(cells) != 3 or cells[0] not in _AG_NEWS_LABELS:
            raise UserError(
                f"{place}: AG News has a class from 1 to 4, a title and a description in a row; "
                "fetch the release again"
            )
        # The release writes a line break as a backslash: "dwindling\band".
        text = f"{cells[1]} {cells[2]}".replace("\\", " ")
        examples.append(Example(text, None, _AG_NEWS_LABELS[cells[0]], place=place))
    if not examples:
        raise UserError(f"{path.name}: has no rows; fetch the release again")
    return examples
