"""The optimizer of the references: AMSGrad with L2 weight decay inside the gradient."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from attnjax.config import TrainConfig
from attnjax.types import Params

DECAYED = ("encode", "decode")  # parts with weight decay; attention and embedding have none


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Gradient -> update of unit step size; the step multiplies it by the learning rate.

    The decay is added to the gradient before the moments, as `torch.optim.Adam` does, so that it
    is L2 regularisation and not decoupled weight decay.
    """
    scale = {
        "amsgrad": scale_by_amsgrad,
        "adam": optax.scale_by_adam,
        "sgd": optax.identity,
    }[config.optimizer]
    parts = []
    if config.gradient_clip > 0:
        parts.append(optax.clip_by_global_norm(config.gradient_clip))
    if config.weight_decay > 0:
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=decayed))
    return optax.chain(*parts, scale())


class AMSGradState(NamedTuple):
    """Steps taken, and the moments of every parameter: first, second, largest second so far."""

    steps: Int[Array, ""]
    first: Params
    second: Params
    largest: Params


def scale_by_amsgrad(
    b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8
) -> optax.GradientTransformation:
    """AMSGrad (Reddi et al. 2018) by the rule of `torch.optim.Adam(amsgrad=True)`.

    It keeps the largest second moment and corrects its bias afterwards. `optax.scale_by_amsgrad`
    keeps the largest corrected one, in which the first gradients, corrected a thousandfold, count
    for good: another optimizer than the references trained with.
    """

    def init(params: Params) -> AMSGradState:
        zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(3)]
        return AMSGradState(jnp.zeros((), jnp.int32), *zeros)

    def update(
        gradient: Params, state: AMSGradState, params: Params | None = None
    ) -> tuple[Params, AMSGradState]:
        del params
        taken = state.steps + 1
        first = jax.tree.map(lambda g, m: b1 * m + (1 - b1) * g, gradient, state.first)
        second = jax.tree.map(lambda g, v: b2 * v + (1 - b2) * g * g, gradient, state.second)
        largest = jax.tree.map(jnp.maximum, state.largest, second)

        def scaled(m: Array, v: Array) -> Array:
            steps = taken.astype(m.dtype)
            return m / (1 - b1**steps) / (jnp.sqrt(v / (1 - b2**steps)) + epsilon)

        updates = jax.tree.map(scaled, first, largest)
        return updates, AMSGradState(taken, first, second, largest)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def decayed(params: Params) -> Params:
    """True on the parameters that weight decay applies to."""
    return {
        part: jax.tree.map(lambda _, on=part in DECAYED: on, tree) for part, tree in params.items()
    }


def make_schedule(
    config: TrainConfig, total_steps: int
) -> Callable[[Int[Array, ""]], Float[Array, ""]]:
    """step -> factor of the learning rate, in [0, 1]: warm-up, then the chosen decay to 0."""
    warmup = config.warmup_steps

    def factor(step: Int[Array, ""]) -> Float[Array, ""]:
        now = step.astype(jnp.float32)
        done = jnp.clip((now - warmup) / max(total_steps - warmup, 1), 0.0, 1.0)
        decay = {
            "constant": lambda: jnp.ones_like(done),
            "linear": lambda: 1.0 - done,
            "cosine": lambda: 0.5 * (1.0 + jnp.cos(jnp.pi * done)),
        }[config.schedule]()
        if warmup == 0:
            return decay
        return decay * jnp.minimum(1.0, (now + 1.0) / warmup)

    return factor
