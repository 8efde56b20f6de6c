"""What does the model hold for typical of a class?

Three answers side by side: vectors that ascent finds, with what is left of them at the nearest
words; words under a prior over texts; and what the data itself has. `analysis.prototypes` has the
searches. Asked of single texts: of a pair, what is typical of a class hangs on the query.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attnjax.analysis.bigrams import (
    Bigrams,
    among,
    count_bigrams,
    following,
    log_probability,
    preceding,
)
from attnjax.analysis.prototypes import Prior, ascend, framed, improved, noise, relax
from attnjax.analysis.questions.question import About, Question, Subject
from attnjax.analysis.rows import BUCKETS
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, choose_shapes, map_rows
from attnjax.errors import UserError
from attnjax.model.attention import attend, forward
from attnjax.model.stages import vocabulary_size, word_vectors
from attnjax.types import EOS, SOS, UNK, Batch, Embedded, Params, Stages

KINDS = ("free", "prior", "ngram", "text")
WIDE = 1024  # words of a relaxed text: those that, alone, do best for the class and in the prior
STARTS = 8  # relaxed texts, the best, that are improved word by word


class Model(NamedTuple):
    """What the searches need of the model.

    read     [texts, words] ids -> [texts, classes] log-probabilities, on the host
    vectors  [words, embed]; scale  the standard deviation of the words' entries
    climbs   (class, start) -> the vectors found; relaxes  (class, words, Prior, start) -> texts
    of_vectors  [texts, words, embed] -> [texts, classes] log-probabilities
    """

    read: Callable[[np.ndarray], np.ndarray]
    vectors: np.ndarray
    scale: float
    climbs: Callable[..., Array]
    relaxes: Callable[..., Array]
    of_vectors: Callable[[Array], Array]


def batch_of(tokens: Int[Array, "texts length"]) -> Batch:
    """Texts as a batch of rows without labels."""
    rows = jnp.arange(len(tokens), dtype=jnp.int32)
    return Batch(tokens, None, jnp.zeros_like(rows), jnp.ones(len(tokens), jnp.float32), None, rows)


def make_log_probabilities(stages: Stages) -> Callable[[Params, Batch], Array]:
    """Builds (params, batch) -> [batch, classes] log-probabilities."""
    return lambda params, batch: jax.nn.log_softmax(forward(stages, params, batch).logits, axis=-1)


def of_vectors(
    stages: Stages, params: Params, vectors: Float[Array, "texts words embed"]
) -> Float[Array, "texts classes"]:
    """Log-probabilities of texts whose words have these vectors, between <sos> and <eos>."""
    count, words = vectors.shape[:2]
    tokens = jnp.full((count, words + 2), UNK, jnp.int32).at[:, 0].set(SOS).at[:, -1].set(EOS)
    batch = batch_of(tokens)
    text = stages.embed(params, batch).text.at[:, 1:-1].set(vectors)
    encoded = stages.encode(params, Embedded(text, None), batch)
    _, logits = attend(stages, params, encoded, stages.score(params, encoded), batch)
    return jax.nn.log_softmax(logits, axis=-1)


def model_of(
    stages: Stages, params: Params, config: AnalysisConfig, check: Callable[[], None]
) -> Model:
    """The compiled functions of one model; raises UserError where it knows no word."""
    vectors = np.asarray(word_vectors(stages, params, vocabulary_size(stages, params)))
    if len(vectors) <= EOS + 1:
        raise UserError(
            "prototypes: the model knows no word of its training texts; lower data.min_count, or "
            "leave prototypes out of analysis.questions"
        )
    scale = jnp.asarray(vectors[EOS + 1 :].std(), vectors.dtype)
    steps, weight = config.prototype_steps, config.prototype_prior

    def score(label: Int[Array, ""], params: Params, vectors: Array) -> Float[Array, " texts"]:
        return jnp.take(of_vectors(stages, params, vectors), label, axis=1)

    @jax.jit
    def climbs(params: Params, label: Int[Array, ""], start: Array) -> Array:
        return ascend(partial(score, label, params), start, scale, config.prototype_norm, steps)

    @jax.jit
    def relaxes(params: Params, label: Array, some: Array, prior: Prior, start: Array) -> Array:
        return relax(partial(score, label, params), some, prior, weight, start, steps)

    read = partial(jax.jit(make_log_probabilities(stages)), params)
    return Model(
        partial(_read, read, check, config.chunk_size),
        vectors,
        float(scale),
        partial(climbs, params),
        partial(relaxes, params),
        partial(jax.jit(partial(of_vectors, stages)), params),
    )


def _read(
    call: Callable[[Batch], Array], check: Callable[[], None], chunk: int, texts: np.ndarray
) -> np.ndarray:
    """Log-probabilities of texts of one length, in pieces of one shape."""
    found = []
    for start in range(0, len(texts), chunk):
        check()
        some = texts[start : start + chunk]
        filled = np.concatenate([some, np.repeat(some[:1], chunk - len(some), axis=0)])
        tokens = jnp.asarray(framed(filled), jnp.int32)
        found.append(np.asarray(call(batch_of(tokens)))[: len(some)])
    return np.concatenate(found).astype(float)


class Search(NamedTuple):
    """What the prototypes of every class are sought with.

    alone  [words, classes] log-probabilities of each word as a text of its own, specials left out
    entry  (kind, ids, log-probability) -> what is told of a text
    """

    model: Model
    bigrams: Bigrams
    config: AnalysisConfig
    seed: int
    alone: np.ndarray
    entry: Callable[..., dict[str, Any]]

    def prior(self, texts: np.ndarray) -> np.ndarray:
        """The weighted log-probability of texts [texts, words] of ids."""
        return self.config.prototype_prior * _prior(self.bigrams, texts)

    def noise(self, *shape: int) -> Array:
        """Where each restart begins."""
        return noise(jax.random.key(self.seed), self.config.prototype_restarts, shape)


def ask(subject: Subject, config: AnalysisConfig, seed: int) -> dict[str, Any]:
    """{"prototypes": class number -> entries}, each kind's best first; see `_entry`."""
    assert subject.split.query is None, "checked with the configuration"
    params = jax.device_get(subject.params)
    model = model_of(subject.stages, params, config, subject.check)
    bigrams = count_bigrams(subject.training.tokens, len(model.vectors))
    alone = model.read(np.arange(EOS + 1, len(model.vectors))[:, None])
    search = Search(model, bigrams, config, seed, alone, partial(_entry, subject, bigrams))
    texts = _texts(subject, params, config)
    grams, places = ngrams(subject.split, config.prototype_words, config.prototype_ngrams, seed)
    scored = model.read(grams) if len(grams) else np.zeros((0, texts.shape[1]))
    most, found = config.prototype_shown, {}
    for label in range(texts.shape[1]):
        subject.check()
        values = scored[:, label] + search.prior(grams)
        entries = _free(search, label)
        subject.check()
        entries += _under_prior(search, label, grams[np.argsort(-values, kind="stable")[:1]])
        for place in np.argsort(-scored[:, label], kind="stable")[:most].tolist():
            told = search.entry("ngram", grams[place], scored[place, label])
            entries.append(told | _origin(subject, int(places[place])))
        for row in np.argsort(-texts[:, label], kind="stable")[:most].tolist():
            told = search.entry("text", subject.split.tokens[row][1:-1], texts[row, label])
            entries.append(told | _origin(subject, row))
        found[label] = entries
    return {"prototypes": found}


def _texts(subject: Subject, params: Params, config: AnalysisConfig) -> np.ndarray:
    """[rows, classes] log-probabilities of the whole texts of the split."""
    call = partial(jax.jit(make_log_probabilities(subject.stages)), params)
    split, size = subject.split, min(config.chunk_size, len(subject.split))
    shapes = choose_shapes([split], BUCKETS)
    rows = map_rows(lambda batch: np.asarray(call(batch)), split, shapes, size, subject.check)
    return np.stack(rows).astype(float)


def ngrams(split: EncodedSplit, words: int, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct runs of so many known words: [grams, words] ids, and the row each comes from first.

    most  so many of them, at random by the seed; -1 takes all
    """
    runs = [
        (np.lib.stride_tricks.sliding_window_view(each[1:-1], words), row)
        for row, each in enumerate(split.tokens)
        if len(each) - 2 >= words
    ]
    every = np.concatenate([np.zeros((0, words), np.int32), *[each for each, _ in runs]])
    rows = np.repeat([row for _, row in runs], [len(each) for each, _ in runs])
    known = (every > EOS).all(axis=1)
    if not known.any():
        return every[:0], np.zeros(0, int)
    found, first = np.unique(every[known], axis=0, return_index=True)
    rows = rows[known][first]
    if 0 <= most < len(found):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(found))[:most])
        return found[chosen], rows[chosen]
    return found, rows


def _free(search: Search, label: int) -> list[dict[str, Any]]:
    """Vectors by ascent, from the best restart, and the nearest words by cosine of each."""
    model, config = search.model, search.config
    start = search.noise(config.prototype_words, model.vectors.shape[1])
    vectors = model.climbs(jnp.asarray(label, jnp.int32), start)
    reached = np.asarray(model.of_vectors(vectors), float)[:, label]
    size = np.square(np.asarray(vectors, float) / model.scale).sum(axis=(1, 2))
    texts = nearest(np.asarray(vectors), model.vectors)
    likely = model.read(texts)[:, label]
    values = reached - config.prototype_norm / 2 * size
    return [
        search.entry("free", texts[k], likely[k]) | {"free_probability": float(np.exp(reached[k]))}
        for k in _best(texts, values, config.prototype_shown)
    ]


def nearest(vectors: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Ids of the words of highest cosine with each vector [..., embed]; specials are none."""
    size = np.maximum(np.linalg.norm(table, axis=-1, keepdims=True), 1e-15)
    return EOS + 1 + (vectors @ (table / size)[EOS + 1 :].T).argmax(axis=-1)


def _under_prior(search: Search, label: int, starts: np.ndarray) -> list[dict[str, Any]]:
    """Words by relaxation, and then by coordinate search from there and from the data's best."""
    model, bigrams, config = search.model, search.bigrams, search.config
    every = np.arange(EOS + 1, len(model.vectors))
    alone = search.alone[:, label] + search.prior(every[:, None])
    words = every[np.sort(np.argsort(-alone, kind="stable")[:WIDE])]
    dtype = model.vectors.dtype
    prior = Prior(
        jnp.asarray(among(bigrams, words), dtype),
        jnp.asarray(following(bigrams, SOS)[words], dtype),
        jnp.asarray(preceding(bigrams, EOS)[words], dtype),
    )
    start = search.noise(config.prototype_words, len(words))
    found = model.relaxes(jnp.asarray(label, jnp.int32), model.vectors[words], prior, start)
    relaxed = words[np.asarray(found)]
    reached = model.read(relaxed)[:, label] + search.prior(relaxed)
    relaxed = relaxed[_best(relaxed, reached, STARTS)]

    def read(texts: np.ndarray) -> np.ndarray:
        return model.read(texts)[:, label]

    weight = config.prototype_prior
    ends = [improved(read, bigrams, weight, text) for text in np.concatenate([relaxed, starts])]
    texts, values = np.stack([text for text, _ in ends]), np.array([value for _, value in ends])
    likely = read(texts)
    best = _best(texts, values, config.prototype_shown)
    return [search.entry("prior", texts[k], likely[k]) for k in best]


def _prior(bigrams: Bigrams, texts: np.ndarray) -> np.ndarray:
    return log_probability(bigrams, framed(texts))


def _best(texts: np.ndarray, values: np.ndarray, most: int) -> list[int]:
    """The numbers of the texts of the highest values, each text once."""
    found: dict[tuple[int, ...], int] = {}
    for k in np.argsort(-values, kind="stable").tolist():
        found.setdefault(tuple(texts[k].tolist()), k)
    return list(found.values())[:most]


def _entry(
    subject: Subject, bigrams: Bigrams, kind: str, ids: np.ndarray, likely: float
) -> dict[str, Any]:
    """One text: its words, probability of the class, and log p(text) in nats under the bigrams."""
    names = subject.names.words
    return {
        "kind": kind,
        "words": [names[k] if names else int(k) for k in ids],
        "probability": float(np.exp(likely)),
        "log_prior": float(_prior(bigrams, np.asarray(ids)[None])[0]),
    }


def _origin(subject: Subject, row: int) -> dict[str, Any]:
    """Where the data has it: the row's number in its split, and its class."""
    return {
        "id": int(subject.split.row_numbers[row]),
        "label": int(subject.split.labels[row]),
    }


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """class -> entries, with names for class numbers."""

    def named(entry: dict[str, Any]) -> dict[str, Any]:
        if "label" not in entry:
            return entry
        label = entry["label"]
        return entry | {"label": about.labels[label] if label >= 0 else None}

    return {
        "prototypes": {
            about.labels[label]: [named(each) for each in entries]
            for label, entries in found["prototypes"].items()
        }
    }


PROTOTYPES = Question(ask, _answer, empty={"prototypes": None}, over="train")
