"""A whole run of a Transformer whose self-attention is disturbed in training, and looked at."""

import json
import shutil

import numpy as np
import pytest
from helpers import arguments, write_data

import attnjax
from attnjax.analyze import main as analyze
from attnjax.main import main
from attnjax.report.examples import shown_ids

pytestmark = pytest.mark.slow
MORE = (
    "model.encoder=transformer",
    "model.heads=2",
    "train.learning_rate=0.005",
    "train.epochs=4",
    "adversary.technique=inner_at",
    "adversary.layers=2",
    "analysis.examples=18",
    "analysis.methods=gradient",
    "analysis.questions=agreement,self_attention",
    "analysis.head_permutations=2",
)


@pytest.fixture(scope="module")
def run(once):
    def make(folder):
        data = write_data(folder / "data")
        line = arguments(data, folder / "run", *(f"--config.{each}" for each in MORE))
        assert main(["attnjax", *line]) == 0

    return once("self_attention_run", make) / "run"


def lines_of(path):
    return [json.loads(each) for each in path.read_text().splitlines()]


def examples_of(run):
    return lines_of(run / "analysis" / "examples.jsonl")


def matrices_of(run):
    return dict(np.load(run / "analysis" / "self_attention.npz"))


def test_it_trains_and_each_head_is_asked_about(run):
    results = json.loads((run / "results.json").read_text())
    assert results["test"]["accuracy"] > 0.7
    found = results["analysis"]["self_attention"]
    assert found["permutations"] == 2
    assert np.shape([[each["mean"] for each in heads] for heads in found["median_change"]]) == (
        2,
        2,
    )
    first = next(each for each in lines_of(run / "metrics.jsonl") if each["split"] == "train")
    assert first["perturbation_norm"] == pytest.approx(1.0, rel=1e-3)


def test_shown_examples_have_their_attention_in_the_report_and_beside_it(run):
    examples, found = examples_of(run), matrices_of(run)
    shown = shown_ids(examples)
    assert sorted(map(int, found)) == sorted(shown)
    texts = {each["id"]: " ".join(each["tokens"]) for each in examples}
    expected = attnjax.load_run(str(run)).attention([texts[number] for number in shown])
    for number, weights in zip(shown, expected.weights, strict=True):
        np.testing.assert_allclose(found[str(number)], weights, rtol=1e-4, atol=1e-6)
    page = (run / "report.html").read_text()
    assert page.count("Self-attention of every layer and head") == len(shown)
    assert 'href="analysis/self_attention.npz"' in page
    assert (run / "figures" / f"heads_{shown[0]}.svg").exists()
    assert '<section id="self_attention">' in page


def test_all_texts_are_kept_on_request(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    line = ["attnjax", f"--workdir={copy}", "--config.analysis.questions=agreement"]
    assert analyze([*line, "--config.analysis.keep_self_attention=True"]) == 0
    assert sorted(map(int, matrices_of(copy))) == [each["id"] for each in examples_of(copy)]
    page = (copy / "report.html").read_text()
    assert page.count("Self-attention of every layer and head") == len(shown_ids(examples_of(copy)))
    assert '<section id="self_attention">' not in page
