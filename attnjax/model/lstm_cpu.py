"""The two loops of the LSTM kernel, written so that XLA:CPU runs both directions side by side.

XLA:CPU runs at the same time, on different cores, what shares no memory. Two loops share memory
as soon as one step computes a value that has a buffer of its own: that buffer is free after the
first loop, and the second one gets it. So no step here has one. Everything that it computes is
handed on, in the place of something that it has read:

- state and grad_state are kept on padding (where(present, new, old)), not set to zero;
- the matmul comes last in a step, and its product is read by the next one;
- gates and their gradients are put one step later where they were computed from;
- whether to go on is a value handed on as well, not computed by the loop's condition;
- places move by minimum and maximum: XLA would merge plain counters into one and derive the
  others from it, in buffers of their own;
- what a step reads twice, it reads through `again`, or XLA would keep it in a buffer.

Nor may the loop of one direction wait for that of the other. XLA computes at one go what both need
and what can be, after the slower loop, or copies after the first loop what the second one changes.
So `run` and `pull` count the steps in two ways, and a loop's last values are put where its own
place says.

Each loop of `pull` also writes into the gradient of the states. That only makes XLA give it a copy
of that array: the copies end on different cores, where the loops then start. Without them both
loops would wait in the queue of one core.

The equations are those of the scans in `lstm.py`, and so are the values, except for gates on
padding: within the longest row nothing depends on them, and behind it they are 0, which `pull`
hands on as their gradient. benchmarks/step_throughput.py measures what it is worth.
"""

import jax
import jax.numpy as jnp


def activate(total):
    """Gates from their inputs: sigmoid, sigmoid, tanh, sigmoid of the four parts of the last axis.

    sigmoid(x) = (1 + tanh(x / 2)) / 2: one pass over all of them, which then stay in one array.
    """
    half = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5], total.dtype), total.shape[-1] // 4)
    half = half.reshape((1,) * (total.ndim - 1) + half.shape)
    return half * jnp.tanh(half * total) + (1 - half)


def split(gates):
    """The gates i, f, g, o: the four parts of the last axis."""
    hidden = gates.shape[-1] // 4
    return [gates[..., k * hidden : (k + 1) * hidden] for k in range(4)]


def before(backward, values):
    """The values of the step before, in the order in which the direction takes steps."""
    edge = jnp.zeros_like(values[:1])
    return jnp.concatenate([values[1:], edge] if backward else [edge, values[:-1]])


def run(backward, recurrent, bias, projected, steps):
    """States, cells and activated gates of one direction, each [length, batch, ...].

    projected  0 behind the longest row: no step is taken there, and the gates remain 0
    """
    hidden = projected.shape[-1] // 4
    present = steps != 0

    def take(place, last_place, values):
        state, cell, product, activated, gates, states, cells = values
        gates = _put(gates, activated, last_place)
        activated = activate(_at(gates, place) + product + bias[None])
        i, f, g, o = split(activated)
        cell = _at(steps, place) * (f * cell + i * g)
        state = jnp.where(_at(present, place), o * jnp.tanh(cell), state)
        states, cells = _put(states, state, place), _put(cells, cell, place)
        return state, cell, state @ recurrent, activated, gates, states, cells

    zeros = jnp.zeros_like(projected[0, :, :hidden])
    stack = jnp.zeros_like(projected[..., :hidden])
    outer = projected[-1 if backward else 0]
    start = (zeros, zeros, jnp.zeros_like(outer), outer, projected, stack, stack)
    longest = jnp.max(jnp.sum(steps, axis=0))
    last, (*_, activated, gates, states, cells) = _loop(backward, take, start, longest)
    return states * steps, cells, _put(gates, activated, last)


def pull(backward, transposed, cells, gates, steps, grad_states):
    """Gradient of the gates' inputs of one direction, from that of both directions' states.

    transposed  [4 * hidden, hidden], the recurrent weights
    gates  0 behind the longest row: no step is taken there, and there they remain
    grad_states  [length, batch, 2 * hidden]
    """
    hidden = cells.shape[-1]
    own = hidden if backward else 0
    present = steps != 0
    forget, squashes, cells_before = split(gates)[1], jnp.tanh(cells), before(backward, cells)

    def take(place, last_place, values):
        product, grad_state, grad_cell, grad_gates, gates, grad_states = values
        gates = _put(gates, grad_gates, last_place)
        grad_out = _at(grad_states, place, own, hidden)
        grad_state = jnp.where(_at(present, place), product + grad_out, grad_state)
        grad_states = _put(grad_states, grad_state, place, own)
        again = jax.lax.optimization_barrier((gates, squashes))
        i, f, g, o = (_at(gates, place, k * hidden, hidden) for k in range(4))
        i_again, g_again, o_again = (_at(again[0], place, k * hidden, hidden) for k in (0, 2, 3))
        squashed, squashed_again = _at(squashes, place), _at(again[1], place)
        by_state = o_again * (1 - squashed_again * squashed_again)
        grad_cell = grad_cell * _at(forget, last_place) + grad_state * by_state
        grad_cell = _at(steps, place) * grad_cell
        for k, part in enumerate(
            [
                grad_cell * g_again * i * (1 - i),
                grad_cell * _at(cells_before, place) * f * (1 - f),
                grad_cell * i_again * (1 - g * g),
                grad_state * squashed * o * (1 - o),
            ]
        ):
            grad_gates = jax.lax.dynamic_update_slice(grad_gates, part, (0, k * hidden))
        return grad_gates @ transposed, grad_state, grad_cell, grad_gates, gates, grad_states

    zeros = jnp.zeros_like(cells[0])
    start = (zeros, zeros, zeros, gates[0 if backward else -1], gates, grad_states)
    longest = jnp.sum(jnp.any(present, axis=1))  # not as in `run`: see the file's head
    last, (*_, grad_gates, gates, _) = _loop(not backward, take, start, longest)
    return _put(gates, grad_gates, last)


def _loop(reverse, take, values, longest):
    """Values after take(place, last_place, values) from place 0 to the end of the longest row.

    reverse  from there to place 0
    What `take` puts at last_place at first must be there already. Where places go down from the
    end of the longest row, that is what is at the outermost place: 0, if there is any behind it.
    Returns the place it ended at and the values.
    """
    ends = jnp.int32(0), jnp.maximum(_over_runs(longest.astype(jnp.int32)) - 1, 0)
    first, end = ends[::-1] if reverse else ends
    step = -1 if reverse else 1

    def move(place, end):
        return jnp.maximum(place - 1, end) if reverse else jnp.minimum(place + 1, end)

    def body(carry):
        place, last_place, end, _, values = carry
        place, last_place = move(place, end), move(last_place, end)
        return place, last_place, end, place != end, take(place, last_place, values)

    start = (first - step, first - 2 * step, end, jnp.bool_(True), values)
    place, *_, values = jax.lax.while_loop(lambda carry: carry[3], body, start)
    return place, values


@jax.custom_batching.custom_vmap
def _over_runs(longest):
    """The longest row of all runs that go through a step by vmap: they share the loop's places.

    With a place for each run, every step would copy all that the loop hands on.
    """
    return longest


@_over_runs.def_vmap
def _longest_of_all(runs, batched, longest):
    del runs, batched
    return _over_runs(jnp.max(longest, axis=0)), False


def _at(values, place, lane=0, lanes=None):
    """values[place, :, lane : lane + lanes], at the nearest place inside; all lanes unless told."""
    _, batch, width = values.shape
    start = (place, jnp.int32(0), jnp.int32(lane))
    size = (1, batch, width if lanes is None else lanes)
    return jax.lax.dynamic_slice(values, start, size, allow_negative_indices=False)[0]


def _put(values, value, place, lane=0):
    start = (place, jnp.int32(0), jnp.int32(lane))
    update = jax.lax.dynamic_update_slice
    return update(values, value[None], start, allow_negative_indices=False)
