"""Builds the four pure stages of a model from its configuration."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from attnjax.config import ModelConfig
from attnjax.model.attention import attention_weights
from attnjax.model.layers import ATTENTIONS, ENCODERS, Decoder, Embedding, read_out
from attnjax.model.without import WITHOUT, close_up
from attnjax.types import PAD, Batch, Embedded, Encoded, Factors, Params, Read, Segment, Stages

IMPOSSIBLE = -1e9  # logit of an answer that is no candidate: probability exactly 0 in float32


def build_stages(
    config: ModelConfig,
    *,
    words: int,
    classes: int,
    pair: bool,
    frequencies: np.ndarray | None = None,
) -> Stages:
    """Returns embed, encode, score, decode and read as pure functions of the parameters.

    words        rows of the embedding table; classes  size of the output
    pair         whether examples have a query (question or hypothesis): it shares the embedding,
                 has an encoder of its own unless share_encoder, and enters score and decode
    frequencies  [words] share of each word among the training tokens, for normalize_embeddings
    """
    if config.normalize_embeddings and frequencies is None:
        raise ValueError("normalize_embeddings needs the words' frequencies")
    whole_embedding = Embedding(words, config.embed_dim, config.embed_scale)
    encoder = ENCODERS[config.encoder](config.hidden_dim)
    takes_factors = "factors" in inspect.signature(type(encoder).__call__).parameters
    attention = ATTENTIONS[config.attention]()
    decoder = Decoder(classes, product=pair and config.match_product)

    def embed(params: Params, batch: Batch) -> Embedded:
        table = params["embed"]
        if config.freeze_embeddings:
            table = jax.lax.stop_gradient(table)
        if config.normalize_embeddings:
            table = {"table": normalized(table["table"], jnp.asarray(frequencies))}
        rows = len(table["table"])  # a step has only those that it looks up
        if rows > words:
            raise ValueError(f"a table of {rows} rows for a vocabulary of {words} words")
        embedding = whole_embedding.clone(words=rows)
        text: Any = embedding.apply({"params": table}, batch.tokens)
        query: Any = embedding.apply({"params": table}, batch.query) if pair else None
        return Embedded(text, query)

    def encode(params: Params, embedded: Embedded, batch: Batch) -> Encoded:
        return encode_scaled(params, embedded, None, batch)

    def encode_scaled(
        params: Params, embedded: Embedded, factors: Factors | None, batch: Batch
    ) -> Encoded:
        text, query = factors or (None, None)
        weights = params["encode"]
        states, _ = run_encoder(weights["text"], embedded.text, batch.mask, text)
        if embedded.query is None:
            return Encoded(states, None)
        own = weights["text" if config.share_encoder else "query"]
        _, summary = run_encoder(own, embedded.query, batch.query_mask, query)
        return Encoded(states, summary)

    def run_encoder(weights: Any, vectors: Any, mask: Any, factors: Any) -> Any:
        if factors is not None and takes_factors:
            return encoder.apply({"params": weights}, vectors, mask, factors)
        scaled = vectors if factors is None else vectors * factors[..., None]
        return encoder.apply({"params": weights}, scaled, mask)

    def encode_without(params: Params, embedded: Embedded, batch: Batch, segment: Segment) -> Any:
        whole = encode(params, embedded, batch)
        text = segment == "text"
        weights = params["encode"]["text" if text or config.share_encoder else "query"]
        inputs: Any = embedded.text if text else embedded.query
        tokens: Any = batch.tokens if text else batch.query
        method = WITHOUT.get(config.encoder, close_up)
        without = method(encoder, weights, inputs, tokens)

        def edited(position: Any) -> Any:
            states, summary, left = without(position)
            # Only one segment changes: the other's encoding is that of the whole batch.
            encoded = Encoded(states, whole.query) if text else Encoded(whole.states, summary)
            return encoded, left

        return edited

    def score(params: Params, encoded: Encoded) -> Float[Array, "batch length"]:
        scores: Any = attention.apply({"params": params["score"]}, encoded.states, encoded.query)
        return scores

    def decode(
        params: Params, encoded: Encoded, weights: Float[Array, "batch length"], batch: Batch
    ) -> Float[Array, "batch classes"]:
        context = jnp.einsum("bl,blw->bw", weights, encoded.states)
        logits: Any = decoder.apply({"params": params["decode"]}, context, encoded.query)
        if batch.candidates is None:
            return logits
        return jnp.where(batch.candidates, logits, IMPOSSIBLE)

    def read(params: Params, encoded: Encoded, batch: Batch) -> Read:
        logits = read_out(params["decode"], encoded.states, encoded.query, classes)
        allowed = batch.candidates
        if allowed is None:
            return logits

        def among_candidates(weights):
            every = logits(weights)
            return jnp.where(jnp.broadcast_to(allowed, every.shape), every, IMPOSSIBLE)

        return among_candidates

    def init(key: Key[Array, ""]) -> Params:
        keys = jax.random.split(key, 5)
        tokens = jnp.full((1, 2), PAD + 1)
        mask = tokens != PAD
        table = whole_embedding.init(keys[0], tokens)["params"]
        vectors: Any = whole_embedding.apply({"params": table}, tokens)
        encoders = {"text": encoder.init(keys[1], vectors, mask)["params"]}
        if pair and not config.share_encoder:
            encoders["query"] = encoder.init(keys[2], vectors, mask)["params"]
        states, summary = encoder.apply({"params": encoders["text"]}, vectors, mask)
        query = summary if pair else None
        # Scaled-dot attention over a query has no parameters at all.
        scores = attention.init(keys[3], states, query).get("params", {})
        context = jnp.einsum("bl,blw->bw", attention_weights(states[..., 0], mask), states)
        decoders = decoder.init(keys[4], context, query)["params"]
        return {"embed": table, "encode": encoders, "score": scores, "decode": decoders}

    # Under a jit of their own they are traced once a shape, however often a program uses them.
    embed, encode, encode_scaled, score, decode = map(
        jax.jit, (embed, encode, encode_scaled, score, decode)
    )
    return Stages(init, embed, encode, score, decode, read, encode_without, encode_scaled)


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


def word_vectors(stages: Stages, params: Params, words: int) -> Float[Array, "words embed"]:
    """The vector of every word, as `embed` hands them on; that of padding is 0."""
    every = jnp.arange(words)[None, :]
    empty = jnp.zeros(1, jnp.int32)
    batch = Batch(every, every, empty, empty.astype(jnp.float32), None, empty)
    return stages.embed(params, batch).text[0]
