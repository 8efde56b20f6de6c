"""What would have had to be different: the fewest changed words that flip the prediction.

Two kinds of change: words of the text are deleted, and it closes up, or each is replaced by one of
its nearest words by cosine, of words made of pieces by that between the means and those of no more
pieces. Of each word the replacement that alone does most is taken; which words are changed together
is searched: every word, every pair of words, then larger sets by a beam, and in the end each change
is undone that is not needed. Every candidate is a text of its own that the model reads. A figure
hangs on the row's text and the settings alone.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from attnjax.analysis.findings import describe
from attnjax.analysis.importance.target import of_classes
from attnjax.analysis.questions.faithfulness import order_of
from attnjax.analysis.questions.question import About, Given, Names, Question
from attnjax.analysis.questions.smallest import Texts, changed, search
from attnjax.analysis.rows import AtWords
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit
from attnjax.data.word_values import read_word_values
from attnjax.errors import UserError
from attnjax.model.attention import forward
from attnjax.model.quick import gathered, kept_order
from attnjax.model.stages import mean_vectors, vocabulary_size
from attnjax.perturb.differences import nearest_words
from attnjax.types import EOS, PAD, Batch, Params, Stages

KINDS = ("deletion", "replacement")
WIDER = 5  # times as many near words are looked at where some have too many pieces


class Prepared(NamedTuple):
    """What flips need beside the parameters, once a run.

    options  [words, ways] ids that may stand in a word's place, PAD where there are fewer
    costs    [words] of changing a word
    """

    options: Int[Array, "words ways"]
    costs: Float[Array, " words"]


def prepare(
    stages: Stages,
    params: Params,
    split: EncodedSplit,
    config: AnalysisConfig,
    names: Names,
) -> Prepared:
    """The nearest words of every word of the split, and the costs that a file gives.

    Raises UserError where no word has a replacement, or where the file of costs is wrong.
    """
    words = vocabulary_size(stages, params)
    used = np.unique(np.concatenate([*split.tokens, np.zeros(1, np.int32)]))
    vectors, pieces = (np.asarray(each) for each in mean_vectors(stages, params, words))
    count = min(config.flip_neighbours, words)
    many = count if (pieces == 1).all() else min(WIDER * count, words)
    nearest = np.asarray(nearest_words(jnp.asarray(vectors), many, EOS + 1, of=jnp.asarray(used)))
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-15)
    near = np.einsum("ue,uke->uk", unit[used], unit[nearest])
    real = (nearest > EOS) & (nearest != used[:, None])  # of few words the list is filled up
    real &= pieces[nearest] <= pieces[used][:, None]
    allowed = real & (near >= config.flip_similarity)
    if not allowed.any():
        raise UserError(
            f"no word has another within analysis.flip_similarity={config.flip_similarity:g}: the "
            f"nearest two have a cosine of {near[real].max(initial=-1):.2f}; lower it"
        )
    options = np.full((words, count), PAD, np.int32)
    first = np.argsort(~allowed, axis=1, kind="stable")[:, :count]
    options[used] = np.take_along_axis(np.where(allowed, nearest, PAD), first, axis=1)
    return Prepared(jnp.asarray(options), jnp.asarray(_costs(config, names, words)))


def _costs(config: AnalysisConfig, names: Names, words: int) -> np.ndarray:
    """1 for each word, or what the file says of it."""
    costs = np.ones(words, np.float32)
    if not config.flip_costs:
        return costs
    given = read_word_values(config.flip_costs, "analysis.flip_costs")
    if least := [word for word, cost in given.items() if cost <= 0]:
        raise UserError(f"analysis.flip_costs: the cost of '{least[0]}' must be above 0")
    numbers = {word: number for number, word in enumerate(names.words) if number > EOS}
    known = {numbers[word]: cost for word, cost in given.items() if word in numbers}
    if not known:
        raise UserError(
            "analysis.flip_costs: none of the file's words is one that the model knows; write "
            "them as the run's vocab.json does"
        )
    costs[list(known)] = list(known.values())
    return costs


def make_flips(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask((params, Prepared), batch, given) -> {"flips": ...}, [batch] each, NaN if none.

    changed_words  fewest found, by deletion or by replacement; of equal ones that of less distance
    distance       L2 norm of the change of the word vectors, a deleted word's being 0
    overlap        explanation -> share of these s words that are the s highest of the explanation;
                   "random": what chance gives, s / words of the text
    and of each kind: words, distance, cost, probability (of the class that was predicted, now),
    smallest (1 where no smaller set of that kind exists, by search of all of them: one word, two
    where no word suffices, and three deletions where no two of all words do), and changed, a token
    id for each word, -1 where it stays
    """
    del seed
    most = config.flip_words

    def ask(params: Any, batch: Batch, given: Given) -> dict[str, Any]:
        params, prepared = params
        trace, words = given.trace, batch.words & (batch.rows >= 0)[:, None]
        classes, dtype = trace.logits.argmax(axis=-1), trace.probabilities.dtype

        def output(rows: Int[Array, " some"], tokens: Int[Array, "some length"]) -> Any:
            some = jax.tree.map(lambda each: each[rows], batch)
            some = some._replace(tokens=gathered(tokens, *kept_order(tokens != PAD)))
            found = forward(stages, params, some)
            before = classes[rows]
            return of_classes(found.probabilities, before), found.logits.argmax(axis=-1) != before

        near = prepared.options[batch.tokens]
        ways = near.shape[-1]
        count = words.sum(axis=-1).astype(jnp.int32)
        places = jnp.argsort(~words, axis=-1, stable=True).astype(jnp.int32)
        costs = prepared.costs[batch.tokens].astype(dtype)

        def of_kind(kind: Int[Array, ""]) -> dict[str, Any]:
            deletes = kind == 0
            only = (jnp.arange(ways) == 0)[None, None]
            texts = Texts(
                batch.tokens,
                places,
                count,
                jnp.minimum(jnp.where(deletes, count - 1, count), most),
                jnp.where(deletes, PAD, near),
                jnp.where(deletes, only, near != PAD),
                jnp.where(deletes, 1, ways).astype(jnp.int32),
                costs,
            )
            ranked, best = search(output, texts, most)
            rows = jnp.arange(len(count), dtype=jnp.int32)
            tokens = changed(ranked, texts, best.words, rows)
            moved = tokens != batch.tokens
            vectors = stages.embed(params, batch._replace(tokens=tokens)).text
            squares = jnp.square(vectors - trace.embedded.text).sum(axis=-1)
            found = best.size > 0
            every = deletes & (best.size == 3) & (count <= ranked.position.shape[1])
            measured = {
                "words": best.size.astype(dtype),
                "distance": jnp.sqrt(jnp.sum(squares, axis=-1, where=moved)),
                "cost": jnp.sum(costs, axis=-1, where=moved),
                "probability": best.probability,
                "smallest": ((best.size <= 2) | every).astype(dtype),
            }
            measured = {name: jnp.where(found, each, jnp.nan) for name, each in measured.items()}
            return measured | {"changed": jnp.where(moved, tokens, -1)}

        kinds = jax.lax.map(of_kind, jnp.arange(len(KINDS), dtype=jnp.int32))
        return {"flips": _fewest(kinds, given, words, batch.words)}

    return ask


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
    measures = ("words", "distance", "cost", "probability")

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
            **describe({name: flips[name] for name in ("changed_words", "distance")}),
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
