"""Methods asked again: of every example, or of few, where they take many passes."""

from collections.abc import Callable, Collection
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from attnjax.analysis.explaining import Plan, bind
from attnjax.analysis.progress import progress
from attnjax.analysis.questions.question import Again, Question
from attnjax.analysis.rows import Engine, in_chunks
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, sample
from attnjax.types import Batch


class AskedAgain(NamedTuple):
    """The questions over methods of a study.

    often   (host batch, what the methods found of it, one tree a run) -> for each run question ->
            what it found, of the methods that take few passes
    seldom  (for each run question -> what it found of all rows, as `map_rows` gives it): puts in
            what is found of the other methods, for `analysis.costly_examples` rows at random
    """

    often: Callable[[Batch, list[Any]], list[dict[str, Any]]]
    seldom: Callable[[list[dict[str, Any]]], None]


def ask_again(
    questions: dict[str, Question],
    plan: Plan,
    config: AnalysisConfig,
    split: EncodedSplit,
    seed: int,
    engine: Engine,
    check: Callable[[], None],
) -> AskedAgain:
    """Binds the questions to the study's compiled methods; those on the host are left out."""

    def bound(engine: Engine) -> Callable[..., list[dict[str, np.ndarray]]]:
        explain = bind(plan, engine, check)

        def values(placed: Any, moved: Any, names: Collection[str]) -> list[dict[str, Any]]:
            found = explain(placed, moved, names)
            parts = {"seen": found.seen, "methods": found.methods}
            return [on_text(run) for run in engine.collect(parts)]

        return values

    names = ("attention", *(name for name, each in plan.methods.items() if not each.on_host))
    fitted = frozenset(name for name in names[1:] if plan.methods[name].fit is not None)
    again = Again(engine, names, fitted, bound)
    asks = {name: each.ask(plan.stages, config, seed, again) for name, each in questions.items()}
    few = sample(len(split), config.costly_examples, seed)
    rare = [name for name in names if name in plan.costly and len(few) < len(split)]

    def of(rows: int, names: Collection[str], which: str) -> Callable[..., list[dict[str, Any]]]:
        """Asks of a batch; what goes on is told from the first time that a question is put."""
        told = {
            name: cache(partial(progress, f"analysis: {name.replace('_', ' ')}{which}", rows))
            for name in asks
        }

        def ask(batch: Batch, first: list[dict[str, np.ndarray]]) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = [{} for _ in first]
            for name, question in asks.items():
                answered = question(batch, first, names, told[name]())
                for run, each in zip(found, answered, strict=True):
                    run[name] = each
            return found

        return ask

    common = of(len(split), [name for name in names if name not in rare], "")
    explain = bound(engine)
    uncommon = of(len(few), rare, " of methods that take many passes")

    def often(batch: Batch, answers: list[Any]) -> list[dict[str, Any]]:
        return common(batch, [on_text(each) for each in answers])

    def seldom(found: list[dict[str, Any]]) -> None:
        if not (asks and rare):
            return

        def told(batch: Batch) -> list[dict[str, Any]]:
            return uncommon(batch, explain(engine.place(batch), None, rare))

        further = in_chunks(told, split.take(few), config.chunk_size, engine.devices, check)
        for run, more in zip(found, further, strict=True):
            for question, keys in more.items():
                for key, methods in keys.items():
                    for name in methods.keys() & rare:
                        _put_in(run[question][key][name], methods[name], few)

    return AskedAgain(often, seldom)


def on_text(run: dict[str, Any]) -> dict[str, np.ndarray]:
    """ "probabilities", "attention" and each method's values of a batch's texts."""
    seen = run["seen"]
    return {
        "probabilities": seen["probabilities"],
        "attention": seen["attention"].values,
        **{name: each["values"]["text"].values for name, each in run["methods"].items()},
    }


def _put_in(into: Any, values: Any, rows: np.ndarray) -> None:
    """Puts lists of rows, in equal trees, in the place of those rows."""

    def put(all_rows: list[Any], some: list[Any]) -> None:
        for row, value in zip(rows, some, strict=True):
            all_rows[row] = value

    jax.tree.map(put, into, values, is_leaf=lambda tree: isinstance(tree, list))
