"""What the documents say is what the repository holds."""

import pathlib
import re

import pytest

from attnjax import shipped
from attnjax.analysis.importance import METHODS
from attnjax.analysis.questions import QUESTIONS
from attnjax.perturb.techniques import TECHNIQUES
from benchmarks import document

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_the_page_of_figures_is_what_the_stored_results_give():
    assert document.page() == document.PAGE.read_text(), "python benchmarks/document.py"


def test_readme_is_short_and_names_every_configuration_and_method():
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) < 10_000
    assert all(f"`{name}`" in text for name in shipped.names() if name != "custom")
    assert all(f"`{name}`" in text for name in METHODS)
    known = set(re.findall(r"`(_?[a-z_]+)`", text))
    assert all(
        name in known or f"_{name.partition('_')[2]}" in known
        for name in TECHNIQUES
        if name != "none"
    )


def test_figures_in_readme_stand_in_the_page_of_figures():
    """Of the one table of results: what is measured is generated, and copied right."""
    page, text = document.PAGE.read_text(), (ROOT / "README.md").read_text()
    figures = set(re.findall(r"\d\.\d{3} ± \d\.\d{3}", text))
    assert len(figures) >= 10
    assert all(figure in page for figure in figures)


@pytest.mark.parametrize("name", ["README.md", "launch/README.md", "attnjax/README.md"])
def test_what_a_document_points_to_exists(name):
    text = (ROOT / name).read_text()
    for path in re.findall(r"`((?:attnjax|benchmarks|launch|tests|configs)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    assert set(re.findall(r"analysis\.questions=(\w+)", text)) <= set(QUESTIONS) | {"agreement"}
