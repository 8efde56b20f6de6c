"""One training step and one evaluation step, as pure functions."""

from collections.abc import Callable, Collection

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from attnjax.losses import Context, Gradients, Sums, count_examples, cross_entropy
from attnjax.model.attention import forward
from attnjax.training.lookup import TableGradient, looked_up
from attnjax.types import Batch, HParams, Params, Stages, TrainState

Step = Callable[[TrainState, Batch, HParams], tuple[TrainState, Sums]]


def init_state(
    stages: Stages,
    optimizer: optax.GradientTransformation,
    seed: int,
    frozen: Collection[str] = (),
) -> TrainState:
    """The state before the first step, a function of the seed alone; frozen  parts stay."""
    params = stages.init(jax.random.key(seed))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        params=params,
        opt_state=optimizer.init(without(params, frozen)),
    )


def make_train_step(
    gradients: Gradients,
    optimizer: optax.GradientTransformation,
    schedule: Callable[[Int[Array, ""]], Float[Array, ""]],
    axis: str | None = None,
    whole_table: bool = True,
    frozen: Collection[str] = (),
) -> Step:
    """Builds step(state, batch, hparams) -> (state, sums), good under jit, vmap and pmap.

    axis         the name of the axis of devices, or None where the batch is whole
    whole_table  True is always right; False, where `reads_whole_table` allows it, gives the same
                 faster, and needs an optimizer of `make_optimizer`, which takes `TableGradient`
    frozen       parts of the parameters that stay as they are, without gradient, moments or decay
    `sums` are over the real examples of the global batch, not divided. Random draws depend on
    (seed, step, row) alone.
    """

    def total(tree):
        return tree if axis is None else jax.lax.psum(tree, axis)

    def step(state: TrainState, batch: Batch, hparams: HParams) -> tuple[TrainState, Sums]:
        counts = total(count_examples(batch))
        params, slots = state.params, None
        if not whole_table:
            params, batch, slots = looked_up(params, batch, axis)
        context = Context(batch, hparams, state.key, counts, state.neighbours)
        gradient, sums = gradients(params, context)
        gradient, sums = total((without(gradient, frozen), sums))
        if slots is not None:
            table = TableGradient(gradient["embed"]["table"], slots)
            gradient = {**gradient, "embed": {"table": table}}
        own = without(state.params, frozen)
        updates, opt_state = optimizer.update(gradient, state.opt_state, own)
        rate = hparams.learning_rate * schedule(state.step)
        moved = jax.tree.map(lambda p, u: p - rate.astype(p.dtype) * u, own, updates)
        params = {**state.params, **moved}
        return state._replace(step=state.step + 1, params=params, opt_state=opt_state), sums

    return step


def without(params: Params, parts: Collection[str]) -> Params:
    """The parameters, or what is shaped like them, without these parts."""
    return {part: each for part, each in params.items() if part not in parts}


def make_evaluate(stages: Stages) -> Callable[[Params, Batch], dict[str, Array]]:
    """Builds evaluate(params, batch) -> per-example "loss" and "probabilities"."""

    def evaluate(params: Params, batch: Batch) -> dict[str, Array]:
        trace = forward(stages, params, batch)
        return {
            "loss": cross_entropy(trace.logits, batch.labels),
            "probabilities": trace.probabilities,
        }

    return evaluate
