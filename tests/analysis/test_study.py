"""The whole analysis of a split: what is found for a row is that row's alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import WORDS, batch_of, quick_jit, sentences, small_model

from attnjax.analysis.importance import METHODS
from attnjax.analysis.importance.method import Method, traced
from attnjax.analysis.questions import QUESTIONS
from attnjax.analysis.questions.question import Question
from attnjax.analysis.questions.robustness import ROBUSTNESS
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.analysis.summary import records, summarise
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, choose_shapes, evaluation_batches
from attnjax.errors import UserError
from attnjax.model import segments
from attnjax.model.attention import forward
from attnjax.training.parallel import remembered
from attnjax.types import EOS, SOS

SETTINGS = AnalysisConfig(
    chunk_size=4,
    permutations=7,
    adversaries=2,
    adversary_steps=20,
    robustness=(1.0,),
    prototype_words=2,
    prototype_restarts=2,
    prototype_steps=3,
)
ALONE = dataclasses.replace(SETTINGS, questions=())  # explanations, and no question
LENGTHS = [5, 9, 2, 7, 3, 6]
SOME = np.array([1, 3, 5])


def asked(settings, stages, params, split, training=None):
    """The study of one run."""
    engine = engine_for(params, remembered(quick_jit))
    (found,) = study(settings, stages, split, 0, engine, training)
    return found


def split_of(lengths):
    """Sentences in which no word comes twice: of equal words rounding alone decides the order."""
    random = np.random.default_rng(0)
    rows = [random.permutation(np.arange(EOS + 1, WORDS))[:length] for length in lengths]
    rows = [np.array([SOS, *words, EOS], np.int32) for words in rows]
    named = [((0,), (0, length - 1)) for length in lengths]  # by two people, words of each text
    return EncodedSplit(rows, None, np.arange(len(lengths)) % 3, None, None, named)


def training_of(split):
    """Gives the rows of a split as training batches."""
    return lambda: evaluation_batches(split, choose_shapes([split], 1), 4)


def with_methods(*names):
    return dataclasses.replace(ALONE, methods=names)


def test_a_row_has_the_same_figures_among_all_rows_and_among_some():
    stages, params = small_model("average")
    whole = split_of(LENGTHS)
    every = dataclasses.replace(SETTINGS, questions=tuple(QUESTIONS))
    found = asked(every, stages, params, whole, training_of(whole))
    part = asked(every, stages, params, whole.take(SOME), training_of(whole))
    assert set(found.found) == set(QUESTIONS) - {"concepts"}, "it has no word lists"
    assert np.ptp(found.found["adversarial_attention"]["adversarial"]["max_jsd"]) > 1e-3
    of_rows = {name for name in found.found if QUESTIONS[name].over != "train"}
    for name in of_rows - {"agreement"}:
        leaves = jax.tree_util.tree_leaves_with_path(found.found[name], is_leaf=is_rows)
        others = jax.tree.leaves(part.found[name], is_leaf=is_rows)
        for (path, values), other in zip(leaves, others, strict=True):
            for place, row in enumerate(SOME):
                if isinstance(values[row], list):  # of names and numbers, as they were given
                    assert other[place] == values[row]
                else:
                    np.testing.assert_allclose(
                        other[place], values[row], rtol=1e-5, atol=1e-6, err_msg=path
                    )
    for pair, measures in found.found["agreement"]["floor"]["agreement"].items():
        for measure, values in measures.items():
            other = part.found["agreement"]["floor"]["agreement"][pair][measure]
            np.testing.assert_allclose(other, values[SOME], atol=1e-6)
    # Numbers that were taken once are taken again.
    again = whole.take(np.array([3, 1, 5])).take(np.array([1, 0, 2]))
    np.testing.assert_array_equal(again.row_numbers, SOME)


def is_rows(leaf):
    return isinstance(leaf, list)


def test_a_method_without_segments_measures_the_text_alone(monkeypatch):
    def length(stages, params, batch, key):
        words = batch.words.astype(np.float32)
        return words * words.sum(axis=1, keepdims=True)

    monkeypatch.setitem(METHODS, "length", length)
    settings = dataclasses.replace(SETTINGS, methods=("gradient", "length"), adversaries=0)
    stages, params = small_model("average", pair=True)
    split = dataclasses.replace(split_of([4, 2]), query=sentences([3, 5], seed=1))
    found = asked(settings, stages, params, split)
    assert [each.tolist() for each in found.explanations["text"]["length"]] == [[4] * 4, [2] * 2]
    assert set(found.explanations["query"]) == {"gradient"}
    measured = found.found["agreement"]["agreement"]
    assert set(measured) == {"attention~gradient", "attention~length", "gradient~length"}


def test_what_a_method_returns_is_checked(monkeypatch, caplog):
    stages, params = small_model("average")
    shapes = {
        "one": lambda words: words[:, 0],
        "three": lambda words: words[:, :, None],
        "negative": lambda words: -words,
        "missing": lambda words: words * np.nan,
    }

    def method(change):
        return lambda stages, params, batch, key: change(batch.words.astype(np.float32))

    for name, change in shapes.items():
        monkeypatch.setitem(METHODS, name, method(change))
    for name, shape in (("one", r"\(4,\)"), ("three", r"\(4, 12, 1\)")):
        with pytest.raises(UserError, match=f"'{name}' returns {shape} where"):
            asked(with_methods(name), stages, params, split_of([7] * 4))
    for name in ("negative", "missing"):
        asked(with_methods("gradient", name), stages, params, split_of([3, 4]))
        assert f"'{name}' gives words values that are below 0 or not finite" in caplog.text
        assert "'gradient' gives" not in caplog.text
        caplog.clear()


def test_a_signed_method_keeps_its_signs(monkeypatch, caplog):
    """They are told as they are, and agree with others by how large they are."""

    def alternating(stages, params, batch, key):
        places = jnp.arange(batch.tokens.shape[1])[None, :]
        return jnp.where(batch.words, places * (-1) ** places, 0).astype(jnp.float32)

    def places(stages, params, batch, key):
        return jnp.abs(alternating(stages, params, batch, key))

    monkeypatch.setitem(METHODS, "alternating", Method(alternating, signed=True))
    monkeypatch.setitem(METHODS, "places", places)
    settings = dataclasses.replace(
        with_methods("alternating", "places"), questions=("agreement",), pairs=("all",)
    )
    stages, params = small_model("average")
    split = split_of([4, 3])
    found = asked(settings, stages, params, split)
    assert not [each for each in caplog.records if each.levelname == "WARNING"]
    assert found.explanations["text"]["alternating"][0].tolist() == [-1, 2, -3, 4]
    measured = found.found["agreement"]["agreement"]["alternating~places"]
    np.testing.assert_allclose(measured["kendall"], 1)
    np.testing.assert_allclose(measured["jensen_shannon"], 0, atol=1e-7)
    words = [(["word"] * length, None) for length in (4, 3)]
    rows = list(records(found, words, [0, 1], [None, None], ("a", "b", "c")))
    assert rows[1]["importance"]["alternating"].tolist() == [-1, 2, -3]


@pytest.fixture
def fitted(monkeypatch):
    """A method that gives each word its count among the training tokens; returns its fits."""
    fits = []

    def fit(stages, params, batches, key):
        fits.append(params)
        tokens = np.concatenate([np.asarray(each.tokens).ravel() for each in batches])
        return jnp.asarray(np.bincount(tokens, minlength=20), jnp.float32)

    def find(stages, params, batch, key, fitted):
        return jnp.where(batch.words, fitted[batch.tokens], 0)

    monkeypatch.setitem(METHODS, "counted", Method(find, fit=fit))
    return fits


def test_a_method_is_fitted_once_on_training_batches(fitted):
    stages, params = small_model("average")
    split = split_of(LENGTHS)
    training = [batch_of(sentences([4, 3], seed=7)), batch_of(sentences([9], seed=8))]
    found = asked(with_methods("counted"), stages, params, split, lambda: training)
    assert len(fitted) == 1
    counts = np.bincount(np.concatenate([np.ravel(each.tokens) for each in training]))
    for ids, values in zip(split.tokens, found.explanations["text"]["counted"], strict=True):
        expected = [counts[token] if token < len(counts) else 0 for token in ids[1:-1]]
        np.testing.assert_array_equal(values, expected)


def test_a_fitted_method_needs_training_data(fitted):
    stages, params = small_model("average")
    with pytest.raises(UserError, match="'counted' is fitted on training data, which is not at"):
        asked(with_methods("counted"), stages, params, split_of([3]))
    assert not fitted


def test_a_method_on_the_host_is_not_compiled(monkeypatch):
    def find(stages, params, batch, key, shared):
        assert not any(isinstance(each, jax.core.Tracer) for each in (batch.tokens, shared))
        return np.where(batch.words, np.asarray(shared.weights) * 2, 0)

    monkeypatch.setitem(METHODS, "doubled", Method(find, shared=traced, on_host=True))
    stages, params = small_model("average")
    found = asked(with_methods("doubled"), stages, params, split_of(LENGTHS)).explanations["text"]
    for values, attention in zip(found["doubled"], found["attention"], strict=True):
        np.testing.assert_allclose(values, 2 * attention, rtol=1e-6)


def test_work_that_methods_share_is_done_once(monkeypatch):
    """Traced once a padded shape, though two methods use it; a third holds attention."""
    seen = []

    def weights(stages, params, batch, key):
        del key
        seen.append(batch.tokens.shape)
        return forward(stages, params, batch).weights

    def times(factor):
        return lambda stages, params, batch, key, shared: factor * shared

    for name, factor in (("one", 1.0), ("two", 2.0)):
        monkeypatch.setitem(METHODS, name, Method(times(factor), shared=weights))
    stages, params = small_model("average")
    split = split_of(LENGTHS)
    found = asked(with_methods("one", "two"), stages, params, split).explanations["text"]
    assert len(seen) == len(set(seen)) > 1
    for one, two, attention in zip(found["one"], found["two"], found["attention"], strict=True):
        np.testing.assert_allclose(one, attention, rtol=1e-6)
        np.testing.assert_allclose(two, 2 * attention, rtol=1e-6)
    shapes = set(seen)
    held = Method(times(3.0), shared=weights, holds_attention=True)
    monkeypatch.setitem(METHODS, "held", held)
    seen.clear()
    asked(with_methods("one", "two", "held"), stages, params, split)
    assert sorted(seen) == sorted([*shapes, *shapes]), "another model is another work"


def test_a_question_sees_the_trace_and_the_explanations(monkeypatch):
    """Over rows, and over explanations; what is recorded stands in every example's line."""

    def ask(stages, config, seed):
        def rows(params, batch, given):
            product = given.trace.weights * given.explanations["gradient"]["text"]
            return {"overlap": product.sum(axis=1), "seed": jnp.full_like(batch.rows, seed)}

        return rows

    def answer(found, about):
        return {"overlap": float(np.mean(found["overlap"]))}

    question = Question(ask, answer, empty={"overlap": None}, record=("overlap",))
    monkeypatch.setitem(QUESTIONS, "overlap", question)
    settings = dataclasses.replace(ALONE, methods=("gradient",), questions=("overlap",))
    stages, params = small_model("average")
    split = split_of(LENGTHS)
    found = asked(settings, stages, params, split)
    assert list(found.found) == ["overlap"]
    text = found.explanations["text"]
    expected = [a @ b for a, b in zip(text["attention"], text["gradient"], strict=True)]
    np.testing.assert_allclose(found.found["overlap"]["overlap"], expected, rtol=1e-5)
    summary = summarise(found, settings, ("a", "b", "c"), split.labels)
    assert summary["analysis"]["overlap"] == pytest.approx(np.mean(expected))
    words = [(["word"] * length, None) for length in LENGTHS]
    rows = list(records(found, words, range(6), [None] * 6, ("a", "b", "c")))
    np.testing.assert_allclose([row["overlap"] for row in rows], expected, rtol=1e-5)
    assert "seed" not in rows[0]


def test_questions_that_are_not_asked_leave_what_is_empty():
    stages, params = small_model("average")
    split = split_of([3, 4])
    for settings in (
        dataclasses.replace(SETTINGS, questions=()),
        dataclasses.replace(SETTINGS, permutations=0, adversaries=0, robustness=(), questions=()),
        dataclasses.replace(
            SETTINGS, permutations=0, adversaries=0, robustness=(), questions=tuple(QUESTIONS)
        ),
    ):
        found = asked(settings, stages, params, split, training_of(split))
        summary = summarise(found, settings, ("a", "b", "c"), split.labels)
        assert summary["results"] == {"robustness": None}
        assert summary["analysis"]["permutation"] is None
        assert summary["analysis"]["adversarial_attention"] is None
        assert ("uniform_attention" in summary["analysis"]) == bool(settings.questions)
        assert bool(summary["analysis"]["agreement"]) == bool(settings.questions)


def test_exactness_is_told_of_the_methods_that_have_it(monkeypatch):
    def half(stages, params, batch, key):
        return batch.words.sum(axis=1) / 2

    def find(stages, params, batch, key, segment):
        return jnp.where(segments.words(batch, segment), 1.0, 0.0)

    monkeypatch.setitem(METHODS, "half", Method(find, segments=("text", "query"), exactness=half))
    settings = dataclasses.replace(ALONE, methods=("gradient", "half"))
    stages, params = small_model("average")
    split = split_of([3, 4])
    found = asked(settings, stages, params, split)
    np.testing.assert_array_equal(found.exactness["half"], [1.5, 2])
    summary = summarise(found, settings, ("a", "b", "c"), split.labels)["analysis"]
    assert summary["completeness"] == {"half": {"mean": 1.75, "max": 2.0}}
    (told,) = summary["exactness"].values()
    assert (told["median"], told["share_above"]) == (1.75, {"0.05": 1})


def test_the_path_of_integrated_gradients_is_cut_as_the_configuration_says():
    stages, params = small_model("average")
    params["embed"]["table"] *= 30
    split = split_of([3, 4, 6, 7, 5, 9])
    for completeness in (0.5, 1e-4):
        settings = dataclasses.replace(
            ALONE, methods=("integrated_gradients",), completeness=completeness
        )
        errors = asked(settings, stages, params, split).exactness["integrated_gradients"]
        assert (errors.max() > 1e-4) == (completeness == 0.5)


def test_robustness_draws_by_the_row_as_well():
    sizes = tuple(np.linspace(0.1, 30, 40).tolist())  # where it turns wrong depends on the draw
    settings = dataclasses.replace(SETTINGS, questions=("robustness",), methods=())
    settings = dataclasses.replace(settings, robustness=sizes, chunk_size=8)
    stages, params = small_model("average")
    whole, rows = split_of([4] * 30), np.arange(1, 30, 2)
    found = asked(settings, stages, params, whole).found["robustness"]
    part = asked(settings, stages, params, whole.take(rows)).found["robustness"]
    for kind, some in part.items():
        np.testing.assert_array_equal(some, found[kind][rows])
    assert ROBUSTNESS.place == "results"


def test_each_predicted_class_has_a_floor_of_its_own():
    stages, params = small_model("average")
    split = split_of(LENGTHS)
    settings = dataclasses.replace(SETTINGS, questions=("agreement",))
    found = asked(settings, stages, params, split)
    labels = ("a", "b", "c")
    predictions = np.arange(len(LENGTHS)) % 2
    summary = summarise(found._replace(predictions=predictions), settings, labels, split.labels)
    floors = found.found["agreement"]["floor"]["agreement"]
    for pair, figures in summary["analysis"]["agreement"].items():
        assert list(figures["by_class"]) == ["a", "b"]
        for number, members in enumerate(figures["by_class"].values()):
            for name in floors[pair].keys() - {"p_value"}:
                expected = pytest.approx(np.nanmean(floors[pair][name][predictions == number]))
                assert members["floor"][name]["mean"] == expected


def test_each_method_tells_what_it_costs():
    """Outside of what two analyses of one run have in common."""
    stages, params = small_model("average")
    split = split_of(LENGTHS)
    names = ("gradient", "leave_one_out", "integrated_gradients", "lime")
    settings = dataclasses.replace(with_methods(*names), lime_samples=100)
    found = asked(settings, stages, params, split)
    assert set(found.cost) == set(names)
    assert all(each["seconds_per_example"] > 0 for each in found.cost.values())
    passes = {name: each["passes"] for name, each in found.cost.items()}
    assert passes["gradient"] == {"forward": 1, "backward": 1}
    assert passes["leave_one_out"]["forward"] == pytest.approx(1 + np.mean(LENGTHS))
    assert passes["lime"] == {"forward": 101, "backward": 0}
    path = passes["integrated_gradients"]  # of at least two halves of the path
    assert path["forward"] - 2 == path["backward"] >= 16
    summary = summarise(found, settings, ("a", "b", "c"), split.labels)
    assert "seconds" not in str(summary)
