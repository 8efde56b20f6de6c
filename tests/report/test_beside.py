"""Explanations of one text side by side: each scaled by itself, the needed word marked."""

import numpy as np
from etils import epath

from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Figures, Told
from attnjax.report.answers.beside import draw_beside, scaled

EXAMPLE = {
    "id": 7,
    "tokens": ["mu", "xi", "tau"],
    "query": ["second", "from", "the", "end"],
    "label": "xi",
    "prediction": "xi",
    "attention": [0.1, 0.6, 0.3],
    "importance": {
        "lrp": [-4.0, 1.0, 0.0],
        "gradient": [0.0, 0.0, 0.0],
        "lime": [None, None, None],
    },
}


def test_each_is_scaled_by_its_largest_and_what_is_undefined_is_left_out():
    found = scaled(EXAMPLE)
    assert list(found) == ["attention", "lrp", "gradient"]
    np.testing.assert_allclose(found["lrp"], [1, 0.25, 0])
    np.testing.assert_allclose(found["attention"], [1 / 6, 1, 0.5])
    assert not found["gradient"].any()


def test_the_figure_names_explanations_and_marks_the_word(tmp_path):
    ((name, svg, caption),) = draw_beside(epath.Path(tmp_path), EXAMPLE, "beside", 1)
    assert name == "beside"
    assert (tmp_path / "figures" / "beside.pdf").exists()
    assert caption == (
        "Size of every explanation of example 7, as a share of its largest; bold: the word that "
        "must be known."
    )
    assert "bold" in svg or "700" in svg
    assert "bold" not in draw_beside(epath.Path(tmp_path), EXAMPLE, "plain")[0][1]
    alone = EXAMPLE | {"importance": {}}
    assert draw_beside(epath.Path(tmp_path), alone, "alone") == []


def test_the_section_draws_a_text_that_is_answered_right(tmp_path):
    measures = {"hit": {"mean": 1.0}, "auc": {"mean": 1.0}}
    analysis = {"known_word": {"attention": measures, "random": measures}}
    wrong = EXAMPLE | {"id": 3, "prediction": "mu"}
    told = Told(epath.Path(tmp_path), {"analysis": analysis}, analysis, [wrong, EXAMPLE])
    blocks = ANSWERS["known_word"].blocks(told)
    (figures,) = (each for each in blocks if isinstance(each, Figures))
    assert "example 7" in str(figures)
    told = told._replace(examples=[wrong])
    assert not any(isinstance(each, Figures) for each in ANSWERS["known_word"].blocks(told))
