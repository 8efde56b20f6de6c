"""Plausibility against scikit-learn, by hand, and where people name nothing."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, jaccard_score

from attnjax.analysis.questions import QUESTIONS
from attnjax.analysis.questions.plausibility import average_precision, overlap, plausible
from attnjax.analysis.questions.question import About, Study
from attnjax.checks import check
from attnjax.config import AnalysisConfig, RunConfig, changed
from attnjax.errors import UserError

ASK, ANSWER = QUESTIONS["plausibility"].ask, QUESTIONS["plausibility"].answer


@pytest.mark.parametrize("seed", range(20))
def test_measures_equal_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 30))
    values = np.round(random.normal(size=count), 1).astype(np.float32)  # with ties
    marked = random.random(count) < 0.3
    marked[random.integers(count)] = True
    found = plausible(values, marked)
    expected = average_precision_score(marked, values)
    assert found["average_precision"] == pytest.approx(expected, abs=1e-12)
    chosen = np.zeros(count, bool)
    chosen[sorted(range(count), key=lambda n: -values[n])[: marked.sum()]] = True
    assert found["f1"] == pytest.approx(f1_score(marked, chosen))
    assert found["iou"] == pytest.approx(jaccard_score(marked, chosen))


def test_by_hand():
    values, marked = np.array([0.9, 0.2, 0.5]), np.array([True, True, False])
    assert average_precision(values, marked) == pytest.approx(5 / 6)
    assert plausible(values, marked) == pytest.approx(
        {"average_precision": 5 / 6, "f1": 1 / 2, "iou": 1 / 3}
    )
    assert average_precision(np.zeros(4), np.array([False, True, False, False])) == 0.25
    assert plausible(-values, marked)["average_precision"] < 5 / 6, "the sign counts"
    assert np.isnan(list(plausible(values, np.zeros(3, bool)).values())).all()
    assert np.isnan(list(plausible(np.array([0.9, np.nan, 0.5]), marked).values())).all()
    assert np.isnan(overlap(marked & ~marked, marked & ~marked)).all()


def study(rationales, sizes=(3, 2, 4, 4), **explanations):
    rows = {name: [np.asarray(each, np.float32) for each in v] for name, v in explanations.items()}
    random = np.random.default_rng(0)
    text = {"attention": [random.random(size).astype(np.float32) for size in sizes], **rows}
    count = len(sizes)
    classes = np.arange(count) % 2
    return Study({"text": text}, {}, {}, classes, np.eye(2)[classes], np.arange(count), rationales)


PEOPLE = [((0,), (0, 1)), None, ((2,), ()), ((),)]


def test_each_person_alone_and_people_against_each_other():
    perfect = [[9, 1, 0], [1, 2], [0, 0, 5, 1], [1, 2, 3, 4]]
    found = ASK(study(PEOPLE, perfect=perfect), AnalysisConfig(), 0)
    assert found["rationale"] == [[[0], [0, 1]], None, [[2], []], [[]]]
    rows = found["plausibility"]
    assert list(rows) == ["attention", "perfect", "random", "people"]
    for each in rows["perfect"].values():
        np.testing.assert_allclose(each, [1, np.nan, 1, np.nan])
    # (0) and (0, 1) of three words: one of two is in common
    mutual = {"average_precision": np.mean([0.5, 0.5 + 0.5 * 2 / 3]), "f1": 2 / 3, "iou": 1 / 2}
    for name, value in mutual.items():
        np.testing.assert_allclose(rows["people"][name], [value, np.nan, np.nan, np.nan])


def test_the_floor_depends_on_row_and_seed_and_is_about_the_share_of_people():
    sizes, count = (20,) * 300, 300
    people = [((1, 5, 7),)] * count
    one, same, other = (ASK(study(people, sizes), AnalysisConfig(), seed) for seed in (0, 0, 1))
    rows = [each["plausibility"]["random"]["f1"] for each in (one, same, other)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert (rows[0] != rows[2]).any()
    assert rows[0].mean() == pytest.approx(3 / 20, abs=0.02)
    fewer = study(people, sizes)
    fewer = fewer._replace(
        explanations={"text": {name: v[100:] for name, v in fewer.explanations["text"].items()}},
        numbers=fewer.numbers[100:],
        rationales=people[100:],
    )
    alone = ASK(fewer, AnalysisConfig(), 0)["plausibility"]["random"]["f1"]
    np.testing.assert_array_equal(alone, rows[0][100:])
    assert "people" not in one["plausibility"]


def test_the_answer_counts_what_nobody_named_and_tells_classes_apart():
    asked = study(PEOPLE)
    found = ASK(asked, AnalysisConfig(), 0)
    answer = ANSWER(found, About(asked, AnalysisConfig(), ("no", "yes"), np.zeros(4, int)))
    attention = answer["plausibility"]["attention"]
    assert attention["iou"]["undefined"] == 2
    assert attention["by_class"]["yes"]["f1"]["mean"] is None
    # Of four predictions 0, 1, 0, 1 the first and the third are right.
    assert attention["right"]["iou"]["undefined"] == 0
    nobody = ASK(study(None), AnalysisConfig(), 0)
    assert ANSWER(nobody, About(study(None), AnalysisConfig(), (), np.zeros(4, int))) == {
        "plausibility": None
    }


def test_it_is_refused_without_the_field():
    asks = {"task": "classification", "analysis.questions": ("plausibility",)}
    config = changed(RunConfig(), asks | {"data.source": "files", "data.path": "x"})
    with pytest.raises(UserError, match=r"'plausibility', which needs --config.data.fields.ration"):
        check(config)
    check(changed(config, {"data.fields.rationale": "why"}))
