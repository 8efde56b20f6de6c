"""The Stanford Sentiment Treebank and the IMDB reviews."""

import re
from collections.abc import Iterator
from pathlib import Path

from attnjax.data.examples import Example, Splits
from attnjax.data.lines import read_lines
from attnjax.data.rationales import place_words
from attnjax.data.releases.folders import by_number, first_line, first_with, read_text
from attnjax.data_config import DataConfig
from attnjax.errors import UserError

_TREE = re.compile(r"\(([0-4]) \(?.*\)$")
_LEAF = re.compile(r"\(([0-4]) ([^()\s]+)\)")
LEAVES = "leaves"  # the data.fields.rationale of the trees
_REVIEW = re.compile(r"\d+_\d+\.txt")  # its number and its rating
_SST_FILES = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
_BINARY = {"0": "0", "1": "0", "3": "1", "4": "1"}  # 2, neutral, is dropped


def find_sst(path: Path) -> Path | None:
    """Finds train.txt, dev.txt and test.txt of bracketed trees: trainDevTestTrees_PTB.zip."""
    root = first_with(path, ("trees",), tuple(_SST_FILES.values()))
    if root is None or not _TREE.match(first_line(root / "train.txt").strip()):
        return None
    return root


def read_sst(root: Path, config: DataConfig) -> Splits:
    """Reads whole sentences: "0"/"1" without the neutral ones; "0".."4" if data.name is "sst5".

    With data.fields.rationale=leaves the words rated on the sentence's side are its rationale.

    "(3 (2 A) (4 joy))" -> text "A joy", label "1", or "3" of five
    """
    five, rated = config.name == "sst5", config.fields.rationale == LEAVES
    return {split: list(_trees(root / name, five, rated)) for split, name in _SST_FILES.items()}


def _trees(path: Path, five: bool, rated: bool) -> Iterator[Example]:
    """rated  the words whose own rating is on the side of the sentence's are its rationale"""
    for number, line in read_lines(path):
        line = line.strip()
        if not line:
            continue
        place = f"{path.name}, line {number}"
        tree = _TREE.match(line)
        leaves = _LEAF.findall(line)
        if tree is None or not leaves or line.count("(") != line.count(")"):
            raise UserError(f"{place}: not a whole bracketed tree; fetch the release again")
        label = tree[1] if five else _BINARY.get(tree[1])
        if label is None:
            continue
        words = [word for _, word in leaves]
        example = Example(" ".join(words), None, label, place=place)
        if rated:
            side = _sign(tree[1])
            alike = [n for n, (each, _) in enumerate(leaves) if side and _sign(each) == side]
            rationale = place_words([alike], words, example.text, "leaves", place)
            example = example._replace(rationale=rationale)
        yield example


def _sign(rating: str) -> int:
    """-1 of "0" and "1", 0 of "2", 1 of "3" and "4"."""
    return (rating > "2") - (rating < "2")


def find_imdb(path: Path) -> Path | None:
    """Finds aclImdb, or is it: {train,test}/{pos,neg}/*.txt."""
    folders = ("train/pos", "train/neg", "test/pos", "test/neg")
    root = first_with(path, ("aclImdb",), folders)
    # Of somebody else's classes pos and neg, more may be wanted than the release has.
    own = root and any(not _REVIEW.fullmatch(each.name) for each in _texts(root / folders[0]))
    return None if own else root


def _texts(folder: Path) -> Iterator[Path]:
    return folder.glob("*.txt")


def read_imdb(root: Path, config: DataConfig) -> Splits:
    """Reads train and test, "neg" before "pos", and train/unsup as split "unlabelled"."""
    del config
    splits: Splits = {}
    for split in ("train", "test"):
        splits[split] = [
            example
            for label in ("neg", "pos")
            for example in _reviews(root, f"{split}/{label}", label)
        ]
    if (root / "train/unsup").is_dir():
        splits["unlabelled"] = list(_reviews(root, "train/unsup", ""))
    return splits


def _reviews(root: Path, folder: str, label: str) -> Iterator[Example]:
    paths = sorted(_texts(root / folder), key=by_number)
    if not paths:
        raise UserError(f"{root / folder}: has no .txt files; unpack the release again")
    for path in paths:
        place = f"{folder}/{path.name}"
        yield Example(read_text(path, place), None, label, place=place)
