"""SNLI and MultiNLI, from their JSON Lines files."""

from pathlib import Path

from attnjax.data.examples import Example, Splits
from attnjax.data.lines import read_json_rows
from attnjax.data.releases.folders import first_with
from attnjax.data_config import DataConfig
from attnjax.errors import UserError

_SNLI = {"train": ("train",), "validation": ("dev",), "test": ("test",)}
# MultiNLI's own test labels are not public: papers test on both dev sets and cut validation
# from train.
_MULTINLI = {"train": ("train",), "test": ("dev_matched", "dev_mismatched")}


def _files(stem: str, parts: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(f"{stem}_{part}.jsonl" for names in parts.values() for part in names)


SNLI_FILES, MULTINLI_FILES = _files("snli_1.0", _SNLI), _files("multinli_1.0", _MULTINLI)


def find_snli(path: Path) -> Path | None:
    """Finds snli_1.0_{train,dev,test}.jsonl."""
    return first_with(path, ("snli_1.0",), SNLI_FILES)


def find_multinli(path: Path) -> Path | None:
    """Finds multinli_1.0_{train,dev_matched,dev_mismatched}.jsonl."""
    return first_with(path, ("multinli_1.0",), MULTINLI_FILES)


def read_snli(root: Path, config: DataConfig) -> Splits:
    """Reads train, dev as validation, and test; pairs without a gold label have the label ""."""
    del config
    return _read(root, "snli_1.0", _SNLI)


def read_multinli(root: Path, config: DataConfig) -> Splits:
    """Reads train, and both dev sets, matched first, as test; "-" is "".

    The pairs made from one premise form a group, so that none is seen on both sides of a cut.
    """
    del config
    return _read(root, "multinli_1.0", _MULTINLI)


def _read(root: Path, stem: str, parts: dict[str, tuple[str, ...]]) -> Splits:
    return {
        split: [row for part in names for row in _pairs(root / f"{stem}_{part}.jsonl")]
        for split, names in parts.items()
    }


def _pairs(path: Path) -> list[Example]:
    examples = []
    for number, row in read_json_rows(path):
        place = f"{path.name}, line {number}"
        values = [row.get(key) for key in ("sentence1", "sentence2", "gold_label")]
        if not all(isinstance(value, str) for value in values):
            raise UserError(
                f"{place}: sentence1, sentence2 or gold_label is missing; fetch the release again"
            )
        premise, hypothesis, label = map(str, values)
        group = str(row.get("promptID", ""))
        label = label.removeprefix("-")  # all of it, where annotators did not agree
        examples.append(Example(premise, hypothesis, label, group=group, place=place))
    if not any(each.label for each in examples):
        raise UserError(f"{path.name}: has no labelled pairs; fetch the release again")
    return examples
