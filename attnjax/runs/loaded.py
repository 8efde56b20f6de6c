"""A finished run, loaded from its folder: parameters, stages, vocabulary, and predictions."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from attnjax.analysis.importance import METHODS, method_named
from attnjax.analysis.questions.question import Names
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.checkpoint import Checkpoints
from attnjax.config import AnalysisConfig, RunConfig, changed
from attnjax.data.batches import EncodedSplit, Shapes, evaluation_batches
from attnjax.data.dataset import encode, reads_pieces
from attnjax.data.examples import Example, Tokenized
from attnjax.data.listed import listed_of
from attnjax.data.pieces import Reader, pieces_of, read_reader
from attnjax.data.vocabulary import Vocabulary
from attnjax.errors import UserError, suggest
from attnjax.geometry import Pieces
from attnjax.model.pretrained import TOKENIZER, read_classifier, sums_of
from attnjax.model.stages import build_stages
from attnjax.model_checks import check_asked, refuse_encoder, trained_elsewhere
from attnjax.runs.configured import config_of, recorded
from attnjax.runs.explanations import Explanations, Predictions
from attnjax.runs.inner import SelfAttention, attended, make_weights
from attnjax.runs.texts import (
    Checked,
    Explained,
    check_texts,
    example_of,
    require_some,
    spread,
    spread_array,
)
from attnjax.runtime import FULL_PRECISION, platform_of_devices
from attnjax.shapes import RESULTS_SHAPE, VOCABULARY_SHAPE
from attnjax.training.parallel import remembered
from attnjax.training.step import make_evaluate
from attnjax.types import EOS, Compile, Params, RowFunction, Stages
from attnjax.workdir import (
    CHECKPOINTS,
    RESULTS,
    VOCABULARY,
    digest,
    find_workdir,
    finite,
    read_examples,
    read_json,
)

logger = logging.getLogger(__name__)

Text = str | Sequence[str | Sequence[str]]


class Run(NamedTuple):
    """A trained model and what is needed to use it on text.

    folder  where it lies, and with it `results` and `examples()`
    reader  of a pretrained model: how it reads words, those of `vocab` and all others
    """

    params: Params
    stages: Stages
    vocab: Vocabulary
    labels: tuple[str, ...]
    config: RunConfig
    compile: Compile[RowFunction]
    folder: epath.Path
    reader: Reader | None = None

    def __repr__(self) -> str:
        model, size = self.config.model, sum(leaf.size for leaf in jax.tree.leaves(self.params))
        what = f"{model.encoder} with {model.attention} attention"
        if trained_elsewhere(model):
            what = f"{model.encoder} classifier trained elsewhere"
        return (
            f"<Run {self.folder}: {self.config.task}, {what}, {len(self.vocab)} words, "
            f"{len(self.labels)} classes, {size:,} parameters>"
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

        A word that `vocab` lacks is <unk>; `knowing` gives a run that has all words of some texts.
        Raises UserError for a text of the wrong form, or one without a token.
        """
        examples, checked = self._checked(texts)
        for problem in filter(None, checked.problems):
            raise UserError(problem)
        return encode(examples, checked.words, self.vocab, self.labels)

    def reading(self, pieces: Pieces | None) -> "Run":
        """The run whose model reads words by these pieces; itself where words have vectors."""
        if pieces is None:
            return self
        return self._replace(stages=_stages(self.config, len(pieces.ids), self.labels, pieces))

    def knowing(self, texts: Sequence[Tokenized]) -> "Run":
        """The run with all words of these texts in its vocabulary, if it reads them by pieces."""
        if self.reader is None:
            return self
        vocab = self.vocab.extended(part for each in texts for part in each if part is not None)
        return self._replace(vocab=vocab).reading(pieces_of(self.reader, vocab, texts))

    def _checked(self, texts: Sequence[Text | None]) -> tuple[list[Example], Checked]:
        examples = [self._marked(number, text) for number, text in enumerate(texts)]
        return examples, check_texts(examples, self.config.data.max_length, self.reader)

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
        run = self.knowing(words)
        split = encode([examples[number] for number in kept], words, run.vocab, self.labels)
        probabilities = np.zeros((len(split), len(self.labels)), np.float32)
        evaluate = self.compile(make_evaluate, run.stages)
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
        check_asked(dataclasses.replace(self.config, analysis=settings))
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
        run = self.knowing(words)
        call = partial(self.compile(make_weights, run.stages), self.params)
        return attended(call, encode(kept, words, run.vocab, self.labels), checked)

    def study_examples(self, examples: Sequence[Example], settings: AnalysisConfig) -> Explained:
        """The whole analysis of the examples that can be read, on one device.

        Those without a token, or without a word the model has seen, are marked. Raises UserError
        where that leaves none.
        """
        if not examples:
            raise UserError("there is no text to explain")
        checked = check_texts(examples, self.config.data.max_length, self.reader)
        run = self.knowing(checked.words)
        ids = encode(examples, checked.words, run.vocab, self.labels).tokens
        for number, example in enumerate(examples):
            if not checked.problems[number] and not np.any(ids[number] > EOS):
                checked.problems[number] = (
                    f"{example.place} has only words that the model has never seen; leave it out"
                )
        require_some(checked)
        kept = checked.readable
        words = [checked.words[number] for number in kept]
        split = encode([examples[number] for number in kept], words, run.vocab, self.labels)
        # What is drawn at random for a text hangs on its own place, not on whether others are read.
        split = dataclasses.replace(split, numbers=np.array(kept))
        engine = engine_for(self.params, self.compile)
        names = Names(run.vocab.tokens, self.labels)
        (found,) = study(settings, run.stages, split, self.config.seed, engine, names=names)
        return Explained(checked, found)

    def _marked(self, number: int, text: Any) -> Example:
        """The text as an example, whose problem says what is wrong with it."""
        try:
            return example_of(number, text, self.config.task, self.labels)
        except UserError as error:
            nothing = "" if self.pair else None
            return Example("", nothing, "", place=f"text {number}", problem=str(error))


def require_list(method: str, what: str, value: Any) -> None:
    """Raises UserError where the value that the method was given is no list of anything."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise UserError(f"{method} takes a list of {what}, not {value!r:.40}")


def load_run(workdir: str | os.PathLike[str], pretrained: str = "") -> Run:
    """Loads the best checkpoint of a finished run, or an analysed classifier of elsewhere.

    pretrained  where the folder of its pretrained model is now; "": where it was. The parameters
                of a classifier trained elsewhere lie there, and nowhere else
    Raises UserError where the folder holds no such run.
    """
    folder = find_workdir(workdir)
    record = recorded(folder)
    config = config_of(folder, record)
    if pretrained:
        config = changed(config, {"model.pretrained": pretrained})
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
    elsewhere, reader = trained_elsewhere(config.model), None
    if reads_pieces(config):
        reader = read_reader(config.model.pretrained, own_words=elsewhere)
    pieces = None if reader is None else pieces_of(reader, vocabulary)
    more = {"frequencies": np.asarray(stored["frequencies"], np.float32)}
    more |= {"listed": listed_of(stored.get("listed"), vocabulary)}
    stages = _stages(config, len(vocabulary), labels, pieces, **more)
    compiled = remembered(compile_in_full)
    platform_of_devices()  # of what cannot be started, one line tells
    if elsewhere and reader is not None:
        _require_same_files(reader, stored, folder)
        params = classifier_params(reader, len(labels))
        return Run(params, stages, vocabulary, labels, config, compiled, folder, reader)
    if reader is not None:
        _require_same_tokenizer(reader, folder)
    like = jax.eval_shape(stages.init, jax.random.key(config.seed))
    with Checkpoints(folder / CHECKPOINTS, read_only=True) as checkpoints:
        best = checkpoints.restore_best(like)
    if best is None:
        results = folder / RESULTS
        if results.exists() and read_json(results, RESULTS_SHAPE).get("failed"):
            raise UserError(f"run {folder} failed: its loss was not finite; it has no parameters")
        raise UserError(f"{folder} has no best checkpoint yet; let its training finish first")
    return Run(best.params, stages, vocabulary, labels, config, compiled, folder, reader)


def classifier_params(reader: Reader, classes: int) -> Params:
    """The parameters in the folder of a classifier trained elsewhere."""
    return jax.tree.map(jnp.asarray, read_classifier(reader.geometry, classes))


def _require_same_files(reader: Reader, stored: dict[str, Any], folder: epath.Path) -> None:
    """Raises UserError where the classifier's files are others than they were."""
    found = sums_of(reader.geometry)
    _require_same(stored.get("pretrained", {}), found, reader, f"{folder} was analysed")


def _require_same_tokenizer(reader: Reader, folder: epath.Path) -> None:
    """Raises UserError where words are cut otherwise than in training, if the run's results tell.

    The parameters lie in the run's own checkpoints.
    """
    if not (folder / RESULTS).exists():
        return
    known = read_json(folder / RESULTS, RESULTS_SHAPE).get("pretrained", {}).get("sha256")
    if known:
        known = {name: value for name, value in known.items() if name in TOKENIZER}
        found = sums_of(reader.geometry, TOKENIZER)
        _require_same(known, found, reader, f"{folder} was trained")


def _require_same(known: dict[str, str], found: dict[str, str], reader: Reader, what: str) -> None:
    for name in (*known, *found):
        if known.get(name) != found.get(name):
            raise UserError(
                f"{name} in {reader.geometry.folder} is not what {what} with; say where that model "
                "is with --config.model.pretrained=DIR, or load_run(..., pretrained=DIR)"
            )


def _stages(
    config: RunConfig,
    words: int,
    labels: tuple[str, ...],
    pieces: Pieces | None,
    **more: Any,
) -> Stages:
    """The model of this configuration over so many words."""
    return build_stages(
        config.model,
        words=words,
        classes=len(labels),
        pair=config.task != "classification",
        pieces=pieces,
        **more,
    )


def compile_in_full(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` with matrix products as in the commands: see `runtime.multiply_in_full`."""
    compiled = jax.jit(function)

    def call(*arguments: Any) -> Any:
        users = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
        with jax.default_matmul_precision(users or FULL_PRECISION):
            return compiled(*arguments)

    return call
