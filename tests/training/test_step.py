"""One step: compile paths agree, one trace a shape, keys from (seed, step), a golden step."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, sentences, small_model

from attnjax.config import RunConfig, TrainConfig
from attnjax.errors import UserError
from attnjax.losses import make_gradients
from attnjax.training.optimizer import make_optimizer, make_schedule
from attnjax.training.parallel import make_parallel
from attnjax.training.step import init_state, make_evaluate, make_train_step
from attnjax.types import HParams

HPARAMS = HParams(jnp.float32(0.01), *(jnp.float32(0) for _ in range(3)))
SGD = TrainConfig(batch_size=8, optimizer="sgd")


def build(settings, axis=None, wrap=lambda step: step):
    stages, params = small_model(classes=2)
    optimizer = make_optimizer(settings)
    step = make_train_step(
        make_gradients(RunConfig(), stages), optimizer, make_schedule(settings, 10), axis
    )
    state = init_state(stages, optimizer, seed=4)._replace(params=params)
    return stages, wrap(step), state


def eight(count=8, seed=0):
    rows = sentences([5, 2, 3, 4, 1, 6, 2, 3], seed)
    batch = batch_of(rows, length=8)
    return batch._replace(weight=(jnp.arange(8) < count).astype(jnp.float32))


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
@pytest.mark.parametrize(("devices", "count"), [(4, 5)])
def test_devices_and_paths_agree_with_one_device(parallel, devices, count):
    stages, plain, start = build(SGD)
    expected, sums = jax.jit(plain)(start, eight(count), HPARAMS)
    settings = TrainConfig(batch_size=8, parallel=parallel, devices=devices)
    ways = make_parallel(settings)
    _, step, start = build(SGD, ways.axis)
    batch = ways.place(jax.tree.map(np.asarray, eight(count)))
    state, found = ways.compile_step(step)(ways.replicate(start), batch, ways.replicate(HPARAMS))
    # the order of summation differs: test_parallel.py compares in float64
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        (state.params, found),
        (expected.params, sums),
    )
    rows = ways.collect(ways.compile_rows(make_evaluate, stages)(state.params, batch))
    assert rows["probabilities"].shape == (8, 2)
    alone = jax.jit(make_evaluate(stages))(expected.params, eight(count))
    np.testing.assert_allclose(rows["probabilities"], alone["probabilities"], rtol=1e-4)


def test_filler_rows_change_nothing():
    _, step, start = build(SGD, wrap=jax.jit)
    batch = eight(5)
    other = batch._replace(tokens=jnp.where(batch.weight[:, None] > 0, batch.tokens, 7))
    one, two = step(start, batch, HPARAMS), step(start, other, HPARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), one, two)


def test_one_trace_for_each_shape():
    traced = chex.assert_max_traces(n=2)
    _, step, state = build(SGD, wrap=lambda step: jax.jit(traced(step)))
    narrow = batch_of(sentences([3] * 8), length=5)
    for batch in (eight(), narrow, eight(seed=1), eight(5), narrow):
        state, _ = step(state, batch, HPARAMS)
    assert int(state.step) == 5
    with pytest.raises(AssertionError):
        step(state, batch_of(sentences([3] * 8), length=6), HPARAMS)


def test_the_key_is_a_function_of_seed_and_step():
    _, _, state = build(SGD)
    later = state._replace(step=state.step + 1)
    other = state._replace(seed=state.seed + jnp.uint32(1))
    keys = [np.asarray(jax.random.key_data(each.key)).tolist() for each in (state, later, other)]
    assert len({tuple(key) for key in keys}) == 3
    np.testing.assert_array_equal(
        jax.random.key_data(state.key), jax.random.key_data(build(SGD)[2].key)
    )


def test_batches_that_cannot_be_split_are_refused():
    with pytest.raises(UserError, match=r"batch_size=6 .* 4 devices; use 4 or 8"):
        make_parallel(TrainConfig(batch_size=6, devices=4))
    with pytest.raises(UserError, match="there are 8 cpu devices"):
        make_parallel(TrainConfig(batch_size=18, devices=9))


@pytest.mark.slow
def test_training_fits_a_batch():
    _, step, state = build(TrainConfig(batch_size=8), wrap=jax.jit)
    losses = []
    for _ in range(60):
        state, sums = step(state, eight(), HPARAMS._replace(learning_rate=jnp.float32(0.03)))
        losses.append(float(sums["loss"]) / 8)
    assert losses[-1] < 0.05 < 0.4 < losses[0]
