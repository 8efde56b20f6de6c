"""Steps on the rows that a batch looks up: the same training as on the whole table."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.config import from_config_dict
from attnjax.losses import make_gradients, reads_whole_table
from attnjax.runtime import outputs_are_fused
from attnjax.training.lookup import TableGradient, looked_up
from attnjax.training.optimizer import make_optimizer, make_schedule
from attnjax.training.step import init_state, make_train_step
from attnjax.types import HParams

WORDS = 90  # more than there are tokens in a batch
TEXTS = sentences([5, 2, 3, 4, 1, 6], seed=1)
QUERIES = sentences([1, 2, 1, 1, 2, 1], seed=2)


@pytest.fixture
def doubles(double_precision):
    with jax.numpy_dtype_promotion("standard"):  # rates and schedules stay float32
        yield


def config_of(technique="none", **train):
    return from_config_dict(
        {
            "task": "nli",
            "data": {"source": "files", "path": "x"},
            "adversary": {"technique": technique},
            "train": {"weight_decay": 0.1, **train},
        }
    )


def build(config, whole, dtype=jnp.float64, encoder="average"):
    stages, params = small_model(encoder, pair=True, dtype=dtype, words=WORDS)
    optimizer = make_optimizer(config.train)
    gradients, schedule = make_gradients(config, stages), make_schedule(config.train, 10)
    step = make_train_step(gradients, optimizer, schedule, whole_table=whole)
    start = init_state(stages, optimizer, 4)._replace(
        params=params, opt_state=optimizer.init(params)
    )
    return step, start


def batches(dtype=jnp.float64):
    for turn in range(3):  # every step other words, so that rows without a gradient move too
        texts, queries = TEXTS[turn : turn + 4], QUERIES[turn : turn + 4]
        yield batch_of(texts, queries, length=9, query_length=4, dtype=dtype)


def hparams(rate=0.05):
    return HParams(*(jnp.float32(each) for each in (rate, 0.7, 0.9, 0.0)))


def train(step, state, rate=0.05):
    step = quick_jit(step)
    for batch in batches():
        state, sums = step(state, batch, hparams(rate))
    return state, sums


def test_words_keep_what_they_mean():
    params = {"embed": {"table": jnp.arange(60.0).reshape(20, 3)}, "other": 1}
    batch = batch_of([np.array([2, 7, 5, 7, 3])], length=6)
    few, found, slots = looked_up(params, batch)
    np.testing.assert_array_equal(found.tokens, [[2, 7, 6, 7, 3, 0]])
    np.testing.assert_array_equal(found.words, batch.words)
    assert found.query is None
    assert few["other"] == 1
    table, rows = params["embed"]["table"], few["embed"]["table"]
    np.testing.assert_array_equal(rows, table[jnp.array([0, 1, 2, 3, 2, 7, 5, 7, 3, 0])])
    np.testing.assert_array_equal(rows[found.tokens], table[batch.tokens])
    expected = np.zeros(20)
    expected[[1, 2, 3, 7, 5]] = 1, 2, 3, 7, 6
    np.testing.assert_array_equal(slots, expected)


def test_a_table_with_no_more_rows_stays_whole():
    params = {"embed": {"table": jnp.ones((10, 3))}}
    batch = batch_of([np.array([2, 7, 5, 7, 3])], length=6)
    assert looked_up(params, batch) == (params, batch, None)
    larger = {"embed": {"table": jnp.ones((11, 3))}}
    assert looked_up(larger, batch)[2] is not None


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize(
    ("encoder", "technique", "settings"),
    [
        ("average", "none", {}),
        ("bilstm", "word_at", {}),
        ("average", "attention_ivat", {}),
        ("average", "none", {"gradient_clip": 0.01}),
        ("average", "none", {"optimizer": "adam"}),
        ("average", "none", {"optimizer": "sgd"}),
    ],
)
def test_training_is_that_on_the_whole_table(encoder, technique, settings):
    config = config_of(technique, **settings)
    (one, sums), (other, others) = (
        train(*build(config, whole, encoder=encoder)) for whole in (True, False)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), one, other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), sums, others)
    unused = np.setdiff1d(np.arange(WORDS), np.concatenate([*TEXTS, *QUERIES]))
    start = build(config, True, encoder=encoder)[1]
    moved = other.params["embed"]["table"] - start.params["embed"]["table"]
    assert not np.any(moved[unused])
    assert np.all(np.any(moved[TEXTS[0]] != 0, axis=-1))


@pytest.mark.usefixtures("doubles")
def test_runs_side_by_side_are_each_run_alone():
    step, start = build(config_of("word_at"), whole=False)
    rates = (0.05, 0.02)
    alone = [train(step, start, rate)[0] for rate in rates]
    states = jax.tree.map(lambda a: jnp.stack([a, a]), start)
    many = jax.tree.map(lambda *a: jnp.stack(a), *(hparams(rate) for rate in rates))
    vectorised = quick_jit(jax.vmap(step, (0, None, 0)))
    for batch in batches():
        states, _ = vectorised(states, batch, many)
    for place, each in enumerate(alone):
        found = jax.tree.map(lambda a, place=place: a[place], states)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, each)


@pytest.mark.parametrize("technique", ["word_iat", "word_ivat"])
def test_directions_to_other_words_need_the_whole_table(technique):
    config = config_of(technique)
    assert reads_whole_table(config)
    step, start = build(config, whole=False, dtype=jnp.float32)
    start = start._replace(neighbours=jnp.zeros((WORDS, 3), jnp.int32))
    settings = HParams(*(jnp.float32(0.1) for _ in range(4)))
    with pytest.raises(AssertionError, match="whole table"):
        jax.eval_shape(step, start, next(batches(np.float32)), settings)


def test_other_objectives_read_the_batch_alone():
    plain = config_of()
    normalized = dataclasses.replace(plain.model, normalize_embeddings=True)
    assert reads_whole_table(dataclasses.replace(plain, model=normalized))
    assert not reads_whole_table(config_of("attention_iat"))
    assert not reads_whole_table(config_of("word_at"))


def compiled_step():
    """The text of a step as commands compile it."""
    step, start = build(config_of(weight_decay=0.0), whole=False, dtype=jnp.float32)
    settings = HParams(*(jnp.float32(0.1) for _ in range(4)))
    assert outputs_are_fused()
    lowered = jax.jit(step, donate_argnums=0).lower(start, next(batches(np.float32)), settings)
    return lowered.compile().as_text()


@pytest.mark.skipif(jax.__version_info__ >= (0, 11), reason="JAX 0.11 and later merge less")
def test_one_pass_over_memory_updates_the_table():
    """In a process of its own: tests themselves compile otherwise."""
    here = pathlib.Path(__file__).resolve()
    program = (
        "from attnjax.runtime import set_compiler; set_compiler(); "
        "import test_lookup; print(test_lookup.compiled_step())"
    )
    paths = os.pathsep.join(map(str, (*here.parents[:3], *sys.path)))
    flags = {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **flags},
        capture_output=True,
        text=True,
        check=True,
    )
    size = f"f32[{WORDS},6]"
    entry = told.stdout.split("ENTRY")[1].splitlines()
    kinds = [line.split(" = ")[1] for line in entry if " = " in line]
    made = [kind for kind in kinds if size in kind.split("(%")[0] and " parameter(" not in kind]
    made = [kind for kind in made if " get-tuple-element(" not in kind and " tuple(" not in kind]
    assert len(made) == 1, made
    assert made[0].count(size) == 4 + made[0].split("(%")[1].count(size)


def test_the_gradient_in_rows_is_the_one_that_is_meant():
    rows = TableGradient(jnp.array([[0.0], [1.0], [2.0]]), jnp.array([0, 2, 0, 1]))
    np.testing.assert_array_equal(rows.whole(), [[0.0], [2.0], [0.0], [1.0]])
