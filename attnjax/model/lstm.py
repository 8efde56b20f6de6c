"""The recurrent kernel: a bidirectional LSTM over padded rows, exact under any padding.

Time comes first inside. The backward direction runs its scan from the last step to the first, so
its padding comes first; multiplying the state by the mask keeps it at zero there, and nothing is
reversed or gathered. The gradient is written out (`_direction_backward`): the scan saves the
gates, the reverse scan yields the gradient of all gate inputs, and weight gradients are then one
matmul each instead of one per time step.

`bilstm_without` gives the states of a row for each of its tokens left out. A token left out is a
step not taken, so nothing is gathered or projected again; the forward states before it and the
backward states after it are those of the whole row, which leaves about half of all steps.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


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


def bilstm_without(
    params: LSTMParams,
    inputs: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch length"],
) -> Callable[[Int[Array, ""]], Float[Array, "batch length states"]]:
    """Builds without(position): the states of each row without the token at that position.

    inputs, mask  as for `bilstm`. Every state stays in its place; the place of the token left out
    repeats its neighbour's (forward half: the one before, backward half: the one after), so that
    `final_states` stay right even without the last or first token. Values only: no gradient.
    No step is taken behind the end of the longest row.
    """
    longest = mask.sum(axis=1).max()
    hidden = params.recurrent.shape[1]
    inputs = inputs.swapaxes(0, 1)
    steps = mask.T.astype(inputs.dtype)[..., None]
    sides = [LSTMParams(*(each[side] for each in params)) for side in (0, 1)]
    gates = [_project(side, inputs) for side in sides]
    ahead, back = (_run(bool(side), sides[side], inputs, steps)[:2] for side in (0, 1))
    whole = jnp.concatenate([ahead[0], back[0]], axis=-1).swapaxes(0, 1)
    # (state, cell) that reach position t: index t of the forward ones, t + 1 of the backward ones.
    before = [jnp.pad(values, ((1, 0), (0, 0), (0, 0))) for values in ahead]
    after = [jnp.pad(values, ((0, 1), (0, 0), (0, 0))) for values in back]

    def without(position: Int[Array, ""]) -> Float[Array, "batch length states"]:
        def put(states: Any, values: Any, place: Any, column: int) -> Any:
            corner = [jnp.asarray(each, position.dtype) for each in (0, place, column)]
            return jax.lax.dynamic_update_slice(states, values[:, None, :], corner)

        def rerun(side: int, count: Any, states: Any, carry: Any) -> Any:
            def step(index, values):
                states, *carry = values
                now = position - 1 - index if side else position + 1 + index
                state, cell, _ = _step(sides[side], carry, gates[side][now], steps[now])
                return put(states, state, now, side * hidden), state, cell

            states = put(states, carry[0], position, side * hidden)
            return jax.lax.fori_loop(0, count, step, (states, *carry))[0]

        states = rerun(0, longest - 1 - position, whole, [each[position] for each in before])
        return rerun(1, position, states, [each[position + 1] for each in after])

    return without


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _direction(backward, params, inputs, steps):
    return _run(backward, params, inputs, steps)[0]


def _run(backward, params, inputs, steps):
    hidden = params.recurrent.shape[0]

    def step(carry, now):
        projected, present = now
        state, cell, activated = _step(params, carry, projected, present)
        return (state, cell), (state, cell, activated)

    gates = _project(params, inputs)
    zeros = jnp.zeros_like(gates[0, :, :hidden])
    return jax.lax.scan(step, (zeros, zeros), (gates, steps), reverse=backward)[1]


def _project(params, inputs):
    length, batch, width = inputs.shape
    return (inputs.reshape(-1, width) @ params.input).reshape(length, batch, -1)


def _step(params, carry, projected, present):
    state, cell = carry
    activated = _activate(projected + state @ params.recurrent + params.bias[None])
    i, f, g, o = _gates(activated)
    cell = present * (f * cell + i * g)
    state = present * (o * jnp.tanh(cell))
    return state, cell, activated


def _activate(total):
    # sigmoid(x) = (1 + tanh(x / 2)) / 2: one pass over all four gates, which then stay in one array
    half = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5], total.dtype), total.shape[-1] // 4)[None]
    return half * jnp.tanh(half * total) + (1 - half)


def _gates(values):
    hidden = values.shape[-1] // 4
    return (values[..., k * hidden : (k + 1) * hidden] for k in range(4))


def _direction_forward(backward, params, inputs, steps):
    states, cells, activated = _run(backward, params, inputs, steps)
    return states, (states, cells, activated, params, inputs, steps)


def _direction_backward(backward, saved, grad_states):
    states, cells, activated, params, inputs, steps = saved

    def before(values):
        edge = jnp.zeros_like(values[:1])
        return jnp.concatenate([values[1:], edge] if backward else [edge, values[:-1]])

    # Transposed once: the compiler would fold it into the loop's matmul, which is slower for it.
    recurrent = jax.lax.optimization_barrier(params.recurrent.T)

    def step(carry, now):
        grad_state, grad_cell = carry
        grad_out, cell, cell_before, gates, present = now
        i, f, g, o = _gates(gates)
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
        return (grad_gates @ recurrent, grad_cell * f), grad_gates

    zeros = jnp.zeros_like(states[0])
    rows = (grad_states, cells, before(cells), activated, steps)
    grad_gates = jax.lax.scan(step, (zeros, zeros), rows, reverse=not backward)[1]
    grad_gates, past = (a.reshape(-1, a.shape[-1]) for a in (grad_gates, before(states)))
    flat = inputs.reshape(-1, inputs.shape[-1])
    grad_params = LSTMParams(flat.T @ grad_gates, past.T @ grad_gates, grad_gates.sum(axis=0))
    return grad_params, (grad_gates @ params.input.T).reshape(inputs.shape), None


_direction.defvjp(_direction_forward, _direction_backward)
