"""Runs side by side do what each does alone."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from etils import epath
from small_runs import small_dataset, small_stages

from attnjax.config import TrainConfig
from attnjax.stop import Stop
from attnjax.sweeps.chunk import stacked_batches, train_chunk
from attnjax.sweeps.programs import make_programs
from attnjax.training.lookup import SPECIAL
from attnjax.training.loop import train
from attnjax.training.parallel import make_parallel, place_runs
from attnjax.training.setup import training_batches
from attnjax.types import PAD
from attnjax.workdir import read_json_lines

pytestmark = pytest.mark.slow


def varied(config, seed=0, epsilon=1.0, rate=0.03, relevance=0.0):
    return dataclasses.replace(
        config,
        seed=seed,
        train=dataclasses.replace(config.train, learning_rate=rate),
        adversary=dataclasses.replace(config.adversary, epsilon=epsilon),
        relevance=dataclasses.replace(config.relevance, weight=relevance),
    )


def side_by_side(configs, dataset, way="vmap", devices=1):
    stages = small_stages(configs[0], dataset)
    runs = place_runs(devices)
    together = 1 if way == "turn" else -(-len(configs) // devices)
    programs = make_programs(configs[0], dataset, stages, runs, way, together)
    found = []
    for start in range(0, len(configs), programs.chunk):
        part = configs[start : start + programs.chunk]
        found += train_chunk(part, dataset, stages, programs, Stop())
    return found


def assert_equal_outcomes(found, expected):
    assert found.best_step == expected.best_step
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        found.params,
        expected.params,
    )
    for part in ("validation", "test"):
        assert getattr(found, part) == pytest.approx(getattr(expected, part), rel=1e-5)


# Noise in every step, neighbours renewed each epoch, dropout: the most that there is to get wrong.
@pytest.mark.parametrize(
    ("technique", "encoder", "way", "devices"),
    [
        ("attention_vat", "average", "vmap", 1),
        ("word_ivat", "average", "map", 4),
        ("attention_at", "bilstm", "vmap", 2),
    ],
)
def test_each_run_equals_the_same_run_alone(technique, encoder, way, devices, tmp_path):
    buckets = 2 if way == "vmap" and encoder == "average" else 1
    config, dataset = small_dataset(technique, encoder, buckets, words=250)
    tokens = config.train.batch_size * max(map(len, dataset.splits["train"].tokens))
    assert len(dataset.vocabulary) > SPECIAL + tokens  # steps look up rows of the table
    train_config = dataclasses.replace(
        config.train, embed_dropout=0.2, patience=1, epochs=3, optimizer="sgd", learning_rate=0.5
    )
    config = dataclasses.replace(config, train=train_config)
    configs = [
        varied(config, seed, epsilon, rate, relevance=0.3)
        for seed, epsilon, rate in ((0, 0.5, 0.5), (3, 2.0, 0.1), (0, 0.0, 0.7))
    ]
    found = side_by_side(configs, dataset, way, devices)
    stages = small_stages(config, dataset)
    parallel = make_parallel(TrainConfig(batch_size=8, devices=1))
    for number, (each, outcome) in enumerate(zip(configs[:2], found, strict=False)):
        folder = epath.Path(tmp_path / str(number))
        folder.mkdir()
        alone = train(each, dataset, stages, parallel, folder, Stop())
        assert outcome.best_step == alone.best_step
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            outcome.params,
            alone.params,
        )
        assert outcome.validation == pytest.approx(alone.validation, rel=1e-5)
        logged = read_json_lines(folder / "metrics.jsonl")
        assert len(logged) == len(outcome.metrics)
        for row, expected in zip(outcome.metrics, logged, strict=True):
            expected.pop("examples_per_s", None)
            assert row.pop("split") == expected.pop("split")
            assert row == pytest.approx(expected, rel=1e-4, abs=1e-6)
    other = jax.tree.leaves(found[0].params), jax.tree.leaves(found[2].params)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(*other, strict=True))


def test_ways_agree():
    config, dataset = small_dataset()
    configs = [varied(config, epsilon=epsilon) for epsilon in (0.0, 1.0, 5.0)]
    expected = side_by_side(configs, dataset, "turn")
    for way, devices in (("vmap", 1), ("map", 2), ("turn", 4)):
        for one, two in zip(side_by_side(configs, dataset, way, devices), expected, strict=True):
            assert one.validation == pytest.approx(two.validation, rel=1e-5)
            assert one.test == pytest.approx(two.test, rel=1e-5)


@pytest.mark.parametrize("way", ["vmap", "map"])
def test_a_run_that_fails_touches_no_other(way):
    config, dataset = small_dataset()
    sgd = dataclasses.replace(config.train, optimizer="sgd")
    config = dataclasses.replace(config, train=sgd)
    good = [varied(config, epsilon=epsilon, rate=0.3) for epsilon in (0.5, 2.0)]
    absurd = varied(config, rate=1e30)
    found = side_by_side([good[0], absurd, good[1]], dataset, way)
    alone = side_by_side(good, dataset, way)
    for one, two in zip((found[0], found[2]), alone, strict=True):
        assert one.failed_step is None
        assert_equal_outcomes(one, two)
    # after one step of that size the parameters overflow in the next
    assert found[1].failed_step in (2, 3)
    assert found[1][:4] == (None, None, None, None)
    assert all(row["step"] < found[1].failed_step for row in found[1].metrics)


def test_batches_of_several_seeds_are_each_runs_own_with_more_padding():
    config, dataset = small_dataset(buckets=2)
    configs = [varied(config, seed) for seed in (0, 1, 0)]
    own = [training_batches(each, dataset) for each in configs]
    together = stacked_batches(configs, dataset)
    for stacked, is_own in itertools.islice(together, 12):
        assert is_own
        for run, alone in enumerate(next(each) for each in own):
            width = alone.tokens.shape[1]
            np.testing.assert_array_equal(stacked.tokens[run, :, :width], alone.tokens)
            assert (stacked.tokens[run, :, width:] == PAD).all()
            np.testing.assert_array_equal(stacked.labels[run], alone.labels)
            np.testing.assert_array_equal(stacked.rows[run], alone.rows)
    shared, is_own = next(stacked_batches([configs[0], configs[2]], dataset))
    assert not is_own
    assert shared.tokens.ndim == 2
