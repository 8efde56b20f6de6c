"""A trained model and a split -> explanations of every row, and what the questions found."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.analysis.importance import method_named
from attnjax.analysis.importance.method import Method, Shared, checked, traced
from attnjax.analysis.progress import progress
from attnjax.analysis.questions import wanted
from attnjax.analysis.questions.question import NAMELESS, Given, Names, Study, Subject
from attnjax.analysis.rows import AtWords, Engine, in_chunks, ragged
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, split_of
from attnjax.errors import UserError
from attnjax.model import segments
from attnjax.model.attention import forward
from attnjax.types import Batch, Params, Stages

logger = logging.getLogger(__name__)

Work = tuple[Shared, Stages]  # a shared function, and the model that it is given


def study(
    config: AnalysisConfig,
    stages: Stages,
    split: EncodedSplit,
    seed: int,
    engine: Engine,
    training: Callable[[], Iterable[Batch]] | None = None,
    check: Callable[[], None] = lambda: None,
    names: Names = NAMELESS,
) -> list[Study]:
    """Explains every row of the split, and asks; one study for each run of the engine.

    training  gives real training batches to the methods that are fitted; check  is called between
              batches and may raise to stop; names  of words and classes, for what is spelt.
    Rows are independent: neither chunk_size nor the other rows change what is found for one, nor
    does how many of a data set's rows the split has.
    """
    prepared = _prepared(config, stages, split, engine, names)
    call = _row_call(config, stages, seed, engine, training, prepared)
    advance = progress(f"analysis: {_doing(config)}", len(split))

    def told(batch: Batch) -> list[Any]:
        answers = call(batch)
        advance(int(np.sum(np.asarray(batch.rows) >= 0)))
        return answers

    found = in_chunks(told, split, config.chunk_size, engine.devices, check)
    studies = [_collected(ragged(each), split, config) for each in found]
    for name, question in wanted(config).items():
        if question.over == "explanations":
            advance = progress(f"analysis: {name.replace('_', ' ')}", len(split) * len(studies))
            for each in studies:
                each.found[name] = question.ask(each, config, seed)
                advance(len(split))
        if question.over == "train":
            advance = progress(f"analysis: {name}", len(studies))
            rows = _training_rows(name, training)
            for each, params in zip(studies, engine.params, strict=True):
                subject = Subject(stages, params, split, rows, names, check)
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
) -> dict[str, list[Any]]:
    """What each question over rows has prepared, for each run."""
    return {
        name: [each.prepare(stages, params, split, config, names) for params in engine.params]
        for name, each in wanted(config).items()
        if each.prepare is not None and each.over == "rows"
    }


def _doing(config: AnalysisConfig) -> str:
    """What is done with every batch: "attention, gradient; permutation, robustness"."""
    asked = [name for name, each in wanted(config).items() if each.over == "rows"]
    parts = (", ".join(each) for each in (["attention", *config.methods], asked) if each)
    return "; ".join(parts).replace("_", " ")


def make_shared(stages: Stages, works: tuple[Work, ...], seed: int) -> Callable[..., Any]:
    """Builds (params, batch, given) -> (what is seen of the forward pass, what is handed on).

    In one program, which computes only once what these have in common.
    """

    def compute(params: Params, batch: Batch, given: Any) -> Any:
        del given
        trace, key = forward(stages, params, batch), jax.random.key(seed)
        seen = {
            "attention": AtWords(trace.weights, batch.words),
            "probabilities": trace.probabilities,
        }
        return seen, tuple(function(own, params, batch, key) for function, own in works)

    return compute


def make_find(name: str, method: Method, stages: Stages, seed: int) -> Callable[..., Any]:
    """Builds (params, batch, shared) -> {"values": segment -> AtWords, perhaps "exactness"}.

    params  with those of a method that is fitted: the pair of both
    """

    def find(params: Any, batch: Batch, shared: Any) -> dict[str, Any]:
        key = jax.random.key(seed)
        params, fitted = params if method.fit is not None else (params, None)
        if method.apart:
            shared = method.work(stages, params, batch, key)
        values = {}
        for segment in method.segments:
            if segment == "query" and batch.query is None:
                continue
            extras = method.extras(shared, fitted, segment)
            words = segments.words(batch, segment)
            found = checked(name, method.find(stages, params, batch, key, **extras), words)
            values[segment] = AtWords(found, words)
        if method.exactness is None:
            return {"values": values}
        extras = method.extras(shared, fitted)
        return {
            "values": values,
            "exactness": method.exactness(stages, params, batch, key, **extras),
        }

    return find


def _row_call(
    config: AnalysisConfig,
    stages: Stages,
    seed: int,
    engine: Engine,
    training: Callable[[], Iterable[Batch]] | None,
    prepared: dict[str, list[Any]],
) -> Callable[[Batch], list[Any]]:
    """batch -> for each run {"seen", "methods": name -> ..., "questions": name -> ...}."""
    methods = {name: method_named(name).under(config) for name in config.methods}
    owns = {name: each.stages(stages, config.detach_attention) for name, each in methods.items()}
    fit = cache(lambda method, own, name: _fit(name, method, own, seed, engine, training))
    first = {
        each.fit: name for name, each in reversed(methods.items())
    }  # they share what is learnt
    fitted = {
        name: fit(methods[first[each.fit]], owns[name], first[each.fit])
        for name, each in methods.items()
    }
    asked = {name: each for name, each in wanted(config).items() if each.over == "rows"}
    common = {name: each for name, each in methods.items() if each.shared and not each.apart}
    works = [(each.shared, owns[name]) for name, each in common.items()]
    works = list(dict.fromkeys([*works, *([(traced, stages)] if asked else [])]))
    share = engine.compile(make_shared, (stages, tuple(works), seed), None)
    finds = {
        name: engine.compile(make_find, (name, each, owns[name], seed), fitted[name])
        for name, each in methods.items()
        if not each.on_host
    }
    asks = {
        name: engine.compile(each.ask, (stages, config, seed), prepared.get(name))
        for name, each in asked.items()
    }

    def call(batch: Batch) -> list[Any]:
        placed = engine.place(batch)
        seen, shared = share(placed, ())
        handed = dict(zip(works, shared, strict=True))
        found = {
            name: find(placed, handed.get((methods[name].shared, owns[name]), ()))
            for name, find in finds.items()
        }
        values = {
            name: {segment: each.values for segment, each in one["values"].items()}
            for name, one in found.items()
        }
        answers = {
            name: ask(placed, Given(handed[traced, stages], values)) for name, ask in asks.items()
        }
        runs = engine.collect({"seen": seen, "methods": found, "questions": answers})
        for name, method in methods.items():
            if method.on_host:
                function, learnt = make_find(name, method, owns[name], seed), fitted[name]
                whole = jax.tree.map(jnp.asarray, batch)
                work = engine.collect(handed.get((method.shared, owns[name]), ()))
                for number, (run, params) in enumerate(zip(runs, engine.params, strict=True)):
                    own = params if learnt is None else (params, learnt[number])
                    run["methods"][name] = jax.device_get(function(own, whole, work[number]))
        return runs

    return call


def _fit(
    name: str,
    method: Method,
    stages: Stages,
    seed: int,
    engine: Engine,
    training: Callable[[], Iterable[Batch]] | None,
) -> Sequence[Any] | None:
    """What a method has learnt from training data, for each run; None where it learns nothing."""
    if method.fit is None:
        return None
    if training is None:
        raise UserError(
            f"the importance method '{name}' is fitted on training data, which is not at hand "
            "here; use python -m attnjax.analyze on the run's own data"
        )
    key = jax.random.key(seed)
    return [method.fit(stages, params, training(), key) for params in engine.params]


def _collected(found: dict[str, Any], split: EncodedSplit, config: AnalysisConfig) -> Study:
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
    )
