"""Does an explanation hold still where the model does, and does it add up to what the model does?

Methods are asked again beside the text: its word vectors are disturbed, or one word gives place to
the nearest other one. Those that run on the host are left out.
"""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attnjax.analysis.findings import by_class, describe
from attnjax.analysis.importance.subsets import random_ranks
from attnjax.analysis.importance.target import fall
from attnjax.analysis.moved import make_disturbed, make_replaced
from attnjax.analysis.questions.faithfulness import of_kept
from attnjax.analysis.questions.question import About, Again, Question
from attnjax.config import AnalysisConfig
from attnjax.model.attention import forward
from attnjax.types import Batch, Params, Stages

SUBSETS = 32  # of the words, for infidelity
OWN = 2**31 - 1  # what its key is folded with
MEASURES = ("max_sensitivity", "lipschitz", "replacement", "infidelity", "infidelity_scaled")

Found = dict[str, np.ndarray]  # name -> [batch]


def make_continuity(
    stages: Stages, config: AnalysisConfig, seed: int, again: Again
) -> Callable[..., list[dict[str, Any]]]:
    """Builds ask(...) of `Question` -> for each run {"continuity": name -> measure -> [batch]}.

    Of an explanation r of the text's words, r' that of a text beside it, attention and prediction
    anew; d is of `moved.make_disturbed`, `analysis.continuity_draws` times:
    max_sensitivity    largest ||r' - r|| / ||r|| over d (Yeh et al., arXiv:1901.09392, def. 2)
    lipschitz          largest sum |r' - r| / ||d|| (Alvarez-Melis & Jaakkola, arXiv:1806.08049)
    replacement        largest ||r' - r|| / ||r|| over texts of which one word gave place to its
                       nearest, as often, where the prediction stays; NaN where it never does
    infidelity         mean over `SUBSETS` subsets of the words of (sum of their r - the fall of the
                       predicted class's probability without them)^2 (Yeh et al., definition 1)
    infidelity_scaled  the same of r times the one number, 0 or more, that makes it least: methods
                       differ in unit, some explain logits; NaN of one word, which any number fits
    Of the methods that are not among `names` the last two are measured alone, of "random", a random
    order in place of r, the very last: it has no unit.
    """
    runs = len(again.engine.params)
    explain = again.bind(again.engine)
    subsets = again.engine.compile(make_subsets, (stages, config.removal, seed), None)
    draws = config.continuity_draws
    steps = 2 * draws + 1

    def moved(builder: Any, placed: Any, number: int) -> tuple[Any, list[np.ndarray]]:
        numbers = [np.int32(number)] * runs
        texts, far = again.engine.compile(builder, (stages, seed), numbers)(placed, ())
        return texts, again.engine.collect(far)

    def ask(
        batch: Batch,
        first: list[dict[str, np.ndarray]],
        names: Collection[str],
        advance: Callable[[float], None],
    ) -> list[dict[str, Any]]:
        placed, share = again.engine.place(batch), float(np.sum(batch.rows >= 0)) / steps
        nothing = np.full(len(batch.rows), np.nan)
        found: list[dict[str, dict[str, np.ndarray]]] = [
            {
                name: dict.fromkeys(MEASURES[:3], nothing)
                for name in (*(each for each in again.names if each in explained), "random")
            }
            for explained in first
        ]
        for number in range(draws):
            texts, far = moved(make_disturbed, placed, number)
            for run, each in enumerate(explain(placed, texts, names)):
                for name in names:
                    change = each[name] - first[run][name]
                    row = found[run][name]
                    _raise(row, "max_sensitivity", _relative(change, first[run][name]))
                    _raise(row, "lipschitz", _ratio(np.abs(change).sum(axis=-1), far[run]))
            advance(share)
            texts, far = moved(make_replaced, placed, number)
            for run, each in enumerate(explain(placed, texts, names)):
                kept = _classes(each) == _classes(first[run])
                for name in names:
                    change = _relative(each[name] - first[run][name], first[run][name])
                    alike = kept & (far[run] > 0)
                    _raise(found[run][name], "replacement", np.where(alike, change, np.nan))
            advance(share)
        told = again.engine.collect(subsets(placed, ()))
        advance(share)
        for run, each in enumerate(told):
            for name in found[run].keys() - {"random"}:
                found[run][name] |= infidelity(first[run][name], each["gone"], each["drop"])
            floor = infidelity(each["random"], each["gone"], each["drop"])
            found[run]["random"] |= {**floor, "infidelity": nothing}
        return [{"continuity": each} for each in found]

    return ask


def _raise(row: Found, measure: str, values: np.ndarray) -> None:
    """The larger of what stands there and the new one; of NaN and a number, the number."""
    row[measure] = np.fmax(row[measure], values)


def _relative(change: np.ndarray, before: np.ndarray) -> np.ndarray:
    return _ratio(np.linalg.norm(change, axis=-1), np.linalg.norm(before, axis=-1))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where it is divided by 0."""
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)


def _classes(found: dict[str, np.ndarray]) -> np.ndarray:
    return found["probabilities"].argmax(axis=-1)


def make_subsets(stages: Stages, removal: str, seed: int) -> Callable[..., dict[str, Array]]:
    """Builds (params, batch, ()) -> {"gone": [batch, SUBSETS, length], "drop": [batch, SUBSETS]}.

    gone  1 on the words of a random subset, whose size is any from 1 to all; drop  the fall of the
    predicted class's probability without them; and "random": places in a random order
    """

    def subsets(params: Params, batch: Batch, given: Any) -> dict[str, Array]:
        del given
        trace, words = forward(stages, params, batch), batch.words
        output = of_kept(stages, params, batch, removal)
        classes = trace.logits.argmax(axis=-1)
        dtype, alone = trace.logits.dtype, batch._replace(query=None)
        # A key of its own: LIME and Shapley draw by the seed, and would be judged by their samples.
        key = jax.random.fold_in(jax.random.key(seed), OWN)
        count = words.sum(axis=-1).astype(jnp.int32)

        def size_of(row: Array, of: Array, number: Array) -> Array:
            own = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, 1), row), number)
            share = jax.random.uniform(own, (), jnp.float32)
            return jnp.minimum(1 + (share * of.astype(jnp.float32)).astype(of.dtype), of)

        def one(number: Array) -> tuple[Array, Array]:
            size = jax.vmap(size_of, in_axes=(0, 0, None))(batch.rows, count, number)
            gone = words & (random_ranks(key, number, alone) < size[:, None])
            return gone.astype(dtype), fall(trace.logits, output(words & ~gone), classes)

        gone, drop = jax.lax.map(one, jnp.arange(SUBSETS))
        order = random_ranks(key, jnp.asarray(SUBSETS), alone)
        return {
            "gone": jnp.swapaxes(gone, 0, 1),
            "drop": drop.T,
            "random": jnp.where(words, 1 + order, 0).astype(dtype),
        }

    return subsets


def infidelity(values: np.ndarray, gone: np.ndarray, drop: np.ndarray) -> Found:
    """Mean square of what the values of the words that are gone miss of the fall, [batch].

    values  [batch, length]; gone  [batch, subsets, length], 1 on them; drop  [batch, subsets]
    The scaled one is NaN where the values are all 0, or not more than one word ever goes.
    """
    told = np.einsum("bkl,bl->bk", gone.astype(np.float64), values.astype(np.float64))
    scale = _ratio((told * drop).sum(axis=-1), np.square(told).sum(axis=-1))
    scale = np.where(gone.sum(axis=-1).max(axis=-1) > 1, np.maximum(scale, 0), np.nan)
    return {
        "infidelity": np.square(told - drop).mean(axis=-1),
        "infidelity_scaled": np.square(scale[:, None] * told - drop).mean(axis=-1),
    }


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """The summary of max_sensitivity, as the contract has it, and in it those of all others."""
    predictions, labels = about.study.predictions, about.labels
    answer = {}
    for name, measures in found["continuity"].items():
        described = describe(measures)
        answer[name] = {
            **described.pop("max_sensitivity"),
            **described,
            "by_class": by_class(measures, predictions, labels),
        }
    return {"continuity": answer}


CONTINUITY = Question(
    make_continuity,
    _answer,
    empty={"continuity": None},
    record=("continuity",),
    over="methods",
)
