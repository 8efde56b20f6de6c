"""The stages of a network, each one function of (network, parameters, ...)."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from attnjax.config import ModelConfig
from attnjax.geometry import Pieces
from attnjax.model import bert, monotonic, segments
from attnjax.model.attention import attention_weights
from attnjax.model.dropout import QUERY, folded
from attnjax.model.layers import Decoder, Embedding, Pooled
from attnjax.model.quick import (
    EDITED,
    KEPT,
    SCALED,
    WITHOUT,
    close_up,
    edit,
    gathered,
    kept_order,
    read_out,
    scale_vectors,
)
from attnjax.model.rules import Rules, plain_attend
from attnjax.model_checks import trained_elsewhere
from attnjax.types import (
    PAD,
    SOS,
    Batch,
    Edited,
    Embedded,
    Encoded,
    Factors,
    Inner,
    Kept,
    Layer,
    Listed,
    Params,
    Read,
    Segment,
    Without,
)

IMPOSSIBLE = -1e9  # logit of an answer that is no candidate: probability exactly 0 in float32


class Network(NamedTuple):
    """What the stages of one model are made of, under one set of rules.

    words        rows of the embedding table; classes  size of the output
    pair         whether examples have a query
    frequencies  [words] share of each word among the training tokens, for normalize_embeddings
    pieces       of a pretrained model that each word is made of; None: words have vectors
    listed       the words of model.monotonic, which encoder and attention do not see; or None
    encoder, attention  modules of `layers.ENCODERS` and `layers.ATTENTIONS`
    """

    config: ModelConfig
    words: int
    pair: bool
    classes: int
    frequencies: np.ndarray | None
    pieces: Pieces | None
    listed: Listed | None
    rules: Rules
    embedding: Embedding
    encoder: Any
    attention: Any
    decoder: Decoder | Pooled

    @property
    def one_encoder(self) -> bool:
        """Whether text and query go through the same."""
        return self.config.share_encoder or self.pieces is not None


def init(network: Network, key: Key[Array, ""]) -> Params:
    """Parameters {"embed", "encode", "score", "decode"} from a key."""
    keys = jax.random.split(key, 5)
    tokens = jnp.full((1, 2), PAD + 1)
    mask = tokens != PAD
    table = network.embedding.init(keys[0], tokens)["params"]
    vectors: Any = network.embedding.apply({"params": table}, tokens)
    encoder = network.encoder
    encoders = {"text": encoder.init(keys[1], vectors, mask)["params"]}
    if network.pair and not network.one_encoder:
        encoders["query"] = encoder.init(keys[2], vectors, mask)["params"]
    states, summary = encoder.apply({"params": encoders["text"]}, vectors, mask)
    query = summary if network.pair else None
    # Scaled-dot attention over a query has no parameters at all.
    scores = network.attention.init(keys[3], states, query).get("params", {})
    context = jnp.einsum("bl,blw->bw", attention_weights(states[..., 0], mask), states)
    decoders = network.decoder.init(keys[4], context, query)["params"]
    if network.listed is not None:
        decoders = {**decoders, "monotonic": monotonic.initial(network.listed)}
    return {"embed": table, "encode": encoders, "score": scores, "decode": decoders}


def embed(network: Network, params: Params, batch: Batch) -> Embedded:
    """The vectors of text and query, 0 on padding."""
    config, table, pieces = network.config, params["embed"], network.pieces
    if config.freeze_embeddings or config.freeze_encoder:
        table = jax.lax.stop_gradient(table)
    if pieces is not None:
        text = bert.look_up(table["table"], pieces, batch.tokens)
        if not network.pair:
            return Embedded(text, None)
        assert batch.query is not None
        return Embedded(text, bert.look_up(table["table"], pieces, batch.query))
    if config.normalize_embeddings:
        table = {"table": normalized(table["table"], jnp.asarray(network.frequencies))}
    rows = len(table["table"])  # a step has only those that it looks up
    if rows > network.words:
        raise ValueError(f"a table of {rows} rows for a vocabulary of {network.words} words")
    embedding = network.embedding.clone(words=rows)
    text = cast(Any, embedding.apply({"params": table}, batch.tokens))
    query: Any = embedding.apply({"params": table}, batch.query) if network.pair else None
    return Embedded(text, query)


def encode_pieces(
    network: Network,
    params: Params,
    embedded: Embedded,
    batch: Batch,
    factors: Factors | None = None,
    inner: Inner | None = None,
) -> Encoded:
    """`encode` where words have pieces: text and query are one sequence."""
    if factors is not None:
        scaled: Any = Embedded(*factors)
        embedded = jax.tree.map(lambda vectors, f: vectors * f[..., None], embedded, scaled)
    assert network.pieces is not None
    laid = bert.lay(network.pieces, batch)
    vectors = bert.side_by_side(network.pieces, embedded, laid)
    weights = {"params": _weights_of(network, params, "text")}
    states, _ = network.encoder.apply(weights, vectors, laid.real, inner, laid.segment)
    text = bert.states_of_words(states, laid, batch, "text")
    if embedded.query is None:
        return Encoded(text, None)
    return Encoded(text, bert.summary_of_query(states, laid, batch))


def encode(
    network: Network,
    params: Params,
    embedded: Embedded,
    batch: Batch,
    factors: Factors | None = None,
    inner: Inner | None = None,
) -> Encoded:
    """States of the text and the query's summary; with factors, of vectors times one a token."""
    if network.pieces is not None:
        return encode_pieces(network, params, embedded, batch, factors, inner)
    if network.listed is not None:
        assert factors is None, "such a model has the literal shortcuts"
        how = monotonic.closed(network.listed, batch)
        vectors = monotonic.moved(embedded.text, how.order, how.real)
        inner = None if inner is None else monotonic.inner_of_closed(inner, how)
        states, _ = _run(network, params, "text", vectors, how.real, None, inner)
        return Encoded(monotonic.moved(states, how.back, how.stays), None)
    text, query = factors or (None, None)
    states, _ = _run(network, params, "text", embedded.text, batch.mask, text, inner)
    if embedded.query is None:
        return Encoded(states, None)
    asked = None
    if inner is not None and inner.keys is not None:  # nothing else of it is the query's
        asked = Inner(keys=folded(inner.keys, QUERY))
    _, summary = _run(network, params, "query", embedded.query, batch.query_mask, query, asked)
    return Encoded(states, summary)


def layers(
    network: Network, params: Params, embedded: Embedded, batch: Batch, segment: Segment = "text"
) -> tuple[Layer, ...]:
    """The layers of self-attention over one segment; () where its encoder has none.

    Where words have pieces they are those of the whole sequence of pieces: see `of_words`.
    """
    if not hasattr(network.encoder, "trace"):
        return ()
    found = network.encoder.trace(*_entry(network, params, embedded, batch, segment))
    if network.listed is None:
        return found
    how = monotonic.closed(network.listed, batch)
    return tuple(monotonic.layer_of_whole(each, how) for each in found)


def layer_states(
    network: Network, params: Params, embedded: Embedded, batch: Batch, segment: Segment = "text"
) -> tuple[Float[Array, "batch length width"], ...]:
    """`Stages.layer_states`: those of `layers`, where words have pieces the mean of theirs."""
    if not hasattr(network.encoder, "trace"):
        return ()
    found = network.encoder.layer_states(*_entry(network, params, embedded, batch, segment))
    if network.pieces is not None:
        laid = bert.lay(network.pieces, batch)
        return tuple(bert.states_of_words(each, laid, batch, segment) for each in found)
    if network.listed is None:
        return found
    how = monotonic.closed(network.listed, batch)
    return tuple(monotonic.moved(each, how.back, how.stays) for each in found)


def _entry(
    network: Network, params: Params, embedded: Embedded, batch: Batch, segment: Segment
) -> tuple[Any, ...]:
    """(weights, vectors, mask, and of pieces their segments) of one segment's first layer."""
    if network.pieces is not None:
        laid = bert.lay(network.pieces, batch)
        vectors = bert.side_by_side(network.pieces, embedded, laid)
        return _weights_of(network, params, "text"), vectors, laid.real, laid.segment
    weights, vectors = _weights_of(network, params, segment), segments.values(embedded, segment)
    if network.listed is None:
        return weights, vectors, segments.tokens(batch, segment) != PAD
    how = monotonic.closed(network.listed, batch)
    return weights, monotonic.moved(vectors, how.order, how.real), how.real


def of_words(
    network: Network,
    batch: Batch,
    matrix: Float[Array, "batch *many places places"],
    segment: Segment = "text",
) -> Float[Array, "batch *many length length"]:
    """`Stages.of_words` where words have pieces."""
    assert network.pieces is not None
    return bert.matrix_of_words(matrix, bert.lay(network.pieces, batch), batch, segment)


def places(network: Network, batch: Batch) -> Bool[Array, "batch places"]:
    """`Stages.places`."""
    if network.listed is not None:
        return monotonic.unlisted(network.listed, batch, batch.mask)
    return batch.mask if network.pieces is None else bert.lay(network.pieces, batch).real


def attended(network: Network, batch: Batch) -> Bool[Array, "batch length"]:
    """`Stages.attended`."""
    if network.pieces is not None:
        return batch.words & (bert.counts_of(network.pieces, batch.tokens) > 0)
    if network.listed is None:
        return batch.words
    return monotonic.unlisted(network.listed, batch, batch.words)


def first_token(batch: Batch) -> Bool[Array, "batch length"]:
    """True on <sos>: `Stages.attended` of a model that reads its first state."""
    return batch.tokens == SOS


def score(network: Network, params: Params, encoded: Encoded) -> Float[Array, "batch length"]:
    """Unnormalised attention scores."""
    scores: Any = network.attention.apply(
        {"params": params["score"]}, encoded.states, encoded.query
    )
    return scores


def decode(
    network: Network,
    params: Params,
    encoded: Encoded,
    weights: Float[Array, "batch length"],
    batch: Batch,
) -> Float[Array, "batch classes"]:
    """Logits of the attended states; those of answers that are no candidates are IMPOSSIBLE."""
    # Picking one state is no sum that relevance must be shared in.
    pick = trained_elsewhere(network.config)
    attend = plain_attend if pick else network.rules.attend
    context = attend(weights, encoded.states)
    logits: Any = network.decoder.apply({"params": params["decode"]}, context, encoded.query)
    if network.listed is not None:
        more = monotonic.added(params["decode"]["monotonic"], network.listed, batch)
        logits = logits.at[:, 1].add(more)
    return _among_candidates(logits, batch)


def _among_candidates(logits: Float[Array, "*many batch classes"], batch: Batch) -> Any:
    if batch.candidates is None:
        return logits
    return jnp.where(jnp.broadcast_to(batch.candidates, logits.shape), logits, IMPOSSIBLE)


def _weights_of(network: Network, params: Params, segment: Segment) -> Any:
    """The parameters of the segment's encoder, constant where it is frozen."""
    weights = params["encode"]["text" if network.one_encoder else segment]
    return jax.lax.stop_gradient(weights) if network.config.freeze_encoder else weights


def _run(
    network: Network,
    params: Params,
    segment: Segment,
    vectors: Array,
    mask: Any,
    factors: Any,
    inner: Inner | None = None,
) -> Any:
    weights = _weights_of(network, params, segment)
    if inner is not None:
        return network.encoder.apply({"params": weights}, vectors, mask, inner)
    if factors is None:
        return network.encoder.apply({"params": weights}, vectors, mask)
    scaled = SCALED.get(network.config.encoder, scale_vectors)
    return scaled(network.encoder, weights, vectors, mask, factors)


def read_many(network: Network, params: Params, encoded: Encoded, batch: Batch) -> Read:
    """`Quick.read`: the decoder's first map is applied to the states once."""
    logits = read_out(params["decode"], encoded.states, encoded.query, network.classes)
    return lambda weights: _among_candidates(logits(weights), batch)


def encode_without(
    network: Network, params: Params, embedded: Embedded, batch: Batch, segment: Segment
) -> Without:
    """`Quick.encode_without`: the other segment's encoding is that of the whole batch."""
    whole = encode(network, params, embedded, batch)
    without = WITHOUT.get(network.config.encoder, close_up)(
        network.encoder,
        _weights_of(network, params, segment),
        segments.values(embedded, segment),
        segments.tokens(batch, segment),
    )

    def edited(position: Any) -> Any:
        states, summary, left = without(position)
        text = segment == "text"
        encoded = Encoded(states, whole.query) if text else Encoded(whole.states, summary)
        return encoded, left

    return edited


def encode_kept(network: Network, params: Params, embedded: Embedded, batch: Batch) -> Kept:
    """`Quick.encode_kept` of an encoder in `KEPT`."""

    def of(segment: Segment) -> Any:
        weights = _weights_of(network, params, segment)
        return KEPT[network.config.encoder](weights, segments.values(embedded, segment))

    text, asked = of("text"), of("query") if network.pair else None

    def kept(stay: Any, query: Any) -> Any:
        order, real = kept_order(stay)
        closed = segments.with_tokens(batch, "text", gathered(batch.tokens, order, real))
        states, _ = text(order, real)
        if asked is None:
            return Encoded(states, None), closed
        order, real = kept_order(batch.query_mask if query is None else query)
        ids = gathered(segments.tokens(batch, "query"), order, real)
        return Encoded(states, asked(order, real)[1]), segments.with_tokens(closed, "query", ids)

    return kept


def encode_edited(network: Network, params: Params, embedded: Embedded, batch: Batch) -> Edited:
    """`Quick.encode_edited` of an encoder in `EDITED`: queries are encoded once."""
    weights = _weights_of(network, params, "text")
    states_of, summary = EDITED[network.config.encoder](weights, embedded.text), None
    if embedded.query is not None:
        _, summary = _run(network, params, "query", embedded.query, batch.query_mask, None)

    def edited(rows: Any, places: Any, tokens: Any) -> Any:
        found = edit(batch, rows, places, tokens)
        vectors = embed(network, params, found.batch._replace(tokens=tokens)).text
        states = states_of(rows, found.order, found.real, found.places, vectors)
        return Encoded(states, None if summary is None else summary[rows]), found.batch

    return edited


def normalized(
    table: Float[Array, "words embed"], frequencies: Float[Array, " words"]
) -> Float[Array, "words embed"]:
    """Word vectors of mean 0 and variance 1 under the words' frequencies (arXiv:1605.07725, eq. 1).

    frequencies  sum to 1. Without it a model escapes perturbations by growing its vectors.
    """
    share = frequencies.astype(table.dtype)[:, None]
    mean = jnp.sum(share * table, axis=0, keepdims=True)
    variance = jnp.sum(share * jnp.square(table - mean), axis=0, keepdims=True)
    return (table - mean) * jax.lax.rsqrt(variance + 1e-6)
