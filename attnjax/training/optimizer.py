"""The optimizer of the references: AMSGrad with L2 weight decay inside the gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from attnjax.config import TrainConfig
from attnjax.errors import UserError
from attnjax.runtime import outputs_are_fused
from attnjax.training.lookup import TableGradient
from attnjax.types import Params

AFTER_LAYERS = ("norm",)  # of an encoder: the pre-LN Transformer's last layer norm
DECAYED = ("encode", "decode")  # parts with weight decay; attention and embedding have none


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Gradient -> update of unit step size; the step multiplies it by the learning rate.

    The decay is added to the gradient before the moments, as `torch.optim.Adam` does, so that it
    is L2 regularisation; that of adamw is decoupled (Loshchilov & Hutter, arXiv:1711.05101), and
    leaves out biases and layer norms. The gradient of the embedding table may be in
    `TableGradient`. Layers may have learning rates of their own: see `layer_rates`.
    """
    optimizer = _alike_in_all_layers(config)
    if config.layer_decay == 1:
        return optimizer

    def slowed(updates: Params, params: Params | None = None) -> Params:
        del params
        return jax.tree.map(jnp.multiply, updates, layer_rates(updates, config.layer_decay))

    return optax.chain(optimizer, optax.stateless(slowed))


def layer_rates(params: Params, decay: float) -> Params:
    """What each parameter's learning rate is multiplied by, in shapes that broadcast to its own.

    decay^(L - k) for layer k of L, decay^L for the word vectors and what else comes before the
    first, 1 for what comes after the last: discriminative fine-tuning (Howard & Ruder,
    arXiv:1801.06146, section 3.2), as ELECTRA's code has it. Layers are stacked along the first
    axis. Raises UserError where the encoder has none.
    """
    stacked = jax.tree.leaves(params["encode"].get("text", {}).get("layers", ()))
    if not stacked:
        raise UserError(
            f"train.layer_decay={decay}: the encoder has no parameters 'layers', stacked along "
            "their first axis; leave it at 1"
        )
    layers = len(stacked[0])

    def of(path: Any, leaf: Array) -> Array:
        part, _, inside = [*(each.key for each in path), "", ""][:3]
        if part == "encode" and inside == "layers":
            rates = decay ** np.arange(layers - 1, -1, -1, dtype=float)
            return jnp.asarray(rates.reshape(-1, *[1] * (leaf.ndim - 1)), leaf.dtype)
        before = part == "embed" or (part == "encode" and inside not in AFTER_LAYERS)
        return jnp.full((1,) * leaf.ndim, decay**layers if before else 1.0, leaf.dtype)

    return jax.tree_util.tree_map_with_path(of, params)


def _alike_in_all_layers(config: TrainConfig) -> optax.GradientTransformation:
    scale = {
        "amsgrad": scale_by_amsgrad,
        "adam": optax.scale_by_adam,
        "sgd": optax.identity,
        "adamw": optax.scale_by_adam,
    }[config.optimizer]
    parts = []
    if config.gradient_clip > 0:
        parts.append(optax.clip_by_global_norm(config.gradient_clip))
    if config.optimizer == "adamw":
        decay = optax.add_decayed_weights(config.weight_decay, mask=decayed_apart)
        return _of_whole_tables(optax.chain(*parts, scale(), decay))
    if config.weight_decay > 0:
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=decayed))
    optimizer = optax.chain(*parts, scale())
    in_rows = config.optimizer == "amsgrad" and config.gradient_clip == 0
    return optimizer if in_rows else _of_whole_tables(optimizer)


def _of_whole_tables(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same for gradients in `TableGradient`, which Optax does not know."""

    def update(gradient: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        gradient = jax.tree.map(_whole, gradient, is_leaf=_in_rows)
        return optimizer.update(gradient, state, params)

    return optax.GradientTransformation(optimizer.init, update)  # pyright: ignore[reportArgumentType]


def _in_rows(gradient: Any) -> bool:
    return isinstance(gradient, TableGradient)


def _whole(gradient: Array | TableGradient) -> Array:
    return gradient.whole() if isinstance(gradient, TableGradient) else gradient


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

        def first(g: Array, m: Array) -> Array:
            return b1 * m + (1 - b1) * g

        def second(g: Array, v: Array) -> Array:
            return b2 * v + (1 - b2) * g * g

        def largest(g: Array, v: Array, top: Array) -> Array:
            return jnp.maximum(top, second(g, v))

        def scaled(g: Array, m: Array, v: Array, top: Array) -> Array:
            steps = taken.astype(m.dtype)
            root = jnp.sqrt(largest(g, v, top) / (1 - b2**steps))
            return first(g, m) / (1 - b1**steps) / (root + epsilon)

        g, m, v, top = gradient, state.first, state.second, state.largest
        moments = _each(first, g, m), _each(second, g, v), _each(largest, g, v, top)
        return _each(scaled, g, m, v, top), AMSGradState(taken, *moments)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def _each(function: Callable[..., Array], *trees: Params) -> Params:
    """Maps a function over leaves, gradients first, so that a CPU takes one pass for all of them.

    XLA merges passes there that read the same arrays, but not one that reads another's result. So
    nothing is shared between two calls, not even the gradient of a whole table made of its rows:
    the few operations done again cost nothing beside memory.
    """

    def call(*leaves: Any) -> Array:
        if outputs_are_fused():
            leaves = jax.lax.optimization_barrier(leaves)
        gradient, *others = leaves
        return function(_whole(gradient), *others)

    return jax.tree.map(call, *trees, is_leaf=_in_rows)


def decayed(params: Params) -> dict[str, bool]:
    """Whether weight decay applies to each part of the parameters."""
    return {part: part in DECAYED for part in params}


def decayed_apart(params: Params) -> Any:
    """Whether adamw's weight decay applies to each parameter: not to biases and layer norms."""

    def of(path: Any, leaf: Any) -> bool:
        del leaf
        names = [each.key for each in path]
        return names[0] in DECAYED and names[-1] not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(of, params)


def make_schedule(
    config: TrainConfig, total_steps: int, attends: bool = False
) -> Callable[[Int[Array, ""]], Float[Array, ""]]:
    """step -> factor of the learning rate, in [0, 1]: warm-up, then the chosen decay to 0.

    attends  whether the encoder has self-attention, which "auto" lets decay
    """
    warmup, course = config.warmup_steps, config.schedule
    if course == "auto":
        course = "linear" if attends else "constant"

    def factor(step: Int[Array, ""]) -> Float[Array, ""]:
        now = step.astype(jnp.float32)
        done = jnp.clip((now - warmup) / max(total_steps - warmup, 1), 0.0, 1.0)
        decay = {
            "constant": lambda: jnp.ones_like(done),
            "linear": lambda: 1.0 - done,
            "cosine": lambda: 0.5 * (1.0 + jnp.cos(jnp.pi * done)),
        }[course]()
        if warmup == 0:
            return decay
        return decay * jnp.minimum(1.0, (now + 1.0) / warmup)

    return factor
