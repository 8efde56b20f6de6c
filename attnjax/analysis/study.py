"""A trained model and a split -> explanations of every row, and what the questions found."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.analysis.importance import method_named
from attnjax.analysis.importance.method import Method, Shared, checked, traced
from attnjax.analysis.progress import progress
from attnjax.analysis.questions import wanted
from attnjax.analysis.questions.question import Given, Study
from attnjax.analysis.rows import AtWords, Engine, in_chunks, ragged
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit
from attnjax.data.lexicon import Lexicon
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
    lexicon: Lexicon | None = None,
) -> list[Study]:
    """Explains every row of the split, and asks; one study for each run of the engine.

    training  gives real training batches to the methods that are fitted; check  is called between
              batches and may raise to stop.
    lexicon   the concepts that `analysis.concepts` names
    Rows are independent: neither chunk_size nor the other rows change what is found for one, nor
    does how many of a data set's rows the split has.
    """
    call = _row_call(config, stages, seed, engine, training, lexicon)
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
    return studies


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
    config: AnalysisConfig,
    stages: Stages,
    seed: int,
    engine: Engine,
    training: Callable[[], Iterable[Batch]] | None,
    lexicon: Lexicon | None,
) -> Callable[[Batch], list[Any]]:
    """batch -> for each run {"seen", "methods": name -> ..., "questions": name -> ...}."""
    methods = {name: method_named(name).under(config) for name in config.methods}
    owns = {name: each.stages(stages, config.detach_attention) for name, each in methods.items()}
    asked = {name: each for name, each in wanted(config).items() if each.over == "rows"}
    learn = _learner(seed, engine, training)
    fitted = {
        name: learn(each.fit, owns[name], f"importance method '{name}'")
        for name, each in methods.items()
    }
    known = {
        name: learn(each.fit and each.fit(config, lexicon), stages, f"question '{name}'")
        for name, each in asked.items()
    }
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
        name: engine.compile(each.ask, (stages, config, seed), None)
        if each.fit is None
        else engine.compile(make_ask, (each.ask, stages, config, seed), known[name])
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


def _learner(
    seed: int, engine: Engine, training: Callable[[], Iterable[Batch]] | None
) -> Callable[..., Sequence[Any] | None]:
    """(fit, stages, what asks for it) -> what is learnt from training data, for each run.

    What asks for the same fit shares it; None of what learns nothing.
    """
    learnt: dict[Any, Sequence[Any]] = {}

    def learn(fit: Any, stages: Stages, who: str) -> Sequence[Any] | None:
        if fit is None:
            return None
        if training is None:
            raise UserError(
                f"the {who} is fitted on training data, which is not at hand here; leave it out of "
                "--config.analysis.methods and --config.analysis.questions, or use "
                "python -m attnjax.analyze on the run's own data"
            )
        if fit not in learnt:
            key = jax.random.key(seed)
            learnt[fit] = [fit(stages, params, training(), key) for params in engine.params]
        return learnt[fit]

    return learn


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
