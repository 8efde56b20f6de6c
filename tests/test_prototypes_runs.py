"""What a class is typical of, in a whole run: results, report, files."""

import csv
import itertools
import json
import math
import shutil

import pytest

import attnjax
from attnjax.analyze import main as analyze

pytestmark = pytest.mark.slow
ASKED = "--config.analysis.questions=agreement,prototypes"


@pytest.fixture(scope="module")
def run(trained, once):
    """The first run, analysed again."""

    def make(folder):
        shutil.copytree(trained / "seed_0", folder / "run")
        more = ("prototype_words=3", "prototype_steps=50", "prototype_shown=2", "methods=gradient")
        settings = [f"--config.analysis.{each}" for each in more]
        line = ["attnjax.analyze", f"--workdir={folder / 'run'}", ASKED, *settings]
        assert analyze(line) == 0

    return once("prototypes", make) / "run"


def test_what_is_told_is_what_the_model_says_of_the_words(run):
    found = json.loads((run / "results.json").read_text())["analysis"]["prototypes"]
    assert list(found) == ["0", "1"]
    loaded = attnjax.load_run(str(run))
    for label, entries in enumerate(found.values()):
        kinds = [each["kind"] for each in entries]
        assert [kind for kind, _ in itertools.groupby(kinds)] == ["free", "prior", "ngram", "text"]
        assert max(kinds.count(kind) for kind in kinds) == 2
        known = loaded.predict([" ".join(each["words"]) for each in entries]).probabilities
        assert [each["probability"] for each in entries] == pytest.approx(
            known[:, label].tolist(), rel=1e-3, abs=1e-6
        )
        values = {kind: [] for kind in kinds}
        for each in entries:
            value = math.log(each["probability"]) + 0.1 * each["log_prior"]
            values[each["kind"]].append(value)
        # The search under the prior begins at the best that the data has, too.
        assert values["prior"][0] >= max(values["ngram"]) - 1e-4


def test_the_report_shows_each_class(run):
    page = (run / "report.html").read_text()
    section = page[page.index('<section id="prototypes">') :].partition("</section>")[0]
    assert "<h2>What does the model hold for typical of a class?</h2>" in section
    assert "Typical of 0." in section
    assert "Typical of 1." in section
    with (run / "tables" / "prototypes.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = json.loads((run / "results.json").read_text())["analysis"]["prototypes"]
    assert len(rows) == sum(map(len, found.values()))
    assert {row["class"] for row in rows} == {"0", "1"}


def test_of_texts_of_ones_own_nothing_is_asked(run):
    line = ["attnjax.analyze", f"--workdir={run}", ASKED, "--text=worda good wordb"]
    assert analyze(line) == 0
    (row,) = (
        json.loads(line)
        for path in (run / "explained").glob("text-*")
        for line in (path / "examples.jsonl").read_text().splitlines()
    )
    assert row["tokens"] == ["worda", "good", "wordb"]
