"""Dropout inside a layer of self-attention (arXiv:1706.03762, section 5.4), drawn row by row.

Which entries are dropped depends on the row's key, the layer and the place alone: not on padding,
batch mates or devices.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

ATTENTION, ATTENDED, NARROWED = range(3)  # what is dropped in a layer, each drawn apart
QUERY = 1_000_003  # where an encoder of the query starts to count its layers


def row_keys(rows: Int[Array, " batch"], key: Key[Array, ""]) -> Key[Array, " batch"]:
    """A key for each row of a batch, by its number."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def folded(keys: Key[Array, " batch"], number: Int[Array, ""] | int) -> Key[Array, " batch"]:
    """Other keys, one for each of these and the number."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def of_layers(keys: Key[Array, " batch"], layers: int) -> Key[Array, "layers batch"]:
    """The keys of every layer."""
    return jax.vmap(lambda layer: folded(keys, layer))(jnp.arange(layers, dtype=jnp.int32))


def dropped(
    values: Float[Array, "batch length width"],
    keys: Key[Array, " batch"] | None,
    what: int,
    rate: float,
) -> Float[Array, "batch length width"]:
    """Entries are 0 with probability `rate`, the rest scaled to keep the mean; None drops none."""
    if keys is None:
        return values
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, values.shape[1:]))
    return jnp.where(keep(folded(keys, what)), values / (1 - rate), 0)


def dropped_attention(
    weights: Float[Array, "batch heads length length"],
    keys: Key[Array, " batch"] | None,
    rate: float,
) -> Float[Array, "batch heads length length"]:
    """The same for the weights of self-attention, drawn place by place: padding moves no draw."""
    if keys is None:
        return weights
    _, heads, length, _ = weights.shape
    places = jnp.arange(length, dtype=jnp.int32)

    def draw(key: Key[Array, ""]) -> Array:
        each = jax.vmap(lambda place: jax.random.fold_in(key, place))(places)
        keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, (length, heads)))(each)
        return jnp.moveaxis(keep, -1, 0)

    keep = jax.vmap(draw)(folded(keys, ATTENTION))
    return jnp.where(keep, weights / (1 - rate), 0)
