"""Builds the four pure stages of a model from its configuration; `network` has each of them."""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnjax.config import ModelConfig
from attnjax.errors import UserError
from attnjax.geometry import Pieces, agree
from attnjax.model.layers import ATTENTIONS, ENCODERS, Decoder, Embedding, Pooled, Uniform
from attnjax.model.network import (
    Network,
    attended,
    decode,
    embed,
    encode,
    encode_edited,
    encode_kept,
    encode_without,
    first_token,
    init,
    layer_states,
    layers,
    of_words,
    places,
    read_many,
    score,
)
from attnjax.model.quick import EDITED, KEPT, literal
from attnjax.model.rules import PLAIN, Rules
from attnjax.model_checks import trained_elsewhere
from attnjax.types import (
    Batch,
    Embedded,
    Listed,
    Params,
    Quick,
    Stages,
    as_they_are,
)


def build_stages(
    config: ModelConfig,
    *,
    words: int,
    classes: int,
    pair: bool,
    frequencies: np.ndarray | None = None,
    pieces: Pieces | None = None,
    listed: Listed | None = None,
) -> Stages:
    """Returns the stages as pure functions of the parameters.

    words        rows of the embedding table; classes  size of the output
    pair         whether examples have a query (question or hypothesis): it shares the embedding,
                 has an encoder of its own unless share_encoder, and enters score and decode
    frequencies  [words] share of each word among the training tokens, for normalize_embeddings
    pieces       what the words are made of, where the encoder reads pieces
    listed       words that encoder and attention do not see and that `model.monotonic` adds to
                 class 1: of two classes, of single texts, of an encoder that reads words
    Raises UserError where the configuration is at odds with the pretrained model.
    """
    if config.normalize_embeddings and frequencies is None:
        raise ValueError("normalize_embeddings needs the words' frequencies")
    if listed is not None and (pair or classes != 2 or pieces is not None):
        raise ValueError("listed words are for single texts of two classes, read word by word")
    rows = words
    if pieces is not None:
        geometry = pieces.geometry
        rows, known = geometry.rows, agree(config, geometry, ModelConfig(), pair)
        config = dataclasses.replace(config, **known)
    elsewhere = trained_elsewhere(config)

    @cache  # the same rules give the same functions, and so what was compiled for them
    def under(rules: Rules) -> Stages:
        network = Network(
            config,
            words,
            pair,
            classes,
            frequencies,
            pieces,
            listed,
            rules,
            Embedding(rows, config.embed_dim, config.embed_scale),
            encoder_under(rules, config, pieces),
            Uniform(rules) if elsewhere else ATTENTIONS[config.attention](rules=rules),
            Pooled(classes, rules)
            if elsewhere
            else Decoder(classes, product=pair and config.match_product, rules=rules),
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
            as_they_are if pieces is None else partial(of_words, network),
            partial(places, network),
            partial(layer_states, network),
            first_token if elsewhere else partial(attended, network),
            not elsewhere,
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


def _quick(network: Network) -> Quick:
    """The model's shortcuts; of a decoder under other rules, decoding itself."""
    slow = literal(partial(embed, network), partial(encode, network), partial(decode, network))
    if network.listed is not None:
        return slow
    linear = network.rules == PLAIN and not trained_elsewhere(network.config)
    read = partial(read_many, network) if linear else slow.read
    without, kept, edited = partial(encode_without, network), slow.encode_kept, slow.encode_edited
    if network.pieces is not None:  # both segments are one sequence
        without = slow.encode_without
    if network.config.encoder in KEPT and network.rules.encodes_plainly:
        kept = partial(encode_kept, network)
    if network.config.encoder in EDITED and network.rules.encodes_plainly:
        edited = partial(encode_edited, network)
    return Quick(read, without, jitted(encode, network), kept, edited)


def vocabulary_size(stages: Stages, params: Params) -> int:
    """How many words have an id: rows of the table, or words that are made of its pieces."""
    return len(params["embed"]["table"]) if stages.words is None else stages.words


def word_vectors(stages: Stages, params: Params, words: int) -> Float[Array, "words embed"]:
    """The vector of every word, as `embed` hands them on; that of padding is 0."""
    every = jnp.arange(words)[None, :]
    empty = jnp.zeros(1, jnp.int32)
    batch = Batch(every, every, empty, empty.astype(jnp.float32), None, empty)
    return stages.embed(params, batch).text[0]


def sees_pieces(stages: Stages) -> bool:
    """Whether words are made of pieces, whose vectors stand in a word's one after another."""
    return stages.of_words is not as_they_are


def pieces_of(
    params: Params, vectors: Float[Array, "*some embed"]
) -> tuple[Float[Array, "*some pieces width"], Bool[Array, "*some pieces"]]:
    """The vectors of words' pieces, out of those of the words, and True on pieces that there are.

    Of an encoder that sees pieces: beyond a word's last its vector is 0.
    """
    pieces = vectors.reshape(*vectors.shape[:-1], -1, params["embed"]["table"].shape[-1])
    return pieces, jnp.any(pieces != 0, axis=-1)


def entries_of(
    stages: Stages,
    params: Params,
    vectors: Float[Array, "batch length embed"],
    words: Bool[Array, "batch length"],
) -> Bool[Array, "batch length embed"]:
    """True on the entries of these words' vectors; of words made of pieces, of those there are."""
    there = jnp.broadcast_to(words[..., None], vectors.shape)
    if not sees_pieces(stages):
        return there
    pieces, real = pieces_of(params, vectors)
    return there & jnp.broadcast_to(real[..., None], pieces.shape).reshape(vectors.shape)


def entries_read(stages: Stages, params: Params, embedded: Embedded, batch: Batch) -> Any:
    """`Embedded` of booleans: True on the entries of the words' vectors that the encoder reads."""
    text = entries_of(stages, params, embedded.text, stages.attended(batch))
    if embedded.query is None:
        return embedded._replace(text=text)
    query = entries_of(stages, params, embedded.query, batch.query_words)
    return embedded._replace(text=text, query=query)


def mean_vectors(
    stages: Stages, params: Params, words: int
) -> tuple[Float[Array, "words width"], Int[Array, " words"]]:
    """The vector of every word and 1; of words made of pieces their pieces' mean, and how many.

    A word may stand in the place of one of as many pieces or more: for other words a batch may have
    no room.
    """
    if not sees_pieces(stages):
        return word_vectors(stages, params, words), jnp.ones(words, jnp.int32)

    def of(word: Int[Array, ""]) -> tuple[Float[Array, " width"], Int[Array, ""]]:
        ids, row = jnp.full((1, 1), word), jnp.zeros(1, jnp.int32)
        batch = Batch(ids, ids, row, row.astype(jnp.float32), None, row)
        pieces, real = pieces_of(params, stages.embed(params, batch).text[0, 0])
        count = real.sum(dtype=jnp.int32)
        return pieces.sum(axis=0) / jnp.maximum(count, 1).astype(pieces.dtype), count

    return jax.lax.map(of, jnp.arange(words, dtype=jnp.int32), batch_size=1024)


def inner_scores(
    stages: Stages, params: Params, embedded: Embedded, batch: Batch
) -> Float[Array, "batch layers heads length length"]:
    """The scores of self-attention over the text, 0 off its tokens."""
    return jnp.stack([each.scores for each in stages.layers(params, embedded, batch, "text")], 1)
