import contextlib
import functools
import gzip
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter

import pytest

from attnjax.data import tfds as reader
from attnjax.data_config import DataConfig, FieldsConfig
from attnjax.errors import UserError

pytestmark = pytest.mark.slow


def read_tfds(config, task):
    return reader.read_tfds(config, task).splits


@functools.cache
def prepare(tool, out, *arguments):
    """Writes real data as prepared TFDS data sets under their official names."""
    command = [sys.executable, str(tool), "--out", str(out), *arguments]
    # No JAX in there: its threads and devices would only slow the start.
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, "TQDM_DISABLE": "1"}
    )
    return str(out)


def tool_of(real_data):
    tool = real_data.parent / "tools/prepare_tfds.py"
    if not tool.is_file():
        pytest.skip(f"no tool {tool} to prepare data sets with")
    return tool


@pytest.fixture
def prepared(real_data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "tfds"
    return prepare(tool_of(real_data), folder, "snli", "glue/sst2")


def rows_of(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def fails(config, task, *parts):
    with pytest.raises(UserError) as caught:
        read_tfds(config, task)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_snli_is_what_was_prepared(prepared, real_data):
    splits = read_tfds(DataConfig(name="snli", path=prepared), "nli")
    assert list(splits) == ["train", "validation", "test"]
    for name, rows in splits.items():
        expected = rows_of(real_data / f"snli/{name}.jsonl.gz")
        # TFDS shuffles what it prepares.
        assert Counter((row.text, row.query, row.label) for row in rows) == Counter(
            (row["premise"], row["hypothesis"], row["label"]) for row in expected
        )
    assert splits["test"][3].place == "snli test, row 3"


def test_sst2_has_its_own_column_and_its_label_names(prepared, real_data):
    splits = read_tfds(DataConfig(name="glue/sst2", path=prepared), "classification")
    names = ("negative", "positive")
    assert splits == read_tfds(DataConfig(name="glue/sst2", path=prepared), "classification")
    for name, rows in splits.items():
        expected = rows_of(real_data / f"sst2/{name}.jsonl.gz")
        assert Counter((row.text, row.query, row.label) for row in rows) == Counter(
            (row["text"], None, names[row["label"]]) for row in expected
        )


def test_only_wanted_labels_are_kept(prepared):
    config = DataConfig(name="glue/sst2", path=prepared, labels=("positive",))
    splits = read_tfds(config, "classification")
    assert {row.label for rows in splits.values() for row in rows} == {"positive"}


def test_tensorflow_is_not_needed(prepared):
    code = (
        "import sys; from attnjax.data_config import DataConfig;"
        "from attnjax.data.tfds import read_tfds;"
        "assert 'tensorflow_datasets' not in sys.modules;"
        f"read_tfds(DataConfig(name='glue/sst2', path={prepared!r}), 'classification');"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("task", "fields", "parts"),
    [
        (
            "classification",
            {},
            ["no feature 'text' (it has ", "premise, hypothesis", "fields.text"],
        ),
        ("nli", {"premise": "pre"}, ["no feature 'pre'", "fields.premise"]),
        ("qa", {}, ["no feature 'story'"]),
    ],
)
def test_missing_columns(prepared, task, fields, parts):
    config = DataConfig(name="snli", path=prepared, fields=FieldsConfig(**fields))
    fails(config, task, "snli has", *parts)


def test_columns_of_the_config_win(tmp_path):
    row = {"title": "title", "description": "text", "label": 3}
    config = store(tmp_path, "ag_news_subset", {"train": [row], "test": [row]})
    fields = FieldsConfig(text="title")
    config = DataConfig(name=config.name, path=config.path, fields=fields)
    assert read_tfds(config, "classification")["test"][0].text == "title"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("imdb_review", ["no data set 'imdb_review'", "did you mean 'imdb_reviews'?"]),
        ("glue/sst3", ["did you mean 'glue/sst2'?"]),
        ("zzz", ["known: ag_news_subset, glue/sst2"]),
        ("snli:9.9.9", ["cannot be loaded at version 9.9.9"]),
    ],
)
def test_unknown_names(tmp_path, name, parts):
    fails(DataConfig(name=name, path=str(tmp_path)), "classification", *parts)


@pytest.mark.parametrize("name", ["imdb_reviews", "snli", "glue/sst2", "multi_nli", "esnli"])
def test_without_a_network_it_fails_at_once(tmp_path, monkeypatch, name):
    """The downloader fails as requests does: with an OSError, after its own retries."""
    downloader = importlib.import_module("tensorflow_datasets.core.download.downloader")
    retries = []

    @contextlib.contextmanager
    def open_url(url, **kwargs):
        retries.append(downloader.MAX_RETRIES)
        raise ConnectionError("Name or service not known")
        yield

    before = downloader.MAX_RETRIES
    monkeypatch.setattr(downloader, "_open_url", open_url)
    parts = [name, f"not prepared under {tmp_path}", "could not be reached", "data.path"]
    fails(DataConfig(name=name, path=str(tmp_path)), "classification", *parts)
    assert retries
    assert set(retries) == {0}
    assert before == downloader.MAX_RETRIES


def test_a_really_unreachable_source_fails_in_seconds(tmp_path, monkeypatch):
    """Through a proxy that is not there, so that no test depends on a network."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    start = time.perf_counter()
    fails(DataConfig(name="snli", path=str(tmp_path)), "nli", "could not be reached")
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("package", ["importlib_resources", "tensorflow_datasets"])
def test_a_missing_package_is_named(tmp_path, package):
    # In a process of its own: TFDS imports importlib_resources once, when it first needs it.
    code = f"""
import sys
sys.modules[{package!r}] = None
from attnjax.data_config import DataConfig
from attnjax.data.tfds import read_tfds
from attnjax.errors import UserError
try:
    read_tfds(DataConfig(name="snli", path={str(tmp_path)!r}), "nli")
except UserError as error:
    print(error)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "pip install" in done.stdout
    assert package.replace("tensorflow_datasets", "tensorflow-datasets") in done.stdout


def test_another_file_format_is_refused(real_data, tmp_path):
    prepare(tool_of(real_data), tmp_path, "--format", "parquet", "glue/sst2")
    config = DataConfig(name="glue/sst2", path=str(tmp_path))
    fails(config, "classification", "as parquet", "prepare it again", "array_record")


def test_damaged_files_are_named(prepared, tmp_path):
    shutil.copytree(f"{prepared}/glue", tmp_path / "glue")
    for shard in tmp_path.rglob("*test.array_record*"):
        shard.write_bytes(shard.read_bytes()[:1000])
    config = DataConfig(name="glue/sst2", path=str(tmp_path))
    fails(config, "classification", "cannot be read", "prepare it again", str(tmp_path))


def store(folder, name, splits):
    """Prepares an official data set from rows of our own, as the tool does."""
    library = reader._import_tfds()
    module = reader.OLD_LAYOUT.get(name.split("/")[0])
    if module:
        importlib.import_module(module)
    builder = library.builder(name, data_dir=str(folder), file_format="array_record")
    builder._split_generators = lambda manager: {
        split: iter(enumerate(rows)) for split, rows in splits.items()
    }
    builder.download_and_prepare()
    return DataConfig(name=name, path=str(folder))


def test_pairs_without_a_gold_label_are_dropped(tmp_path):
    def row(label):
        return {"premise": "a", "hypothesis": "b", "label": label}

    splits = {"train": [row(0), row(-1), row(2)], "test": [row(0), row(-1)]}
    splits = read_tfds(store(tmp_path, "snli", splits), "nli")
    assert Counter(row.label for row in splits["train"]) == {"entailment": 1, "contradiction": 1}
    assert len(splits["test"]) == 1


def test_validation_is_tested_where_test_labels_are_hidden(tmp_path):
    def rows(*labels):
        return [{"sentence": f"s{n}", "label": x, "idx": n} for n, x in enumerate(labels)]

    splits = {"train": rows(0, 1, 1), "validation": rows(1, 0), "test": rows(-1, -1)}
    config = store(tmp_path, "glue/sst2", splits)
    found = reader.read_tfds(config, "classification")
    splits = found.splits
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 3, "test": 2}
    assert {row.place for row in splits["test"]} == {
        "glue/sst2 validation, row 0",
        "glue/sst2 validation, row 1",
    }
    assert found.unlabelled == {"train": 0, "test": 0}
    assert found.notes[0] == "no row of test has a label, so it is left out"
    assert "validation is the test split" in found.notes[1]


def test_multinli_is_tested_on_both_validation_sets(tmp_path):
    row = {"premise": "a", "hypothesis": "b", "label": "neutral"}
    names = ("train", "validation_matched", "validation_mismatched")
    splits = read_tfds(store(tmp_path, "multi_nli", {name: [row] for name in names}), "nli")
    assert list(splits) == ["train", "test"]
    assert [row.place.split(",")[0] for row in splits["test"]] == [
        "multi_nli validation_matched",
        "multi_nli validation_mismatched",
    ]


def test_imdb_offers_its_unlabelled_reviews(tmp_path):
    splits = {
        "train": [{"text": "good", "label": "pos"}, {"text": "caf\u00e9", "label": "neg"}],
        "test": [{"text": "bad", "label": "neg"}],
        "unsupervised": [{"text": "unknown", "label": -1}],
    }
    splits = read_tfds(store(tmp_path, "imdb_reviews", splits), "classification")
    assert {row.text: row.label for row in splits["train"]} == {"good": "pos", "caf\u00e9": "neg"}
    assert [(row.text, row.label) for row in splits["unlabelled"]] == [("unknown", "")]
    assert "validation" not in splits


def test_ag_news_is_title_and_description(tmp_path):
    row = {"title": "A title", "description": "and more", "label": 3}
    config = store(tmp_path, "ag_news_subset", {"train": [row], "test": [row]})
    splits = read_tfds(config, "classification")
    assert splits["test"][0][:3] == ("A title and more", None, "Sci/Tech")


def test_numbers_are_labels_too(tmp_path):
    row = {"text": "t", "polarity": 4, "date": "d", "query": "q", "user": "u"}
    splits = read_tfds(
        store(tmp_path, "sentiment140", {"train": [row], "test": [row]}), "classification"
    )
    assert splits["train"][0][:3] == ("t", None, "4")


def test_no_labels_to_test_on(tmp_path):
    row = {"premise": "a", "hypothesis": "b", "label": 1}
    config = store(tmp_path, "snli", {"train": [row], "test": [{**row, "label": -1}]})
    fails(config, "nli", "neither test nor validation labels (it has test, train)")
