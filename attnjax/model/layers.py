"""The layers, as Flax modules: the only file that imports Flax.

An encoder maps (inputs, mask) to (states, summary), both independent of what stands off the mask,
where states are 0. One that has an argument `factors`, one a token, multiplies the inputs by them
in a way of its own; for all others that is done beforehand. `ENCODERS` and `ATTENTIONS` are the
tables that a new one joins by one line. Initial values follow `torch.nn`'s defaults, as the
reference models do: uniform within 1/sqrt(fan-in), and within 1/sqrt(hidden) for the LSTM.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnjax.checks import REGISTERED
from attnjax.model.lstm import LSTMParams, bilstm, final_states


def _uniform(bound: float) -> Callable[..., Any]:
    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def _dense(width: int, inputs: int, name: str | None = None, bias: bool = True) -> nn.Dense:
    init = _uniform(inputs**-0.5)
    return nn.Dense(width, use_bias=bias, kernel_init=init, bias_init=init, name=name)


class Embedding(nn.Module):
    """Looks up word vectors: normal with standard deviation `scale`, 0 on padding."""

    words: int
    dim: int
    scale: float

    @nn.compact
    def __call__(self, tokens: Int[Array, "batch length"]) -> Float[Array, "batch length embed"]:
        init = nn.initializers.normal(self.scale, jnp.float32)
        table = self.param("table", init, (self.words, self.dim))
        return jnp.where((tokens != 0)[..., None], table[tokens], 0)


class BiLSTM(nn.Module):
    """One bidirectional LSTM layer; states are 2 * hidden wide, the summary is the final states."""

    hidden: int

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
        factors: Float[Array, "batch length"] | None = None,
    ) -> tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]:
        init = _uniform(self.hidden**-0.5)
        gates = 4 * self.hidden
        params = LSTMParams(
            self.param("input", init, (2, inputs.shape[-1], gates)),
            self.param("recurrent", init, (2, self.hidden, gates)),
            self.param("bias", init, (2, gates)),
        )
        states = bilstm(params, inputs, mask, factors)
        return states, final_states(states, mask)


class CNN(nn.Module):
    """Convolutions 1, 3, 5 and 7 wide, hidden / 4 filters each, ReLU; summary is the maximum."""

    hidden: int

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
    ) -> tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]:
        real = mask[..., None]
        inputs = jnp.where(real, inputs, 0)
        maps = []
        for width in (1, 3, 5, 7):
            init = _uniform((width * inputs.shape[-1]) ** -0.5)
            convolution = nn.Conv(
                self.hidden // 4,
                (width,),
                kernel_init=init,
                bias_init=init,
                name=f"convolution_{width}",
            )
            maps.append(jax.nn.relu(convolution(inputs)))
        states = jnp.where(real, jnp.concatenate(maps, axis=-1), 0)
        return states, states.max(axis=1)  # ReLU: padding's zeros never exceed a token's value


class Average(nn.Module):
    """Projects each word on its own, tanh(W x + b); summary is the mean over tokens."""

    hidden: int

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
    ) -> tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]:
        states = jnp.tanh(_dense(self.hidden, inputs.shape[-1], "project")(inputs))
        states = jnp.where(mask[..., None], states, 0)
        count = jnp.maximum(mask.sum(axis=-1, keepdims=True), 1)
        return states, states.sum(axis=1) / count.astype(states.dtype)


class Additive(nn.Module):
    """Additive scores v . tanh(W h + b [+ W_q q + b_q]) (arXiv:1409.0473, section A.1.2)."""

    @nn.compact
    def __call__(
        self, states: Float[Array, "batch length width"], query: Float[Array, "batch width"] | None
    ) -> Float[Array, "batch length"]:
        width = states.shape[-1]
        keys = _dense(width // 2, width, "states")(states)
        if query is not None:
            keys = keys + _dense(width // 2, width, "query")(query)[:, None, :]
        return _dense(1, width // 2, "score", bias=False)(jnp.tanh(keys))[..., 0]


class Dot(nn.Module):
    """Scaled dot products h . q / sqrt(width); q is a trained vector where there is no query."""

    @nn.compact
    def __call__(
        self, states: Float[Array, "batch length width"], query: Float[Array, "batch width"] | None
    ) -> Float[Array, "batch length"]:
        width = states.shape[-1]
        if query is None:
            vector = self.param("vector", _uniform(width**-0.5), (width,))
            return jnp.einsum("blw,w->bl", states, vector) * width**-0.5
        return jnp.einsum("blw,bw->bl", states, query) * width**-0.5


class Uniform(nn.Module):
    """Every word alike: the attention-free baseline of Wiegreffe & Pinter (arXiv:1908.04626)."""

    @nn.compact
    def __call__(
        self, states: Float[Array, "batch length width"], query: Float[Array, "batch width"] | None
    ) -> Float[Array, "batch length"]:
        return jnp.zeros_like(states[..., 0])


class Decoder(nn.Module):
    """Logits from the attended state; with a query, after one tanh layer over both.

    `product` lets that layer see context * query as well: with the two, whose difference it can
    form itself, these are the matching features of Mou et al. (arXiv:1512.08422, section 3.3).
    Two classes of a single sequence share one trained logit z, handed on as [0, z]: their softmax
    is then the logistic sigmoid of z.
    """

    classes: int
    product: bool = False

    @nn.compact
    def __call__(
        self, context: Float[Array, "batch width"], query: Float[Array, "batch width"] | None
    ) -> Float[Array, "batch classes"]:
        width = context.shape[-1]
        if query is not None:
            hidden = _dense(width // 2, width, "context")(context)
            hidden = hidden + _dense(width // 2, width, "query")(query)
            if self.product:
                hidden = hidden + _dense(width // 2, width, "product", bias=False)(context * query)
            return _dense(self.classes, width // 2, "logits")(jnp.tanh(hidden))
        if self.classes == 2:
            logit = _dense(1, width, "logits")(context)
            return jnp.concatenate([jnp.zeros_like(logit), logit], axis=-1)
        return _dense(self.classes, width, "logits")(context)


def read_out(
    params: Any,
    states: Float[Array, "batch length width"],
    query: Float[Array, "batch width"] | None,
    classes: int,
) -> Callable[[Float[Array, "*many batch length"]], Float[Array, "*many batch classes"]]:
    """`Decoder` as a function of the attention weights, its first linear map applied beforehand.

    (sum_t a_t h_t) W = sum_t a_t (h_t W): with h W at hand, each further attention costs a dot
    product over words for every column of W. Two classes of a single sequence have one column.
    The product with the query is linear in the states as well.
    """
    layer = params["logits" if query is None else "context"]
    values = states @ layer["kernel"]
    if query is not None and "product" in params:
        values = values + (states * query[:, None, :]) @ params["product"]["kernel"]

    def attended(weights: Float[Array, "*many batch length"]) -> Float[Array, "*many batch inner"]:
        if values.shape[-1] == 1:
            return jnp.sum(weights * _lift(values[..., 0], weights), axis=-1, keepdims=True)
        return jnp.einsum("...bl,blw->...bw", weights, values)

    if query is None:

        def logits(weights: Float[Array, "*many batch length"]) -> Float[Array, "..."]:
            context = attended(weights)
            context = context + _lift(layer["bias"], context)
            if classes == 2:
                return jnp.concatenate([jnp.zeros_like(context), context], axis=-1)
            return context

        return logits

    offset = layer["bias"][None, :] + (
        query @ params["query"]["kernel"] + params["query"]["bias"][None, :]
    )

    def pair_logits(weights: Float[Array, "*many batch length"]) -> Float[Array, "..."]:
        context = attended(weights)
        logits = jnp.tanh(context + _lift(offset, context)) @ params["logits"]["kernel"]
        return logits + _lift(params["logits"]["bias"], logits)

    return pair_logits


def _lift(values: Array, like: Array) -> Array:
    """Adds leading axes of size 1 until `values` has as many axes as `like`."""
    return values.reshape((1,) * (like.ndim - values.ndim) + values.shape)


ENCODERS = {"bilstm": BiLSTM, "cnn": CNN, "average": Average}
ATTENTIONS = {"additive": Additive, "dot": Dot, "uniform": Uniform}
REGISTERED.update({"model.encoder": ENCODERS, "model.attention": ATTENTIONS})
