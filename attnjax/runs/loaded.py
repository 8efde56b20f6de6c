"""A finished run, loaded from its folder: parameters, stages, vocabulary, and predictions."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from attnjax.analysis.importance import METHODS, method_named
from attnjax.analysis.questions import wanted
from attnjax.analysis.questions.question import Names
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.checkpoint import Checkpoints
from attnjax.checks import refuse_encoder
from attnjax.config import (
    OPTIONS,
    AnalysisConfig,
    RunConfig,
    differences,
    from_config_dict,
    unchecked,
)
from attnjax.data.batches import EncodedSplit, Shapes, evaluation_batches
from attnjax.data.dataset import encode
from attnjax.data.examples import Example, Tokenized
from attnjax.data.vocabulary import Vocabulary
from attnjax.errors import UserError, suggest
from attnjax.model.stages import build_stages
from attnjax.runs.explanations import Explanations, Predictions
from attnjax.runs.inner import SelfAttention, attended, make_weights
from attnjax.runs.texts import (
    Checked,
    Explained,
    check_texts,
    require_some,
    spread,
    spread_array,
)
from attnjax.runtime import FULL_PRECISION
from attnjax.training.parallel import remembered
from attnjax.training.step import make_evaluate
from attnjax.types import EOS, Compile, Params, RowFunction, Stages
from attnjax.workdir import (
    CHECKPOINTS,
    CONFIG,
    RESULTS,
    RESULTS_SHAPE,
    VOCABULARY,
    VOCABULARY_SHAPE,
    digest,
    find_workdir,
    finite,
    read_examples,
    read_json,
)

Text = str | Sequence[str | Sequence[str]]


class Run(NamedTuple):
    """A trained model and what is needed to use it on text.

    folder  where it lies, and with it `results` and `examples()`
    """

    params: Params
    stages: Stages
    vocab: Vocabulary
    labels: tuple[str, ...]
    config: RunConfig
    compile: Compile[RowFunction]
    folder: epath.Path

    def __repr__(self) -> str:
        model, size = self.config.model, sum(leaf.size for leaf in jax.tree.leaves(self.params))
        return (
            f"<Run {self.folder}: {self.config.task}, {model.encoder} with {model.attention} "
            f"attention, {len(self.vocab)} words, {len(self.labels)} classes, {size:,} parameters>"
        )

    @property
    def results(self) -> dict[str, Any]:
        """results.json: scores and agreement on the test split; empty where there is none yet."""
        path = self.folder / RESULTS
        return read_json(path, RESULTS_SHAPE) if path.exists() else {}

    def examples(self) -> list[dict[str, Any]]:
        """analysis/examples.jsonl: every analysed example's words and explanations."""
        return read_examples(self.folder)

    @property
    def pair(self) -> bool:
        """Whether the model reads two texts."""
        return self.config.task != "classification"

    def encode(self, texts: Sequence[Text | None]) -> EncodedSplit:
        """Turns strings, or (premise, hypothesis) or (story, question[, candidates]), into ids.

        Raises UserError for a text of the wrong form, or one without a token.
        """
        examples, checked = self._checked(texts)
        for problem in filter(None, checked.problems):
            raise UserError(problem)
        return encode(examples, checked.words, self.vocab, self.labels)

    def _checked(self, texts: Sequence[Text | None]) -> tuple[list[Example], Checked]:
        examples = [self._marked(number, text) for number, text in enumerate(texts)]
        return examples, check_texts(examples, self.config.data.max_length)

    def predict(self, texts: Sequence[Text | None]) -> Predictions:
        """Predicts the class of each text, or of each pair.

        Of a question's candidates those that no training example had for an answer are left out.

        A text that cannot be read has the label None, NaN for probabilities and a line in
        `problems`. Raises UserError where that is so of all.

        run.predict(["a fine film", "dull"]).labels == ["1", "0"]
        """
        require_list("predict", "texts", texts)
        examples, checked = self._checked(texts)
        require_some(checked)
        kept, count = checked.readable, len(examples)
        words = [checked.words[number] for number in kept]
        split = encode([examples[number] for number in kept], words, self.vocab, self.labels)
        probabilities = np.zeros((len(split), len(self.labels)), np.float32)
        evaluate = self.compile(make_evaluate, self.stages)
        shapes = Shapes((16,), (16,) if self.pair else ())
        for batch in evaluation_batches(split, shapes, min(32, max(len(split), 1))):
            real = batch.rows >= 0
            outputs = evaluate(self.params, batch)
            probabilities[batch.rows[real]] = np.asarray(outputs["probabilities"])[real]
        labels = [self.labels[number] for number in probabilities.argmax(axis=1)]
        return Predictions(
            spread(labels, kept, count, None),
            spread_array(probabilities, kept, count),
            checked.problems,
            checked.cut,
        )

    def explain(
        self, texts: Sequence[Text | None], methods: Sequence[str] | None = None
    ) -> Explanations:
        """Attention and importance of every word, for strings or pairs as `predict` takes them.

        methods  names of `analysis.importance.METHODS`; default: those the run was analysed with.
        A text without a token, or whose words the model has never seen, is marked in `problems`.
        Raises UserError for an unknown method, no text at all, or none that can be read. Give many
        texts at once: each number of texts, and each length of the longest, is compiled for itself.
        In a notebook the result shows itself as coloured words.

        run.explain(["a fine film"]).importance["gradient"][0].shape == (3,)
        """
        require_list("explain", "texts", texts)
        if methods is not None:
            require_list("explain", "methods", methods)
        settings = dataclasses.replace(
            self.config.analysis,
            methods=tuple(self.config.analysis.methods if methods is None else methods),
            questions=("agreement",),
        )
        for name in settings.methods:
            if name not in METHODS:
                raise UserError(f"no importance method '{name}'{suggest(name, tuple(METHODS))}")
            refuse_encoder(name, method_named(name), self.config.model.encoder)
        examples = [self._marked(number, text) for number, text in enumerate(texts)]
        explained = self.study_examples(examples, settings)
        checked, found = explained.checked, explained.found
        kept, count = checked.readable, len(examples)
        nothing = np.zeros(0, np.float32)

        def ragged(values: Sequence[np.ndarray]) -> list[np.ndarray]:
            return spread(values, kept, count, nothing)

        on_text, on_query = found.explanations["text"], found.explanations.get("query", {})
        words = [
            Tokenized([], []) if problem else each
            for each, problem in zip(checked.words, checked.problems, strict=True)
        ]
        marks = [{"id": n, "problem": each} for n, each in enumerate(checked.problems) if each]
        return Explanations(
            tokens=[each.text for each in words],
            queries=[each.query or [] for each in words] if self.pair else None,
            labels=spread([self.labels[each] for each in found.predictions], kept, count, None),
            probabilities=spread_array(found.probabilities, kept, count),
            attention=ragged(on_text["attention"]),
            importance={name: ragged(on_text[name]) for name in settings.methods},
            query_importance={name: ragged(values) for name, values in on_query.items()},
            agreement={
                pair: {name: spread_array(each, kept, count) for name, each in values.items()}
                for pair, values in found.found["agreement"]["agreement"].items()
            },
            rows=finite(sorted([*explained.rows(self.labels), *marks], key=lambda row: row["id"])),
            problems=checked.problems,
            cut=checked.cut,
        )

    def attention(self, texts: Sequence[Text | None]) -> SelfAttention:
        """Self-attention of every layer and head, for strings or pairs as `predict` takes them.

        Raises UserError where the encoder has none, or no text can be read.

        run.attention(["a fine film"]).weights[0].shape == (layers, heads, 5, 5)
        """
        require_list("attention", "texts", texts)
        refuse_encoder("attention", METHODS["attention_last"], self.config.model.encoder)
        examples, checked = self._checked(texts)
        require_some(checked)
        words = [checked.words[number] for number in checked.readable]
        kept = [examples[number] for number in checked.readable]
        call = partial(self.compile(make_weights, self.stages), self.params)
        return attended(call, encode(kept, words, self.vocab, self.labels), checked)

    def study_examples(self, examples: Sequence[Example], settings: AnalysisConfig) -> Explained:
        """The whole analysis of the examples that can be read, on one device.

        Those without a token, or without a word the model has seen, are marked. Raises UserError
        where that leaves none.
        """
        if not examples:
            raise UserError("there is no text to explain")
        checked = check_texts(examples, self.config.data.max_length)
        ids = encode(examples, checked.words, self.vocab, self.labels).tokens
        for number, example in enumerate(examples):
            if not checked.problems[number] and not np.any(ids[number] > EOS):
                checked.problems[number] = (
                    f"{example.place} has only words that the model has never seen; leave it out"
                )
        require_some(checked)
        kept = checked.readable
        words = [checked.words[number] for number in kept]
        split = encode([examples[number] for number in kept], words, self.vocab, self.labels)
        engine = engine_for(self.params, self.compile)
        # Of texts, what is asked about training examples says nothing.
        asked = tuple(name for name, each in wanted(settings).items() if each.over != "train")
        settings = dataclasses.replace(settings, questions=asked)
        names = Names(self.vocab.tokens, self.labels)
        (found,) = study(settings, self.stages, split, self.config.seed, engine, names=names)
        return Explained(checked, found)

    def _marked(self, number: int, text: Any) -> Example:
        """The text as an example, whose problem says what is wrong with it."""
        try:
            return self._example(number, text)
        except UserError as error:
            nothing = "" if self.pair else None
            return Example("", nothing, "", place=f"text {number}", problem=str(error))

    def _example(self, number: int, text: Any) -> Example:  # Any: users pass anything
        place = f"text {number}"
        if not self.pair:
            if not isinstance(text, str):
                raise UserError(f"{place} must be a string, not {type(text).__name__}")
            return Example(text, None, "", place=place)
        answers = self.config.task == "qa"
        names = "(story, question[, candidates])" if answers else "(premise, hypothesis)"
        ordered = isinstance(text, Iterable) and not isinstance(text, str | Mapping | Set)
        parts = tuple(text) if ordered else ()
        if not 2 <= len(parts) <= 2 + answers:
            raise UserError(f"{place} must be a pair {names}")
        for part in parts:
            if not (isinstance(part, str) or _is_words(part)):
                raise UserError(f"{place}: {names} are texts or lists of texts, not {part!r:.40}")
        first, second = (each if isinstance(each, str) else " ".join(each) for each in parts[:2])
        candidates = parts[2] if len(parts) == 3 else ()
        if isinstance(candidates, str) or (
            len(candidates) and not set(candidates) & set(self.labels)
        ):
            raise UserError(f"{place}: candidates are a list of answers, some of which are known")
        return Example(first, second, "", tuple(candidates), place=place)


def require_list(method: str, what: str, value: Any) -> None:
    """Raises UserError where the value that the method was given is no list of anything."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise UserError(f"{method} takes a list of {what}, not {value!r:.40}")


def _is_words(part: Any) -> bool:
    return isinstance(part, Iterable) and all(isinstance(each, str) for each in part)


def load_run(workdir: str | os.PathLike[str]) -> Run:
    """Loads the best checkpoint of a finished run.

    Raises UserError where the folder holds no such run.
    """
    folder = find_workdir(workdir)
    record = recorded(folder)
    config = config_of(folder, record)
    stored = read_json(folder / VOCABULARY, VOCABULARY_SHAPE)
    if not stored["labels"] or len(stored["frequencies"]) != len(stored["tokens"]):
        raise UserError(f"{folder / VOCABULARY} is no run's vocabulary; restore it")
    trained_with = (record or {}).get("vocabulary", digest(stored))
    if trained_with != digest(stored):
        raise UserError(
            f"{folder / VOCABULARY} is not what the run was trained with; restore it: the training "
            "command writes it again where it is missing"
        )
    vocabulary, labels = Vocabulary(tuple(stored["tokens"])), tuple(stored["labels"])
    stages = build_stages(
        config.model,
        words=len(vocabulary),
        classes=len(labels),
        pair=config.task != "classification",
        frequencies=np.asarray(stored["frequencies"], np.float32),
    )
    like = jax.eval_shape(stages.init, jax.random.key(config.seed))
    with Checkpoints(folder / CHECKPOINTS, read_only=True) as checkpoints:
        best = checkpoints.restore_best(like)
    if best is None:
        results = folder / RESULTS
        if results.exists() and read_json(results, RESULTS_SHAPE).get("failed"):
            raise UserError(f"run {folder} failed: its loss was not finite; it has no parameters")
        raise UserError(f"{folder} has no best checkpoint yet; let its training finish first")
    compiled = remembered(compile_in_full)
    return Run(best.params, stages, vocabulary, labels, config, compiled, folder)


def read_config(folder: epath.Path) -> RunConfig:
    """The configuration of the run in this folder; raises UserError where it is not known."""
    return config_of(folder, recorded(folder))


def config_of(folder: epath.Path, record: dict[str, Any] | None) -> RunConfig:
    """The same, where it is known what the checkpoints say: `recorded`.

    A lost config.json stands in the checkpoints as well, and in results.json; one that says
    otherwise than the checkpoints, about what they are of, is refused.
    """
    path, trained = folder / CONFIG, (record or {}).get("config")
    place = path
    if path.exists():
        raw = read_json(path, dict)
    elif trained is not None:
        place, raw = folder / CHECKPOINTS, trained
    elif (folder / RESULTS).exists():
        place = folder / RESULTS
        raw = read_json(place, {"config": dict})["config"]
    else:
        raise UserError(f"{path} is lost, and no other file of the run has it; restore it")
    config = _told(from_config_dict, raw, place)
    changes = {}
    if trained is not None:
        changes = differences(config, _told(unchecked, trained, folder / CHECKPOINTS))
    for name, (value, before) in changes.items():
        option = OPTIONS[name]
        movable = option.resumable or option.incidental or option.own
        if not (movable or name.startswith("analysis.")):
            raise UserError(
                f"{path} has {name}={value!r:.80}, but its checkpoints were trained with "
                f"{before!r:.80}; restore it, or delete it: they have the whole configuration"
            )
    return config


def _told(build: Callable[[Any], RunConfig], raw: Any, place: epath.Path) -> RunConfig:
    """The configuration; raises UserError that names the place where it stands."""
    try:
        return build(raw)
    except UserError as error:
        raise UserError(f"the configuration in {place}: {error}") from error


def recorded(folder: epath.Path) -> dict[str, Any] | None:
    """What the checkpoints say of the run in this folder; see `Checkpoints.recorded`."""
    with Checkpoints(folder / CHECKPOINTS, read_only=True) as checkpoints:
        return checkpoints.recorded()


def compile_in_full(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` with matrix products as in the commands: see `runtime.multiply_in_full`."""
    compiled = jax.jit(function)

    def call(*arguments: Any) -> Any:
        users = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
        with jax.default_matmul_precision(users or FULL_PRECISION):
            return compiled(*arguments)

    return call
