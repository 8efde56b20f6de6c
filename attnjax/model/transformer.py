"""A Transformer encoder as pure functions of stacked parameters, one scan over its layers.

Layer norm comes before each part of a layer (pre-LN, trained from scratch without a warm-up) or
after its sum with what stands beside it (post-LN, Vaswani et al., arXiv:1706.03762). Positions are
sines and cosines, so that texts may have any length and close up where a word is left out; they are
multiplied by one trained number, for word vectors start small. Keys have no bias: softmax would
not see it. Where the mask ends, attention is exactly 0, and so are states.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attnjax.model.attention import attention_weights
from attnjax.model.rules import Rules
from attnjax.types import Inner, Layer

EPSILON = 1e-5  # of layer norm
LONGEST = 10_000.0  # the slowest wave turns once in 2 pi times as many places


class Shape(NamedTuple):
    """What the functions need to know beside the parameters.

    pre  whether layer norm comes before each part
    """

    heads: int
    pre: bool
    rules: Rules


class Sizes(NamedTuple):
    """Widths of the word vectors, the states and the inner maps; number of layers."""

    embed: int
    width: int
    inner: int
    layers: int


def initial(sizes: Sizes, pre: bool) -> dict[str, Callable[..., Any]]:
    """Name -> function of a key that makes these parameters; those of the layers are stacked.

    pre  whether layer norm comes first: then a last one follows all layers
    Maps start uniform within 1/sqrt(inputs), as `torch.nn.Linear` does.
    """

    def affine(inputs: int, outputs: int, key: Array, stack: tuple[int, ...], bias: bool = True):
        bound, keys = inputs**-0.5, jax.random.split(key)
        draw = partial(jax.random.uniform, dtype=jnp.float32, minval=-bound, maxval=bound)
        found = {"kernel": draw(keys[0], (*stack, inputs, outputs))}
        return found | ({"bias": draw(keys[1], (*stack, outputs))} if bias else {})

    def norm(stack: tuple[int, ...]) -> dict[str, Array]:
        shape = (*stack, sizes.width)
        return {"scale": jnp.ones(shape, jnp.float32), "bias": jnp.zeros(shape, jnp.float32)}

    def layers(key: Array) -> dict[str, Any]:
        keys, stack, width = jax.random.split(key, 6), (sizes.layers,), sizes.width
        return {
            "query": affine(width, width, keys[0], stack),
            "key": affine(width, width, keys[1], stack, bias=False),
            "value": affine(width, width, keys[2], stack),
            "output": affine(width, width, keys[3], stack),
            "wide": affine(width, sizes.inner, keys[4], stack),
            "narrow": affine(sizes.inner, width, keys[5], stack),
            "attention_norm": norm(stack),
            "feedforward_norm": norm(stack),
        }

    found = {
        "project": lambda key: affine(sizes.embed, sizes.width, key, ()),
        "positions": lambda _: jnp.ones((), jnp.float32),
        "layers": layers,
    }
    return found | ({"norm": lambda _: norm(())} if pre else {})


def encode(
    shape: Shape,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch length"],
    inner: Inner | None = None,
) -> tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]:
    """States, exactly 0 off the mask, and that of the first token.

    inputs  word vectors; mask  True on tokens, which fill each row from the left
    """
    states, _ = _run(shape, weights, inputs, mask, inner, False)
    return states, states[:, 0]


def trace(
    shape: Shape,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch length"],
) -> tuple[Layer, ...]:
    """Every layer of the same pass, first to last."""
    _, stacked = _run(shape, weights, inputs, mask, None, True)
    count = len(stacked.weights)
    return tuple(jax.tree.map(lambda leaf, k=k: leaf[k], stacked) for k in range(count))


def sinusoids(length: int, width: int) -> np.ndarray:
    """[length, width] sines (even columns) and cosines of the places (arXiv:1706.03762, 3.5)."""
    columns = np.arange(width)
    turns = np.arange(length)[:, None] / LONGEST ** (columns // 2 * 2 / width)
    return np.where(columns % 2, np.cos(turns), np.sin(turns))


def gelu(x: Array) -> Array:
    """x Phi(x), Phi the normal distribution function (arXiv:1606.08415)."""
    return jax.nn.gelu(x, approximate=False)


def _run(
    shape: Shape, weights: Any, inputs: Array, mask: Array, inner: Inner | None, traced: bool
) -> tuple[Array, Any]:
    """(states, the stacked layers where they are traced)."""
    rules, real = shape.rules, mask[..., None]
    x = rules.linear(_part(weights["project"], jnp.where(real, inputs, 0)))
    places = jnp.asarray(sinusoids(*x.shape[1:]), x.dtype)[None] * weights["positions"]
    x = jnp.where(real, rules.add(x, jnp.broadcast_to(places, x.shape)), 0)

    def layer(x: Array, now: Any) -> tuple[Array, Any]:
        own, disturbance = now
        states, seen = _layer(shape, own, disturbance, x, mask)
        return states, seen() if traced else None

    x, layers = jax.lax.scan(layer, x, (weights["layers"], inner or Inner()))
    if shape.pre:  # each layer hands on a sum that nothing has normalised
        x = _normed(rules, weights["norm"], x)
    return jnp.where(real, x, 0), layers


def _layer(
    shape: Shape, weights: Any, inner: Inner, x: Array, mask: Array
) -> tuple[Array, Callable[[], Layer]]:
    """(states, a function that gives all of the layer)."""
    rules = shape.rules
    normed = partial(_normed, rules)
    source = normed(weights["attention_norm"], x) if shape.pre else x
    scores, attention, values, attended = _self_attention(shape, weights, inner, source, mask)
    sums = rules.add(x, attended)
    between = sums if shape.pre else normed(weights["attention_norm"], sums)
    source = normed(weights["feedforward_norm"], sums) if shape.pre else between
    wide = rules.act(gelu, rules.linear(_part(weights["wide"], source)))
    states = rules.add(between, rules.linear(_part(weights["narrow"], wide)))
    if not shape.pre:
        states = normed(weights["feedforward_norm"], states)

    def seen() -> Layer:
        gain = None if shape.pre else _gain(weights["attention_norm"], sums)
        handed = _through(weights["output"], values)
        between_tokens = jnp.where(mask[:, None, None, :], scores, 0)
        parts = attention, handed, x, sums, between, gain, states, between_tokens
        real, found = mask[..., None], Layer(*parts)
        return jax.tree.map(
            lambda each: jnp.where(real if each.ndim == 3 else real[:, None], each, 0), found
        )

    return states, seen


def _self_attention(
    shape: Shape, weights: Any, inner: Inner, source: Array, mask: Array
) -> tuple[Array, Array, Array, Array]:
    """(scores of every head, its weights, values, what is attended): arXiv:1706.03762, eq. 1."""
    rules, heads, (batch, length, width) = shape.rules, shape.heads, source.shape
    inner_width = width // heads

    def by_head(name: str) -> Float[Array, "batch heads length inner"]:
        found = rules.linear(_part(weights[name], source))
        return found.reshape(batch, length, heads, inner_width).swapaxes(1, 2)

    queries, keys, values = (by_head(name) for name in ("query", "key", "value"))
    scores = rules.match(queries * inner_width**-0.5, keys)
    if inner.score is not None:
        scores = scores + inner.score
    allowed = mask[:, None, :, None] & mask[:, None, None, :]
    attention = attention_weights(scores, jnp.broadcast_to(allowed, scores.shape))
    if inner.factor is not None:
        attention = attention * inner.factor
    mixed = rules.mix(attention, values).swapaxes(1, 2).reshape(batch, length, width)
    return scores, attention, values, rules.linear(_part(weights["output"], mixed))


def _through(
    output: Any, values: Float[Array, "batch heads length inner"]
) -> Float[Array, "batch heads length width"]:
    """Each head's values through its part of the output map."""
    _, heads, _, inner_width = values.shape
    kernels = output["kernel"].reshape(heads, inner_width, -1)
    return jnp.einsum("bhld,hdw->bhlw", values, kernels)


def _part(weights: Any, x: Array) -> tuple[Array, Array, Array | None]:
    return x, weights["kernel"], weights.get("bias")


def _normed(rules: Rules, weights: Any, x: Array) -> Array:
    return rules.norm(x, weights["scale"], weights["bias"], EPSILON)


def _gain(weights: Any, sums: Array) -> Float[Array, "batch length width"]:
    """What layer norm multiplies the centred sums by."""
    deviation = jnp.sqrt(jnp.var(sums, axis=-1, keepdims=True) + EPSILON)
    return weights["scale"][None, None] / deviation
