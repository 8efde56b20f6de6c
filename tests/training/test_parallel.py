"""Devices and compile paths agree with one device in float64; what cannot be split is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, sentences, small_model

from attnjax.config import RelevanceConfig, RunConfig, TrainConfig, from_config_dict
from attnjax.errors import UserError
from attnjax.losses import make_gradients
from attnjax.training.optimizer import make_optimizer, make_schedule
from attnjax.training.parallel import make_parallel, remembered
from attnjax.training.step import init_state, make_evaluate, make_train_step
from attnjax.types import HParams

ROWS, STEPS = 16, 3
WORDS = 200  # more than a batch has tokens: steps look up rows of the table
WAYS = [  # every technique on each path, and every number of devices
    ("jit", 8, "average", "none"),
    ("jit", 8, "average", "attention_iat"),
    ("jit", 8, "average", "word_at"),
    ("jit", 2, "average", "word_at"),
    ("jit", 4, "bilstm", "attention_iat"),  # slow to compile; for pmap in test_step.py
    ("pmap", 8, "average", "none"),
    ("pmap", 8, "average", "attention_iat"),
    ("pmap", 8, "average", "word_at"),
    ("pmap", 1, "average", "none"),
    ("pmap", 2, "average", "attention_iat"),
    ("pmap", 4, "average", "word_at"),
]


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Programs run once and mostly cost compilation; optimised ones are test_step's."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def batches(dtype):
    """Batches of one shape; the last has five rows that only fill it."""
    found = []
    for seed in range(STEPS):
        lengths = np.random.default_rng(seed).integers(1, 7, ROWS)
        queries = sentences(np.random.default_rng(seed).integers(1, 3, ROWS), seed + STEPS)
        sizes = {"length": 8, "query_length": 4}
        batch = batch_of(sentences(lengths, seed), queries, dtype=dtype, **sizes)
        real = np.arange(ROWS) < (ROWS if seed < STEPS - 1 else ROWS - 5)
        found.append(
            batch._replace(weight=jnp.asarray(real, dtype), rows=jnp.where(real, batch.rows, -1))
        )
    return [jax.tree.map(np.asarray, each) for each in found]


def curve(technique, parallel, devices, dtype, encoder):
    """(losses of the steps, final parameters)."""
    config = from_config_dict(
        {
            "task": "nli",
            "data": {"source": "files", "path": "x"},
            "adversary": {"technique": technique},
            "train": {"batch_size": ROWS, "parallel": parallel, "devices": devices},
        }
    )
    ways = make_parallel(config.train)
    stages, params = small_model(encoder, pair=True, classes=2, dtype=dtype, words=WORDS)
    optimizer = make_optimizer(config.train)
    step = ways.compile_step(
        make_train_step(
            make_gradients(config, stages),
            optimizer,
            make_schedule(config.train, 10),
            ways.axis,
            whole_table=ways.devices == 1 and parallel == "jit",  # what all are compared with
        )
    )
    state = init_state(stages, optimizer, 4)._replace(
        params=params, opt_state=optimizer.init(params)
    )
    state = ways.replicate(state)
    hparams = ways.replicate(HParams(*(jnp.float32(x) for x in (0.05, 0.7, 0.9, 0.0))))
    losses = []
    for batch in batches(dtype):
        state, sums = step(state, ways.place(batch), hparams)
        losses.append(float(sums["loss"]))
    return losses, jax.tree.map(np.asarray, state.params)


@pytest.fixture(scope="module")
def one_device():
    kept = {}

    def find(technique, dtype, encoder):
        if (technique, dtype, encoder) not in kept:
            kept[technique, dtype, encoder] = curve(technique, "jit", 1, dtype, encoder)
        return kept[technique, dtype, encoder]

    return find


@pytest.mark.parametrize(("parallel", "devices", "encoder", "technique"), WAYS)
def test_loss_curve_and_parameters_in_double_precision(
    parallel, devices, encoder, technique, one_device, double_precision
):
    with jax.numpy_dtype_promotion("standard"):  # the rates and schedules stay float32
        found = curve(technique, parallel, devices, jnp.float64, encoder)
        expected = one_device(technique, jnp.float64, encoder)
    assert found[1]["embed"]["table"].dtype == np.float64
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize(
    ("technique", "parallel"), [("none", "jit"), ("word_at", "jit"), ("attention_iat", "pmap")]
)
def test_loss_curve_and_parameters_in_single_precision(technique, parallel, one_device):
    found = curve(technique, parallel, 8, jnp.float32, "average")
    assert_close(found, one_device(technique, jnp.float32, "average"), 1e-4)


@pytest.mark.parametrize(
    ("parallel", "devices"), [("jit", 1), ("jit", 2), ("jit", 8), ("pmap", 1), ("pmap", 4)]
)
def test_rows_come_back_in_order(parallel, devices, double_precision):
    ways = make_parallel(TrainConfig(batch_size=ROWS, devices=devices, parallel=parallel))
    stages, params = small_model("average", pair=True, classes=2, dtype=jnp.float64)
    batch = batches(jnp.float64)[-1]
    compiled = ways.compile_rows(make_evaluate, stages)
    found = ways.collect(compiled(ways.replicate(params), ways.place(batch)))
    expected = jax.jit(make_evaluate(stages))(params, batch)
    assert found["probabilities"].shape == (ROWS, 2)
    assert_close(found, jax.tree.map(np.asarray, expected), 1e-12)


def test_equal_settings_compile_once():
    compiled = []
    compile_rows = remembered(lambda function: compiled.append(function) or function)

    def times(config, factor):
        return lambda params, batch: params * factor + batch * config.relevance.weight

    def plus(config, factor):
        return lambda params, batch: params + factor

    weighted = dataclasses.replace(RunConfig(), relevance=RelevanceConfig(weight=2.0))
    first = compile_rows(times, weighted, 3)
    again = dataclasses.replace(RunConfig(), relevance=RelevanceConfig(weight=2.0))
    assert compile_rows(times, again, 3) is first
    others = [(times, RunConfig(), 3), (times, weighted, 4), (plus, weighted, 3)]
    found = [compile_rows(*each)(10, 1) for each in others]
    assert (first(10, 1), found) == (32, [30, 42, 13])
    assert len(compiled) == 4


def assert_close(found, expected, tolerance):
    """Relative to each array's largest entry: single entries may be sums that cancel."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max()),
        found,
        expected,
    )


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_sizes_that_can_be_split(parallel):
    ways = make_parallel(TrainConfig(batch_size=8, devices=4, parallel=parallel))
    assert [ways.fit(rows) for rows in (1, 4, 30, 256)] == [4, 4, 32, 256]
    batch = jax.tree.map(np.asarray, batch_of(sentences([3] * 6)))
    with pytest.raises(UserError, match=r"number of rows=6 .* 4 devices; use 4 or 8"):
        ways.place(batch)
