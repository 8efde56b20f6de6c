"""What self-attention says about words: attention kinds, and importances that go through it.

All are read where the model reads: attention over words takes a mean of the tokens' last states, so
a token's own row of attention counts as much as that token's weight. Of a classifier that reads the
state of [CLS], rows are those of [CLS]. What falls on <sos> and <eos> is left out, so that words
need not sum to 1.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from attnjax.analysis.importance.activation import gradient_x_attention
from attnjax.analysis.importance.method import Method
from attnjax.analysis.importance.propagation import BOTH, relevance, relevances
from attnjax.analysis.importance.target import logit_of
from attnjax.model.attention import attend, forward
from attnjax.model.rules import ATTENTION_LRP
from attnjax.types import Batch, Inner, Layer, Params, Stages, Trace

Matrix = Float[Array, "batch length length"]  # from each token (row) to all
SELF_ATTENTION = ("transformer", "bert")  # encoders that have it


def read_by(weights: Float[Array, "batch length"], matrix: Matrix, batch: Batch) -> Array:
    """The weighted mean of the tokens' rows, 0 off the words: [batch, length]."""
    return jnp.where(batch.words, jnp.einsum("bi,bij->bj", weights, matrix), 0)


def of_layers(
    read: Callable[[Sequence[Layer]], Matrix],
) -> Callable[[Stages, Params, Batch, Key[Array, ""]], Float[Array, "batch length"]]:
    """The method that reads a matrix off the text's layers."""

    def find(
        stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, "batch length"]:
        del key
        trace = forward(stages, params, batch)
        layers = stages.layers(params, trace.embedded, batch, "text")
        return read_by(trace.weights, stages.of_words(batch, read(layers)), batch)

    return find


def last(layers: Sequence[Layer]) -> Matrix:
    """The mean over heads of the last layer's attention."""
    return layers[-1].weights.mean(axis=1)


def attention_of(
    stages: Stages, params: Params, trace: Trace, batch: Batch
) -> Float[Array, "batch length"]:
    """The model's last attention over words, which sums to 1 over them.

    That of the pooling head; of a model without one, what the state that it reads gives each word
    in the last layer, the mean over heads, divided by its sum over words.
    """
    if stages.over_words:
        return trace.weights
    layers = stages.layers(params, trace.embedded, batch, "text")
    given = read_by(trace.weights, stages.of_words(batch, last(layers)), batch)
    total = given.sum(axis=-1, keepdims=True)
    return given / jnp.where(total > 0, total, 1)


def rolled_out(layers: Sequence[Layer]) -> Matrix:
    """The product over layers, last on the left, of half attention and half identity.

    Attention is its mean over heads (Abnar & Zuidema, arXiv:2005.00928, section 3). Rows sum to 1.
    """
    own = jnp.eye(layers[0].weights.shape[-1], dtype=layers[0].weights.dtype)[None]
    return multiplied([(each.weights.mean(axis=1) + own) / 2 for each in layers])


def multiplied(matrices: Sequence[Matrix]) -> Matrix:
    """The product, last on the left."""
    return reduce(lambda product, each: each @ product, matrices)


def norms(layers: Sequence[Layer]) -> Matrix:
    """||sum over heads of a_ij v_j|| in the last layer (Kobayashi et al., arXiv:2004.10102, eq. 4).

    v_j  the head's value of token j through its part of the output map
    """
    return by_row(layers[-1], lambda place, parts: jnp.linalg.norm(parts, axis=-1))


def by_row(
    layer: Layer,
    measured: Callable[[Int[Array, ""], Float[Array, "batch length width"]], Array],
) -> Matrix:
    """measured(i, what token i takes from every token) -> [batch, length], row by row.

    One row at a time: all would be length x length vectors.
    """

    def row(place: Int[Array, ""]) -> Float[Array, "batch length"]:
        weights = layer.weights[:, :, place]
        return measured(place, jnp.einsum("bhj,bhjw->bjw", weights, layer.values))

    return jax.lax.map(row, jnp.arange(layer.weights.shape[-1])).swapaxes(0, 1)


def contributions(layer: Layer) -> Matrix:
    """max(0, |y_i|_1 - |y_i - T_ij|_1), each row divided by its sum (ALTI, eq. 9 and 10).

    T_ij is what token i takes from j, what stands beside self-attention included (i = j), through
    the layer norm that follows in post-LN, whose deviation is held; y_i all of it and the biases.
    """

    def near(place: Int[Array, ""], parts: Float[Array, "batch length width"]) -> Array:
        parts = parts.at[:, place].add(layer.inputs[:, place])
        if layer.gain is not None:
            centred = parts - parts.mean(axis=-1, keepdims=True)
            parts = centred * layer.gain[:, place][:, None]
        whole = layer.attended[:, place]
        missing = jnp.abs(whole[:, None] - parts).sum(axis=-1)
        return jax.nn.relu(jnp.abs(whole).sum(axis=-1, keepdims=True) - missing)

    real = layer.weights.any(axis=(1, 3))  # a single weight may be too small for its type
    found = jnp.where(real[:, :, None] & real[:, None], by_row(layer, near), 0)
    total = found.sum(axis=-1, keepdims=True)
    return found / jnp.where(total > 0, total, 1)


def gradient_attention(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]
) -> Float[Array, "batch length"]:
    """Attention times the gradient by it, where positive, carried through all layers.

    R starts as the identity and becomes R + A R with each layer's A, the mean over heads of
    (a df/da)^+, f the explained logit (Chefer et al., arXiv:2103.15679, eq. 5 and 6). Attention
    over words, which reads the last states, is the last such A; where there is none, the row of the
    state that is read is taken.
    """
    trace = forward(stages, params, batch)
    layers = stages.layers(params, trace.embedded, batch, "text")
    classes = trace.logits.argmax(axis=-1)

    def score(factor: Array) -> Float[Array, ""]:
        encoded = stages.encode(params, trace.embedded, batch, inner=Inner(factor=factor))
        scores = stages.score(params, encoded)
        return logit_of(attend(stages, params, encoded, scores, batch)[1], classes, batch).sum()

    # The derivative by a factor of a, at 1, is a df/da.
    products = jax.grad(score)(
        jnp.ones((len(layers), *layers[0].weights.shape), trace.logits.dtype)
    )
    own = jnp.eye(products.shape[-1], dtype=products.dtype)[None]
    carried = multiplied([jax.nn.relu(each).mean(axis=1) + own for each in products])
    read = trace.weights
    if stages.over_words:
        read = jax.nn.relu(gradient_x_attention(stages, params, batch, key, trace))
    return read_by(read, stages.of_words(batch, carried), batch)


ATTENTION_LAST = Method(of_layers(last), kind="attention", encoders=SELF_ATTENTION)
ROLLOUT = ATTENTION_LAST._replace(
    find=of_layers(rolled_out), reference="Abnar & Zuidema 2020, arXiv:2005.00928"
)
NORM_ATTENTION = ATTENTION_LAST._replace(
    find=of_layers(norms), reference="Kobayashi et al. 2020, arXiv:2004.10102"
)
ALTI = ATTENTION_LAST._replace(
    find=of_layers(lambda layers: multiplied([contributions(each) for each in layers])),
    reference="Ferrando et al. 2022, arXiv:2203.04212",
)
GRADIENT_ATTENTION = Method(
    gradient_attention,
    encoders=SELF_ATTENTION,
    reference="Chefer et al. 2021, arXiv:2103.15679",
)
ATTENTION_LRP_METHOD = Method(
    relevance,
    signed=True,
    segments=BOTH,
    shared=relevances(ATTENTION_LRP),
    apart=True,
    encoders=SELF_ATTENTION,
    reference="Achtibat et al. 2024, arXiv:2402.05602",
)
