"""The kernel against torch.nn.LSTM, against plain autodiff, and under padding."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit

from attnjax.model import lstm
from attnjax.model.lstm import LSTMParams, bilstm, final_states

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "lstm.npz")


LENGTHS = [6, 3, 1, 0]  # of the example below


def literal_bilstm(params, inputs, mask):
    """One row at a time, one step at a time, no padding touched."""
    hidden = params.recurrent.shape[1]
    rows = []
    for row in range(inputs.shape[0]):
        length = int(LENGTHS[row])
        directions = []
        for direction in (0, 1):
            order = range(length) if direction == 0 else reversed(range(length))
            state = cell = jnp.zeros(hidden, inputs.dtype)
            found = {}
            for t in order:
                gates = inputs[row, t] @ params.input[direction]
                gates = gates + state @ params.recurrent[direction] + params.bias[direction]
                i, f, g, o = jnp.split(gates, 4)
                cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
                state = jax.nn.sigmoid(o) * jnp.tanh(cell)
                found[t] = state
            zeros = jnp.zeros(hidden, inputs.dtype)
            directions.append(jnp.stack([found.get(t, zeros) for t in range(inputs.shape[1])]))
        rows.append(jnp.concatenate(directions, axis=-1))
    return jnp.stack(rows)


def example(dtype=jnp.float64):
    keys = jax.random.split(jax.random.key(1), 4)
    params = LSTMParams(
        jax.random.normal(keys[0], (2, 4, 12), dtype),
        jax.random.normal(keys[1], (2, 3, 12), dtype),
        jax.random.normal(keys[2], (2, 12), dtype),
    )
    inputs = jax.random.normal(keys[3], (4, 8, 4), dtype)
    mask = jnp.arange(8)[None, :] < jnp.array(LENGTHS)[:, None]
    return params, inputs, mask


@pytest.mark.usefixtures("double_precision")
def test_values_and_gradients_equal_torch():
    params = LSTMParams(*(jnp.asarray(GOLDEN[name]) for name in LSTMParams._fields))
    inputs = jnp.asarray(GOLDEN["inputs"])
    mask = jnp.arange(5)[None, :] < jnp.asarray(GOLDEN["lengths"])[:, None]
    states, pull = jax.vjp(lambda p, x: bilstm(p, x, mask), params, inputs)
    grads, grad_inputs = pull(jnp.asarray(GOLDEN["cotangent"]))
    np.testing.assert_allclose(states, GOLDEN["states"], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(final_states(states, mask), GOLDEN["final"], rtol=1e-10)
    np.testing.assert_allclose(grad_inputs, GOLDEN["grad_inputs"], rtol=1e-10, atol=1e-14)
    for name in LSTMParams._fields:
        np.testing.assert_allclose(
            getattr(grads, name), GOLDEN[f"grad_{name}"], rtol=1e-10, atol=1e-14
        )


@pytest.mark.usefixtures("double_precision")
def test_first_and_second_derivatives_equal_plain_autodiff():
    params, inputs, mask = example()

    def loss(function):
        return lambda p, x: jnp.sum(jnp.sin(function(p, x, mask)))

    def second(function):
        slope = jax.grad(loss(function), (0, 1))
        return quick_jit(
            jax.grad(
                lambda p, x: sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(slope(p, x))),
                (0, 1),
            )
        )

    def compare(found, expected):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), found, expected
        )

    compare(bilstm(params, inputs, mask), literal_bilstm(params, inputs, mask))
    compare(
        quick_jit(jax.grad(loss(bilstm), (0, 1)))(params, inputs),
        quick_jit(jax.grad(loss(literal_bilstm), (0, 1)))(params, inputs),
    )
    compare(second(bilstm)(params, inputs), second(literal_bilstm)(params, inputs))


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_loops_of_the_cpu_equal_the_scans(padding):
    params, inputs, mask = example()
    inputs, mask = (each[:, : max(LENGTHS) + padding] for each in (inputs, mask))
    inputs = jnp.where(mask[..., None], inputs, 0).swapaxes(0, 1)
    steps = mask.T.astype(inputs.dtype)[..., None]
    projected = [lstm._project(each, inputs) for each in params.input]
    values = params.recurrent, params.bias, projected, steps
    loops, scans = quick_jit(lstm._run_loops)(*values), lstm._run_scan(*values)
    for loop, scan in zip(loops, scans, strict=True):
        (states, cells, gates), expected = loop, scan
        np.testing.assert_array_equal(gates[max(LENGTHS) :], 0)
        for found, wanted in zip((states, cells, gates * steps), expected, strict=True):
            np.testing.assert_allclose(found, wanted * steps, rtol=1e-12, atol=1e-15)
    grad_states = jax.random.normal(jax.random.key(3), (*steps.shape[:2], 6), steps.dtype)
    _, cells, gates = zip(*loops, strict=True)
    values = [each.T for each in params.recurrent], list(cells), list(gates), steps, grad_states
    for found, wanted in zip(
        quick_jit(lstm._pull_loops)(*values), lstm._pull_scan(*values), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.usefixtures("double_precision")
def test_an_accelerator_computes_the_same(monkeypatch):
    params, inputs, mask = example()

    def loss(params, inputs):
        return jnp.sum(jnp.sin(bilstm.__wrapped__(params, inputs, mask)))

    both = jax.value_and_grad(loss, (0, 1))
    expected = both(params, inputs)
    taken = []

    def scan(*values):
        taken.append(len(values))
        return lstm._run_scan(*values)

    monkeypatch.setattr(lstm, "_run", lstm._on_cpu(scan, lstm._run_scan))
    monkeypatch.setattr(lstm, "_pull", lstm._on_cpu(lstm._pull_scan, lstm._pull_scan))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
        both(params, inputs),
        expected,
    )
    assert taken


def test_padding_changes_no_bit():
    params, inputs, mask = example(jnp.float32)
    states = bilstm(params, inputs, mask)
    other = jnp.where(mask[..., None], inputs, 1e6)
    np.testing.assert_array_equal(states, bilstm(params, other, mask))
    assert not states[~mask].any()
    grad = jax.grad(lambda x: jnp.sum(bilstm(params, x, mask) ** 2))(other)
    assert not grad[~mask].any()
    assert grad[mask].all()


@pytest.mark.usefixtures("double_precision")
def test_factors_multiply_the_inputs():
    params, inputs, mask = example()
    factors = jax.random.uniform(jax.random.key(5), mask.shape, inputs.dtype)

    def scaled(factors):
        return jnp.sum(jnp.sin(bilstm(params, inputs * factors[..., None], mask)))

    def directly(factors):
        return jnp.sum(jnp.sin(bilstm(params, inputs, mask, factors)))

    for found, expected in zip(
        jax.value_and_grad(directly)(factors), jax.value_and_grad(scaled)(factors), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("length", [1, 3])
def test_rows_without_any_token_have_no_states(length):
    params, inputs, _ = example()
    mask = jnp.zeros((4, length), bool)

    def loss(params, inputs):
        return jnp.sum(jnp.cos(bilstm(params, inputs, mask)))

    value, grads = jax.value_and_grad(loss, (0, 1))(params, inputs[:, :length])
    assert value == 4 * length * 6
    assert not any(grad.any() for grad in jax.tree.leaves(grads))


@pytest.mark.usefixtures("double_precision")
def test_runs_of_a_vmap_share_the_end_of_the_longest_row():
    params, inputs, mask = example()
    masks = jnp.stack([mask, mask & (jnp.arange(8) < 2)[None]])

    def slope(mask):
        return jax.grad(lambda p: jnp.sum(jnp.sin(bilstm(p, inputs, mask))))(params)

    program = str(jax.make_jaxpr(jax.vmap(slope))(masks))
    assert "while" in program
    assert "operand_batching_dims=(0" not in program  # a place for each run would be in it
    together = jax.vmap(slope)(masks)
    alone = jax.tree.map(lambda *runs: jnp.stack(runs), *map(slope, masks))
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_row_alone_equals_row_in_batch():
    params, inputs, mask = example(jnp.float32)
    states = bilstm(params, inputs, mask)
    alone = bilstm(params, inputs[1:2, :3], mask[1:2, :3])
    np.testing.assert_allclose(states[1, :3], alone[0], rtol=1e-6, atol=1e-7)
