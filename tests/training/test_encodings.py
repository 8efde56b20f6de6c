"""A frozen encoder that reads each text once: runs are those of one that reads at every step."""

import dataclasses
import json
import logging
import re

import jax
import numpy as np
import pytest
from bert_folder import WIDTH, write_folder
from etils import epath
from helpers import batch_of, sentences, small_model, write_data

from attnjax.config import changed, from_config_dict
from attnjax.data.batches import evaluation_batches, join_splits, train_batches, widened
from attnjax.data.dataset import load_dataset
from attnjax.model.attention import forward
from attnjax.pipeline import model_of
from attnjax.stop import Stop, Stopped
from attnjax.training.encodings import GIB, SPLITS, size_of, with_encodings
from attnjax.training.loop import train
from attnjax.training.parallel import make_parallel, make_row_parallel
from attnjax.training.setup import starting_state
from attnjax.types import Encoded, Perturbation

ROWS = 160 + 40  # of train and validation


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """data/, pairs/ and bert/."""
    folder = tmp_path_factory.mktemp("frozen")
    write_folder(folder / "bert")
    write_data(folder / "data")
    (folder / "pairs").mkdir()
    for path in (folder / "data").iterdir():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        pairs = [
            {"premise": row["text"], "hypothesis": "a " * (k % 3) + "word", "label": row["label"]}
            for k, row in enumerate(rows)
        ]
        (folder / "pairs" / path.name).write_text("\n".join(map(json.dumps, pairs)))
    return folder


def test_devices_that_do_not_divide_a_batch_read_the_same(folder):
    """Those of a sweep, which has one a core."""
    config = config_of(folder)
    dataset, stages, parallel, params = prepared(config)
    expected = with_encodings(config, dataset, stages, parallel, params).splits["train"].states
    three = make_row_parallel(dataclasses.replace(config.train, devices=3))
    found = with_encodings(config, dataset, stages, three, params).splits["train"].states
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def config_of(folder, pair=False, **more):
    model = {"encoder": "bert", "pretrained": str(folder / "bert"), "freeze_encoder": True}
    train = {"epochs": 2, "batch_size": 8, "learning_rate": 0.03, "log_steps": 5, "devices": 1}
    raw = {
        "task": "nli" if pair else "classification",
        "data": {"source": "files", "path": str(folder / ("pairs" if pair else "data"))},
        "model": model,
        "train": train,
    }
    return changed(from_config_dict(raw), more)


def prepared(config):
    """(the data set, stages, devices, starting parameters)."""
    dataset = load_dataset(config)
    stages, parallel = model_of(config, dataset), make_parallel(config.train)
    return dataset, stages, parallel, starting_state(config, dataset, stages).params


@pytest.mark.parametrize("pair", [False, True])
def test_batches_bring_what_the_encoder_makes_of_them(folder, pair):
    """In the order of training, padded otherwise, of chosen rows and of two splits joined."""
    config = config_of(folder, pair)
    dataset, stages, parallel, params = prepared(config)
    read = with_encodings(config, dataset, stages, parallel, params)
    assert {name for name, split in read.splits.items() if split.states} == {"train", "validation"}
    count = sum(map(len, [*read.splits["train"].states, *read.splits["validation"].states]))
    size = 4 * WIDTH * (count + (ROWS if pair else 0))
    assert size_of(dataset, WIDTH) == size
    split = read.splits["train"]
    joined = join_splits(split, read.splits["validation"])
    several = [
        next(train_batches(split, dataset.shapes, 8, seed=3, start=2)),
        next(evaluation_batches(split.take(np.array([7, 150, 3])), dataset.shapes, 4)),
        next(evaluation_batches(joined.take(np.array([2, 170])), dataset.shapes, 2)),
    ]
    several.append(widened(several[0], 30, 9 if pair else 0))
    for batch in several:
        expected = stages.encode(params, stages.embed(params, batch), batch)
        assert batch.encoded is not None
        np.testing.assert_allclose(batch.encoded.states, expected.states, atol=1e-5)
        assert (batch.encoded.query is None) == (not pair)
        if pair:
            real = np.asarray(batch.rows) >= 0
            found = np.asarray(batch.encoded.query)[real]
            np.testing.assert_allclose(found, np.asarray(expected.query)[real], atol=1e-5)


class Once(Stop):
    """A signal that comes at one of the checks."""

    def __init__(self, at):
        super().__init__()
        self.left = at

    def check(self):
        self.left -= 1
        if self.left == 0:
            raise Stopped


def metrics(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "examples_per_s"} for row in rows]


def trained(config, workdir, stop=None):
    """The rows of metrics.jsonl; the encoder's weights are the folder's."""
    dataset, stages, parallel, start = prepared(config)
    workdir = epath.Path(workdir)
    found = train(config, dataset, stages, parallel, workdir, stop or Stop())
    for part in ("embed", "encode"):
        assert all(
            (a == b).all()
            for a, b in zip(_leaves(found.params[part]), _leaves(start[part]), strict=True)
        )
    return metrics(workdir)


def _leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.slow
def test_runs_are_those_of_an_encoder_that_runs_at_every_step(folder, tmp_path, caplog):
    """Stopped between steps and resumed; on two devices, stopped while the encoder reads."""
    config = config_of(folder, **{"adversary.technique": "attention_at"})
    with caplog.at_level(logging.INFO):
        expected = trained(changed(config, {"train.encodings_gib": 0.0}), tmp_path / "plain")
    assert "its states of all texts would take" in caplog.text
    assert len(expected) == 2 * (4 + 1)
    two = changed(config, {"train.devices": 2, "train.parallel": "pmap"})
    reading = ROWS // 8  # a check before each batch
    for each, place in ((config, reading + 27), (two, 3)):
        caplog.clear()
        workdir = tmp_path / str(place)
        with pytest.raises(Stopped):
            trained(each, workdir, Once(place))
        with caplog.at_level(logging.INFO):
            found = trained(each, workdir)
        assert f"the frozen encoder has read {ROWS} texts once" in caplog.text
        assert len(found) == len(expected)
        for row, other in zip(found, expected, strict=True):
            assert row.pop("split") == other["split"]
            numbers = {name: other[name] for name in row}
            assert row == pytest.approx(numbers, rel=1e-5), row["step"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"train.embed_dropout": 0.1}, "since train.embed_dropout=0.1 disturbs it"),
        ({"adversary.technique": "word_at"}, "since adversary.technique='word_at' disturbs"),
        ({"model.dropout": 0.2}, "since model.dropout=0.2 disturbs it"),
        ({"train.encodings_gib": 1e-4}, r"its states of all texts would take 0.000\d* GiB, and"),
    ],
)
def test_what_cannot_be_read_once_is_told(folder, caplog, more, told):
    config = config_of(folder, **more)
    dataset, stages, parallel, params = prepared(config)
    assert 1e-4 * GIB < size_of(dataset, WIDTH) < 1e-3 * GIB
    with caplog.at_level(logging.INFO):
        assert with_encodings(config, dataset, stages, parallel, params) is dataset
    (record,) = [each for each in caplog.records if "encodings" in each.name]
    assert re.search(told, record.getMessage())


def test_a_trained_encoder_reads_at_every_step(folder):
    config = config_of(folder, **{"model.freeze_encoder": False})
    dataset, stages, parallel, params = prepared(config)
    assert with_encodings(config, dataset, stages, parallel, params) is dataset
    assert "test" not in SPLITS, "it is read once as it is"


def test_what_is_encoded_already_cannot_be_disturbed_before():
    stages, params = small_model(classes=2)
    batch = batch_of(sentences([3, 2]))
    expected = forward(stages, params, batch)
    known = batch._replace(encoded=expected.encoded)
    assert isinstance(known.encoded, Encoded)
    np.testing.assert_array_equal(forward(stages, params, known).logits, expected.logits)
    with pytest.raises(ValueError, match="cannot be disturbed"):
        forward(stages, params, known, Perturbation(embed=expected.embedded))
