"""The recurrent kernel: a bidirectional LSTM over padded rows, exact under any padding.

Both directions run in one scan. The backward direction reads the row reversed as a whole, so its
padding comes first; multiplying the state by the mask keeps it at zero there, and no per-row
gather is needed. The gradient is written out (`_recurrence_backward`): the scan saves the gates,
the reverse scan yields the gradient of all gate inputs, and weight gradients are then one matmul
each instead of one per time step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class LSTMParams(NamedTuple):
    """Weights of both directions (0 forward, 1 backward); gates in the order i, f, g, o.

    input      [2, embed, 4 * hidden]
    recurrent  [2, hidden, 4 * hidden]
    bias       [2, 4 * hidden]
    """

    input: Float[Array, "2 embed gates"]
    recurrent: Float[Array, "2 hidden gates"]
    bias: Float[Array, "2 gates"]


def bilstm(
    params: LSTMParams,
    inputs: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch length"],
) -> Float[Array, "batch length states"]:
    """Hidden states of both directions, forward half first (Hochreiter & Schmidhuber 1997).

    inputs  [batch, length, embed]; mask  True on tokens, which fill each row from the left.
    Returns [batch, length, 2 * hidden], exactly 0 on padding and independent of it.
    """
    return recur(project(params, inputs), params.recurrent, mask)


def project(
    params: LSTMParams, inputs: Float[Array, "batch length embed"]
) -> Float[Array, "length 2 batch gates"]:
    """Input part of all gates, [length, direction, batch, gates]; backward rows reversed."""
    gates = jnp.einsum("ble,dek->dlbk", inputs, params.input) + params.bias[:, None, None, :]
    return jnp.stack([gates[0], gates[1, ::-1]], axis=1)


def recur(
    gates: Float[Array, "length 2 batch gates"],
    recurrent: Float[Array, "2 hidden gates"],
    mask: Bool[Array, "batch length"],
) -> Float[Array, "batch length states"]:
    """The recurrence over projected inputs; see `bilstm`."""
    steps = mask.T.astype(gates.dtype)
    steps = jnp.stack([steps, steps[::-1]], axis=1)[..., None]  # [length, 2, batch, 1]
    states = _recurrence(gates, steps, recurrent)
    both = jnp.concatenate([states[:, 0], states[::-1, 1]], axis=-1)
    return both.transpose(1, 0, 2)


def final_states(
    states: Float[Array, "batch length states"], mask: Bool[Array, "batch length"]
) -> Float[Array, "batch states"]:
    """Last state of each direction: forward at the last token, backward at the first."""
    half = states.shape[-1] // 2
    last = jnp.maximum(mask.sum(axis=-1) - 1, 0)
    forward = jnp.take_along_axis(states[..., :half], last[:, None, None], axis=1)[:, 0]
    return jnp.concatenate([forward, states[:, 0, half:]], axis=-1)


@jax.custom_vjp
def _recurrence(gates, steps, recurrent):
    return _run(gates, steps, recurrent)[0]


def _run(gates, steps, recurrent):
    hidden = recurrent.shape[1]

    def step(carry, now):
        state, cell = carry
        projected, present = now
        total = projected + jnp.einsum("dbh,dhk->dbk", state, recurrent)
        i, f, g, o = _activate(total, hidden)
        cell = present * (f * cell + i * g)
        state = present * (o * jnp.tanh(cell))
        return (state, cell), (state, cell, jnp.concatenate([i, f, g, o], axis=-1))

    zeros = jnp.zeros_like(gates[0, ..., :hidden])
    return jax.lax.scan(step, (zeros, zeros), (gates, steps))[1]


def _activate(total, hidden):
    i, f, g, o = (total[..., k * hidden : (k + 1) * hidden] for k in range(4))
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _recurrence_forward(gates, steps, recurrent):
    states, cells, activated = _run(gates, steps, recurrent)
    return states, (states, cells, activated, steps, recurrent)


def _recurrence_backward(saved, grad_states):
    states, cells, activated, steps, recurrent = saved
    hidden = recurrent.shape[1]

    def before(values):
        return jnp.concatenate([jnp.zeros_like(values[:1]), values[:-1]])

    def step(carry, now):
        grad_state, grad_cell = carry
        grad_out, cell, cell_before, gates, present = now
        i, f, g, o = (gates[..., k * hidden : (k + 1) * hidden] for k in range(4))
        grad_state = (grad_state + grad_out) * present
        squashed = jnp.tanh(cell)
        grad_cell = grad_cell * present + grad_state * o * (1 - squashed * squashed)
        grad_gates = jnp.concatenate(
            [
                grad_cell * g * i * (1 - i),
                grad_cell * cell_before * f * (1 - f),
                grad_cell * i * (1 - g * g),
                grad_state * squashed * o * (1 - o),
            ],
            axis=-1,
        )
        return (jnp.einsum("dbk,dhk->dbh", grad_gates, recurrent), grad_cell * f), grad_gates

    zeros = jnp.zeros_like(states[0])
    rows = (grad_states, cells, before(cells), activated, steps)
    grad_gates = jax.lax.scan(step, (zeros, zeros), rows, reverse=True)[1]
    grad_recurrent = jnp.einsum("ldbh,ldbk->dhk", before(states), grad_gates)
    return grad_gates, None, grad_recurrent


_recurrence.defvjp(_recurrence_forward, _recurrence_backward)
