"""Backward passes as data: what each kind of operation sends back; forward values never change.

Encoders, attention and decoder are written in terms of these operations, so that an explanation
with a backward pass of its own (guided backpropagation, LRP) is `jax.vjp` of the same model under
other `Rules`. `Stages.under(rules)` gives that model. Rules are compared and hashed by their
functions: make a set once and use it again, or what is compiled for it is compiled again.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Part = tuple[Array, Array, Array | None]  # inputs x, weights w, bias b or None


def plain_linear(*parts: Part) -> Float[Array, "*rows out"]:
    """sum of x w + b over the parts: x [..., in], w [in, out], b [out] or None."""
    total = None
    for x, w, b in parts:
        # As rows of one matrix: the backward pass of more axes copies its inputs.
        product = x.reshape(-1, x.shape[-1]) @ w
        if b is not None:
            product = product + b[None]
        product = product.reshape(*x.shape[:-1], w.shape[-1])
        total = product if total is None else total + product
    assert total is not None, "a linear map of nothing"
    return total


def plain_add(a: Array, b: Array) -> Array:
    """a + b."""
    return a + b


def plain_gate(gate: Array, source: Array) -> Array:
    """gate * source."""
    return gate * source


def plain_act(function: Callable[[Array], Array], x: Array) -> Array:
    """function(x), elementwise."""
    return function(x)


def plain_attend(
    weights: Float[Array, "batch length"], states: Float[Array, "batch length width"]
) -> Float[Array, "batch width"]:
    """sum_t a_t h_t."""
    return jnp.einsum("bl,blw->bw", weights, states)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def plain_norm(x: Array, scale: Array, bias: Array, epsilon: float) -> Array:
    """Layer normalisation over the last axis (Ba et al., arXiv:1607.06450, eq. 4)."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return _standardised(centred, _deviation(centred, epsilon), scale, bias)


@plain_norm.defjvp
def _change_of_norm(epsilon: float, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """dy = scale (dx - mean dx - y mean(y dx)) / deviation, y without scale and bias.

    Written out, a backward pass keeps y and the deviations, and no other array.
    """
    (x, scale, bias), (dx, dscale, dbias) = primals, tangents
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    deviation = _deviation(centred, epsilon)
    y, ones = centred / deviation, (1,) * (x.ndim - 1)
    slope = dx - jnp.mean(dx, axis=-1, keepdims=True)
    slope = (slope - y * jnp.mean(y * dx, axis=-1, keepdims=True)) / deviation
    scale, bias, dscale, dbias = (e.reshape(*ones, -1) for e in (scale, bias, dscale, dbias))
    return y * scale + bias, slope * scale + y * dscale + dbias


def plain_match(
    queries: Float[Array, "*many asking width"], keys: Float[Array, "*many asked width"]
) -> Float[Array, "*many asking asked"]:
    """The dot product of every query with every key."""
    return jnp.einsum("...qd,...kd->...qk", queries, keys)


def plain_mix(
    weights: Float[Array, "*many asking asked"], values: Float[Array, "*many asked width"]
) -> Float[Array, "*many asking width"]:
    """The values' weighted sum for every query."""
    return jnp.einsum("...qk,...kd->...qd", weights, values)


class Rules(NamedTuple):
    """How each kind of operation answers when it is differentiated.

    linear  (x, w, b), ... -> sum of x w + b: a layer, or several that meet in one sum
    add     (a, b) -> a + b: cells, residuals
    gate    (gate, source) -> gate * source: LSTM gates, the product of two sequences
    act     (function, x) -> function(x): tanh, ReLU, GELU
    attend  (weights, states) -> their weighted sum: attention over words
    norm    (x, scale, bias, epsilon) -> layer normalisation
    match   (queries, keys) -> their dot products: the scores of self-attention
    mix     (weights, values) -> their weighted sums: self-attention
    """

    linear: Callable[..., Array] = plain_linear
    add: Callable[[Array, Array], Array] = plain_add
    gate: Callable[[Array, Array], Array] = plain_gate
    act: Callable[[Callable[[Array], Array], Array], Array] = plain_act
    attend: Callable[[Array, Array], Array] = plain_attend
    norm: Callable[[Array, Array, Array, float], Array] = plain_norm
    match: Callable[[Array, Array], Array] = plain_match
    mix: Callable[[Array, Array], Array] = plain_mix

    @property
    def encodes_plainly(self) -> bool:
        """Whether nothing below attention differs, so that the encoder's kernels hold."""
        return self._replace(attend=plain_attend) == PLAIN


def held_gate(gate: Array, source: Array) -> Array:
    """gate * source, with the gate constant: the source takes all."""
    return jax.lax.stop_gradient(gate) * source


def held_attend(
    weights: Float[Array, "batch length"], states: Float[Array, "batch length width"]
) -> Float[Array, "batch width"]:
    """sum_t a_t h_t, with the attention weights constant."""
    return plain_attend(jax.lax.stop_gradient(weights), states)


def held_mix(
    weights: Float[Array, "*many asking asked"], values: Float[Array, "*many asked width"]
) -> Float[Array, "*many asking width"]:
    """The values' weighted sums, with the weights constant."""
    return plain_mix(jax.lax.stop_gradient(weights), values)


def held_norm(x: Array, scale: Array, bias: Array, epsilon: float) -> Array:
    """Layer normalisation, with the deviation constant (Ali et al., arXiv:2202.07304, eq. 10)."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    deviation = jax.lax.stop_gradient(_deviation(centred, epsilon))
    return _standardised(centred, deviation, scale, bias)


def _deviation(centred: Array, epsilon: float) -> Array:
    return jnp.sqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + epsilon)


def _standardised(centred: Array, deviation: Array, scale: Array, bias: Array) -> Array:
    ones = (1,) * (centred.ndim - 1)
    return centred / deviation * scale.reshape(*ones, -1) + bias.reshape(*ones, -1)


def held_act(function: Callable[[Array], Array], x: Array) -> Array:
    """function(x), differentiated as x times the constant function(x) / x.

    Of a function with function(0) = 0; where x is 0 the ratio is the derivative there.
    """
    return _held(function, x)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _held(function: Callable[[Array], Array], x: Array) -> Array:
    return function(x)


def _held_backward(function: Any, x: Array, grad: Array) -> tuple[Array]:
    ratio = function(x) / jnp.where(x == 0, 1, x)
    slope = jax.vjp(function, x)[1](jnp.ones_like(x))[0]
    return (grad * jnp.where(x == 0, slope, ratio),)


_held.defvjp(lambda function, x: (function(x), x), _held_backward)

PLAIN = Rules()

# Attention over words is constant, as Jain & Wallace (arXiv:1902.10186) take their gradients.
HELD = Rules(attend=held_attend)

# Gates, attention, deviations and the ratios f(x) / x are constant: the model is then affine in its
# inputs, and its gradient times input is LRP with epsilon 0.
FROZEN = Rules(gate=held_gate, act=held_act, attend=held_attend, norm=held_norm, mix=held_mix)


@jax.custom_vjp
def _halved(x: Array) -> Array:
    return x


_halved.defvjp(lambda x: (x, None), lambda _, grad: (grad / 2,))


def _shared(product: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """The product of two inputs, each of which gets half of its relevance."""
    return lambda a, b: product(_halved(a), _halved(b))


# AttnLRP (Achtibat et al., arXiv:2402.05602, eq. 13 and 15): attention is differentiated, and both
# factors of a product get half of what each would get alone.
ATTENTION_LRP = FROZEN._replace(
    gate=_shared(plain_gate),
    attend=_shared(plain_attend),
    match=_shared(plain_match),
    mix=_shared(plain_mix),
)


@cache
def lrp(epsilon: float) -> Rules:
    """Layer-wise relevance propagation by the epsilon rule (Arras et al., arXiv:1706.07206).

    epsilon  added to every denominator, with its sign; 0 gives FROZEN
    The relevance of an input is the input times the gradient under these rules, the gradient of
    the explained score itself. A sum z sends R_i = z_i R / (z + epsilon sign z) to its parts z_i,
    the bias among them; so the gradient, R / z, is multiplied by z / (z + epsilon sign z). Gates
    and attention weights get nothing, and activations hand on what they get. So does layer
    normalisation, whose centring is exact.

    Parts 3 and -1 of z = 2, relevance 2, epsilon 0.5: 3 * 2 / 2.5 = 2.4 and -0.8.
    """
    if epsilon == 0:
        return FROZEN

    @jax.custom_vjp
    def stabilised(z: Array) -> Array:
        return z

    def backward(z: Array, grad: Array) -> tuple[Array]:
        return (grad * z / (z + jnp.where(z >= 0, epsilon, -epsilon).astype(z.dtype)),)

    stabilised.defvjp(lambda z: (z, z), backward)
    return Rules(
        linear=lambda *parts: stabilised(plain_linear(*parts)),
        add=lambda a, b: stabilised(a + b),
        gate=held_gate,
        act=held_act,
        attend=lambda weights, states: stabilised(held_attend(weights, states)),
        norm=held_norm,
        mix=lambda weights, values: stabilised(held_mix(weights, values)),
    )


def guided_act(function: Callable[[Array], Array], x: Array) -> Array:
    """function(x); a ReLU hands back what is positive, where its input was."""
    return _rectified(x, True) if function is jax.nn.relu else function(x)


def deconvolution_act(function: Callable[[Array], Array], x: Array) -> Array:
    """function(x); a ReLU hands back what is positive, whatever its input was."""
    return _rectified(x, False) if function is jax.nn.relu else function(x)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _rectified(x: Array, gated: bool) -> Array:
    del gated
    return jax.nn.relu(x)


def _rectified_backward(gated: bool, x: Array, grad: Array) -> tuple[Array]:
    positive = jax.nn.relu(grad)
    return (jnp.where(x > 0, positive, 0) if gated else positive,)


_rectified.defvjp(lambda x, gated: (jax.nn.relu(x), x), _rectified_backward)

# Guided backpropagation (Springenberg et al., arXiv:1412.6806, figure 1) and deconvolution (Zeiler
# & Fergus, arXiv:1311.2901): only what a ReLU hands back differs from the gradient.
GUIDED = Rules(act=guided_act)
DECONVOLUTION = Rules(act=deconvolution_act)


@jax.custom_vjp
def _positive_parts(parts: tuple[Part, ...]) -> Array:
    return plain_linear(*parts)


def _positive_parts_forward(parts: tuple[Part, ...]) -> tuple[Array, Any]:
    z = plain_linear(*parts)
    return z, (parts, z)


def _positive_parts_backward(found: tuple[tuple[Part, ...], Array], grad: Array) -> tuple[Any]:
    """The relevance z g of an output goes to its positive contributions x w, in their proportion.

    Where z is negative, what made it so takes the part of the positive: -z has the weights -w.
    """
    parts, z = found
    across = (((z.ndim - 1,), (1,)), ((), ()))

    def forward_products(x: Array, w: Array) -> tuple[Array, Array]:
        along = (((x.ndim - 1,), (0,)), ((), ()))
        up, down = jnp.maximum(x, 0), jnp.minimum(x, 0)
        plus, minus = jnp.maximum(w, 0), jnp.minimum(w, 0)
        dot = partial(jax.lax.dot_general, dimension_numbers=along)
        return dot(up, plus) + dot(down, minus), -dot(up, minus) - dot(down, plus)

    each = [forward_products(x, w) for x, w, _ in parts]
    total = jnp.where(z < 0, sum(minus for _, minus in each), sum(plus for plus, _ in each))
    share = jnp.where(total > 0, z * grad / jnp.where(total > 0, total, 1), 0)
    as_is, negated = jnp.where(z < 0, 0, share), jnp.where(z < 0, share, 0)

    def backward(x: Array, w: Array) -> Array:
        dot = partial(jax.lax.dot_general, dimension_numbers=across)
        plus, minus = jnp.maximum(w, 0), jnp.minimum(w, 0)
        of_positive = dot(as_is, plus) - dot(negated, minus)
        return jnp.where(x >= 0, of_positive, dot(as_is, minus) - dot(negated, plus))

    return (
        tuple(
            (backward(x, w), jnp.zeros_like(w), None if b is None else jnp.zeros_like(b))
            for x, w, b in parts
        ),
    )


_positive_parts.defvjp(_positive_parts_forward, _positive_parts_backward)

# Deep Taylor decomposition by the z+ rule, of signed inputs alpha 1 beta 0 (Montavon et al.,
# arXiv:1512.02479; Bach et al. 2015, eq. 60): biases and what speaks against get nothing.
Z_PLUS = Rules(
    linear=lambda *parts: _positive_parts(parts),
    gate=held_gate,
    act=held_act,
    attend=held_attend,
    norm=held_norm,
    mix=held_mix,
)


@jax.custom_vjp
def _by_squared_weights(x: Array, w: Array, b: Array | None) -> Array:
    return plain_linear((x, w, b))


def _by_squared_weights_backward(found: Any, grad: Array) -> tuple[Any, ...]:
    """The relevance z g of an output goes to its inputs in proportion to their squared weights.

    Inputs of exactly 0 have no share: they are padding.
    """
    (x, w, b), z = found
    forth, back = (((x.ndim - 1,), (0,)), ((), ())), (((z.ndim - 1,), (1,)), ((), ()))
    squared, there = jnp.square(w), (x != 0).astype(x.dtype)
    total = jax.lax.dot_general(there, squared, forth)
    share = jnp.where(total > 0, z * grad / jnp.where(total > 0, total, 1), 0)
    relevance = there * jax.lax.dot_general(share, squared, back)
    slope = relevance / jnp.where(x == 0, 1, x)
    return slope, jnp.zeros_like(w), None if b is None else jnp.zeros_like(b)


_by_squared_weights.defvjp(
    lambda x, w, b: ((z := _by_squared_weights(x, w, b)), ((x, w, b), z)),
    _by_squared_weights_backward,
)


def _first_by_squared_weights(*parts: Part) -> Array:
    """Convolutions, [batch, length, ...], are the first layer of a CNN; attention hands on none."""
    if len(parts) == 1 and parts[0][0].ndim == 3:
        return _by_squared_weights(*parts[0])
    return _positive_parts(parts)


# Deep Taylor decomposition with the w^2 rule, of inputs without bounds, in the convolutions, which
# are the first layer (Montavon et al., arXiv:1512.02479, eq. 14), and Z_PLUS above.
W_SQUARE = Z_PLUS._replace(linear=_first_by_squared_weights)
