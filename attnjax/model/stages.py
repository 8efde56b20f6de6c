"""Builds the four pure stages of a model from its configuration: one function a stage."""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from attnjax.config import ModelConfig
from attnjax.errors import UserError
from attnjax.geometry import Pieces, agree
from attnjax.model import bert, segments
from attnjax.model.attention import attention_weights
from attnjax.model.layers import ATTENTIONS, ENCODERS, Decoder, Embedding
from attnjax.model.quick import (
    KEPT,
    SCALED,
    WITHOUT,
    close_up,
    gathered,
    kept_order,
    literal,
    read_out,
    scale_vectors,
)
from attnjax.model.rules import PLAIN, Rules
from attnjax.types import (
    PAD,
    Batch,
    Embedded,
    Encoded,
    Factors,
    Inner,
    Kept,
    Layer,
    Params,
    Quick,
    Read,
    Segment,
    Stages,
    Without,
)

IMPOSSIBLE = -1e9  # logit of an answer that is no candidate: probability exactly 0 in float32


class Network(NamedTuple):
    """What the stages of one model are made of, under one set of rules.

    words        rows of the embedding table; classes  size of the output
    pair         whether examples have a query
    frequencies  [words] share of each word among the training tokens, for normalize_embeddings
    pieces       of a pretrained model that each word is made of; None: words have vectors
    encoder, attention  modules of `layers.ENCODERS` and `layers.ATTENTIONS`
    """

    config: ModelConfig
    words: int
    pair: bool
    classes: int
    frequencies: np.ndarray | None
    pieces: Pieces | None
    rules: Rules
    embedding: Embedding
    encoder: Any
    attention: Any
    decoder: Decoder

    @property
    def one_encoder(self) -> bool:
        """Whether text and query go through the same."""
        return self.config.share_encoder or self.pieces is not None


def build_stages(
    config: ModelConfig,
    *,
    words: int,
    classes: int,
    pair: bool,
    frequencies: np.ndarray | None = None,
    pieces: Pieces | None = None,
) -> Stages:
    """Returns the stages as pure functions of the parameters.

    words        rows of the embedding table; classes  size of the output
    pair         whether examples have a query (question or hypothesis): it shares the embedding,
                 has an encoder of its own unless share_encoder, and enters score and decode
    frequencies  [words] share of each word among the training tokens, for normalize_embeddings
    pieces       what the words are made of, where the encoder reads pieces
    Raises UserError where the configuration is at odds with the pretrained model.
    """
    if config.normalize_embeddings and frequencies is None:
        raise ValueError("normalize_embeddings needs the words' frequencies")
    rows = words
    if pieces is not None:
        geometry = pieces.geometry
        rows, known = geometry.rows, agree(config, geometry, ModelConfig())
        config = dataclasses.replace(config, **known)

    @cache  # the same rules give the same functions, and so what was compiled for them
    def under(rules: Rules) -> Stages:
        network = Network(
            config,
            words,
            pair,
            classes,
            frequencies,
            pieces,
            rules,
            Embedding(rows, config.embed_dim, config.embed_scale),
            encoder_under(rules, config, pieces),
            ATTENTIONS[config.attention](rules=rules),
            Decoder(classes, product=pair and config.match_product, rules=rules),
        )
        return Stages(
            partial(init, network),
            jitted(embed, network),
            jitted(encode, network),
            jitted(score, network),
            jitted(decode, network),
            _quick(network),
            under,
            partial(layers, network),
            words,
            partial(of_words, network),
            partial(places, network),
        )

    return under(PLAIN)


def encoder_under(rules: Rules, config: ModelConfig, pieces: Pieces | None = None) -> Any:
    """The encoder's module; raises UserError where it is not written in terms of Rules."""
    encoder = ENCODERS[config.encoder]
    fields = set(encoder.__dataclass_fields__)
    more = {name: getattr(config, name) for name in fields & {*config.__dataclass_fields__}}
    if "geometry" in fields:
        if pieces is None:
            raise ValueError(f"the encoder '{config.encoder}' needs the pieces of the words")
        more["geometry"] = pieces.geometry
    if "rules" in fields:
        return encoder(config.hidden_dim, rules=rules, **more)
    if not rules.encodes_plainly:
        raise UserError(
            f"the encoder '{config.encoder}' has no backward pass but its own: its module lacks "
            "the field rules"
        )
    return encoder(config.hidden_dim, **more)


def jitted(stage: Callable[..., Any], network: Network) -> Callable[..., Any]:
    """One stage of the network; traced once a shape, however often a program uses it."""

    def bound(*arguments: Any, **named: Any) -> Any:
        return stage(network, *arguments, **named)

    bound.__name__ = stage.__name__
    return jax.jit(bound)


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
    text, query = factors or (None, None)
    states, _ = _run(network, params, "text", embedded.text, batch.mask, text, inner)
    if embedded.query is None:
        return Encoded(states, None)
    _, summary = _run(network, params, "query", embedded.query, batch.query_mask, query)
    return Encoded(states, summary)


def layers(
    network: Network, params: Params, embedded: Embedded, batch: Batch, segment: Segment = "text"
) -> tuple[Layer, ...]:
    """The layers of self-attention over one segment; () where its encoder has none.

    Where words have pieces they are those of the whole sequence of pieces: see `of_words`.
    """
    if not hasattr(network.encoder, "trace"):
        return ()
    if network.pieces is not None:
        laid = bert.lay(network.pieces, batch)
        vectors = bert.side_by_side(network.pieces, embedded, laid)
        own = _weights_of(network, params, "text")
        return network.encoder.trace(own, vectors, laid.real, laid.segment)
    mask = segments.tokens(batch, segment) != PAD
    weights = _weights_of(network, params, segment)
    return network.encoder.trace(weights, segments.values(embedded, segment), mask)


def of_words(
    network: Network,
    batch: Batch,
    matrix: Float[Array, "batch *many places places"],
    segment: Segment = "text",
) -> Float[Array, "batch *many length length"]:
    """`Stages.of_words`."""
    if network.pieces is None:
        return matrix
    return bert.matrix_of_words(matrix, bert.lay(network.pieces, batch), batch, segment)


def places(network: Network, batch: Batch) -> Bool[Array, "batch places"]:
    """`Stages.places`."""
    return batch.mask if network.pieces is None else bert.lay(network.pieces, batch).real


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
    context = network.rules.attend(weights, encoded.states)
    logits: Any = network.decoder.apply({"params": params["decode"]}, context, encoded.query)
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


def _quick(network: Network) -> Quick:
    """The model's shortcuts; of a decoder under other rules, decoding itself."""
    slow = literal(partial(encode, network), partial(decode, network))
    read = partial(read_many, network) if network.rules == PLAIN else slow.read
    without, kept = partial(encode_without, network), slow.encode_kept
    if network.pieces is not None:  # both segments are one sequence
        without = slow.encode_without
    if network.config.encoder in KEPT and network.rules.encodes_plainly:
        kept = partial(encode_kept, network)
    return Quick(read, without, jitted(encode, network), kept)


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


def vocabulary_size(stages: Stages, params: Params) -> int:
    """How many words have an id: rows of the table, or words that are made of its pieces."""
    return len(params["embed"]["table"]) if stages.words is None else stages.words


def word_vectors(stages: Stages, params: Params, words: int) -> Float[Array, "words embed"]:
    """The vector of every word, as `embed` hands them on; that of padding is 0."""
    every = jnp.arange(words)[None, :]
    empty = jnp.zeros(1, jnp.int32)
    batch = Batch(every, every, empty, empty.astype(jnp.float32), None, empty)
    return stages.embed(params, batch).text[0]


def inner_scores(
    stages: Stages, params: Params, embedded: Embedded, batch: Batch
) -> Float[Array, "batch layers heads length length"]:
    """The scores of self-attention over the text, 0 off its tokens."""
    return jnp.stack([each.scores for each in stages.layers(params, embedded, batch, "text")], 1)
