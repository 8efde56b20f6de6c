"""A Transformer encoder as pure functions of stacked parameters, one scan over its layers.

Layer norm comes before each part of a layer (pre-LN, trained from scratch without a warm-up) or
after its sum with what stands beside it (post-LN, Vaswani et al., arXiv:1706.03762). Positions are
sines and cosines, so that texts may have any length and close up where a word is left out; they are
multiplied by one trained number, for word vectors start small. Keys have no bias: softmax would
not see it. Where the mask ends, attention is exactly 0, and so are states.

BERT (Devlin et al., arXiv:1810.04805) is the same pass over other parameters: post-LN, keys with a
bias, and at its entry learned positions and segments and a layer norm in place of a map.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnjax.model.attention import inner_weights
from attnjax.model.dropout import ATTENDED, NARROWED, dropped, dropped_attention, of_layers
from attnjax.model.rules import Rules
from attnjax.types import Inner, Layer

EPSILON = 1e-5  # of layer norm
LONGEST = 10_000.0  # the slowest wave turns once in 2 pi times as many places


def keeping_slope(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The same elementwise function, of which a backward pass keeps the slope alone."""
    same = jax.custom_jvp(function)

    def change(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        (x,) = primals
        value, slope = jax.jvp(function, primals, (jnp.ones_like(x),))
        return value, slope * tangents[0]

    same.defjvp(change)
    return same


@keeping_slope
def gelu(x: Array) -> Array:
    """x Phi(x), Phi the normal distribution function (arXiv:1606.08415)."""
    return jax.nn.gelu(x, approximate=False)


@keeping_slope
def gelu_by_tanh(x: Array) -> Array:
    """Its approximation by tanh (arXiv:1606.08415, section 2)."""
    return jax.nn.gelu(x, approximate=True)


class Shape(NamedTuple):
    """What the functions need to know beside the parameters.

    pre      whether layer norm comes before each part
    epsilon  of layer norm; act  what stands between the two maps after self-attention
    rematerialize  whether backward passes compute each layer again (`jax.checkpoint`)
    dropout  share of the weights of self-attention, and of what each of a layer's two parts adds,
             that is dropped where `Inner` has keys
    """

    heads: int
    pre: bool
    rules: Rules
    epsilon: float = EPSILON
    act: Callable[[Array], Array] = gelu
    rematerialize: bool = False
    dropout: float = 0.0


class Sizes(NamedTuple):
    """Widths of the word vectors, the states and the inner maps; number of layers.

    positions, segments  rows of BERT's tables of them; 0: positions are sines and cosines
    """

    embed: int
    width: int
    inner: int
    layers: int
    positions: int = 0
    segments: int = 0


def initial(sizes: Sizes, pre: bool) -> dict[str, Callable[..., Any]]:
    """Name -> function of a key that makes these parameters; those of the layers are stacked.

    pre  whether layer norm comes first: then a last one follows all layers
    Maps start uniform within 1/sqrt(inputs), as `torch.nn.Linear` does; tables as BERT's do.
    """
    learned = sizes.positions > 0

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
            "key": affine(width, width, keys[1], stack, bias=learned),
            "value": affine(width, width, keys[2], stack),
            "output": affine(width, width, keys[3], stack),
            "wide": affine(width, sizes.inner, keys[4], stack),
            "narrow": affine(sizes.inner, width, keys[5], stack),
            "attention_norm": norm(stack),
            "feedforward_norm": norm(stack),
        }

    def table(rows: int) -> Callable[..., Any]:
        draw = partial(jax.random.normal, shape=(rows, sizes.width), dtype=jnp.float32)
        return lambda key: 0.02 * draw(key)

    if learned:
        tables = {"positions": table(sizes.positions), "segments": table(sizes.segments)}
        return {**tables, "entry_norm": lambda _: norm(()), "layers": layers}
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
    segments: Int[Array, "batch length"] | None = None,
) -> tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]:
    """States, exactly 0 off the mask, and that of the first token.

    inputs    word vectors; mask  True on tokens, which fill each row from the left
    segments  of BERT: which of its segments each token is of; None: the first
    """
    states, _ = _run(shape, weights, inputs, mask, inner, segments, False)
    return states, states[:, 0]


def trace(
    shape: Shape,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch length"],
    segments: Int[Array, "batch length"] | None = None,
) -> tuple[Layer, ...]:
    """Every layer of the same pass, first to last."""
    _, stacked = _run(shape, weights, inputs, mask, None, segments, True)
    count = len(stacked.weights)
    return tuple(jax.tree.map(lambda leaf, k=k: leaf[k], stacked) for k in range(count))


def layer_states(
    shape: Shape,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch length"],
    segments: Int[Array, "batch length"] | None = None,
) -> tuple[Float[Array, "batch length width"], ...]:
    """The states of every layer of the same pass: `Layer.states`.

    Layer by layer, so that what is asked of an early state costs nothing in later layers.
    """
    x, found = _enter(shape, weights, inputs, mask, segments), []
    for place in range(len(jax.tree.leaves(weights["layers"])[0])):
        own = jax.tree.map(lambda leaf, place=place: leaf[place], weights["layers"])
        x, _ = _layer(shape, own, Inner(), x, mask)
        found.append(jnp.where(mask[..., None], x, 0))
    return tuple(found)


def sinusoids(length: int, width: int) -> np.ndarray:
    """[length, width] sines (even columns) and cosines of the places (arXiv:1706.03762, 3.5)."""
    columns = np.arange(width)
    turns = np.arange(length)[:, None] / LONGEST ** (columns // 2 * 2 / width)
    return np.where(columns % 2, np.cos(turns), np.sin(turns))


def _enter(shape: Shape, weights: Any, inputs: Array, mask: Array, segments: Any) -> Array:
    """What the first layer is given, 0 off the mask."""
    rules, real = shape.rules, mask[..., None]
    x = jnp.where(real, inputs, 0)
    if "segments" in weights:
        segments = jnp.zeros(mask.shape, jnp.int32) if segments is None else segments
        places = weights["positions"][None, : x.shape[1]] + weights["segments"][segments]
        x = _normed(shape, weights["entry_norm"], rules.add(x, places))
        return jnp.where(real, x, 0)
    x = rules.linear(_part(weights["project"], x))
    places = jnp.asarray(sinusoids(*x.shape[1:]), x.dtype)[None] * weights["positions"]
    return jnp.where(real, rules.add(x, jnp.broadcast_to(places, x.shape)), 0)


def _run(
    shape: Shape,
    weights: Any,
    inputs: Array,
    mask: Array,
    inner: Inner | None,
    segments: Array | None,
    traced: bool,
) -> tuple[Array, Any]:
    """(states, the stacked layers where they are traced)."""
    x = _enter(shape, weights, inputs, mask, segments)

    def layer(x: Array, now: Any) -> tuple[Array, Any]:
        own, disturbance = now
        states, seen = _layer(shape, own, disturbance, x, mask)
        return states, seen() if traced else None

    inner = inner or Inner()
    if inner.keys is not None:
        count = len(jax.tree.leaves(weights["layers"])[0])
        inner = inner._replace(keys=of_layers(inner.keys, count))
    if shape.rematerialize:  # a scan keeps its steps apart, so that nothing else has to
        layer = jax.checkpoint(layer, prevent_cse=False)
    x, layers = jax.lax.scan(layer, x, (weights["layers"], inner))
    if shape.pre:  # each layer hands on a sum that nothing has normalised
        x = _normed(shape, weights["norm"], x)
    return jnp.where(mask[..., None], x, 0), layers


def _layer(
    shape: Shape, weights: Any, inner: Inner, x: Array, mask: Array
) -> tuple[Array, Callable[[], Layer]]:
    """(states, a function that gives all of the layer, so that none of it is built unasked)."""
    rules = shape.rules
    normed = partial(_normed, shape)
    source = normed(weights["attention_norm"], x) if shape.pre else x
    scores, attention, values, attended = _self_attention(shape, weights, inner, source, mask)
    attended = dropped(attended, inner.keys, ATTENDED, shape.dropout)
    sums = rules.add(x, attended)
    between = sums if shape.pre else normed(weights["attention_norm"], sums)
    source = normed(weights["feedforward_norm"], sums) if shape.pre else between
    wide = rules.act(shape.act, rules.linear(_part(weights["wide"], source)))
    narrowed = rules.linear(_part(weights["narrow"], wide))
    states = rules.add(between, dropped(narrowed, inner.keys, NARROWED, shape.dropout))
    if not shape.pre:
        states = normed(weights["feedforward_norm"], states)

    def seen() -> Layer:
        gain = None if shape.pre else _gain(shape, weights["attention_norm"], sums)
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
    attention = inner_weights(scores, jnp.broadcast_to(allowed, scores.shape))
    if inner.factor is not None:
        attention = attention * inner.factor
    attention = dropped_attention(attention, inner.keys, shape.dropout)
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


def _normed(shape: Shape, weights: Any, x: Array) -> Array:
    return shape.rules.norm(x, weights["scale"], weights["bias"], shape.epsilon)


def _gain(shape: Shape, weights: Any, sums: Array) -> Float[Array, "batch length width"]:
    """What layer norm multiplies the centred sums by."""
    deviation = jnp.sqrt(jnp.var(sums, axis=-1, keepdims=True) + shape.epsilon)
    return weights["scale"][None, None] / deviation
