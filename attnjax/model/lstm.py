"""The recurrent kernel: a bidirectional LSTM over padded rows, exact under any padding.

Time comes first inside. The backward direction goes from the last step to the first, so its padding
comes first; multiplying the state by the mask keeps it at zero there, and no row is turned round by
its length. All inputs are projected beforehand. The gradients are written out: the scan saves the
gates, the reverse scan (`_pull`) yields the gradient of all gate inputs, and weight gradients are
then one matmul each instead of one per time step. One scan takes both directions: on an H100 that
was 1.7 times as fast as one for each (seen once, not recorded). On a CPU the loops of
`lstm_cpu.py`, one a direction, replace both scans; they end at the longest row.

`bilstm_under` is the literal scan of the same equations in terms of `Rules`, for backward passes of
another kind; it is the kernel's literal version, too.

`bilstm_without` gives the states of a row for each of its tokens left out. A token left out is a
step not taken, so nothing is gathered or projected again; the forward states before it and the
backward states after it are those of the whole row, which leaves about half of all steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnjax.model import lstm_cpu
from attnjax.model.rules import Rules, plain_linear

UNROLLED = 4  # steps of a scan at one go: on an H100 1.4 times as fast as one by one, seen once


class LSTMParams(NamedTuple):
    """Weights of both directions (0 forward, 1 backward); gates in the order i, f, g, o.

    input      [2, embed, 4 * hidden]
    recurrent  [2, hidden, 4 * hidden]
    bias       [2, 4 * hidden]
    """

    input: Float[Array, "2 embed gates"]
    recurrent: Float[Array, "2 hidden gates"]
    bias: Float[Array, "2 gates"]


@jax.jit
def bilstm(
    params: LSTMParams,
    inputs: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch length"],
    factors: Float[Array, "batch length"] | None = None,
) -> Float[Array, "batch length states"]:
    """Hidden states of both directions, forward half first (Hochreiter & Schmidhuber 1997).

    inputs   [batch, length, embed]; mask  True on tokens, which fill each row from the left
    factors  of the inputs, one a token. It is their projections that are multiplied: a derivative
             by the factors then takes no matmul with the input weights.
    Returns [batch, length, 2 * hidden], exactly 0 on padding and independent of it.
    """
    steps = mask.T.astype(inputs.dtype)[..., None]
    inputs = jnp.where(mask[..., None], inputs, 0).swapaxes(0, 1)
    projected = [_project(each, inputs) for each in params.input]
    if factors is not None:
        projected = [each * factors.T[..., None] for each in projected]
    return _both(params.recurrent, params.bias, projected, steps)


def bilstm_under(
    rules: Rules,
    params: LSTMParams,
    inputs: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch length"],
    factors: Float[Array, "batch length"] | None = None,
) -> Float[Array, "batch length states"]:
    """`bilstm` step by step in terms of the rules, whose derivatives are theirs.

    Rules whose linear maps are plain project all inputs beforehand, as `bilstm` does.
    """
    steps = mask.T.astype(inputs.dtype)[..., None]
    inputs = jnp.where(mask[..., None], inputs, 0).swapaxes(0, 1)
    shares = None if factors is None else factors.T[..., None]
    sigmoid, ahead = jax.nn.sigmoid, rules.linear is plain_linear

    def scaled(values: Array) -> Array:
        return values if shares is None else values * shares

    def direction(side: LSTMParams, backward: bool) -> Float[Array, "length batch hidden"]:
        def step(carry: Any, now: Any) -> Any:
            (state, cell), (x, present) = carry, now
            if ahead:
                total = x + rules.linear((state, side.recurrent, side.bias))
            else:
                total = rules.linear((x, side.input, side.bias), (state, side.recurrent, None))
            i, f, g, o = lstm_cpu.split(total)
            kept, new = rules.gate(sigmoid(f), cell), rules.gate(sigmoid(i), rules.act(jnp.tanh, g))
            cell = present * rules.add(kept, new)
            state = present * rules.gate(sigmoid(o), rules.act(jnp.tanh, cell))
            return (state, cell), state

        start = jnp.zeros((inputs.shape[1], side.recurrent.shape[0]), inputs.dtype)
        given = scaled(_project(side.input, inputs) if ahead else inputs)
        return jax.lax.scan(step, (start, start), (given, steps), reverse=backward)[1]

    both = [direction(side, bool(k)) for k, side in enumerate(_sides(params))]
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
    mask = jnp.asarray(mask)  # NumPy's could not be indexed by the loop
    longest = mask.sum(axis=1).max()
    hidden = params.recurrent.shape[1]
    inputs = jnp.where(mask[..., None], inputs, 0).swapaxes(0, 1)
    steps = mask.T.astype(inputs.dtype)[..., None]
    sides = _sides(params)
    gates = [_project(side.input, inputs) for side in sides]
    ahead, back = (found[:2] for found in _run(params.recurrent, params.bias, gates, steps))
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
                recurrent, bias = sides[side].recurrent, sides[side].bias[None]
                state, cell, _ = _step(recurrent, bias, carry, gates[side][now], steps[now])
                return put(states, state, now, side * hidden), state, cell

            states = put(states, carry[0], position, side * hidden)
            return jax.lax.fori_loop(0, count, step, (states, *carry))[0]

        states = rerun(0, longest - 1 - position, whole, [each[position] for each in before])
        return rerun(1, position, states, [each[position + 1] for each in after])

    return without


def bilstm_kept(
    params: LSTMParams, inputs: Float[Array, "batch length embed"]
) -> Callable[
    [Int[Array, "batch length"], Bool[Array, "batch length"]],
    Float[Array, "batch length states"],
]:
    """Builds kept(order, real): the states of each row's tokens in that order, as far as real.

    Inputs are projected once: what is kept is gathered among the projections.
    """
    inputs = inputs.swapaxes(0, 1)
    projected = [_project(each, inputs) for each in params.input]

    def kept(
        order: Int[Array, "batch length"], real: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length states"]:
        there, place = real.T[..., None], order.T[..., None]
        steps = there.astype(inputs.dtype)
        gathered = [
            jnp.where(there, jnp.take_along_axis(each, place, axis=0), 0) for each in projected
        ]
        return _both(params.recurrent, params.bias, gathered, steps)

    return kept


def bilstm_edited(
    params: LSTMParams, inputs: Float[Array, "batch length embed"]
) -> Callable[..., Float[Array, "some length states"]]:
    """Builds edited(rows, order, real, places, vectors): states of rows with a few new vectors.

    rows     [some] whose tokens; order, real  [some, length] as of `bilstm_kept`
    places   [some, changes] where in that order the vectors [some, changes, embed] stand, beyond
             the length: nowhere
    Only the new vectors are projected. Values only: no gradient.
    """
    # Both directions in one array: the CPU compiler of jaxlib 0.10 makes two alike scatters one,
    # and aborts (openxla/xla#47367).
    batch, weights = len(inputs), jnp.concatenate(params.input, axis=-1)
    projected = _project(weights, inputs.swapaxes(0, 1)).reshape(-1, weights.shape[-1])

    def edited(
        rows: Int[Array, " some"],
        order: Int[Array, "some length"],
        real: Bool[Array, "some length"],
        places: Int[Array, "some changes"],
        vectors: Float[Array, "some changes embed"],
    ) -> Float[Array, "some length states"]:
        some, length = order.shape
        steps = real.T.astype(inputs.dtype)[..., None]
        old = (order.astype(rows.dtype) * batch + rows[:, None]).T.reshape(-1)
        new = (places * some + jnp.arange(some, dtype=places.dtype)[:, None]).T.reshape(-1)
        put = _project(weights, vectors.swapaxes(0, 1)).reshape(len(new), -1)
        found = projected[old].at[new].set(put, mode="drop").reshape(length, some, -1)
        found = jnp.where(steps > 0, found, 0)
        return _both(params.recurrent, params.bias, jnp.split(found, 2, axis=-1), steps)

    return edited


def _sides(params):
    return [LSTMParams(*(each[side] for each in params)) for side in (0, 1)]


@jax.custom_vjp
def _both(recurrent, bias, projected, steps):
    return _both_forward(recurrent, bias, projected, steps)[0]


def _both_forward(recurrent, bias, projected, steps):
    found = _run(recurrent, bias, projected, steps)
    states = jnp.concatenate([states for states, _, _ in found], axis=-1).swapaxes(0, 1)
    return states, (found, recurrent, steps)


def _both_backward(saved, grad_states):
    found, recurrent, steps = saved
    # Transposed once: the compiler would fold it into the loop's matmul, which is slower so.
    transposed = [jax.lax.optimization_barrier(each.T) for each in recurrent]
    cells, gates = ([each[k] for each in found] for k in (1, 2))
    grads = _pull(transposed, cells, gates, steps, grad_states.swapaxes(0, 1))
    grad_recurrent, grad_bias = [], []
    for side, (states, *_) in enumerate(found):
        past = lstm_cpu.before(bool(side), states)
        pulled, past = (a.reshape(-1, a.shape[-1]) for a in (grads[side], past))
        grad_recurrent.append(past.T @ pulled)
        grad_bias.append(pulled.sum(axis=0))
    return jnp.stack(grad_recurrent), jnp.stack(grad_bias), grads, None


_both.defvjp(_both_forward, _both_backward)


@jax.custom_vjp
def _project(weights, inputs):
    length, batch, width = inputs.shape
    return (inputs.reshape(-1, width) @ weights).reshape(length, batch, -1)


def _project_backward(saved, grad):
    # Autodiff would compute the gradient of the weights transposed, and turn it round.
    weights, inputs = saved
    flat, grad = inputs.reshape(-1, inputs.shape[-1]), grad.reshape(-1, grad.shape[-1])
    return flat.T @ grad, (grad @ weights.T).reshape(inputs.shape)


_project.defvjp(lambda *values: (_project(*values), values), _project_backward)


def _step(recurrent, bias, carry, projected, present):
    """One step of a direction, or of several along a first axis; bias has an axis for rows."""
    state, cell = carry
    activated = lstm_cpu.activate(projected + state @ recurrent + bias)
    i, f, g, o = lstm_cpu.split(activated)
    cell = present * (f * cell + i * g)
    state = present * (o * jnp.tanh(cell))
    return state, cell, activated


def _run_loops(recurrent, bias, projected, steps):
    return [lstm_cpu.run(bool(k), recurrent[k], bias[k], projected[k], steps) for k in (0, 1)]


def _run_scan(recurrent, bias, projected, steps):
    """For each direction its states, cells and activated gates, [length, batch, ...]."""

    def step(carry, now):
        state, cell, activated = _step(recurrent, bias[:, None], carry, *now)
        return (state, cell), (state, cell, activated)

    gates, present = _join(projected), _join([steps, steps])
    zeros = jnp.zeros_like(gates[0, ..., : gates.shape[-1] // 4])
    found = jax.lax.scan(step, (zeros, zeros), (gates, present), unroll=UNROLLED)[1]
    return list(zip(*map(_part, found), strict=True))


def _pull_loops(transposed, cells, gates, steps, grad_states):
    rest = zip(transposed, cells, gates, strict=True)
    return [lstm_cpu.pull(bool(k), *each, steps, grad_states) for k, each in enumerate(rest)]


def _pull_scan(transposed, cells, gates, steps, grad_states):
    """Gradients of the gates' inputs of each direction, from that of both directions' states."""

    def step(carry, now):
        grad_state, grad_cell = carry
        grad_out, cell, cell_before, gates, present = now
        i, f, g, o = lstm_cpu.split(gates)
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
        return (grad_gates @ weights, grad_cell * f), grad_gates

    weights, joined = jnp.stack(transposed), _join(cells)
    grad_out = _join(jnp.split(grad_states, 2, axis=-1))
    zeros = jnp.zeros_like(grad_out[0])
    rows = (grad_out, joined, lstm_cpu.before(False, joined), _join(gates), _join([steps, steps]))
    return _part(jax.lax.scan(step, (zeros, zeros), rows, reverse=True, unroll=UNROLLED)[1])


def _join(sides):
    """Both directions' [length, ...] -> [length, 2, ...], each in the order of its own steps."""
    return jnp.stack([sides[0], sides[1][::-1]], axis=1)


def _part(joined):
    """What `_join` has joined: _part(_join([a, b])) == [a, b]."""
    return [joined[:, 0], joined[::-1, 1]]


def _on_cpu(fast, plain):
    """fast on a CPU, plain elsewhere; its derivative, on both, is plain's."""

    @jax.custom_vjp
    def chosen(*values):
        # Chosen while tracing: platform_dependent would trace both, and both are right everywhere.
        return (fast if jax.default_backend() == "cpu" else plain)(*values)

    chosen.defvjp(
        lambda *values: (chosen(*values), values),
        lambda values, grads: jax.vjp(plain, *values)[1](grads),
    )
    return jax.jit(chosen)  # traced once for each shape


_run: Callable[..., Any] = _on_cpu(_run_loops, _run_scan)
_pull: Callable[..., Any] = _on_cpu(_pull_loops, _pull_scan)
