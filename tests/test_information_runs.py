"""What a whole run tells of information: results, examples, report, comparison."""

import json
import shutil

import pytest

from attnjax import compare
from attnjax.analyze import main as analyze

pytestmark = pytest.mark.slow
STATES = ["embedding", "encoder", "context", "logits"]


@pytest.fixture(scope="module")
def runs(trained, once):
    """Copies of both seeds, analysed again."""

    def make(folder):
        for name in ("seed_0", "seed_1"):
            shutil.copytree(trained / name, folder / name)
            line = [
                "attnjax.analyze",
                f"--workdir={folder / name}",
                "--config.analysis.methods=gradient,information,replacement",
                "--config.analysis.questions=agreement,information",
                "--config.analysis.information_probes=2",
                "--config.analysis.information_draws=2",
            ]
            assert analyze(line) == 0

    return once("information", make)


def test_results_examples_and_report_have_the_figures_of_every_state(runs):
    found = json.loads((runs / "seed_0" / "results.json").read_text())["analysis"]["information"]
    assert found["states"] == STATES
    for each in found["by_state"]:
        assert set(each["retained"]) == {"mean", "std", "ci95", "undefined"}
        assert each["retained"]["mean"] > 0
        assert each["distortion"] > 0
        assert set(each["by_word_class"]) == {"content", "first", "end"}
    lines = (runs / "seed_0" / "analysis" / "examples.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        assert sorted(row["information"]) == sorted(STATES)
        for each in row["information"].values():
            assert len(each["retained"]) == len(row["tokens"])
        assert row["importance"]["information"] == pytest.approx(
            row["information"]["context"]["retained"], rel=1e-4
        )
    page = (runs / "seed_0" / "report.html").read_text()
    section = page[page.index('<section id="information">') :].partition("</section>")[0]
    assert "no data-processing inequality holds" in section
    assert section.count("<svg") == 3
    beside = (runs / "seed_0" / "figures" / "information_beside.svg").read_text()
    for name in ("attention", "gradient", "information", "replacement"):
        assert f"<!-- {name} -->" in beside or f">{name}<" in beside


def test_models_stand_side_by_side_in_a_comparison(runs, tmp_path):
    folders = [str(runs / name) for name in ("seed_0", "seed_1")]
    assert compare.main(["attnjax.compare", *folders, f"--out={tmp_path / 'out'}"]) == 0
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert '<section id="information">' in page
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    means = {(e["name"], e["measure"]): e["mean"] for e in found["means"] if e["of"] == "retained"}
    assert [state for name, state in means if name == "seed_0"] == STATES
    for name in ("seed_0", "seed_1"):
        told = json.loads((runs / name / "results.json").read_text())["analysis"]["information"]
        for state, each in zip(told["states"], told["by_state"], strict=True):
            assert means[name, state] == pytest.approx(each["retained"]["mean"], rel=1e-4)
