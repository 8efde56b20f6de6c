"""Bits that a text tells of its label, against the literal equation; and the section about it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from attnjax.analysis.questions.question import About, Given, Study
from attnjax.analysis.questions.usable import USABLE, fit, make_usable, without_text
from attnjax.config import AnalysisConfig, ModelConfig
from attnjax.model.attention import forward
from attnjax.model.stages import build_stages
from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Shown, Told
from attnjax.types import EOS, SOS, Batch

SETTINGS = AnalysisConfig()
CANDIDATES = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [1, 0, 1]], bool)


def test_shares_of_the_labels():
    assert without_text(np.array([0, 1, 1, 1]), 3).tolist() == [0.25, 0.75, 0]


def test_shares_among_candidates_are_the_likeliest():
    random = np.random.default_rng(0)
    allowed = random.random((60, 4)) < 0.6
    allowed[:, 0] = True
    labels = np.array([random.choice(np.flatnonzero(row)) for row in allowed])

    def likelihood(shares):
        among = np.where(allowed, shares, 0)
        return np.log(among[np.arange(60), labels] / among.sum(axis=1)).sum()

    found = without_text(labels, 4, allowed)
    assert found.sum() == pytest.approx(1)
    best = likelihood(found)
    assert best > likelihood(np.bincount(labels, minlength=4) / 60) + 1e-3
    for _ in range(50):
        moved = found * np.exp(0.01 * random.standard_normal(4))
        assert likelihood(moved) < best


def test_candidates_that_overlap_little_are_fitted_to_the_end():
    """Chains of neighbouring pairs, which a fixed number of steps does not reach along."""
    random = np.random.default_rng(0)
    for classes in (20, 30):
        first = np.repeat(np.arange(classes - 1), 40)
        labels = first + (random.random(len(first)) < 0.25)
        allowed = np.zeros((len(first), classes), bool)
        allowed[np.arange(len(first)), first] = allowed[np.arange(len(first)), first + 1] = True
        found = without_text(labels, classes, allowed)
        # In a chain each pair's odds are free: the likeliest are the shares within the pair.
        for pair in range(classes - 1):
            share = np.mean(labels[first == pair] == pair)
            odds = found[pair] / (found[pair] + found[pair + 1])
            assert odds == pytest.approx(share, abs=0.01)


@pytest.fixture(scope="module")
def model():
    config = ModelConfig(encoder="average", embed_dim=4, hidden_dim=4)
    stages = build_stages(config, words=12, classes=3, pair=False)
    return stages, stages.init(jax.random.key(0))


def batch(candidates=None):
    tokens = np.full((4, 5), 0, np.int32)
    for row, words in enumerate(([5], [6, 7], [8, 9, 10], [11])):
        tokens[row, : len(words) + 2] = [SOS, *words, EOS]
    labels = np.array([0, 1, 1, 2], np.int32)
    rows = np.array([0, 1, 2, -1], np.int32)
    weight = np.array([1, 1, 1, 0], np.float32)
    return jax.tree.map(jnp.asarray, Batch(tokens, None, labels, weight, candidates, rows))


@pytest.mark.parametrize("candidates", [None, CANDIDATES])
def test_bits_are_the_difference_of_log_probabilities(model, candidates):
    stages, params = model
    given = batch(candidates)
    fitted = fit(stages, params, [given], jax.random.key(0))
    trace = forward(stages, params, given)
    ask = make_usable(stages, SETTINGS, 0)
    found = ask(params, given, Given(trace, {}, fitted))["usable_information"]
    labels = np.array([0, 1, 1])
    allowed = None if candidates is None else candidates[:3]
    shares = without_text(labels, 3, allowed)  # the filler row does not count
    for row, label in enumerate(labels):
        among = shares if allowed is None else np.where(allowed[row], shares, 0)
        free = -np.log2(among[label] / among.sum())
        of_model = np.log2(float(trace.probabilities[row, label]))
        assert found["of_label"][row] == pytest.approx(free, rel=1e-5)
        assert found["bits"][row] == pytest.approx(free + of_model, rel=1e-5)
    assert np.isnan(found["bits"][3]) == (candidates is None or shares[2] == 0)


def test_a_model_that_reads_nothing_uses_nothing(model):
    stages, params = model
    params = jax.tree.map(jnp.zeros_like, params)
    shares = jnp.log(jnp.array([0.5, 0.25, 0.25]))
    params["decode"]["logits"]["bias"] = shares
    trace = forward(stages, params, batch())
    found = make_usable(stages, SETTINGS, 0)(params, batch(), Given(trace, {}, shares))
    np.testing.assert_allclose(found["usable_information"]["bits"], 0, atol=1e-6)
    np.testing.assert_allclose(found["usable_information"]["of_label"], [1, 2, 2, 2], rtol=1e-6)


@pytest.fixture
def answer():
    bits = np.array([0.9, -0.5, 0.8] * 4)
    found = {"usable_information": {"bits": bits, "of_label": np.ones(12)}}
    truth = np.array([0, 1, 1] * 4)
    study = Study({}, {}, found, truth, np.zeros((12, 2)), np.arange(12) + 100)
    return USABLE.answer(found, About(study, SETTINGS, ("no", "yes"), truth))


def test_means_by_label_and_the_texts_that_mislead(answer):
    found = answer["usable_information"]
    assert found["bits"]["mean"] == pytest.approx(0.4)
    assert found["negative_fraction"] == pytest.approx(1 / 3)
    assert found["by_label"]["no"]["bits"]["mean"] == pytest.approx(0.9)
    assert found["by_label"]["yes"]["texts"] == 8
    assert [each["id"] for each in found["least"][:4]] == [101, 104, 107, 110]


def test_the_section(answer, tmp_path):
    analysis = answer | {"examples": 12}
    examples = [{"id": 104, "label": "yes", "prediction": "no", "tokens": ["a", "bore"]}]
    given = Told(epath.Path(tmp_path), {"analysis": analysis}, analysis, examples)
    section = ANSWERS["usable_information"]
    tables = [each.table for each in section.blocks(given) if isinstance(each, Shown)]
    assert [row["label"] for row in tables[0].rows] == ["all", "no", "yes"]
    assert tables[1].rows == [
        {"id": "104", "bits": "−0.500", "label": "yes", "predicted": "no", "text": "a bore"}
    ]
    assert section.sentence(given).startswith("A text tells 0.40 (")
    assert "of the 1.00 bits of its label" in section.sentence(given)
    nothing = given._replace(analysis={"usable_information": None})
    assert section.blocks(nothing) == []
    assert section.sentence(nothing) == ""
