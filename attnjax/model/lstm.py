"""The recurrent kernel: a bidirectional LSTM over padded rows, exact under any padding.

Time comes first inside. The backward direction runs its scan from the last step to the first, so
its padding comes first; multiplying the state by the mask keeps it at zero there, and nothing is
reversed or gathered. The gradient is written out (`_direction_backward`): the scan saves the
gates, the reverse scan yields the gradient of all gate inputs, and weight gradients are then one
matmul each instead of one per time step.
"""

from functools import partial
from typing import Any, NamedTuple

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
    inputs = inputs.swapaxes(0, 1)
    steps = mask.T.astype(inputs.dtype)[..., None]
    ahead, back = (LSTMParams(*(each[side] for each in params)) for side in (0, 1))
    both: Any = [_direction(False, ahead, inputs, steps), _direction(True, back, inputs, steps)]
    return jnp.concatenate(both, axis=-1).swapaxes(0, 1)


def final_states(
    states: Float[Array, "batch length states"], mask: Bool[Array, "batch length"]
) -> Float[Array, "batch states"]:
    """Last state of each direction: forward at the last token, backward at the first."""
    half = states.shape[-1] // 2
    last = jnp.maximum(mask.sum(axis=-1) - 1, 0)
    forward = jnp.take_along_axis(states[..., :half], last[:, None, None], axis=1)[:, 0]
    return jnp.concatenate([forward, states[:, 0, half:]], axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _direction(backward, params, inputs, steps):
    return _run(backward, params, inputs, steps)[0]


def _run(backward, params, inputs, steps):
    hidden = params.recurrent.shape[0]

    def step(carry, now):
        state, cell = carry
        projected, present = now
        total = projected + state @ params.recurrent
        i, f, g, o = _activate(total, hidden)
        cell = present * (f * cell + i * g)
        state = present * (o * jnp.tanh(cell))
        return (state, cell), (state, cell, jnp.concatenate([i, f, g, o], axis=-1))

    length, batch, width = inputs.shape
    gates = inputs.reshape(-1, width) @ params.input + params.bias[None]
    gates = gates.reshape(length, batch, -1)
    zeros = jnp.zeros_like(gates[0, :, :hidden])
    return jax.lax.scan(step, (zeros, zeros), (gates, steps), reverse=backward)[1]


def _activate(total, hidden):
    i, f, g, o = (total[..., k * hidden : (k + 1) * hidden] for k in range(4))
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _direction_forward(backward, params, inputs, steps):
    states, cells, activated = _run(backward, params, inputs, steps)
    return states, (states, cells, activated, params, inputs, steps)


def _direction_backward(backward, saved, grad_states):
    states, cells, activated, params, inputs, steps = saved
    hidden = params.recurrent.shape[0]

    def before(values):
        edge = jnp.zeros_like(values[:1])
        return jnp.concatenate([values[1:], edge] if backward else [edge, values[:-1]])

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
        return (grad_gates @ params.recurrent.T, grad_cell * f), grad_gates

    zeros = jnp.zeros_like(states[0])
    rows = (grad_states, cells, before(cells), activated, steps)
    grad_gates = jax.lax.scan(step, (zeros, zeros), rows, reverse=not backward)[1]
    grad_gates, past = (a.reshape(-1, a.shape[-1]) for a in (grad_gates, before(states)))
    flat = inputs.reshape(-1, inputs.shape[-1])
    grad_params = LSTMParams(flat.T @ grad_gates, past.T @ grad_gates, grad_gates.sum(axis=0))
    return grad_params, (grad_gates @ params.input.T).reshape(inputs.shape), None


_direction.defvjp(_direction_forward, _direction_backward)
