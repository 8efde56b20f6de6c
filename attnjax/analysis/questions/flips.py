"""What would have had to be different: the fewest changed words that flip the prediction.

Two kinds of change: words of the text are deleted, and it closes up, or each is replaced, see
`replacements`. Of each word the replacement that alone does most is taken; which words are changed
together is searched: every word, every pair of words, then larger sets by a beam, and in the end
each change is undone that is not needed. Every candidate is a text of its own that the model reads.
Beside both stands the least change of the word vectors, which no text has. A figure hangs on the
row's text and the settings alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from attnjax.analysis.border import radius
from attnjax.analysis.findings import describe
from attnjax.analysis.importance.target import of_classes
from attnjax.analysis.questions.faithfulness import order_of
from attnjax.analysis.questions.question import About, Given, Names, Question
from attnjax.analysis.questions.replacements import at_tokens, lost_by, prepare
from attnjax.analysis.questions.smallest import Texts, changed, search
from attnjax.analysis.rows import AtWords
from attnjax.config import AnalysisConfig
from attnjax.model.attention import attend
from attnjax.model.stages import entries_of
from attnjax.types import PAD, Batch, Params, Stages, Trace

KINDS = ("deletion", "replacement")


def make_flips(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask((params, Prepared), batch, given) -> {"flips": ...}, [batch] each, NaN if none.

    changed_words  fewest found, by deletion or by replacement; of equal ones that of less distance
    distance       L2 norm of the change of the word vectors, a deleted word's being 0
    radius         least L2 norm of a change of all word vectors that is found to flip
    overlap        explanation -> share of these s words that are the s highest of the explanation;
                   "random": what chance gives, s / words of the text
    and of each kind: words, distance, cost, probability (of the class that was predicted, now),
    smallest (1 where no smaller set of that kind exists, by search of all of them, replacements
    being those tried at each place: one word, two where no word suffices, and three deletions where
    no two of all words do), with a prior nats
    (what the replacements cost the text's log-probability, each alone), and changed, a token id for
    each word, -1 where it stays
    """
    del seed
    most = config.flip_words

    def ask(params: Any, batch: Batch, given: Given) -> dict[str, Any]:
        params, prepared = params
        trace, words = given.trace, batch.words & (batch.rows >= 0)[:, None]
        classes, dtype = trace.logits.argmax(axis=-1), trace.probabilities.dtype

        edited = stages.quick.encode_edited(params, trace.embedded, batch)

        def output(rows: Array, places: Array, tokens: Array) -> Any:
            encoded, some = edited(rows, places, tokens)
            scores, before = stages.score(params, encoded), classes[rows]
            _, logits = attend(stages, params, encoded, scores, some)
            probabilities = jax.nn.softmax(logits, axis=-1)
            return of_classes(probabilities, before), logits.argmax(axis=-1) != before

        near, nats = at_tokens(prepared, batch)
        kinds = jnp.arange(len(KINDS), dtype=jnp.int32)
        costs = prepared.costs[batch.tokens].astype(dtype)

        def of_kind(kind: Int[Array, ""]) -> dict[str, Any]:
            deletes = kind == 0
            texts = _texts(batch.tokens, words, near, costs, deletes, most)
            ranked, best = search(output, texts, most)
            tokens = changed(ranked, texts, best.words)
            moved = tokens != batch.tokens
            change = stages.embed(params, batch._replace(tokens=tokens)).text - trace.embedded.text
            squares = jnp.square(change).sum(axis=-1)
            found = best.size > 0
            every = deletes & (best.size == 3) & (texts.changeable <= ranked.position.shape[1])
            measured = {
                "words": best.size.astype(dtype),
                "distance": jnp.sqrt(jnp.sum(squares, axis=-1, where=moved)),
                "cost": jnp.sum(costs, axis=-1, where=moved),
                "probability": best.probability,
                "smallest": ((best.size <= 2) | every).astype(dtype),
            }
            if config.flip_prior >= 0:
                measured["nats"] = lost_by(tokens, near, nats, moved)
            measured = {name: jnp.where(found, each, jnp.nan) for name, each in measured.items()}
            return measured | {"changed": jnp.where(moved, tokens, -1)}

        found = _fewest(jax.lax.map(of_kind, kinds), given, words, batch.words)
        return {"flips": found | {"radius": _radius(stages, params, trace, batch, words)}}

    return ask


def _texts(
    tokens: Int[Array, "batch length"],
    words: Bool[Array, "batch length"],
    near: Int[Array, "batch length ways"],
    costs: Float[Array, "batch length"],
    deletes: Bool[Array, ""],
    most: int,
) -> Texts:
    """What is searched: of a deletion one way a word, which leaves one word; else those of near."""
    count, ways = words.sum(axis=-1).astype(jnp.int32), near.shape[-1]
    return Texts(
        tokens,
        jnp.argsort(~words, axis=-1, stable=True).astype(jnp.int32),
        count,
        jnp.minimum(jnp.where(deletes, count - 1, count), most),
        jnp.where(deletes, PAD, near),
        jnp.where(deletes, (jnp.arange(ways) == 0)[None, None], near != PAD),
        jnp.where(deletes, 1, ways).astype(jnp.int32),
        costs,
    )


def _radius(
    stages: Stages, params: Params, trace: Trace, batch: Batch, words: Bool[Array, "batch length"]
) -> Float[Array, " batch"]:
    """Of every text, over the vectors of its words."""
    embedded = trace.embedded
    movable = entries_of(stages, params, embedded.text, words)

    def logits(change: Float[Array, "batch length width"]) -> Float[Array, "batch classes"]:
        moved = embedded._replace(text=embedded.text + change)
        encoded = stages.encode(params, moved, batch)
        return attend(stages, params, encoded, stages.score(params, encoded), batch)[1]

    return radius(logits, trace.logits.argmax(axis=-1), movable, embedded.text.dtype)


def _fewest(
    kinds: dict[str, Any],
    given: Given,
    words: Bool[Array, "batch length"],
    shown: Bool[Array, "batch length"],
) -> dict[str, Any]:
    """Of both kinds [kinds, batch, ...] what changes fewer words, or as many by less, and each."""
    size = jnp.where(jnp.isnan(kinds["words"]), jnp.inf, kinds["words"])
    far = jnp.where(jnp.isnan(kinds["words"]), jnp.inf, kinds["distance"])
    best = ((size[1] < size[0]) | ((size[1] == size[0]) & (far[1] < far[0]))).astype(jnp.int32)

    def chosen(values: Shaped[Array, "kinds batch *more"]) -> Shaped[Array, "batch *more"]:
        second = best.reshape(-1, *(1,) * (values.ndim - 2)) == 1
        return jnp.where(second, values[1], values[0])

    fewest, moved = chosen(kinds["words"]), chosen(kinds["changed"]) >= 0
    overlap = _overlaps(given, words, moved, fewest)
    found = {"changed_words": fewest, "distance": chosen(kinds["distance"]), "overlap": overlap}
    for place, name in enumerate(KINDS):
        each = {measure: rows[place] for measure, rows in kinds.items()}
        found[name] = each | {"changed": AtWords(each["changed"], shown)}
    return found


def _overlaps(
    given: Given,
    words: Bool[Array, "batch length"],
    moved: Bool[Array, "batch length"],
    fewest: Float[Array, " batch"],
) -> dict[str, Float[Array, " batch"]]:
    """Explanation -> share of the changed words among as many highest; "random": chance."""
    dtype = fewest.dtype
    values = {"attention": given.trace.weights} | {
        name: each["text"] for name, each in given.explanations.items()
    }

    def share(values: Float[Array, "batch length"]) -> Float[Array, " batch"]:
        among = moved & (order_of(values, words).astype(dtype) < fewest[:, None])
        return among.sum(axis=-1).astype(dtype) / fewest

    count = jnp.maximum(words.sum(axis=-1), 1).astype(dtype)
    return {name: share(each) for name, each in values.items()} | {"random": fewest / count}


def spell(found: dict[str, Any], names: Names) -> dict[str, Any]:
    """What was found with words for ids: of each kind "positions" and, replaced, "into"."""
    flips = dict(found["flips"])
    for name in KINDS:
        measured = dict(flips[name])
        rows = [np.asarray(each) for each in measured.pop("changed")]
        measured["positions"] = [np.flatnonzero(each >= 0).tolist() for each in rows]
        if name == "replacement":
            measured["into"] = [[names.words[k] for k in each[each >= 0]] for each in rows]
        flips[name] = measured
    return {"flips": flips}


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """Fewest words, share flipped and distance over both kinds, and of each; the overlaps."""
    flips = found["flips"]
    measures = ["words", "distance", "cost", "probability"]
    if about.config.flip_prior >= 0:
        measures.append("nats")

    def flipped(words: np.ndarray) -> float:
        return float(np.mean(np.isfinite(words)))

    by_edit = {}
    for name in KINDS:
        each = flips[name]
        proven = each["smallest"][np.isfinite(each["smallest"])]
        by_edit[name] = {
            **describe({measure: each[measure] for measure in measures}),
            "flipped_fraction": flipped(each["words"]),
            "smallest_fraction": float(proven.mean()) if len(proven) else None,
        }
    return {
        "flips": {
            "most_words": about.config.flip_words,
            "costs": bool(about.config.flip_costs),
            "flipped_fraction": flipped(flips["changed_words"]),
            "radius_fraction": flipped(flips["radius"]),
            "prior": about.config.flip_prior if about.config.flip_prior >= 0 else None,
            **describe({name: flips[name] for name in ("changed_words", "distance", "radius")}),
            "by_edit": by_edit,
            "overlap": describe(flips["overlap"]),
        }
    }


FLIPS = Question(
    make_flips,
    _answer,
    empty={"flips": None},
    record=("flips",),
    prepare=prepare,
    spell=spell,
)
