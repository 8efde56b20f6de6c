"""Explaining by other examples, in a whole run: what flips a prediction, and what made it."""

import json
import shutil

import numpy as np
import pytest

import attnjax
from attnjax.analyze import main as analyze

pytestmark = pytest.mark.slow
ASKED = "--config.analysis.questions=agreement,flips,influence"


def call(*arguments):
    return analyze(["attnjax.analyze", *map(str, arguments)])


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(trained, once):
    """The first run, analysed again."""

    def make(folder):
        shutil.copytree(trained / "seed_0", folder / "run")
        more = ("influence_check=6", "influence_examples=5", "flip_words=3", "methods=gradient")
        settings = [f"--config.analysis.{each}" for each in more]
        assert call(f"--workdir={folder / 'run'}", ASKED, *settings) == 0

    return once("by_examples", make) / "run"


def test_flipped_texts_flip_when_the_model_reads_them(run):
    loaded, rows = attnjax.load_run(str(run)), read_lines(run / "analysis" / "examples.jsonl")
    texts, before = [], []
    for row in rows:
        for kind in ("deletion", "replacement"):
            found, tokens = row["flips"][kind], list(row["tokens"])
            if found["words"] is None:
                continue
            assert len(found["positions"]) == found["words"] <= 3
            into = found.get("into") or [None] * len(tokens)
            for place, new in zip(found["positions"], into, strict=False):
                tokens[place] = new
            texts.append(" ".join(word for word in tokens if word is not None))
            before.append(row["prediction"])
    assert len(texts) > 10
    after = loaded.predict(texts).labels
    assert all(one != other for one, other in zip(before, after, strict=True))
    flips = json.loads((run / "results.json").read_text())["analysis"]["flips"]
    sizes = [row["flips"]["changed_words"] for row in rows]
    known = [size for size in sizes if size is not None]
    assert flips["flipped_fraction"] == pytest.approx(len(known) / len(rows))
    assert flips["changed_words"]["mean"] == pytest.approx(np.mean(known))
    # One word tells the label: where one change suffices it is that word, and attention finds it.
    assert flips["by_edit"]["deletion"]["smallest_fraction"] == 1


def test_training_texts_are_told_with_their_words(run):
    influence = json.loads((run / "results.json").read_text())["analysis"]["influence"]
    assert (influence["training_examples"], influence["examples"]) == (160, 5)
    assert influence["check"]["removals"] == 6
    assert influence["check"]["pearson"] is not None
    assert influence["residual"] < 1e-6 < influence["gradient_norm"]
    rows = read_lines(run / "analysis" / "examples.jsonl")
    asked = [row["influence"] for row in rows if row["influence"]["helpful"]]
    assert len(asked) == 5
    for each in asked:
        helps = [text["effect"] for text in each["helpful"]]
        assert helps == sorted(helps, reverse=True)
        assert min(helps) > 0 > max(text["effect"] for text in each["harmful"])
        for text in each["helpful"]:
            assert len(text["text"]) == len(text["text_by_word"])
            assert {"good", "bad"} & set(text["text"])


@pytest.mark.parametrize(("scope", "target"), [("all", "attention"), ("tracin", "loss")])
def test_the_whole_model_is_asked_as_well(scope, target, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    more = {
        "questions": "influence",
        "influence_scope": scope,
        "influence_target": target,
        "influence_examples": 3,
        "influence_check": 0,
        "influence_planted": 0.0,
    }
    settings = [f"--config.analysis.{name}={value}" for name, value in more.items()]
    assert call(f"--workdir={copy}", *settings) == 0
    influence = json.loads((copy / "results.json").read_text())["analysis"]["influence"]
    assert (influence["target"], influence["examples"]) == (target, 3)
    rows = read_lines(copy / "analysis" / "examples.jsonl")
    asked = [row for row in rows if row["influence"]["helpful"]]
    assert len(asked) == 3
    page = (copy / "report.html").read_text()
    if scope == "tracin":
        steps = {
            int(path.name)
            for kind in ("latest", "best")
            for path in (copy / "checkpoints" / kind).iterdir()
            if path.name.isdecimal()
        }
        assert influence["checkpoints"] == sorted(steps)
        assert len(set(influence["rates"])) == 1
        assert "TracIn" in page
        # A step on a text lowers the loss of texts of its label.
        for row in asked:
            assert {text["label"] for text in row["influence"]["helpful"]} == {row["label"]}
    else:
        assert influence["residual"] < 1e-3
        assert "most attended word" in page
        for row in asked:
            assert row["influence"]["attended"] == np.argmax(row["attention"])


def test_the_report_shows_both(run):
    page = (run / "report.html").read_text()
    for name, title in (
        ("flips", "What would have had to be different?"),
        ("influence", "Which training texts made a prediction?"),
    ):
        section = page[page.index(f'<section id="{name}">') :].partition("</section>")[0]
        assert f"<h2>{title}</h2>" in section
        assert '<p class="answer">' in section
    assert (run / "figures" / "flips_overlap.svg").exists()
    for name in ("flips", "flips_overlap", "flips_texts", "influence", "influence_texts"):
        assert (run / "tables" / f"{name}.csv").exists()
    assert len((run / "tables" / "influence_suspects.csv").read_text().splitlines()) == 101


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("flip_costs=nowhere.txt", "analysis.flip_costs: there is no file nowhere.txt"),
        ("flip_similarity=1.0", "analysis.flip_similarity=1: the nearest two have a cosine of"),
        ("influence_planted=0.9", "'analysis.influence_planted' must be at most 0.5"),
        ("flip_words=0", "'analysis.flip_words' must be at least 1"),
        ("influence_target=attention", "set analysis.influence_scope to all, or to tracin"),
    ],
)
def test_wrong_settings_are_told_in_one_line(setting, message, run, capsys):
    before = (run / "results.json").read_bytes()
    assert call(f"--workdir={run}", ASKED, f"--config.analysis.{setting}") == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert (run / "results.json").read_bytes() == before


def test_training_data_that_is_gone_is_told_where_it_was(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    gone = tmp_path / "gone"
    assert call(f"--workdir={copy}", ASKED, f"--config.data.path={gone}") == 2
    assert str(gone) in capsys.readouterr().err.strip().splitlines()[-1]


def test_texts_of_ones_own_have_flips_and_no_training_texts(run, capsys):
    assert call(f"--workdir={run}", ASKED, "--text=worda good wordb") == 0
    (row,) = read_lines(next((run / "explained").glob("text-*")) / "examples.jsonl")
    assert row["flips"]["deletion"]["words"] in (None, 1, 2)
    assert "influence" not in row
