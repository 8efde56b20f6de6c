"""The rows of the embedding table that one step looks up, in place of the whole table.

A batch of 32 sentences has some hundred of a table's ten thousand words. Loss and gradient see a
table of those alone, so that no gradient as large as the table is filled with zeros, added to and
read again: an eighth of a step at SST's sizes, more where words are disturbed or tables are larger.
What a step computes stays the same: rows without a gradient still move by their moments.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.types import EOS, Batch, Params

SPECIAL = EOS + 1  # token ids with a meaning of their own, which they keep


class TableGradient(NamedTuple):
    """Gradient of a table in few rows.

    rows   [used, embed]; row 0 is 0, since `Embedding` takes no vector for padding
    slots  [words] where in rows each word's gradient is: 0 for a word that was not looked up
    """

    rows: Float[Array, "used embed"]
    slots: Int[Array, " words"]

    def whole(self) -> Float[Array, "words embed"]:
        """The gradient of the whole table."""
        return _take(self.rows, self.slots)


def looked_up(
    params: Params, batch: Batch, axis: str | None = None
) -> tuple[Params, Batch, Int[Array, " words"] | None]:
    """(params, batch) with a table of the batch's words alone and ids into it, and the slots.

    axis  the name of the axis of devices whose batches together are the step's, or None
    Equal words share a row, the last one's; the other rows of theirs stay unused:
    tokens [[2, 7, 5, 7, 3, 0]] become [[2, 7, 6, 7, 3, 0]] with rows of 0 1 2 3 (2 7 5 7 3 0).
    Returns params and batch as they are, and None, where the table has no more rows than that.
    """
    table = params["embed"]["table"]
    segments = [batch.tokens] if batch.query is None else [batch.tokens, batch.query]
    tokens = jnp.concatenate([each.reshape(-1) for each in segments])
    if axis is not None:
        tokens = jax.lax.all_gather(tokens, axis, tiled=True)
    if SPECIAL + len(tokens) >= len(table):
        return params, batch, None
    special = jnp.arange(SPECIAL, dtype=tokens.dtype)
    places = jnp.arange(SPECIAL, SPECIAL + len(tokens), dtype=tokens.dtype)
    slots = jnp.zeros(len(table), tokens.dtype).at[tokens].max(places).at[:SPECIAL].set(special)
    few = {"table": _take(table, jnp.concatenate([special, tokens]))}
    text, *query = (_take(slots, each) for each in segments)
    batch = batch._replace(tokens=text, query=query[0] if query else None)
    return {**params, "embed": few}, batch, slots


def _take(values: Array, places: Array) -> Array:
    return values.at[places].get(mode="promise_in_bounds")  # no pass that looks for others
