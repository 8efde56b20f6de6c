"""Which training texts made a prediction, or its attention, and which look mislabelled?

By the last layer alone (`analysis.influence`, exact, blind to what a text did to the layers below),
or by all parameters (`analysis.all_parameters`). Which look mislabelled, the last layer says.
"""

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from attnjax.analysis import influence
from attnjax.analysis.findings import describe
from attnjax.analysis.questions.influence_all import effects_of_all, labelled
from attnjax.analysis.questions.influence_last import Last, effects_of_last, last_layer
from attnjax.analysis.questions.influence_texts import Asked, Found
from attnjax.analysis.questions.question import About, Question, Subject
from attnjax.analysis.rows import BUCKETS
from attnjax.config import AnalysisConfig
from attnjax.data.batches import choose_shapes, sample
from attnjax.errors import UserError

logger = logging.getLogger(__name__)
SUSPECTS = 100  # training texts of the highest self-influence that results.json lists


def ask(subject: Subject, config: AnalysisConfig, seed: int) -> dict[str, Any]:
    """{"influence": {"helpful", "harmful"} of each row, "summary": ..., "suspects": [...]}.

    Of rows that are not among the `influence_examples` chosen ones, both lists are empty. Where
    attention is asked about, "attended" is the number of the word whose it is, else there is none.
    Raises UserError where a matrix is not positive, or too large, or no label is known.
    """
    # Rows are counted from 0 here; only what is told has their numbers in the data.
    training = dataclasses.replace(subject.training, numbers=None)
    split, params = subject.split, jax.device_get(subject.params)
    chosen = labelled(split, sample(len(split), config.influence_examples, seed))
    if not len(chosen):
        raise UserError(
            "influence: no training text has the label of an example that is asked about; raise "
            "analysis.influence_examples, or leave influence out of analysis.questions"
        )
    asked = Asked(
        subject.stages,
        params,
        training,
        split.take(chosen),
        choose_shapes([training, split], BUCKETS),
        config.chunk_size,
        min(config.influence_texts, len(training)),
        subject.check,
    )
    random, of_labels = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    last = _last_layer(asked, config)
    if config.influence_scope == "last_layer":
        assert last is not None
        found = effects_of_last(asked, config, last, random)
    else:
        found = effects_of_all(asked, config, subject.kept, seed, random)
    planted = None
    if config.influence_planted and last:
        planted = influence.planted(
            last.problem, last.weights, last.damping, config.influence_planted, of_labels
        )
    summary = {
        "target": config.influence_target,
        "training_examples": len(training),
        "examples": len(chosen),
        **found.summary,
        "training_loss": float(last.found.losses.mean()) if last else None,
        "check": None if found.check is None else found.check._asdict(),
        "planted": None if planted is None else planted._asdict(),
    }
    told: dict[str, list[Any]] = {
        "helpful": [[] for _ in range(len(split))],
        "harmful": [[] for _ in range(len(split))],
    }
    if found.attended is not None:
        told["attended"] = [None] * len(split)
    texts: list[list[Any]] = [[] for _ in chosen]  # most helpful first
    for of, each in _told(subject, found):
        texts[of].append(each)
    for place, row in enumerate(chosen.tolist()):
        helpful = [each for each in texts[place] if each["effect"] > 0]
        harmful = [each for each in reversed(texts[place]) if each["effect"] < 0]
        told["helpful"][row], told["harmful"][row] = helpful[: asked.most], harmful[: asked.most]
        if found.attended is not None:
            told["attended"][row] = int(found.attended[place])
    return {
        "influence": told,
        "effects": found.effects,
        "self_influence": last.self_influence if last else np.full(len(training), np.nan),
        "summary": summary,
        "suspects": _suspects(subject, last) if last else [],
    }


def _last_layer(asked: Asked, config: AnalysisConfig) -> Last | None:
    """The last layer; None, with a line, where it is not what is asked for and has no inverse."""
    try:
        return last_layer(asked, config.influence_damping)
    except UserError as error:
        if config.influence_scope == "last_layer":
            raise
        logger.warning("influence: without self-influence, which is of the last layer: %s", error)
        return None


def _told(subject: Subject, found: Found) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each test and a training text that is told of it, most helpful first, with its words."""
    for (row, of), words in found.words.items():
        text = _text(subject, row) | {"effect": float(found.effects[row, of])}
        for name, values in words.items():
            segment, _, norm = name.partition("_")
            text["_".join(filter(None, (segment, "by_word", norm)))] = values.tolist()
        yield of, text


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


def _suspects(subject: Subject, last: Last) -> list[dict[str, Any]]:
    """The training texts of the highest self-influence, and what the model makes of them."""
    own, found = last.self_influence, last.found
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
