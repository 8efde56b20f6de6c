"""Shortcuts of a model, each beside the literal way, which gives the same values.

`literal` makes all of them from the stages alone. A built model has quicker ones: its decoder reads
many attentions of one encoding at once, and `WITHOUT`, `SCALED`, `KEPT` and `EDITED` hold what an
encoder can do. A way of leaving tokens out is one function (encoder, weights, inputs, tokens) ->
without, where without(position) is (states, summary, tokens left) of the rows that lack this
position; a way of scaling is (encoder, weights, inputs, mask, factors) -> (states, summary); a way
of keeping some tokens is (weights, inputs) -> kept, where kept(order, real) is (states, summary); a
way of putting in others is (weights, inputs) -> edited, see `bilstm_edited`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from attnjax.model import segments
from attnjax.model.lstm import (
    LSTMParams,
    bilstm,
    bilstm_edited,
    bilstm_kept,
    bilstm_under,
    bilstm_without,
    final_states,
)
from attnjax.model.rules import HELD, PLAIN, Rules
from attnjax.types import (
    PAD,
    Batch,
    Edited,
    Embedded,
    Encoded,
    Factors,
    Kept,
    Layer,
    Params,
    Quick,
    Read,
    Segment,
    Stages,
    Without,
)

States = tuple[Float[Array, "batch length width"], Float[Array, "batch width"]]
SegmentWithout = Callable[
    [Int[Array, ""]],
    tuple[
        Float[Array, "batch length width"], Float[Array, "batch width"], Int[Array, "batch length"]
    ],
]


def literal(
    embed: Callable[[Params, Batch], Embedded],
    encode: Callable[[Params, Embedded, Batch], Encoded],
    decode: Callable[..., Any],
) -> Quick:
    """The slow way of each shortcut, from the stages of any model."""

    def read(params: Params, encoded: Encoded, batch: Batch) -> Read:
        def decode_each(weights: Array) -> Array:
            if weights.ndim > 2:
                return jax.vmap(decode_each)(weights)
            return decode(params, encoded, weights, batch)

        return decode_each

    def encode_without(
        params: Params, embedded: Embedded, batch: Batch, segment: Segment
    ) -> Without:
        def without(position: Int[Array, ""]) -> tuple[Encoded, Int[Array, "batch length"]]:
            left = delete(segments.tokens(batch, segment), position)
            vectors = delete(segments.values(embedded, segment), position)
            shorter = embedded._replace(**{segment: vectors})
            return encode(params, shorter, segments.with_tokens(batch, segment, left)), left

        return without

    def encode_scaled(
        params: Params, embedded: Embedded, batch: Batch, factors: Factors
    ) -> Encoded:
        like: Any = Embedded(*factors)
        scaled = jax.tree.map(lambda vectors, f: vectors * f[..., None], embedded, like)
        return encode(params, scaled, batch)

    def encode_kept(params: Params, embedded: Embedded, batch: Batch) -> Kept:
        def kept(text: Array, query: Array | None) -> tuple[Encoded, Batch]:
            closed, found = batch, embedded
            keep: tuple[tuple[Segment, Array | None], ...] = ("text", text), ("query", query)
            for segment, stay in keep:
                if stay is not None:
                    order, real = kept_order(stay)
                    ids = segments.tokens(batch, segment)
                    closed = segments.with_tokens(closed, segment, gathered(ids, order, real))
                    vectors = gathered(segments.values(embedded, segment), order, real)
                    found = found._replace(**{segment: vectors})
            return encode(params, found, closed), closed

        return kept

    def encode_edited(params: Params, embedded: Embedded, batch: Batch) -> Edited:
        del embedded

        def edited(rows: Array, places: Array, tokens: Array) -> tuple[Encoded, Batch]:
            found = edit(batch, rows, places, tokens).batch
            return encode(params, embed(params, found), found), found

        return edited

    return Quick(read, encode_without, encode_scaled, encode_kept, encode_edited)


class Edit(NamedTuple):
    """Edited texts: the batch of them, and how each comes about from the row that it was.

    order, real  [some, length] as of `kept_order`; places  [some, changes] where the new tokens
    stand in them, the length itself where none does
    """

    batch: Batch
    order: Int[Array, "some length"]
    real: Bool[Array, "some length"]
    places: Int[Array, "some changes"]


def edit(
    batch: Batch,
    rows: Int[Array, " some"],
    places: Int[Array, "some changes"],
    tokens: Int[Array, "some changes"],
) -> Edit:
    """These rows with these tokens at these places of their texts, closed up where one is PAD.

    Worked: of [[2, 7, 8, 3]] places [[1, 2]] and tokens [[PAD, 9]] make [[2, 9, 3, PAD]], order
    [[0, 2, 3, 1]], places [[4, 1]].
    """
    some = jax.tree.map(lambda each: each[rows], batch)
    length = some.tokens.shape[1]
    at = jnp.arange(len(rows), dtype=places.dtype)[:, None]
    changed = some.tokens.at[at, places].set(tokens, mode="drop")
    order, real = kept_order(changed != PAD)
    place = jnp.arange(length, dtype=places.dtype)[None, :, None]
    left = (changed != PAD)[..., None] & (place < places[:, None, :])  # before each new token
    stands = (tokens != PAD) & (places < length)
    new = jnp.where(stands, left.sum(axis=1, dtype=places.dtype), length)
    return Edit(some._replace(tokens=gathered(changed, order, real)), order, real, new)


def kept_order(
    keep: Bool[Array, "batch length"],
) -> tuple[Int[Array, "batch length"], Bool[Array, "batch length"]]:
    """Where each place's token comes from when the rest closes up, and which places have one.

    [[True, False, True]] -> [[0, 2, 1]], [[True, True, False]]
    """
    order = jnp.argsort(~keep, axis=-1, stable=True)
    return order, jnp.take_along_axis(keep, order, axis=-1)


def gathered(
    values: Int[Array, "batch length"] | Float[Array, "batch length embed"],
    order: Int[Array, "batch length"],
    real: Bool[Array, "batch length"],
) -> Int[Array, "batch length"] | Float[Array, "batch length embed"]:
    """The values in that order; 0, as padding and its vector, where no place is real."""
    more = (1,) * (values.ndim - 2)
    found = jnp.take_along_axis(values, order.reshape(*order.shape, *more), axis=1)
    return jnp.where(real.reshape(*real.shape, *more), found, 0)


def stages_by_hand(
    init: Callable[[Key[Array, ""]], Params],
    embed: Callable[[Params, Batch], Embedded],
    encode: Callable[[Params, Embedded, Batch], Encoded],
    score: Callable[[Params, Encoded], Float[Array, "batch length"]],
    decode: Callable[..., Any],
) -> Stages:
    """Stages of a model that is not written in terms of Rules: it can hold attention, no more."""

    def under(rules: Rules) -> Stages:
        if rules == PLAIN:
            return stages_by_hand(init, embed, encode, score, decode)
        if rules != HELD:
            raise ValueError("this model has no other backward pass: it is not written in Rules")

        def held(params: Params, encoded: Encoded, weights: Array, batch: Batch) -> Array:
            return decode(params, encoded, jax.lax.stop_gradient(weights), batch)

        return stages_by_hand(init, embed, encode, score, held)

    def layers(*_: Any) -> tuple[Layer, ...]:
        return ()

    quick = literal(embed, encode, decode)
    return Stages(init, embed, encode, score, decode, quick, under, layers)


def delete(
    values: Int[Array, "batch length"] | Float[Array, "batch length embed"],
    position: Int[Array, ""],
) -> Int[Array, "batch length"] | Float[Array, "batch length embed"]:
    """Deletes one position from every row: [[2, 7, 8, 3]] without 1 -> [[2, 8, 3, 0]].

    The rest closes up; what comes in at the end is 0, as padding and its vector.
    """
    following = jnp.roll(values, -1, axis=1).at[:, -1].set(PAD)
    places = jnp.arange(values.shape[1], dtype=position.dtype)
    return jnp.where(places.reshape(1, -1, *(1,) * (values.ndim - 2)) < position, values, following)


def close_up(
    encoder: Any,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    tokens: Int[Array, "batch length"],
) -> SegmentWithout:
    """Literally: the vectors close up and are encoded anew."""

    def without(position: Int[Array, ""]) -> Any:
        left = delete(tokens, position)
        encoded = encoder.apply({"params": weights}, delete(inputs, position), left != PAD)
        return *encoded, left

    return without


def skip_steps(
    encoder: Any,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    tokens: Int[Array, "batch length"],
) -> SegmentWithout:
    """For the BiLSTM: the step is skipped, states keep their places, the token left out is PAD."""
    del encoder
    mask = tokens != PAD
    rest = bilstm_without(LSTMParams(**weights), inputs, mask)

    def without(position: Int[Array, ""]) -> Any:
        states = rest(position)
        left_out = jnp.arange(tokens.shape[1], dtype=position.dtype) == position
        left = jnp.where(left_out[None, :], PAD, tokens)
        return states, final_states(states, mask), left

    return without


def scale_vectors(
    encoder: Any,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch length"],
    factors: Float[Array, "batch length"],
) -> States:
    """Literally: the vectors are multiplied and encoded."""
    return encoder.apply({"params": weights}, inputs * factors[..., None], mask)


def scale_projections(
    encoder: Any,
    weights: Any,
    inputs: Float[Array, "batch length embed"],
    mask: Bool[Array, "batch length"],
    factors: Float[Array, "batch length"],
) -> States:
    """For the BiLSTM: the projections are multiplied, so that no matmul goes back to vectors."""
    given = LSTMParams(**weights), inputs, mask, factors
    plain = encoder.rules.encodes_plainly
    states = bilstm(*given) if plain else bilstm_under(encoder.rules, *given)
    return states, final_states(states, mask)


def gather_projections(
    weights: Any, inputs: Float[Array, "batch length embed"]
) -> Callable[[Array, Array], States]:
    """For the BiLSTM: words are projected once, and the projections gathered."""
    kept = bilstm_kept(LSTMParams(**weights), inputs)

    def encoded(order: Array, real: Array) -> States:
        states = kept(order, real)
        return states, final_states(states, real)

    return encoded


def edit_projections(
    weights: Any, inputs: Float[Array, "batch length embed"]
) -> Callable[..., Float[Array, "some length states"]]:
    """For the BiLSTM: words are projected once, and beside them only those that come in."""
    return bilstm_edited(LSTMParams(**weights), inputs)


WITHOUT = {"bilstm": skip_steps}
SCALED = {"bilstm": scale_projections}
KEPT = {"bilstm": gather_projections}
EDITED = {"bilstm": edit_projections}


def read_out(
    params: Any,
    states: Float[Array, "batch length width"],
    query: Float[Array, "batch width"] | None,
    classes: int,
) -> Read:
    """The decoder as a function of the attention weights, its first linear map applied beforehand.

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
