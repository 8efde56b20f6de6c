"""Which training texts made a prediction, and which look mislabelled?

Of the decoder's last map alone, given the features that the other layers make: exact there, blind
to what a training text did to the layers below. `analysis.influence` has the equations and signs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attnjax.analysis import influence
from attnjax.analysis.findings import describe
from attnjax.analysis.influence import Head, Problem
from attnjax.analysis.questions.question import About, Question, Subject
from attnjax.analysis.rows import BUCKETS
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, Shapes, choose_shapes, collate, map_rows, sample
from attnjax.model import segments
from attnjax.model.attention import attend
from attnjax.types import Batch, Embedded, Params, Segment, Stages

SUSPECTS = 100  # training texts of the highest self-influence that results.json lists


class Seen(NamedTuple):
    """A batch as the decoder's last map sees it.

    inputs  [batch, width], the last column 1; probabilities  [batch, classes]
    """

    inputs: Float[Array, "batch width"]
    probabilities: Float[Array, "batch classes"]


def last_inputs(stages: Stages, params: Params, embedded: Embedded, batch: Batch) -> Seen:
    """What the decoder's last map is given: the attended state, of pairs the layer behind it."""
    encoded = stages.encode(params, embedded, batch)
    weights, logits = attend(stages, params, encoded, stages.score(params, encoded), batch)
    found, head = jnp.einsum("bl,blw->bw", weights, encoded.states), params["decode"]
    if encoded.query is not None:
        hidden = found @ head["context"]["kernel"] + head["context"]["bias"][None]
        hidden = hidden + encoded.query @ head["query"]["kernel"] + head["query"]["bias"][None]
        if "product" in head:
            hidden = hidden + (found * encoded.query) @ head["product"]["kernel"]
        found = jnp.tanh(hidden)
    found = jnp.concatenate([found, jnp.ones_like(found[:, :1])], axis=-1)
    return Seen(found, jax.nn.softmax(logits, axis=-1))


def make_inputs(stages: Stages) -> Callable[[Params, Batch], Seen]:
    """Builds (params, batch) -> `Seen`."""
    return lambda params, batch: last_inputs(stages, params, stages.embed(params, batch), batch)


def make_by_word(stages: Stages) -> Callable[..., dict[str, Float[Array, "batch length"]]]:
    """Builds (params, batch, solved [batch, columns, width]) -> segment -> one number a word.

    The vector of each word times the derivative by it of grad L(z) H^-1 g: what the word adds, to
    first order, to the effect of its text on the loss that `solved` is of (Koh & Liang, eq. 5,
    times -1; divided by the number of training texts it is in the units of the effect).
    """

    def by_word(
        params: Params, batch: Batch, solved: Float[Array, "batch columns width"]
    ) -> dict[str, Float[Array, "batch length"]]:
        embedded = stages.embed(params, batch)

        def effect(embedded: Embedded) -> Float[Array, ""]:
            seen = last_inputs(stages, params, embedded, batch)
            classes = seen.probabilities.shape[-1]
            target = jax.nn.one_hot(batch.labels, classes, dtype=seen.probabilities.dtype)
            errors = (seen.probabilities - target)[:, classes - solved.shape[1] :]
            return jnp.einsum("bc,bcw,bw->", errors, solved, seen.inputs)

        slopes = jax.grad(effect)(embedded)
        names: tuple[Segment, ...] = ("text",) if batch.query is None else ("text", "query")
        return {
            name: jnp.where(
                segments.words(batch, name),
                (segments.values(slopes, name) * segments.values(embedded, name)).sum(axis=-1),
                0,
            )
            for name in names
        }

    return by_word


def ask(subject: Subject, config: AnalysisConfig, seed: int) -> dict[str, Any]:
    """{"influence": {"helpful", "harmful"} of each row, "summary": ..., "suspects": [...]}.

    Of rows that are not among the `influence_examples` chosen ones, both lists are empty.
    Raises UserError where the Hessian is not positive, or too large.
    """
    stages, training, split = subject.stages, subject.training, subject.split
    params = jax.device_get(subject.params)
    shapes = choose_shapes([training, split], BUCKETS)
    chosen = sample(len(split), config.influence_examples, seed)
    tests = split.take(chosen)
    call = partial(jax.jit(make_inputs(stages)), params)
    problem = _problem(call, training, params, shapes, config.chunk_size, subject.check)
    test = _problem(call, tests, params, shapes, config.chunk_size, subject.check)
    last = params["decode"]["logits"]
    weights = np.concatenate([last["kernel"], last["bias"][None]]).T.astype(np.float64)
    found, tested = influence.head(problem, weights), influence.head(test, weights)
    damping = config.influence_damping
    whole = influence.hessian(problem, found, damping)
    inverted = influence.inverse(whole, damping)
    solved = influence.solutions(test, tested, inverted)
    left = influence.corrected(problem, found, inverted) if config.influence_leverage else found
    effects = influence.effects(problem, left, solved)
    own = influence.self_influence(problem, found, inverted)
    random = np.random.default_rng(seed)
    checked = None
    if config.influence_check:
        checked = influence.check(
            problem, test, weights, effects, damping, config.influence_check, random
        )
    planted = None
    if config.influence_planted:
        planted = influence.planted(problem, weights, damping, config.influence_planted, random)
    slopes = influence.gradients(test, tested)
    missed = whole @ solved.reshape(len(slopes), -1).T - slopes.T
    sizes = np.maximum(np.linalg.norm(slopes, axis=1), np.finfo(float).tiny)
    mean = influence.gradients(problem, found).mean(axis=0)
    summary = {
        "scope": "last layer",
        "training_examples": len(training),
        "examples": len(chosen),
        "parameters": len(whole),
        "damping": damping,
        "leverage": config.influence_leverage,
        "gradient_norm": float(np.linalg.norm(mean)),
        "residual": float((np.linalg.norm(missed, axis=0) / sizes).max(initial=0)),
        "training_loss": float(found.losses.mean()),
        "check": None if checked is None else checked._asdict(),
        "planted": None if planted is None else planted._asdict(),
    }
    most = min(config.influence_texts, len(training))
    pairs = _extremes(effects, most)
    texts = _told(subject, params, shapes, config.chunk_size, pairs, effects, solved)
    helpful: list[list[Any]] = [[] for _ in range(len(split))]
    harmful: list[list[Any]] = [[] for _ in range(len(split))]
    for place, row in enumerate(chosen.tolist()):
        mine = [each for (_, of), each in zip(pairs, texts, strict=True) if of == place]
        helpful[row] = [each for each in mine if each["effect"] > 0]
        harmful[row] = [each for each in reversed(mine) if each["effect"] < 0]
    return {
        "influence": {"helpful": helpful, "harmful": harmful},
        "effects": effects,
        "self_influence": own,
        "summary": summary,
        "suspects": _suspects(subject, found, own),
    }


def _problem(
    call: Callable[[Batch], Seen],
    split: EncodedSplit,
    params: Params,
    shapes: Shapes,
    chunk: int,
    check: Callable[[], None],
) -> Problem:
    """The rows of a split as the last map sees them."""

    def host(batch: Batch) -> Any:
        return jax.device_get(call(batch)._asdict())

    found = map_rows(host, split, shapes, min(chunk, len(split)), check)
    inputs = np.stack(found["inputs"]).astype(np.float64)
    classes = len(found["probabilities"][0])
    shared = params["decode"]["logits"]["kernel"].shape[1] < classes
    return Problem(inputs, split.labels, classes, shared, split.candidates)


def _extremes(effects: np.ndarray, most: int) -> list[tuple[int, int]]:
    """(training row, test) of the most helpful and most harmful of each test, helpful first."""
    pairs = []
    for of in range(effects.shape[1]):
        order = np.argsort(-effects[:, of], kind="stable")
        ends = dict.fromkeys([*order[:most].tolist(), *order[len(order) - most :].tolist()])
        pairs += [(row, of) for row in ends]
    return pairs


def _told(
    subject: Subject,
    params: Params,
    shapes: Shapes,
    chunk: int,
    pairs: list[tuple[int, int]],
    effects: np.ndarray,
    solved: np.ndarray,
) -> list[dict[str, Any]]:
    """Each pair's training text with its effect and what every word adds to it."""
    training = subject.training
    call, found = jax.jit(make_by_word(subject.stages)), []
    size = min(chunk, len(pairs))
    for start in range(0, len(pairs), max(size, 1)):
        subject.check()
        some = pairs[start : start + size]
        filled = [*some, *[some[0]] * (size - len(some))]
        batch = collate(training, np.array([row for row, _ in filled]), size, shapes)
        asked = solved[[of for _, of in filled]].astype(np.float32)
        values = jax.device_get(call(params, batch, asked))
        for place, (row, of) in enumerate(some):
            text = _text(subject, row) | {"effect": float(effects[row, of])}
            for name, ids in (("text", training.tokens), ("query", training.query)):
                if ids is not None:
                    words = values[name][place, 1 : len(ids[row]) - 1] / len(training)
                    text[f"{name}_by_word"] = words.tolist()
            found.append(text)
    return found


def _text(subject: Subject, row: int) -> dict[str, Any]:
    """A training row: its number, label and words."""
    training, names = subject.training, subject.names
    label = int(training.labels[row])

    def words(ids: np.ndarray) -> list[Any]:
        return [names.words[k] if names.words else int(k) for k in ids[1:-1]]

    found = {
        "id": int(training.row_numbers[row]),
        "label": names.labels[label] if names.labels else label,
        "text": words(training.tokens[row]),
    }
    return found if training.query is None else found | {"query": words(training.query[row])}


def _suspects(subject: Subject, found: Head, own: np.ndarray) -> list[dict[str, Any]]:
    """The training texts of the highest self-influence, and what the model makes of them."""
    order = np.argsort(-own, kind="stable")[:SUSPECTS].tolist()
    return [
        _text(subject, row)
        | {
            "self_influence": float(own[row]),
            "loss": float(found.losses[row]),
            "probability": float(np.exp(-found.losses[row])),
        }
        for row in order
    ]


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """The premises of the figures, self-influence, the largest effects, and the suspects."""
    del about
    effects: np.ndarray = found["effects"]
    measures = describe({"self_influence": found["self_influence"]})
    if effects.size:
        measures |= describe({"helps": effects.max(axis=0), "harms": effects.min(axis=0)})
    return {"influence": {**found["summary"], **measures, "suspects": found["suspects"]}}


INFLUENCE = Question(
    ask,
    _answer,
    empty={"influence": None},
    record=("influence",),
    wanted=lambda config: config.influence_examples != 0,
    over="train",
)
