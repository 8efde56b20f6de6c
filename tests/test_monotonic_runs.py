"""A whole run with listed words: ten thousand edits, none of which may lower the score."""

import json

import numpy as np
import pytest
from helpers import arguments, write_data

import attnjax
from attnjax.analyze import main as analyze
from attnjax.data.listed import listed_of
from attnjax.main import main
from attnjax.model import monotonic

pytestmark = pytest.mark.slow
# "bad" is listed against what the data says, so that training pulls it the wrong way.
PLUS, MINUS = {"good": 3.0, "worda": 1.0, "bad": 2.0}, {"wordb": 1.0, "wordc": 2.0}
FREE = [f"word{letter}" for letter in "defghijklmnop"]


@pytest.fixture(scope="module")
def run(once):
    def make(folder):
        data = write_data(folder / "data")
        lines = [f"{word} 1 {strength}" for word, strength in PLUS.items()]
        lines += [f"{word} -1 {strength}" for word, strength in MINUS.items()]
        (folder / "words.txt").write_text("\n".join(lines))
        more = (
            "--config.analysis.methods=gradient,leave_one_out",
            "--config.analysis.questions=agreement,permutation,uniform_attention",
            "--config.analysis.permutations=10",
            f"--config.model.monotonic={folder / 'words.txt'}",
        )
        assert main(["attnjax", *arguments(data, folder / "run", *more)]) == 0

    return once("monotonic", make) / "run"


def edits(random):
    """(text, text with one more + word, or a stronger one, or one - word less) at random."""
    words = [str(word) for word in random.choice([*FREE, *PLUS, *MINUS], random.integers(2, 10))]
    place = int(random.integers(len(words) + 1))
    kind, changed = random.integers(3), list(words)
    if kind == 0:
        changed.insert(place, str(random.choice([*PLUS])))
    elif kind == 1:
        words.insert(place, "worda")
        changed.insert(place, str(random.choice(["bad", "good"])))
    else:
        words.insert(place, str(random.choice([*MINUS])))
    return " ".join(words), " ".join(changed)


def test_of_ten_thousand_edits_none_lowers_the_score(run):
    random, loaded = np.random.default_rng(0), attnjax.load_run(run)
    pairs = [edits(random) for _ in range(10_000)]
    before, after = (
        loaded.predict([pair[side] for pair in pairs]).probabilities[:, 1] for side in (0, 1)
    )
    change = after - before
    assert change.min() >= -1e-6, "no more than rounding"
    assert np.mean(change > 1e-4) > 0.2, "the listed words do something"
    listed = listed_of(json.loads((run / "vocab.json").read_text())["listed"], loaded.vocab)
    bounds = monotonic.bounds(loaded.params["decode"]["monotonic"], listed)
    assert set(bounds) == {"weight", "rise", "slope"}
    assert min(bounds.values()) >= 0


def test_the_run_is_analysed_and_says_who_sees_the_listed_words(run, capsys):
    results = json.loads((run / "results.json").read_text())
    assert any("model.monotonic: of 5 listed words 5" in note for note in results["data"]["notes"])
    assert results["test"]["accuracy"] > 0.8
    page = (run / "report.html").read_text()
    assert "not by those that differentiate or move word vectors" in page
    seen = {name: [] for name in ("gradient", "leave_one_out", "attention")}
    for row in attnjax.load_run(run).examples():
        values = row["importance"] | {"attention": row["attention"]}
        for place, word in enumerate(row["tokens"]):
            if word == "good":
                for name, each in values.items():
                    seen[name].append(abs(each[place]))
    assert max(seen["gradient"]) == max(seen["attention"]) == 0
    assert max(seen["leave_one_out"]) > 0.01
    # Of texts of one's own, the run knows its words by itself; of its data, the file must be there.
    words = run.parent / "words.txt"
    words.write_text(words.read_text().replace("good 1 3.0", "good 1 4.0"))
    assert analyze(["attnjax.analyze", f"--workdir={run}", "--text=worda good wordb"]) == 0
    capsys.readouterr()
    assert analyze(["attnjax.analyze", f"--workdir={run}"]) == 2
    assert "words.txt are not those that" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.monotonic=nowhere.txt"], "model.monotonic: there is no file nowhere.txt"),
        (
            ["model.monotonic=nowhere.txt", "data.max_length=50"],
            "one more word pushes the last one out",
        ),
        (
            ["model.monotonic=nowhere.txt", "analysis.questions=influence"],
            "analysis.questions has 'influence', which knows what the network reads",
        ),
        (["model.monotonic=nowhere.txt", "task=nli"], "for single texts of two classes"),
        (
            ["model.monotonic=nowhere.txt", "model.encoder=bert", "model.pretrained=x"],
            "does not go with model.encoder='bert': it reads pieces of words",
        ),
    ],
)
def test_what_cannot_be_is_told_in_one_line_before_training(settings, message, tmp_path, capsys):
    data = write_data(tmp_path / "data", rows=20)
    line = arguments(data, tmp_path / "run", *(f"--config.{each}" for each in settings))
    assert main(["attnjax", *line]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "run" / "config.json").exists()
