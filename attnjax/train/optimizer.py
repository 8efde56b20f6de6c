"""The optimizer of the references: AMSGrad with L2 weight decay inside the gradient."""

from collections.abc import Callable

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
        "amsgrad": optax.scale_by_amsgrad,
        "adam": optax.scale_by_adam,
        "sgd": optax.identity,
    }[config.optimizer]
    parts = []
    if config.gradient_clip > 0:
        parts.append(optax.clip_by_global_norm(config.gradient_clip))
    if config.weight_decay > 0:
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=decayed))
    return optax.chain(*parts, scale())


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
