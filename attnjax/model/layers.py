"""The layers, as Flax modules: the only file that imports Flax.

An encoder maps (inputs, mask) to (states, summary), both independent of what stands off the mask,
where states are 0. Everything is written in terms of `Rules`, a field of every module, so that one
model has several backward passes. `ENCODERS` and `ATTENTIONS` are the tables that a new one joins
by one line; an encoder without the field `rules` keeps its own backward pass, and any field that
`ModelConfig` has by the same name is set from there. One with self-attention takes an `Inner` as
well, and its methods `trace` and `layer_states` hand out its layers and their states. One with a
field `geometry` reads pieces of words, as `model.bert` lays them. Initial values follow those of
`torch.nn`, as the reference models do: uniform within 1/sqrt(fan-in), and within 1/sqrt(hidden) for
the LSTM.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnjax.fields import REGISTERED
from attnjax.geometry import Geometry
from attnjax.model import transformer
from attnjax.model.lstm import LSTMParams, bilstm, bilstm_under, final_states
from attnjax.model.rules import PLAIN, Part, Rules, plain_linear
from attnjax.types import Inner, Layer

ACTS = {  # hidden_act of a config.json -> function
    "gelu": transformer.gelu,
    "gelu_new": transformer.gelu_by_tanh,
    "gelu_pytorch_tanh": transformer.gelu_by_tanh,
    "relu": jax.nn.relu,
}


def _uniform(bound: float) -> Callable[..., Any]:
    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Affine(nn.Module):
    """The weights of one linear map beside its inputs: what `Rules.linear` takes."""

    width: int
    bias: bool = True

    @nn.compact
    def __call__(self, inputs: Float[Array, "*rows in"]) -> Part:
        init = _uniform(inputs.shape[-1] ** -0.5)
        kernel = self.param("kernel", init, (inputs.shape[-1], self.width))
        return inputs, kernel, self.param("bias", init, (self.width,)) if self.bias else None


class Convolution(nn.Module):
    """One filter bank of odd width, with zeros beyond both ends of the sequence."""

    filters: int
    width: int
    rules: Rules = PLAIN

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch length embed"]
    ) -> Float[Array, "batch length filters"]:
        embed = inputs.shape[-1]
        init = _uniform((self.width * embed) ** -0.5)
        kernel = self.param("kernel", init, (self.width, embed, self.filters))
        bias = self.param("bias", init, (self.filters,))
        if self.rules.linear is plain_linear:  # 2 to 3 times as fast as the product of windows
            dimensions = ("NHC", "HIO", "NHC")
            maps = jax.lax.conv_general_dilated(
                inputs, kernel, (1,), "SAME", dimension_numbers=dimensions
            )
            return maps + bias[None, None]
        flat = kernel.reshape(self.width * embed, self.filters)
        return self.rules.linear((windows(inputs, self.width), flat, bias))


def windows(
    inputs: Float[Array, "batch length embed"], width: int
) -> Float[Array, "batch length window"]:
    """Each position with its neighbours, one vector: width 3 of [1, 2] is [0, 1, 2], [1, 2, 0]."""
    length, half = inputs.shape[1], width // 2
    padded = jnp.pad(inputs, ((0, 0), (half, half), (0, 0)))
    return jnp.concatenate([padded[:, k : k + length] for k in range(width)], axis=-1)


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
    rules: Rules = PLAIN

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
    ) -> tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]:
        init = _uniform(self.hidden**-0.5)
        gates = 4 * self.hidden
        params = LSTMParams(
            self.param("input", init, (2, inputs.shape[-1], gates)),
            self.param("recurrent", init, (2, self.hidden, gates)),
            self.param("bias", init, (2, gates)),
        )
        if self.rules.encodes_plainly:
            states = bilstm(params, inputs, mask)
        else:
            states = bilstm_under(self.rules, params, inputs, mask)
        return states, final_states(states, mask)


class CNN(nn.Module):
    """Convolutions 1, 3, 5 and 7 wide, hidden / 4 filters each, ReLU; summary is the maximum."""

    hidden: int
    rules: Rules = PLAIN

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
    ) -> tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]:
        real = mask[..., None]
        inputs = jnp.where(real, inputs, 0)
        filters = self.hidden // 4
        maps = [
            Convolution(filters, width, self.rules, name=f"convolution_{width}")(inputs)
            for width in (1, 3, 5, 7)
        ]
        maps = [self.rules.act(jax.nn.relu, each) for each in maps]
        states = jnp.where(real, jnp.concatenate(maps, axis=-1), 0)
        # A filter that no token switches on is 0 everywhere: its derivative is the tokens' alone.
        summary = jnp.where(real, states, -1).max(axis=1)
        return states, jnp.where(mask.any(axis=1, keepdims=True), summary, 0)


class Average(nn.Module):
    """Projects each word on its own, tanh(W x + b); summary is the mean over tokens."""

    hidden: int
    rules: Rules = PLAIN

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
    ) -> tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]:
        projected = self.rules.linear(Affine(self.hidden, name="project")(inputs))
        states = self.rules.act(jnp.tanh, projected)
        states = jnp.where(mask[..., None], states, 0)
        count = jnp.maximum(mask.sum(axis=-1, keepdims=True), 1)
        shares = mask.astype(states.dtype) / count.astype(states.dtype)
        return states, self.rules.attend(shares, states)


class Transformer(nn.Module):
    """Layers of self-attention over all tokens; summary is the state of the first token.

    feedforward  0: four times `hidden`; norm  "pre" or "post"
    rematerialize, dropout  as `transformer.Shape` has them
    """

    hidden: int
    layers: int = 2
    heads: int = 4
    feedforward: int = 0
    norm: str = "pre"
    rematerialize: bool = False
    dropout: float = 0.0
    rules: Rules = PLAIN

    @property
    def shape(self) -> transformer.Shape:
        """What its functions need to know beside the parameters."""
        more = {"rematerialize": self.rematerialize, "dropout": self.dropout}
        return transformer.Shape(self.heads, self.norm == "pre", self.rules, **more)

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
        inner: Inner | None = None,
    ) -> tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]:
        sizes = transformer.Sizes(
            inputs.shape[-1], self.hidden, self.feedforward or 4 * self.hidden, self.layers
        )
        initial = transformer.initial(sizes, self.norm == "pre")
        weights = {name: self.param(name, init) for name, init in initial.items()}
        return transformer.encode(self.shape, weights, inputs, mask, inner)

    def trace(
        self,
        weights: Any,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
    ) -> tuple[Layer, ...]:
        """The layers under these weights, first to last."""
        return transformer.trace(self.shape, weights, inputs, mask)

    def layer_states(
        self,
        weights: Any,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
    ) -> tuple[Float[Array, "batch length width"], ...]:
        """Their states alone."""
        return transformer.layer_states(self.shape, weights, inputs, mask)


class Bert(nn.Module):
    """The encoder of a BERT of this geometry, over vectors of word pieces; post-LN."""

    hidden: int
    geometry: Geometry
    rematerialize: bool = False
    dropout: float = 0.0
    rules: Rules = PLAIN

    @property
    def shape(self) -> transformer.Shape:
        """What its functions need to know beside the parameters."""
        each = self.geometry
        more = {"rematerialize": self.rematerialize, "dropout": self.dropout}
        act = ACTS[each.act]
        return transformer.Shape(each.heads, False, self.rules, each.epsilon, act, **more)

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
        inner: Inner | None = None,
        segments: Int[Array, "batch length"] | None = None,
    ) -> tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]:
        each = self.geometry
        sizes = transformer.Sizes(
            each.width, each.width, each.inner, each.layers, each.positions, each.segments
        )
        initial = transformer.initial(sizes, False)
        weights = {name: self.param(name, init) for name, init in initial.items()}
        return transformer.encode(self.shape, weights, inputs, mask, inner, segments)

    def trace(
        self,
        weights: Any,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
        segments: Int[Array, "batch length"] | None = None,
    ) -> tuple[Layer, ...]:
        """The layers under these weights, first to last."""
        return transformer.trace(self.shape, weights, inputs, mask, segments)

    def layer_states(
        self,
        weights: Any,
        inputs: Float[Array, "batch length embed"],
        mask: Bool[Array, "batch length"],
        segments: Int[Array, "batch length"] | None = None,
    ) -> tuple[Float[Array, "batch length width"], ...]:
        """Their states alone."""
        return transformer.layer_states(self.shape, weights, inputs, mask, segments)


class Additive(nn.Module):
    """Additive scores v . tanh(W h + b [+ W_q q + b_q]) (arXiv:1409.0473, section A.1.2)."""

    rules: Rules = PLAIN

    @nn.compact
    def __call__(
        self, states: Float[Array, "batch length width"], query: Float[Array, "batch width"] | None
    ) -> Float[Array, "batch length"]:
        width = states.shape[-1]
        keys = self.rules.linear(Affine(width // 2, name="states")(states))
        if query is not None:
            asked = self.rules.linear(Affine(width // 2, name="query")(query))
            keys = self.rules.add(keys, asked[:, None, :])
        squashed = self.rules.act(jnp.tanh, keys)
        return self.rules.linear(Affine(1, bias=False, name="score")(squashed))[..., 0]


class Dot(nn.Module):
    """Scaled dot products h . q / sqrt(width); q is a trained vector where there is no query."""

    rules: Rules = PLAIN

    @nn.compact
    def __call__(
        self, states: Float[Array, "batch length width"], query: Float[Array, "batch width"] | None
    ) -> Float[Array, "batch length"]:
        width = states.shape[-1]
        if query is None:
            vector = self.param("vector", _uniform(width**-0.5), (width,))
            return jnp.einsum("blw,w->bl", states, vector) * width**-0.5
        return self.rules.match(states, query[:, None, :])[..., 0] * width**-0.5


class Uniform(nn.Module):
    """Every word alike: the attention-free baseline of Wiegreffe & Pinter (arXiv:1908.04626)."""

    rules: Rules = PLAIN

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
    rules: Rules = PLAIN

    @nn.compact
    def __call__(
        self, context: Float[Array, "batch width"], query: Float[Array, "batch width"] | None
    ) -> Float[Array, "batch classes"]:
        width, rules = context.shape[-1], self.rules
        if query is not None:
            parts = [Affine(width // 2, name="context")(context)]
            parts.append(Affine(width // 2, name="query")(query))
            if self.product:
                matched = rules.gate(query, context)
                parts.append(Affine(width // 2, bias=False, name="product")(matched))
            hidden = rules.act(jnp.tanh, rules.linear(*parts))
            return rules.linear(Affine(self.classes, name="logits")(hidden))
        if self.classes == 2:
            logit = rules.linear(Affine(1, name="logits")(context))
            return jnp.concatenate([jnp.zeros_like(logit), logit], axis=-1)
        return rules.linear(Affine(self.classes, name="logits")(context))


class Pooled(nn.Module):
    """Logits of a BERT classifier: W tanh(W_p z + b_p) + b, z the state of [CLS]."""

    classes: int
    rules: Rules = PLAIN

    @nn.compact
    def __call__(
        self, context: Float[Array, "batch width"], query: Float[Array, "batch width"] | None
    ) -> Float[Array, "batch classes"]:
        width, rules = context.shape[-1], self.rules
        pooled = rules.act(jnp.tanh, rules.linear(Affine(width, name="pooler")(context)))
        return rules.linear(Affine(self.classes, name="logits")(pooled))


ENCODERS = {
    "bilstm": BiLSTM,
    "cnn": CNN,
    "average": Average,
    "transformer": Transformer,
    "bert": Bert,
}
ATTENTIONS = {"additive": Additive, "dot": Dot, "uniform": Uniform}
REGISTERED.update({"model.encoder": ENCODERS, "model.attention": ATTENTIONS})
