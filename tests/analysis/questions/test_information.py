"""The question of what each state knows: its figures, its classes of words, and its section."""

import dataclasses
import logging

import jax
import numpy as np
import pytest
from etils import epath
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.importance.information import known_in, settings_of
from attnjax.analysis.information.states import fit_sample
from attnjax.analysis.information.word_classes import CLASSES, word_class
from attnjax.analysis.questions.information import by_word_class
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.analysis.summary import records, summarise
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit
from attnjax.errors import UserError
from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Figures, Paragraph, Shown, Told
from attnjax.training.parallel import remembered
from attnjax.workdir import finite

STATES = ("embedding", "encoder", "context", "logits")
SETTINGS = AnalysisConfig(
    methods=("information",),
    questions=("information",),
    information_probes=4,
    information_neighbours=2,
    chunk_size=12,
)
ANSWER = ANSWERS["information"]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("The", "function"),
        ("n't", "function"),
        ("film", "content"),
        ("<unk>", "content"),
        ("1998", "content"),
        ("--", "punctuation"),
        ("'", "punctuation"),
        ("großartig", "content"),
    ],
)
def test_classes_of_words(word, kind):
    assert word_class(word) == kind


def test_means_of_a_class_are_taken_text_by_text():
    rows = {
        "retained": [np.array([1.0, 3.0, 8.0]), np.array([5.0])],
        "first": np.array([0.5, 0.7]),
        "end": np.array([0.1, 0.1]),
    }
    found = by_word_class(rows, [["good", "film", "."], ["the"]])
    assert list(found) == list(CLASSES[:1] + CLASSES[1:])
    assert found["content"] | {"std": 0} == {
        "mean": 2.0, "std": 0, "ci95": None, "undefined": 1, "words": 2}  # fmt: skip
    assert (found["function"]["mean"], found["function"]["words"]) == (5.0, 1)
    assert (found["punctuation"]["mean"], found["end"]["mean"]) == (8.0, 0.1)
    assert found["first"]["mean"] == pytest.approx(0.6)


@pytest.fixture(scope="module")
def asked():
    """(study, its summary, the split, words, model, training batch) of twelve texts."""
    stages, params = small_model("bilstm")
    lengths = [3, 5, 2, 6, 4, 7] * 2
    split = EncodedSplit(sentences(lengths, seed=9), None, np.arange(12) % 3, None)
    training = [batch_of(sentences([4, 3, 6, 5] * 5, seed=7))]
    engine = engine_for(params, remembered(quick_jit))
    (found,) = study(SETTINGS, stages, split, 0, engine, lambda: training)
    words = [(["the", "film", *["."] * (length - 2)], None) for length in lengths]
    summary = summarise(found, SETTINGS, ("a", "b", "c"), split.labels, words)["analysis"]
    return found, summary["information"], split, words, (stages, params), training


def test_each_state_has_its_figures_beside_the_method_of_the_same_name(asked):
    found, summary, split, _, (stages, params), training = asked
    assert summary["states"] == list(STATES)
    rows = found.found["information"]["information"]
    for explained, retained in zip(
        found.explanations["text"]["information"], rows["context"]["retained"], strict=True
    ):
        np.testing.assert_allclose(explained, retained, rtol=1e-5)
    sample = fit_sample(False)(stages, params, training, jax.random.key(0))["text"]
    batch = batch_of(split.tokens)
    known = known_in(stages, params, batch, jax.random.key(0), "text", "encoder", sample,
                     settings_of(SETTINGS))  # fmt: skip
    each = summary["by_state"][1]
    mean = np.mean([np.asarray(k)[w].mean() for k, w in zip(known.retained, batch.words,
                                                            strict=True)])  # fmt: skip
    assert each["retained"]["mean"] == pytest.approx(float(mean), rel=1e-4)
    assert each["distortion"] == pytest.approx(float(known.distortion.mean()), rel=1e-4)
    assert each["distortion_in_half_rates"] == pytest.approx(each["distortion"] / 0.05)
    shares = np.asarray(known.distortion) / 0.05
    assert each["texts_outside"] == pytest.approx(np.mean((shares < 0.5) | (shares > 1.5)))
    assert each["units"] == {"live": 8, "dead": 0}
    assert each["retained"]["ci95"] is not None
    np.testing.assert_allclose(rows["encoder"]["first"], known.retained[:, 0], rtol=1e-4)
    ends = [np.asarray(k)[len(row) - 1] for k, row in zip(known.retained, split.tokens,
                                                          strict=True)]  # fmt: skip
    np.testing.assert_allclose(rows["encoder"]["end"], ends, rtol=1e-4)
    first = rows["encoder"]["retained"]
    content = each["by_word_class"]["content"]
    assert content["mean"] == pytest.approx(np.mean([row[1] for row in first]), rel=1e-5)
    assert content["words"] == 12


def test_it_is_fitted_and_says_where_it_cannot_be(asked):
    _, _, split, _, (stages, params), _ = asked
    alone = dataclasses.replace(SETTINGS, methods=())
    with pytest.raises(UserError, match="the question 'information' is fitted on training data"):
        study(alone, stages, split, 0, engine_for(params, remembered(quick_jit)))


def told_of(asked, folder):
    found, summary, _, words, _, _ = asked
    rows = list(records(found, words, range(12), [None] * 12, ("a", "b", "c")))
    analysis = finite({"information": summary, "examples": 12})
    return Told(epath.Path(folder), {"analysis": analysis}, analysis, finite(rows))


def test_the_section_shows_states_classes_a_curve_and_a_sentence(asked, tmp_path):
    told = told_of(asked, tmp_path)
    blocks = ANSWER.blocks(told)
    states, classes, origins = (each.table for each in blocks if isinstance(each, Shown))
    assert [row[0] for row in origins.text()] == ["encoder"]
    shares = [each.mean for each in list(origins.rows[0].values())[1:]]
    assert sum(shares) == pytest.approx(1, rel=1e-5)
    assert min(shares) > 0
    assert [row[0] for row in states.text()] == list(STATES)
    assert [row[0] for row in classes.text()] == ["content words", "function words", "punctuation",
                                                  "first token", "end token"]  # fmt: skip
    (figures,) = (each.figures for each in blocks if isinstance(each, Figures))
    names = ["information", "information_sentence", "information_beside"]
    assert [each["name"] for each in figures] == names
    beside = (tmp_path / "figures" / "information_beside.svg").read_text()
    assert all(f">{word}</text>" in beside for word in ("film", "attention"))
    svg = (tmp_path / "figures" / "information_sentence.svg").read_text()
    assert all(f">{word}</text>" in svg for word in ("film", "(end)", "context"))
    said = [each.text for each in blocks if isinstance(each, Paragraph)]
    assert "no data-processing inequality holds" in said[-1]
    assert "a rotation of a state alone can move the figure" in said[-1]
    assert ANSWER.sentence(told).startswith("The attended state retains, in nats per dimension, ")
    assert "of content words" in ANSWER.sentence(told)


def test_noise_of_another_size_is_warned_of(asked, tmp_path, caplog):
    found, _, split, words, _, _ = asked
    rows = {name: dict(each) for name, each in found.found["information"]["information"].items()}
    rows["context"]["distortion"] = np.full(12, 0.2)
    found = found._replace(
        found={"information": found.found["information"] | {"information": rows}}
    )
    with caplog.at_level(logging.WARNING):
        summary = summarise(found, SETTINGS, ("a", "b", "c"), split.labels, words)["analysis"]
    assert "distorts the state 'context' by 0.2, and rate / 2 is 0.05: saturated" in caplog.text
    told = told_of((found, summary["information"], split, words, None, None), tmp_path)
    (said,) = (each.text for each in ANSWER.blocks(told) if "Warning" in getattr(each, "text", ""))
    assert "the state context by 4.000 times half the rate" in said
    assert ANSWER.sentence(told).endswith("The distortion is off: see the warning.")


def test_without_words_there_are_no_classes(asked, tmp_path):
    found, _, split, _, _, _ = asked
    summary = summarise(found, SETTINGS, ("a", "b", "c"), split.labels)["analysis"]["information"]
    assert all(each["by_word_class"] == {} for each in summary["by_state"])
    nothing = Told(epath.Path(tmp_path), {}, {"information": None}, [])
    assert ANSWER.blocks(nothing) == []
    assert ANSWER.sentence(nothing) == ""
