"""The methods of a study as compiled programs, which take any run's parameters.

Work that several methods use is done in programs of its own: one, or where methods are asked again,
one for cheap work and one for what takes many passes. Then every program also takes word vectors of
the text's own, so that a method asked again is not compiled again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from attnjax.analysis.cost import costly, passes_of, timed
from attnjax.analysis.importance import method_named
from attnjax.analysis.importance.attention import attention_of
from attnjax.analysis.importance.method import Method, Shared, checked, traced
from attnjax.analysis.moved import make_blank, with_own_vectors
from attnjax.analysis.questions.question import NAMELESS, Names, Question
from attnjax.analysis.rows import AtWords, Engine
from attnjax.config import AnalysisConfig
from attnjax.errors import UserError
from attnjax.model import segments
from attnjax.model.attention import forward
from attnjax.types import Batch, Params, Stages

Work = tuple[Shared, Stages]  # a shared function, and the model that it is given


class Plan(NamedTuple):
    """What is compiled of a study's methods.

    owns    name -> the model that the method is given
    fitted  name -> what it has learnt from training data, one a run; None where it learns nothing
    known   likewise of the questions over rows
    costly  the methods that take many passes
    works   what is shared, by program: cheap work, and where methods are asked again, the costly
    moves   whether the programs take the text's own vectors
    """

    stages: Stages
    seed: int
    methods: dict[str, Method]
    owns: dict[str, Stages]
    fitted: dict[str, Sequence[Any] | None]
    known: dict[str, Sequence[Any] | None]
    costly: frozenset[str]
    works: tuple[tuple[Work, ...], ...]
    moves: bool

    def work_of(self, name: str) -> Work | None:
        """The shared work that this method is handed."""
        method = self.methods[name]
        if method.shared is None or method.apart:
            return None
        return method.shared, self.owns[name]


class Explained(NamedTuple):
    """What the methods found of a batch, on the devices.

    seen     attention and probabilities
    methods  name -> {"values": segment -> AtWords, perhaps "exactness", "points"}
    handed   the work that was shared
    seconds  of each method's own program by its name, and of each program of `works` by its number
    """

    seen: dict[str, Any]
    methods: dict[str, Any]
    handed: dict[Work, Any]
    seconds: dict[str | int, float]


def plan_methods(
    config: AnalysisConfig,
    stages: Stages,
    seed: int,
    engine: Engine,
    training: Callable[[], Iterable[Batch]] | None,
    asked: Mapping[str, Question],
    again: bool,
    words: float,
    names: Names = NAMELESS,
) -> Plan:
    """Tunes and fits the methods of the configuration, and fits what is asked of rows.

    asked  the questions over rows; again  whether some ask the methods again; words  of an example,
           in the mean; names  what the questions may be fitted with
    """
    methods = {name: method_named(name).under(config) for name in config.methods}
    owns = {name: each.stages(stages, config.detach_attention) for name, each in methods.items()}
    learn = _learner(seed, engine, training)
    fitted = {
        name: learn(each.fit, owns[name], f"importance method '{name}'")
        for name, each in methods.items()
    }
    known = {
        name: learn(each.fit and each.fit(config, names), stages, f"question '{name}'")
        for name, each in asked.items()
    }
    many = frozenset(name for name, each in methods.items() if costly(each, config, words))
    works: list[dict[Work, None]] = [{(traced, stages): None} if asked else {}, {}]
    for name, each in methods.items():
        if each.shared is not None and not each.apart:
            works[again and name in many][each.shared, owns[name]] = None
    programs = (tuple(works[0]), *([tuple(works[1])] if works[1] else []))
    return Plan(stages, seed, methods, owns, fitted, known, many, programs, again)


def bind(plan: Plan, engine: Engine, check: Callable[[], None]) -> Callable[..., Explained]:
    """(placed batch, moved, names of methods or None for all) -> Explained, for these parameters.

    moved    the texts to explain in their place, of `moved.Moved`; None for those of the batch
    check    is called before each program, and may raise to stop
    """
    shares = [
        engine.compile(make_shared, (plan.stages, works, plan.seed, plan.moves, number == 0), None)
        for number, works in enumerate(plan.works)
    ]
    finds = {
        name: engine.compile(
            make_find, (name, each, plan.owns[name], plan.seed, plan.moves), plan.fitted[name]
        )
        for name, each in plan.methods.items()
        if not each.on_host
    }
    blank = engine.compile(make_blank, (plan.stages,), None) if plan.moves else None
    program = {work: number for number, works in enumerate(plan.works) for work in works}

    def explain(placed: Any, moved: Any = None, names: Collection[str] | None = None) -> Explained:
        if moved is None:
            moved = () if blank is None else blank(placed, ())
        wanted = [name for name in finds if names is None or name in names]
        own = {name: plan.work_of(name) for name in wanted}
        needed = {0} | {program[work] for work in own.values() if work is not None}
        if names is None:
            needed = set(range(len(shares)))
        seen, handed, seconds = {}, {}, {}
        for number in sorted(needed):
            check()
            (found, shared), seconds[number] = timed(shares[number], placed, moved)
            seen |= found
            handed |= dict(zip(plan.works[number], shared, strict=True))
        methods = {}
        for name in wanted:
            check()
            given = (() if (work := own[name]) is None else handed[work], moved)
            methods[name], seconds[name] = timed(finds[name], placed, given)
        return Explained(seen, methods, handed, seconds)

    return explain


def make_shared(
    stages: Stages, works: tuple[Work, ...], seed: int, moves: bool, see: bool
) -> Callable[..., Any]:
    """Builds (params, batch, moved) -> (what is seen of the forward pass, what is handed on).

    In one program, which computes only once what these have in common.
    """

    def compute(params: Params, batch: Batch, moved: Any) -> Any:
        def own(model: Stages) -> Stages:
            return with_own_vectors(model, moved.vectors) if moves else model

        batch = batch._replace(tokens=moved.tokens) if moves else batch
        key = jax.random.key(seed)
        seen = {}
        if see:
            trace = forward(own(stages), params, batch)
            attention = attention_of(own(stages), params, trace, batch)
            seen = {
                "attention": AtWords(attention, batch.words),
                "probabilities": trace.probabilities,
            }
        return seen, tuple(function(own(model), params, batch, key) for function, model in works)

    return compute


def make_find(
    name: str, method: Method, stages: Stages, seed: int, moves: bool
) -> Callable[..., Any]:
    """Builds (params, batch, (shared, moved)) -> {"values": segment -> AtWords, ...}.

    params  with those of a method that is fitted: the pair of both
    """

    def find(params: Any, batch: Batch, given: Any) -> dict[str, Any]:
        (shared, moved), key = given, jax.random.key(seed)
        model = with_own_vectors(stages, moved.vectors) if moves else stages
        batch = batch._replace(tokens=moved.tokens) if moves else batch
        params, fitted = params if method.fit is not None else (params, None)
        if method.apart:
            shared = method.work(model, params, batch, key)
        values = {}
        for segment in method.segments:
            if segment == "query" and batch.query is None:
                continue
            extras = method.extras(shared, fitted, segment)
            words = segments.words(batch, segment)
            found = checked(name, method.find(model, params, batch, key, **extras), words)
            values[segment] = AtWords(found, words)
        answer: dict[str, Any] = {"values": values}
        if method.exactness is not None:
            extras = method.extras(shared, fitted)
            answer["exactness"] = method.exactness(model, params, batch, key, **extras)
        if method.points is not None:
            answer["points"] = method.points(shared)
        return answer

    return find


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


def costs(
    plan: Plan,
    config: AnalysisConfig,
    found: dict[str, Any],
    words: float,
    spent: dict[str | int, float],
) -> dict[str, dict[str, Any]]:
    """method -> seconds an example, and passes; of work in one program, its part by passes.

    found  of each method, with the points that it took; words  of an example, in the mean
    spent  seconds an example, by method's own program and by number of the shared one
    """
    passes = {
        name: passes_of(each, config, words, float(np.mean(found[name].get("points", 0.0))))
        for name, each in plan.methods.items()
    }
    weights = {
        work: 1.0 if work[0] is traced else sum((passes[name] or {"forward": 2.0}).values())
        for name in plan.methods
        if (work := plan.work_of(name)) is not None
    }
    table = {}
    for name in plan.methods:
        seconds, work = spent[name], plan.work_of(name)
        if work is not None:
            number = next(k for k, works in enumerate(plan.works) if work in works)
            total = sum(weights.get(each, 1.0) for each in plan.works[number])
            seconds += spent[number] * weights[work] / total
        table[name] = {"seconds_per_example": seconds, "passes": passes[name]}
    return table
