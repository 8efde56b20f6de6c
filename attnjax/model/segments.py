"""The two segments of an example: which tokens, vectors and words each has."""

from typing import Any

from jaxtyping import Array, Bool, Float, Int

from attnjax.types import Batch, Embedded, Factors, Segment


def values(embedded: Embedded | Factors, segment: Segment) -> Float[Array, "batch length *embed"]:
    """One segment's word vectors, or what was computed for each of them, gradients for example."""
    return _present(embedded.text if segment == "text" else embedded.query)


def tokens(batch: Batch, segment: Segment) -> Int[Array, "batch length"]:
    """The token ids of one segment."""
    return _present(batch.tokens if segment == "text" else batch.query)


def with_tokens(batch: Batch, segment: Segment, ids: Int[Array, "batch length"]) -> Batch:
    """The same batch with other tokens in one segment."""
    return batch._replace(**{"tokens" if segment == "text" else "query": ids})


def words(batch: Batch, segment: Segment) -> Bool[Array, "batch length"]:
    """True on the words of one segment: neither padding nor <sos> nor <eos>."""
    tokens(batch, segment)
    return batch.words if segment == "text" else batch.query_words


def _present(found: Any) -> Any:
    if found is None:
        raise ValueError("segment 'query' needs pairs; these examples have a text alone")
    return found
