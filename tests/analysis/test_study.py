"""The whole analysis of a split: what is found for a row is that row's alone."""

import dataclasses

import jax
import numpy as np
import pytest
from attnjax.analysis.robustness import make_robustness
from helpers import quick_jit, sentences, small_model

from attnjax.analysis.importance import METHODS
from attnjax.analysis.study import in_chunks, study
from attnjax.analysis.summary import summarise
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit
from attnjax.errors import UserError

SETTINGS = AnalysisConfig(chunk_size=4, permutations=7, adversaries=2, adversary_steps=20)
LENGTHS = [5, 9, 2, 7, 3, 6]
SOME = np.array([1, 3, 5])


def compiler(params):
    """What `study` compiles with: NumPy arrays out, one device."""

    def compile_rows(builder, *settings):
        compiled = quick_jit(builder(*settings))
        return lambda batch: jax.tree.map(np.asarray, compiled(params, batch))

    return compile_rows


def split_of(lengths):
    return EncodedSplit(sentences(lengths), None, np.arange(len(lengths)) % 3, None)


def test_a_row_has_the_same_figures_among_all_rows_and_among_some():
    stages, params = small_model("average")
    whole = split_of(LENGTHS)
    found = study(SETTINGS, stages, whole, 0, compiler(params))
    part = study(SETTINGS, stages, whole.take(SOME), 0, compiler(params))
    assert np.ptp(found.adversarial["max_jsd"]) > 1e-3
    for name in ("permutation", "adversarial"):
        for figure, values in getattr(found, name).items():
            for place, row in enumerate(SOME):
                other = getattr(part, name)[figure][place]
                np.testing.assert_allclose(other, values[row], atol=1e-6)
    for pair, measures in found.floor.items():
        for measure, values in measures.items():
            np.testing.assert_allclose(part.floor[pair][measure], values[SOME], atol=1e-6)
    # Numbers that were taken once are taken again.
    again = whole.take(np.array([3, 1, 5])).take(np.array([1, 0, 2]))
    np.testing.assert_array_equal(again.row_numbers, SOME)


def test_a_method_without_segments_measures_the_text_alone(monkeypatch):
    def length(stages, params, batch, key):
        words = batch.words.astype(np.float32)
        return words * words.sum(axis=1, keepdims=True)

    monkeypatch.setitem(METHODS, "length", length)
    settings = dataclasses.replace(SETTINGS, methods=("gradient", "length"), adversaries=0)
    stages, params = small_model("average", pair=True)
    split = dataclasses.replace(split_of([4, 2]), query=sentences([3, 5], seed=1))
    found = study(settings, stages, split, 0, compiler(params))
    assert [each.tolist() for each in found.explanations["length"]] == [[4] * 4, [2] * 2]
    assert set(found.query_explanations) == {"gradient"}
    assert set(found.agreement) == {"attention~gradient", "attention~length", "gradient~length"}


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
        settings = dataclasses.replace(SETTINGS, methods=(name,), adversaries=0)
        with pytest.raises(UserError, match=f"'{name}' returns {shape} where"):
            study(settings, stages, split_of([7] * 4), 0, compiler(params))
    for name in ("negative", "missing"):
        settings = dataclasses.replace(SETTINGS, methods=("gradient", name), adversaries=0)
        study(settings, stages, split_of([3, 4]), 0, compiler(params))
        assert f"'{name}' gives words values that are below 0 or not finite" in caplog.text
        assert "'gradient' gives" not in caplog.text
        caplog.clear()


def test_robustness_draws_by_the_row_as_well():
    stages, params = small_model("average")
    whole = split_of([4] * 30)
    sizes = tuple(np.linspace(0.1, 30, 40).tolist())  # where it turns wrong depends on the draw
    call = compiler(params)(make_robustness, stages, sizes, 1, 0)
    rows = np.arange(1, 30, 2)
    found = in_chunks(call, whole, 8, 1, lambda: None)
    part = in_chunks(call, whole.take(rows), 8, 1, lambda: None)
    for kind, some in part.items():
        np.testing.assert_array_equal(np.stack(some), np.stack(found[kind])[rows])


def test_each_predicted_class_has_a_floor_of_its_own():
    stages, params = small_model("average")
    split = split_of(LENGTHS)
    found = study(SETTINGS, stages, split, 0, compiler(params))
    labels = ("a", "b", "c")
    predictions = np.arange(len(LENGTHS)) % 2
    summary = summarise(found._replace(predictions=predictions), SETTINGS, labels, split.labels)
    for pair, figures in summary["agreement"].items():
        assert list(figures["by_class"]) == ["a", "b"]
        for number, members in enumerate(figures["by_class"].values()):
            for name in ("kendall", "top_k_overlap"):
                own = found.floor[pair][name][predictions == number]
                expected = pytest.approx(np.nanmean(own))
                assert members["floor"][name]["mean"] == expected
