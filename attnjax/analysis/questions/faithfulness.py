"""Do the words that an explanation names matter to the model? They are removed, and it is asked.

Words of the text go in the order of an explanation, of signed ones what speaks most for the
predicted class first; ties go by position. `analysis.removal` says how a word goes: it is really
deleted and the text closes up, its vector becomes zero, or the unknown word takes its place. p is
the probability of the class that was predicted of the whole example.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnjax.analysis.findings import by_class, describe
from attnjax.analysis.importance.attention import attention_of
from attnjax.analysis.importance.subsets import output_of, random_ranks
from attnjax.analysis.importance.target import fall, read_logits
from attnjax.analysis.questions.question import About, Given, Question
from attnjax.config import AnalysisConfig
from attnjax.model.attention import forward
from attnjax.types import UNK, Batch, Params, Stages, Trace

MOST = 10  # words that are removed one after the other, for AOPC
SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)  # of ERASER
STEPS = tuple(share / 20 for share in range(1, 21))  # of all words, until the prediction flips
ORDERS = 5  # random ones, for the floor
MEASURES = ("aopc", "aopc_least_first", "comprehensiveness", "sufficiency", "flip")


def make_faithfulness(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask(params, batch, given) -> {"faithfulness": name -> measure -> [batch], "curves"}.

    Of attention, of each method and of "random", the mean over `ORDERS` random orders:
    aopc              1/(K+1) sum of p - p(without the k first), k from 0 to K = 10 or all words
                      (Samek et al., arXiv:1509.06321, eq. 12)
    aopc_least_first  the same from the other end
    comprehensiveness mean over `SHARES` of p - p(without that share of the words, rounded up)
    sufficiency       mean over `SHARES` of p - p(those words alone); both DeYoung et al.,
                      arXiv:1911.03429
    flip              share of the words whose removal first changes the prediction, tried in steps
                      of a twentieth (Serrano & Smith, arXiv:1906.03731); 1 where it stands without
                      any word, NaN where there is none
    curves            name -> [batch, 2, K + 1], p - p(without k words): most first, least first;
                      after the last word of a short text it stays
    """

    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        trace, words = given.trace, batch.words
        output = of_kept(stages, params, batch, config.removal)
        names = ["attention", *given.explanations]
        attention = attention_of(stages, params, trace, batch)
        values = [attention, *(each["text"] for each in given.explanations.values())]
        key = jax.random.key(seed)
        alone = batch._replace(query=None)
        drawn = [random_ranks(key, jnp.asarray(k), alone) for k in range(ORDERS)]
        ranks = [*(order_of(each, words) for each in values), *drawn]
        found = jax.lax.map(partial(_measured, output, trace, words), jnp.stack(ranks))
        rows = {
            name: {each: part[place] for each, part in found.items()}
            for place, name in enumerate(names)
        }
        rows["random"] = {each: part[len(names) :].mean(axis=0) for each, part in found.items()}
        return {
            "faithfulness": {
                name: {each: row[each] for each in MEASURES} for name, row in rows.items()
            },
            "curves": {name: row["curve"] for name, row in rows.items()},
        }

    return ask


def _measured(
    output: Callable[[Bool[Array, "batch length"]], Float[Array, "batch classes"]],
    trace: Trace,
    words: Bool[Array, "batch length"],
    ranks: Int[Array, "batch length"],
) -> dict[str, Array]:
    """The measures of one order of the words, and "curve"; output  of the words that are kept."""
    classes = trace.logits.argmax(axis=-1)
    dtype, count = trace.logits.dtype, words.sum(axis=-1).astype(jnp.int32)

    def drop(keep: Bool[Array, "batch length"]) -> Float[Array, " batch"]:
        return fall(trace.logits, output(keep), classes)

    last = count[:, None] - 1 - ranks

    def first_gone(number: Int[Array, ""]) -> Array:
        return jnp.stack([drop(words & (ranks >= number)), drop(words & (last >= number))])

    curve = jax.lax.map(first_gone, jnp.arange(1, MOST + 1, dtype=jnp.int32))
    curve = jnp.moveaxis(curve, -1, 0)  # [batch, K, 2]
    curve = jnp.pad(curve, ((0, 0), (1, 0), (0, 0)))  # without no word p falls by 0
    counted = jnp.arange(MOST + 1)[None, :] <= count[:, None]
    steps = jnp.minimum(count, MOST).astype(dtype)[:, None] + 1
    aopc = jnp.sum(jnp.where(counted[..., None], curve, 0), axis=1) / steps

    def share_gone(share: Float[Array, ""]) -> tuple[Array, Array]:
        number = _ceiling(share, count)[:, None]
        left = output(words & (ranks >= number))
        return fall(trace.logits, left, classes), left.argmax(axis=-1) != classes

    shares = sorted({*SHARES, *STEPS})  # most of `SHARES` are steps, too
    gone, flipped = jax.lax.map(share_gone, jnp.asarray(shares, dtype))
    of_shares, of_steps = (np.searchsorted(shares, each) for each in (SHARES, STEPS))
    alone = jax.lax.map(
        lambda share: drop(words & (ranks < _ceiling(share, count)[:, None])),
        jnp.asarray(SHARES, dtype),
    )
    flipped = flipped[of_steps]
    first = jnp.asarray(STEPS, dtype)[flipped.argmax(axis=0)]
    gone_first = jnp.where(flipped.any(axis=0), _ceiling(first, count), count).astype(dtype)
    flip = gone_first / jnp.where(count > 0, count.astype(dtype), jnp.nan)
    return {
        "aopc": aopc[:, 0],
        "aopc_least_first": aopc[:, 1],
        "comprehensiveness": gone[of_shares].mean(axis=0),
        "sufficiency": alone.mean(axis=0),
        "flip": flip,
        "curve": jnp.moveaxis(curve, 1, 2),
    }


def order_of(
    values: Float[Array, "batch length"], words: Bool[Array, "batch length"]
) -> Int[Array, "batch length"]:
    """Each word's place from the largest value on, ties by position; off the words the last.

    [[0, 3, 1, 3]] with all but the first place being words -> [[3, 0, 2, 1]]
    """
    order = jnp.lexsort((-values, ~words), axis=-1)
    return jnp.argsort(order, axis=-1).astype(jnp.int32)


def _ceiling(share: Float[Array, "*batch"], count: Int[Array, " batch"]) -> Int[Array, " batch"]:
    """That share of the words, rounded up; 1e-4 keeps 0.05 * 20 at 1 in float32."""
    return jnp.ceil(share * count.astype(share.dtype) - 1e-4).astype(jnp.int32)


def of_kept(
    stages: Stages, params: Params, batch: Batch, removal: str
) -> Callable[[Bool[Array, "batch length"]], Float[Array, "batch classes"]]:
    """Builds output(keep): logits with those words of the text alone."""
    if removal == "delete":
        of_features = output_of(stages, params, batch)
        query = [] if batch.query is None else [batch.query_words]
        return lambda keep: of_features(jnp.concatenate([keep, *query], axis=-1))
    words, embedded = batch.words, stages.embed(params, batch)

    def output(keep: Bool[Array, "batch length"]) -> Float[Array, "batch classes"]:
        gone = words & ~keep
        if removal == "unknown":
            other = jnp.asarray(UNK, batch.tokens.dtype)
            hidden = batch._replace(tokens=jnp.where(gone, other, batch.tokens))
            return forward(stages, params, hidden).logits
        left = embedded._replace(text=jnp.where(gone[..., None], 0, embedded.text))
        return read_logits(stages, params, stages.encode(params, left, batch), batch)

    return output


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """Every measure with its interval, by class as well; mean curves."""
    predictions, labels = about.study.predictions, about.labels
    answer = {
        name: {**describe(measures), "by_class": by_class(measures, predictions, labels)}
        for name, measures in found["faithfulness"].items()
    }
    curves = {
        name: {
            side: [float(each) for each in np.asarray(values)[:, place].mean(axis=0)]
            for place, side in enumerate(("most_first", "least_first"))
        }
        for name, values in found["curves"].items()
    }
    return {"faithfulness": answer, "faithfulness_curves": curves}


FAITHFULNESS = Question(
    make_faithfulness,
    _answer,
    empty={"faithfulness": None, "faithfulness_curves": None},
    record=("faithfulness",),
)
