"""Hit@1 and AUC of the word that must be known, and the section that tells of them."""

import numpy as np
import pytest
from etils import epath

from attnjax.analysis.questions.known_word import KNOWN_WORD, ranked
from attnjax.analysis.questions.question import About, Study
from attnjax.config import AnalysisConfig
from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Shown, Told


@pytest.mark.parametrize(
    ("values", "needed", "hit", "auc"),
    [
        ([1, 3, 2], 1, 1, 1),
        ([1, -3, 2], 1, 1, 1),
        ([1, 3, 2], 2, 0, 0.5),
        ([1, 1, 1, 1], 2, 0.25, 0.5),
        ([2, 1, 2], 0, 0.5, 0.75),
        ([0, 1, 2], 0, 0, 0),
    ],
)
def test_equal_values_share(values, needed, hit, auc):
    assert ranked(np.array(values), needed) == (hit, auc)


def study(count=12):
    """Attention is always right, the method never; the last text is answered wrong."""
    attention = [np.array([0.1, 0.7, 0.2])] * count
    other = [np.array([0.9, -0.1, 0.2])] * count
    retained = [np.array([0.5, 0.5, 0.1])] * count
    found = {"information": {"information": {"context": {"retained": retained}}}}
    explanations = {"text": {"attention": attention, "gradient": other}}
    probabilities = np.full((count, 2), 0.5)
    predictions = np.array([0] * (count - 1) + [1])
    return Study(explanations, {}, found, predictions, probabilities, np.arange(count))


@pytest.fixture
def answer():
    words = [(["mu", "xi", "tau"], ["second", "from", "the", "end"])] * 12
    about = About(study(), AnalysisConfig(), ("xi", "mu"), np.zeros(12, int), words)
    return KNOWN_WORD.answer({}, about)["known_word"]


def test_every_explanation_and_chance_over_texts_answered_right(answer):
    means = {name: (each["hit"]["mean"], each["auc"]["mean"]) for name, each in answer.items()}
    assert means == {
        "attention": (1, 1),
        "gradient": (0, 0),
        "information_of_context": (0.5, 0.75),
        "random": (pytest.approx(1 / 3), 0.5),
    }
    assert all(each["hit"]["undefined"] == 1 for each in answer.values())


def test_without_words_nothing_is_known():
    about = About(study(), AnalysisConfig(), ("xi", "mu"), np.zeros(12, int))
    assert KNOWN_WORD.answer({}, about) == {"known_word": None}


def test_the_section_tells_of_it(answer, tmp_path):
    analysis = {"known_word": answer, "examples": 12}
    told = Told(epath.Path(tmp_path), {"analysis": analysis}, analysis, [])
    (shown,) = (each for each in ANSWERS["known_word"].blocks(told) if isinstance(each, Shown))
    assert [row[0] for row in shown.table.text()] == [
        "attention", "gradient", "information of context", "random"]  # fmt: skip
    assert ANSWERS["known_word"].sentence(told).replace("\u00a0", " ") == (
        "The word that must be known stands first by attention in 100 %, information of context in "
        "50 % and gradient in 0 % of the texts answered right; at random in 33.3 %."
    )
    nothing = Told(epath.Path(tmp_path), {}, {"known_word": None}, [])
    assert ANSWERS["known_word"].blocks(nothing) == []
    assert ANSWERS["known_word"].sentence(nothing) == ""
