"""The question about prototypes: three answers for each class, true of the model and the data."""

import dataclasses
import itertools

import numpy as np
import pytest
from helpers import WORDS, batch_of, quick_jit, small_model

from attnjax.analysis.bigrams import count_bigrams, log_probability
from attnjax.analysis.prototypes import framed
from attnjax.analysis.questions.prototypes import KINDS, PROTOTYPES, ngrams, of_vectors
from attnjax.analysis.questions.question import Names, Subject
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.analysis.summary import summarise
from attnjax.checks import check
from attnjax.config import AnalysisConfig, RunConfig
from attnjax.data.batches import EncodedSplit, choose_shapes, evaluation_batches
from attnjax.errors import UserError
from attnjax.model.attention import forward
from attnjax.model.stages import word_vectors
from attnjax.training.parallel import remembered
from attnjax.types import EOS, SOS, UNK

CONFIG = AnalysisConfig(
    methods=(),
    questions=("prototypes",),
    chunk_size=16,
    prototype_words=2,
    prototype_steps=60,
    prototype_restarts=8,
)
NAMES = Names(tuple(f"w{number}" for number in range(WORDS)), ("no", "yes"))


def split_of(lengths, seed=2):
    random = np.random.default_rng(seed)
    rows = [random.integers(EOS + 1, WORDS, length) for length in lengths]
    rows = [np.array([SOS, *words, EOS], np.int32) for words in rows]
    return EncodedSplit(rows, None, np.arange(len(rows)) % 2, None)


SPLIT, TRAINING = split_of((5, 1, 4, 3, 6)), split_of((4, 6, 3, 5, 7, 2, 8), seed=7)


def asked(config, stages, params, split=SPLIT, seed=0):
    def batches():
        return evaluation_batches(TRAINING, choose_shapes([TRAINING], 1), 4)

    engine = engine_for(params, remembered(quick_jit))
    (found,) = study(config, stages, split, seed, engine, batches, names=NAMES)
    return summarise(found, config, NAMES.labels, split.labels)["analysis"]["prototypes"]


def reader(stages, params):
    run = quick_jit(lambda batch: forward(stages, params, batch).probabilities)

    def read(texts, length):
        rows = [np.array([SOS, *each, EOS], np.int32) for each in texts]
        filled = [*rows, *[rows[0]] * (256 - len(rows))]
        return np.asarray(run(batch_of(filled, length=length)))[: len(rows)]

    return read


def words_of(entry):
    return [int(word[1:]) for word in entry["words"]]


MODELS = [("average", "dot"), ("bilstm", "additive"), ("transformer", "dot")]


@pytest.mark.parametrize(("encoder", "attention"), MODELS)
def test_each_class_has_three_answers_that_are_true(encoder, attention):
    stages, params = small_model(encoder, attention, classes=2, heads=2)
    found = asked(CONFIG, stages, params)
    assert list(found) == ["no", "yes"]
    read = reader(stages, params)
    every = np.array(list(itertools.product(range(EOS + 1, WORDS), repeat=2)))
    prior = count_bigrams(TRAINING.tokens, WORDS)
    likely, rest = read(every, 12), log_probability(prior, framed(every))
    whole = read([row[1:-1] for row in SPLIT.tokens], 12)
    real = {tuple(row[k : k + 2]) for row in SPLIT.tokens for k in range(1, len(row) - 2)}
    there = np.array([tuple(each) in real for each in every])
    # Both climbs begin at the same vectors, of which the two probabilities sum to 1.
    assert sum(entries[0]["free_probability"] for entries in found.values()) > 1.01
    for label, entries in enumerate(found.values()):
        assert [kind for kind, _ in itertools.groupby(each["kind"] for each in entries)] == [*KINDS]
        for each in entries:
            probability = read([words_of(each)], 12)[0, label]
            assert each["probability"] == pytest.approx(probability, rel=1e-3, abs=1e-6)
            expected = log_probability(prior, framed(np.array([words_of(each)])))[0]
            assert each["log_prior"] == pytest.approx(expected)
            assert 0 <= each.get("free_probability", 0) <= 1
        kinds = {kind: [each for each in entries if each["kind"] == kind] for kind in KINDS}
        values = np.log(likely[:, label]) + CONFIG.prototype_prior * rest
        near = (every == words_of(kinds["prior"][0])).sum(axis=1)
        reached = values[near == 2][0]
        assert reached >= values[near == 1].max() - 1e-4, "a change of one word does better"
        assert reached >= values[there].max() - 1e-4, "the data has something better"
        assert kinds["text"][0]["probability"] == pytest.approx(whole[:, label].max(), rel=1e-3)
        assert kinds["text"][0]["id"] == whole[:, label].argmax()
        assert kinds["text"][0]["label"] == NAMES.labels[kinds["text"][0]["id"] % 2]
        top = likely[there][:, label].max()
        assert kinds["ngram"][0]["probability"] == pytest.approx(top, rel=1e-3)
        assert words_of(kinds["ngram"][0]) in [each.tolist() for each in every[there]]


def test_of_one_word_the_best_of_the_vocabulary_is_found():
    stages, params = small_model("average", "dot", classes=2)
    config = dataclasses.replace(CONFIG, prototype_words=1)
    found = asked(config, stages, params)
    every = np.arange(EOS + 1, WORDS)[:, None]
    likely, prior = reader(stages, params)(every, 12), count_bigrams(TRAINING.tokens, WORDS)
    rest = log_probability(prior, framed(every))
    values = np.log(likely) + CONFIG.prototype_prior * rest[:, None]
    for label, entries in enumerate(found.values()):
        best = next(each for each in entries if each["kind"] == "prior")
        assert words_of(best) == every[values[:, label].argmax()].tolist()


@pytest.mark.parametrize(("encoder", "attention"), MODELS)
def test_what_ascent_climbs_is_the_model(encoder, attention):
    """Vectors that are those of words make the probabilities of the text of these words."""
    stages, params = small_model(encoder, attention, classes=2, heads=2)
    texts = np.array([[7, 9, 4], [WORDS - 1, 4, 4]])
    vectors = word_vectors(stages, params, WORDS)[texts]
    found = quick_jit(lambda params, vectors: of_vectors(stages, params, vectors))(params, vectors)
    np.testing.assert_allclose(np.exp(found), reader(stages, params)(texts, 5), rtol=1e-5)


def test_chunks_change_nothing():
    stages, params = small_model("bilstm", "dot", classes=2)  # order counts: no two are as good
    once = asked(CONFIG, stages, params)
    other = asked(dataclasses.replace(CONFIG, chunk_size=5), stages, params)
    for label, entries in once.items():
        assert [each["words"] for each in entries] == [each["words"] for each in other[label]]
        for one, two in zip(entries, other[label], strict=True):
            assert one["probability"] == pytest.approx(two["probability"], rel=1e-5)


def test_runs_of_words_are_told_once_with_their_row_and_without_unknown_ones():
    rows = [[7, 8, 7, 8, 9], [5], [8, UNK, 6, 7, 8]]
    rows = [np.array([SOS, *words, EOS], np.int32) for words in rows]
    split = EncodedSplit(rows, None, np.zeros(3, np.int32), None)
    found, places = ngrams(split, 2, -1, 0)
    assert found.tolist() == [[6, 7], [7, 8], [8, 7], [8, 9]]
    assert places.tolist() == [2, 0, 0, 0]
    some, _ = ngrams(split, 2, 2, 0)
    assert len(some) == 2
    np.testing.assert_array_equal(some, ngrams(split, 2, 2, 0)[0])
    assert ngrams(split, 6, -1, 0)[0].shape == (0, 6)


def test_without_a_run_of_so_many_words_there_are_no_ngrams():
    stages, params = small_model("average", "dot", classes=2)
    config = dataclasses.replace(CONFIG, prototype_words=7)
    found = asked(config, stages, params)
    kinds = {each["kind"] for each in found["no"]}
    assert kinds == {"free", "prior", "text"}


def test_a_model_without_words_is_told_so():
    stages, params = small_model("average", "dot", classes=2, words=EOS + 1)
    tokens = [np.array([SOS, UNK, EOS], np.int32)] * 2
    split = EncodedSplit(tokens, None, np.arange(2), None)
    subject = Subject(stages, params, split, split, NAMES, lambda: None)
    with pytest.raises(UserError, match=r"knows no word .*; lower data.min_count"):
        PROTOTYPES.ask(subject, CONFIG, 0)


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        ("nli", {}, "task is 'nli': of pairs, what is typical of a class hangs on the query"),
        (
            "classification",
            {"encoder": "bert", "pretrained": "x"},
            "analysis.questions has 'prototypes', which compares or exchanges vectors of words",
        ),
    ],
)
def test_where_it_makes_no_sense_it_is_refused_in_one_line(task, model, message):
    usual = RunConfig()
    run = RunConfig(
        task=task,
        analysis=dataclasses.replace(usual.analysis, questions=("prototypes",)),
        model=dataclasses.replace(usual.model, **model),
        data=dataclasses.replace(usual.data, source="files", path="x"),
    )
    with pytest.raises(UserError, match=message):
        check(run)
