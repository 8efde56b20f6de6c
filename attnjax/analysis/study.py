"""A trained model and a split -> explanations of every row, and what the questions found."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.analysis.again import ask_again
from attnjax.analysis.explaining import Plan, bind, costs, make_find, plan_methods
from attnjax.analysis.importance import method_named
from attnjax.analysis.importance.method import traced
from attnjax.analysis.progress import progress
from attnjax.analysis.questions import wanted
from attnjax.analysis.questions.question import (
    NAMELESS,
    Given,
    Kept,
    Names,
    Question,
    Study,
    Subject,
)
from attnjax.analysis.rows import Engine, in_chunks, ragged
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, split_of
from attnjax.errors import UserError
from attnjax.types import Batch, Stages

logger = logging.getLogger(__name__)


def study(
    config: AnalysisConfig,
    stages: Stages,
    split: EncodedSplit,
    seed: int,
    engine: Engine,
    training: Callable[[], Iterable[Batch]] | None = None,
    check: Callable[[], None] = lambda: None,
    names: Names = NAMELESS,
    kept: Callable[[], Sequence[Kept]] = lambda: (),
) -> list[Study]:
    """Explains every row of the split, and asks; one study for each run of the engine.

    training  gives real training batches to the methods that are fitted; check  is called between
              programs and may raise to stop; names  of words and classes, for what is spelt.
    Rows are independent: neither chunk_size nor the other rows change what is found for one, nor
    does how many of a data set's rows the split has.
    """
    asked = {name: each for name, each in wanted(config).items() if each.over == "rows"}
    again = {name: each for name, each in wanted(config).items() if each.over == "methods"}
    plan = plan_methods(
        config, stages, seed, engine, training, asked, bool(again), _length(split), names
    )
    prepared = _prepared(config, stages, split, engine, names, training)
    call = _row_call(plan, asked, prepared, config, seed, engine, check)
    more = ask_again(again, plan, config, split, seed, engine, check)
    advance = progress(f"analysis: {_doing(config)}", len(split))
    seconds: dict[str | int, float] = {}

    def told(batch: Batch) -> list[Any]:
        answers, took = call(batch)
        seconds.update({name: seconds.get(name, 0) + each for name, each in took.items()})
        advance(int(np.sum(np.asarray(batch.rows) >= 0)))
        for run, found in zip(answers, more.often(batch, answers), strict=True):
            run["questions"] |= found
        return answers

    found = in_chunks(told, split, config.chunk_size, engine.devices, check)
    more.seldom([each["questions"] for each in found])
    spent = {name: each / (len(split) * len(found)) for name, each in seconds.items()}
    studies = [_collected(ragged(each), split, config, plan, spent) for each in found]
    for name, question in wanted(config).items():
        if question.over == "explanations":
            advance = progress(f"analysis: {name.replace('_', ' ')}", len(split) * len(studies))
            for each in studies:
                each.found[name] = question.ask(each, config, seed)
                advance(len(split))
        if question.over == "train":
            doing = f"analysis: {name.replace('_', ' ')}"
            advance = progress(doing, len(studies), what="trained model")
            rows = _training_rows(name, training)
            for each, params in zip(studies, engine.params, strict=True):
                subject = Subject(stages, params, split, rows, names, check, kept)
                each.found[name] = question.ask(subject, config, seed)
                advance(1)
        if question.spell is not None and names.words:
            for each in studies:
                each.found[name] = question.spell(each.found[name], names)
    return studies


def _training_rows(name: str, training: Callable[[], Iterable[Batch]] | None) -> EncodedSplit:
    """The training examples, taken out of their batches; raises UserError where there are none."""
    if training is None:
        raise UserError(
            f"the question '{name}' asks about training data, which is not at hand here; use "
            "python -m attnjax.analyze on the run's own data"
        )
    return split_of(training())


def _prepared(
    config: AnalysisConfig,
    stages: Stages,
    split: EncodedSplit,
    engine: Engine,
    names: Names,
    training: Callable[[], Iterable[Batch]] | None,
) -> dict[str, list[Any]]:
    """What each question over rows has prepared, for each run."""

    def rows(name: str) -> Callable[[], EncodedSplit]:
        return lambda: _training_rows(name, training)

    return {
        name: [
            each.prepare(stages, params, split, config, names, rows(name))
            for params in engine.params
        ]
        for name, each in wanted(config).items()
        if each.prepare is not None and each.over == "rows"
    }


def _doing(config: AnalysisConfig) -> str:
    """What is done with every batch: "attention, gradient; permutation, robustness"."""
    asked = [name for name, each in wanted(config).items() if each.over == "rows"]
    parts = (", ".join(each) for each in (["attention", *config.methods], asked) if each)
    return "; ".join(parts).replace("_", " ")


def make_ask(
    build: Callable[..., Any], stages: Stages, config: AnalysisConfig, seed: int
) -> Callable[..., Any]:
    """Builds the row function of a question that is fitted: params are the pair with its fit."""
    ask = build(stages, config, seed)

    def fitted(params: Any, batch: Batch, given: Given) -> Any:
        own, learnt = params
        return ask(own, batch, given._replace(fitted=learnt))

    return fitted


def _row_call(
    plan: Plan,
    asked: dict[str, Question],
    prepared: dict[str, list[Any]],
    config: AnalysisConfig,
    seed: int,
    engine: Engine,
    check: Callable[[], None],
) -> Callable[[Batch], tuple[list[Any], dict[str | int, float]]]:
    """batch -> for each run {"seen", "methods": name -> ..., "questions": name -> ...}; seconds."""
    explain = bind(plan, engine, check)
    asks = {
        name: engine.compile(each.ask, (plan.stages, config, seed), prepared.get(name))
        if each.fit is None
        else engine.compile(make_ask, (each.ask, plan.stages, config, seed), plan.known[name])
        for name, each in asked.items()
    }

    def call(batch: Batch) -> tuple[list[Any], dict[str | int, float]]:
        placed = engine.place(batch)
        found = explain(placed)
        values = {
            name: {segment: each.values for segment, each in one["values"].items()}
            for name, one in found.methods.items()
        }
        answers = {
            name: ask(placed, Given(found.handed[traced, plan.stages], values))
            for name, ask in asks.items()
        }
        runs = engine.collect({"seen": found.seen, "methods": found.methods, "questions": answers})
        seconds = dict(found.seconds)
        for name, method in plan.methods.items():
            if method.on_host:
                seconds[name] = _on_host(name, plan, engine, batch, found.handed, runs)
        return runs, seconds

    return call


def _on_host(
    name: str, plan: Plan, engine: Engine, batch: Batch, handed: dict[Any, Any], runs: list[Any]
) -> float:
    """Adds to each run what a method that is not compiled finds; returns the seconds."""
    function = make_find(name, plan.methods[name], plan.owns[name], plan.seed, False)
    learnt, work = plan.fitted[name], plan.work_of(name)
    whole = jax.tree.map(jnp.asarray, batch)
    shared = engine.collect(() if work is None else handed[work])
    started = time.perf_counter()
    for number, (run, params) in enumerate(zip(runs, engine.params, strict=True)):
        own = params if learnt is None else (params, learnt[number])
        run["methods"][name] = jax.device_get(function(own, whole, (shared[number], ())))
    return time.perf_counter() - started


def _collected(
    found: dict[str, Any],
    split: EncodedSplit,
    config: AnalysisConfig,
    plan: Plan,
    spent: dict[str | int, float],
) -> Study:
    """The rows' results by kind; warns of importances that are no importances."""
    explanations: dict[Any, dict[str, Any]] = {"text": {"attention": found["seen"]["attention"]}}
    for name in config.methods:
        for segment, rows in found["methods"][name]["values"].items():
            explanations.setdefault(segment, {})[name] = rows
            values = np.concatenate(rows)
            if not np.isfinite(values).all() or (
                not method_named(name).signed and values.min(initial=0) < 0
            ):
                logger.warning(
                    "the importance method '%s' gives words values that are below 0 or not finite: "
                    "divergences and rationales need values of at least 0",
                    name,
                )
    probabilities = found["seen"]["probabilities"]
    return Study(
        explanations,
        {
            name: found["methods"][name]["exactness"]
            for name in config.methods
            if "exactness" in found["methods"][name]
        },
        dict(found["questions"]),
        probabilities.argmax(axis=1),
        probabilities,
        split.row_numbers,
        split.rationales,
        costs(plan, config, found["methods"], _words(explanations), spent),
    )


def _length(split: EncodedSplit) -> float:
    """Tokens of an example, in the mean."""
    segments = [split.tokens, *([split.query] if split.query else [])]
    return float(sum(np.mean([len(row) for row in rows]) for rows in segments))


def _words(explanations: dict[Any, dict[str, Any]]) -> float:
    """Of an example, in the mean: over all segments that are explained."""
    each = [next(iter(rows.values())) for rows in explanations.values()]
    return float(sum(np.mean([len(row) for row in rows]) for rows in each))
