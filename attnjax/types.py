"""Every public pytree, and the protocols of the model's stages.

The model is four pure functions, `embed -> encode -> score -> decode`; training and analysis
differentiate between them, and a perturbation reaches the model only as a `Perturbation`.
"""

from collections.abc import Callable, Hashable
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

Params = Any  # {"embed": ..., "encode": ..., "score": ..., "decode": ...}, nested dicts of arrays

Segment = Literal["text", "query"]  # of an example: what is attended over, and what asks

PAD, UNK, SOS, EOS = range(4)  # the token ids that every vocabulary starts with


class Encoded(NamedTuple):
    """Encoder output. states [batch, length, width]; query [batch, width], its summary, or None."""

    states: Float[Array, "batch length width"]
    query: Float[Array, "batch width"] | None


class Batch(NamedTuple):
    """Examples padded to one shape.

    tokens      [batch, length]        ids, <sos> ... <eos>, then PAD; attended over
    query       [batch, query_length]  ids of hypothesis or question; None for one sequence
    labels      [batch]                class numbers
    weight      [batch]                1 for real examples, 0 for rows that only fill the shape
    candidates  [batch, classes]       True on allowed answers; None allows all
    rows        [batch]                number of each in its data set's split, -1 on filler
    encoded     what `encode` makes of them, where it is known already; None: it is not
    """

    tokens: Int[Array, "batch length"]
    query: Int[Array, "batch query_length"] | None
    labels: Int[Array, " batch"]
    weight: Float[Array, " batch"]
    candidates: Bool[Array, "batch classes"] | None
    rows: Int[Array, " batch"]
    encoded: Encoded | None = None

    @property
    def mask(self) -> Bool[Array, "batch length"]:
        """True on tokens, False on padding."""
        return self.tokens != PAD

    @property
    def words(self) -> Bool[Array, "batch length"]:
        """True where attention may fall: tokens other than <sos> and <eos>."""
        return (self.tokens == UNK) | (self.tokens > EOS)

    @property
    def query_words(self) -> Bool[Array, "batch query_length"]:
        """True on the query's tokens other than <sos> and <eos>."""
        assert self.query is not None
        return (self.query == UNK) | (self.query > EOS)

    @property
    def query_mask(self) -> Bool[Array, "batch query_length"]:
        """True on the query's tokens, False on its padding."""
        assert self.query is not None
        return self.query != PAD


class Listed(NamedTuple):
    """The words of `model.monotonic`, which move the score of class 1 in one direction.

    signs      [words] 1 or -1, 0 of words that are not listed
    strengths  [words] above 0 on those that are; None: each has a weight of its own
    """

    signs: Int[np.ndarray, " words"]
    strengths: Float[np.ndarray, " words"] | None


class Embedded(NamedTuple):
    """Word vectors, 0 on padding. text [batch, length, embed], query likewise or None."""

    text: Float[Array, "batch length embed"]
    query: Float[Array, "batch query_length embed"] | None


class Factors(NamedTuple):
    """One factor a token. text [batch, length], query likewise or None."""

    text: Float[Array, "batch length"]
    query: Float[Array, "batch query_length"] | None


class Inner(NamedTuple):
    """What disturbs self-attention, in every layer of the text's encoder; None adds nothing.

    score   [layers, batch, heads, length, length], added to the unnormalised scores
    factor  likewise, multiplies the weights
    keys    of each row, by which training drops what the encoder's rate says, in the query's too
    """

    score: Float[Array, "layers batch heads length length"] | None = None
    factor: Float[Array, "layers batch heads length length"] | None = None
    keys: Key[Array, "*layers batch"] | None = None


class Layer(NamedTuple):
    """One layer of self-attention, as it is analysed; rows and columns off the tokens are 0.

    weights  of each head, from a token (row) to all: each token's row sums to 1
    values   of each head, through its part of the output map
    inputs   what stands beside self-attention and is added to it
    sums     inputs + sum over heads and tokens of weights * values + bias
    attended what the feed-forward part is added to: the sums, in post-LN through their layer norm
    gain     what that layer norm multiplies centred sums by: scale / deviation; None in pre-LN
    states   what the layer hands on
    scores   of each head, unnormalised, from a token to all; the weights are their softmax
    """

    weights: Float[Array, "batch heads length length"]
    values: Float[Array, "batch heads length width"]
    inputs: Float[Array, "batch length width"]
    sums: Float[Array, "batch length width"]
    attended: Float[Array, "batch length width"]
    gain: Float[Array, "batch length width"] | None
    states: Float[Array, "batch length width"]
    scores: Float[Array, "batch heads length length"]


class Perturbation(NamedTuple):
    """The only way to disturb a forward pass; None adds nothing.

    factor  multiplies the word vectors: dropout
    embed   added to the word vectors after that
    score   [batch, length], added to the unnormalised attention scores
    inner   what disturbs self-attention in the text's encoder
    """

    factor: Embedded | None = None
    embed: Embedded | None = None
    score: Float[Array, "batch length"] | None = None
    inner: Inner | None = None


class Trace(NamedTuple):
    """Every intermediate of one forward pass.

    scores   [batch, length]   unnormalised attention scores, perturbation included
    weights  [batch, length]   attention: sums to 1 over `Stages.attended`, exactly 0 elsewhere
    logits   [batch, classes]  log-odds up to a constant; softmax gives probabilities
    """

    embedded: Embedded
    encoded: Encoded
    scores: Float[Array, "batch length"]
    weights: Float[Array, "batch length"]
    logits: Float[Array, "batch classes"]

    @property
    def probabilities(self) -> Float[Array, "batch classes"]:
        """Class probabilities; each row sums to 1."""
        return jax.nn.softmax(self.logits, axis=-1)


Read = Callable[[Float[Array, "*many batch length"]], Float[Array, "*many batch classes"]]
Without = Callable[[Int[Array, ""]], tuple[Encoded, Int[Array, "batch length"]]]


Kept = Callable[
    [Bool[Array, "batch length"], Bool[Array, "batch length_query"] | None], tuple[Encoded, Batch]
]
Edited = Callable[
    [Int[Array, " some"], Int[Array, "some changes"], Int[Array, "some changes"]],
    tuple[Encoded, Batch],
]


class Quick(NamedTuple):
    """Quicker ways to what the stages give; `model.quick.literal` has the slow one of each.

    read            (params, Encoded, batch) -> decode for many weights of one encoding, the work
                    they share done once: [..., batch, length] -> logits [..., batch, classes]
    encode_without  (params, Embedded, batch, segment) -> without; without(position) is (Encoded,
                    tokens left) of the batch that lacks this position of that segment. Tokens left
                    say where the states' words now are: closed up, or with PAD in place of the one
                    left out.
    encode_scaled   (params, Embedded, batch, factors) -> Encoded of the vectors times one factor a
                    token, to be differentiated by the factors
    encode_kept     (params, Embedded, batch) -> kept; kept(keep, keep of the query or None), True
                    [batch, length] on the tokens that stay, is (Encoded, batch) of these alone,
                    closed up
    encode_edited   (params, Embedded, batch) -> edited; edited(rows, places, tokens) is (Encoded,
                    batch) of these rows [some], as often as they are named, with the tokens [some,
                    changes] at these places of their texts: PAD deletes one, and the text closes
                    up; a place beyond the text's length changes nothing
    """

    read: Callable[[Params, Encoded, Batch], Read]
    encode_without: Callable[[Params, Embedded, Batch, Segment], Without]
    encode_scaled: Callable[[Params, Embedded, Batch, Factors], Encoded]
    encode_kept: Callable[[Params, Embedded, Batch], Kept]
    encode_edited: Callable[[Params, Embedded, Batch], Edited]


def as_they_are(batch: Batch, values: Array, segment: Segment = "text") -> Array:
    """Matrices of layers that see words."""
    del batch, segment
    return values


def no_layers(
    params: Params, embedded: Embedded, batch: Batch, segment: Segment = "text"
) -> tuple[Array, ...]:
    """The states of an encoder's layers that has none of self-attention."""
    del params, embedded, batch, segment
    return ()


def all_tokens(batch: Batch) -> Bool[Array, "batch length"]:
    """True on the tokens of the text, which layers that see words see."""
    return batch.mask


def all_words(batch: Batch) -> Bool[Array, "batch length"]:
    """True on the words of the text, all of which a model without listed words attends to."""
    return batch.words


class Stages(NamedTuple):
    """The model as pure functions of the parameters.

    init    key -> params
    embed   (params, batch) -> Embedded
    encode  (params, Embedded, batch) -> Encoded; what disturbs self-attention, an `Inner`, may come
            last, by name
    score   (params, Encoded) -> scores [batch, length]
    decode  (params, Encoded, attention weights [batch, length], batch) -> logits
    quick   shortcuts to the same values
    under   `model.rules.Rules` -> the same model with another backward pass
    layers  (params, Embedded, batch, segment) -> every `Layer` of that segment's encoder, first to
            last; () of an encoder without self-attention
    words   how many have an id, where the embedding table has not one row for each; else None
    of_words  (batch, matrices of a layer [batch, ..., n, n], segment) -> [batch, ..., length,
            length]: where layers see pieces of words, from a word the mean of their rows, to a word
            the sum
    layer_states  (params, Embedded, batch, segment) -> the states [batch, length, width] of every
            such layer, first to last; where layers see pieces, the mean of each token's
    places  batch -> [batch, n], True on what the layers of the text's encoder see
    attended  batch -> [batch, length], True where attention may fall: on words that the model does
            not list in `model.monotonic`; of a head that reads one state, on its token
    over_words  False where that head has no attention over words
    """

    init: Callable[[Key[Array, ""]], Params]
    embed: Callable[[Params, Batch], Embedded]
    encode: Callable[..., Encoded]
    score: Callable[[Params, Encoded], Float[Array, "batch length"]]
    decode: Callable[
        [Params, Encoded, Float[Array, "batch length"], Batch], Float[Array, "batch classes"]
    ]
    quick: Quick
    under: Callable[[Any], "Stages"]
    layers: Callable[[Params, Embedded, Batch, Segment], tuple[Layer, ...]]
    words: int | None = None
    of_words: Callable[..., Float[Array, "batch *many length length"]] = as_they_are
    places: Callable[[Batch], Bool[Array, "batch places"]] = all_tokens
    layer_states: Callable[..., tuple[Float[Array, "batch length width"], ...]] = no_layers
    attended: Callable[[Batch], Bool[Array, "batch length"]] = all_words
    over_words: bool = True


class HParams(NamedTuple):
    """What a sweep varies without recompiling: scalars, or stacked along the runs.

    learning_rate  peak step size, before the schedule
    epsilon        L2 norm of the perturbation
    weight         lambda, weight of the perturbed loss
    relevance      weight of the relevance loss
    """

    learning_rate: Float[Array, "*runs"]
    epsilon: Float[Array, "*runs"]
    weight: Float[Array, "*runs"]
    relevance: Float[Array, "*runs"]


class TrainState(NamedTuple):
    """All that training carries from step to step: arrays only, so that runs can be stacked.

    step        steps taken
    seed        of parameters, data order and every random draw
    neighbours  [words, nearest] ids of the nearest words, renewed each epoch, for word_iat and
                word_ivat; None for all other techniques
    """

    step: Int[Array, "*runs"]
    seed: Int[Array, "*runs"]
    params: Params
    opt_state: Any
    neighbours: Int[Array, "words nearest"] | None = None

    @property
    def key(self) -> Key[Array, ""]:
        """The random key of the coming step, a function of (seed, step) alone."""
        return jax.random.fold_in(jax.random.key(self.seed), self.step)


# (params, batch, or a batch with what it is handed) -> tree of arrays with one row per example
RowFunction = Callable[[Params, Any], Any]
RowCall = Callable[[Batch], Any]  # that of given parameters, with NumPy arrays
Compiled = TypeVar("Compiled", covariant=True)


@runtime_checkable
class Compile(Protocol[Compiled]):
    """Compiles builder(*settings), a function of (params, batch); for equal settings only once."""

    def __call__(self, builder: Callable[..., RowFunction], *settings: Hashable) -> Compiled:
        """settings  hashable: stages and frozen configurations are."""
        ...
