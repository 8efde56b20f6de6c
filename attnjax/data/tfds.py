"""TensorFlow Datasets by official name, read without TensorFlow (ArrayRecord data sources)."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from attnjax.data.examples import Example, Reading, Splits
from attnjax.data.labels import settle
from attnjax.data_config import DataConfig, FieldsConfig
from attnjax.errors import UserError, suggest

# Names known to fit a task; any other whose features fit is read too.
KNOWN = {
    "classification": (
        "ag_news_subset",
        "glue/sst2",
        "imdb_reviews",
        "movie_rationales",
        "sentiment140",
    ),
    "nli": ("anli", "esnli", "glue/mnli", "multi_nli", "snli"),
    "qa": (),
}
# name -> part of an example -> the features it is read from, unless the config says otherwise
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "ag_news_subset": {"text": ("title", "description")},
    "glue/sst2": {"text": ("sentence",)},
    "movie_rationales": {"text": ("review",)},
    "sentiment140": {"label": ("polarity",)},
    "anli": {"premise": ("context",)},
}
# Builders of the old one-file layout are found by name only once their module is imported.
OLD_LAYOUT = {
    name: f"tensorflow_datasets.text.{name}"
    for name in ("glue", "multi_nli", "esnli", "movie_rationales")
}
# task -> the parts of an example, its target last
PARTS = {
    "classification": ("text", "label"),
    "nli": ("premise", "hypothesis", "label"),
    "qa": ("story", "question", "answer"),
}


def read_tfds(config: DataConfig, task: str) -> Reading:
    """Reads the data set `config.name` from `config.path` (empty: TFDS's own data_dir).

    Returns train, test and, where there is one besides, validation. What is not prepared there is
    downloaded and prepared first. Rows without a label (-1) are dropped; where that leaves no test
    split, as in GLUE, validation takes its place. Raises UserError for an unknown name, missing
    columns, and data that can be neither found nor fetched.
    """
    builder = _prepared_builder(config, task)
    rows = {name: _read(builder, name, config, task) for name in sorted(builder.info.splits)}
    splits: Splits = {"train": rows.get("train", []), "validation": [], "test": []}
    files = {"train": ["train"], "validation": [], "test": []}
    # multi_nli and glue/mnli have several: validation_matched, validation_mismatched.
    for name, examples in rows.items():
        for split in ("validation", "test"):
            if name.startswith(split):
                splits[split] += examples
                files[split].append(name)
    labelled = {split for split, each in splits.items() if any(row.label for row in each)}
    if "train" not in labelled:
        raise UserError(
            f"{config.name} has no labelled train split (it has {', '.join(rows)}); take another"
        )
    if labelled == {"train"}:
        raise UserError(
            f"{config.name} has neither test nor validation labels (it has {', '.join(rows)}); "
            "take another data set"
        )
    splits = {split: each for split, each in splits.items() if each}
    reading = settle(splits, files, [], [], config.labels, task)
    if rows.get("unsupervised"):
        reading.splits["unlabelled"] = rows["unsupervised"]
    return reading


def _import_tfds() -> ModuleType:
    try:
        return importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise UserError(
            f"data.source='tfds' needs packages that are not installed ({error}); "
            "pip install tensorflow-datasets array_record importlib_resources"
        ) from error


def _prepared_builder(config: DataConfig, task: str) -> Any:
    tfds = _import_tfds()
    name = config.name
    module = OLD_LAYOUT.get(name.split("/")[0].split(":")[0])
    if module:
        importlib.import_module(module)
    data_dir = os.path.expanduser(config.path) if config.path else None
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except ImportError as error:  # such as huggingface:NAME
        raise UserError(f"data.name: '{name}' needs a package that is missing ({error})") from error
    except AssertionError as error:  # the name is known, the version asked for is not
        raise UserError(f"data.name: {error}") from error
    except ValueError as error:  # DatasetNotFoundError, or no such configuration of a data set
        names = KNOWN[task] or [each for known in KNOWN.values() for each in known]
        raise UserError(
            f"data.name: TFDS has no data set '{name}'{suggest(name, names)}"
        ) from error
    if not builder.is_prepared():
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
        _prepare(builder, name, data_dir)
    file_format = builder.info.file_format.value
    if file_format != "array_record":
        raise UserError(
            f"{name} is prepared under {builder.data_dir} as {file_format}, which cannot be read "
            "without TensorFlow; prepare it again in another folder (data.path) with "
            "tfds.builder(..., file_format='array_record').download_and_prepare()"
        )
    return builder


def _prepare(builder: Any, name: str, data_dir: str | None) -> None:
    try:
        with _no_retries():
            if not sys.stderr.isatty():
                _import_tfds().disable_progress_bar()  # a failed download leaves half a bar behind
            builder.download_and_prepare()
    except OSError as error:  # requests' ConnectionError is one
        raise UserError(
            f"{name}: not prepared under {data_dir or builder.data_dir}, and its source could not "
            f"be reached ({type(error).__name__}); prepare it where there is a network, or point "
            "data.path at a prepared copy"
        ) from error
    except ImportError as error:
        package = (error.name or "").split(".")[0]
        remedy = f"pip install {package}" if package != "tensorflow" else "prepare it elsewhere"
        raise UserError(
            f"{name}: not prepared under {data_dir or builder.data_dir}, and preparing it here "
            f"needs the package {package}; {remedy}, or point data.path at a prepared copy"
        ) from error


@contextlib.contextmanager
def _no_retries() -> Iterator[None]:
    """Lets a download fail at once: TFDS retries for minutes where there is no network."""
    downloader: Any = importlib.import_module("tensorflow_datasets.core.download.downloader")
    before = getattr(downloader, "MAX_RETRIES", None)  # a constant of theirs, not an API
    if before is not None:
        downloader.MAX_RETRIES = 0
    try:
        yield
    finally:
        if before is not None:
            downloader.MAX_RETRIES = before


def _columns(config: DataConfig, task: str, features: Any) -> dict[str, tuple[str, ...]]:
    """Returns part of an example -> the features it is read from."""
    name = config.name.partition(":")[0]
    defaults = COLUMNS.get(name) or COLUMNS.get(name.split("/")[0]) or {}
    columns = {}
    for part in PARTS[task]:
        column = getattr(config.fields, part)
        untouched = column == getattr(FieldsConfig(), part)
        several = tuple(each.strip() for each in column.split(","))  # texts that are joined
        own = several if column not in features and part != PARTS[task][-1] else (column,)
        columns[part] = defaults.get(part, own) if untouched else own
        for each in columns[part]:
            if each not in features:
                raise UserError(
                    f"{config.name} has no feature '{each}' (it has {', '.join(features)}); "
                    f"set --config.data.fields.{part} to one of them, or another task than {task}"
                )
    return columns


def _read(builder: Any, split: str, config: DataConfig, task: str) -> list[Example]:
    features = builder.info.features
    columns = _columns(config, task, features)
    *inputs, target = (columns[part] for part in PARTS[task])
    (target,) = target
    name_of = getattr(features[target], "int2str", str)
    candidates = config.fields.candidates if task == "qa" else ""
    examples = []
    try:
        for number, row in enumerate(builder.as_data_source(split)):
            value = row[target]
            labelled = isinstance(value, bytes | str) or int(value) != -1
            texts = [" ".join(_text(row[each]) for each in part) for part in inputs]
            label = ""
            if labelled and split != "unsupervised":
                label = _text(value) if isinstance(value, bytes | str) else name_of(int(value))
            allowed = tuple(map(_text, row[candidates])) if candidates in row else ()
            query = texts[1] if len(texts) == 2 else None
            place = f"{config.name} {split}, row {number}"
            examples.append(Example(texts[0], query, label, allowed, place=place))
    except ImportError as error:
        raise UserError(
            f"reading {config.name} needs a package that is not installed ({error}); "
            "pip install array_record"
        ) from error
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise UserError(
            f"{config.name}: the files under {builder.data_dir} cannot be read ({error}); "
            "delete that folder and prepare it again"
        ) from error
    return examples


def _text(value: Any) -> str:
    """Returns a Text feature, or the sentences of a sequence of them joined by blanks."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, list | tuple | np.ndarray):
        return " ".join(map(_text, value))
    return str(value)
