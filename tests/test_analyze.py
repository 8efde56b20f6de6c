"""Analysing a finished run again, its ceiling, and explaining the user's own texts."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from etils import epath
from test_main import untimed

import attnjax
from attnjax.analysis.summary import nothing
from attnjax.analyze import main as analyze
from attnjax.config import from_config_dict
from attnjax.pipeline import refuse_other_run
from attnjax.runs import analysed
from attnjax.runs.configured import recorded
from attnjax.workdir import finite, held

pytestmark = pytest.mark.slow
QUICK = (
    "--config.analysis.adversaries=2",
    "--config.analysis.adversary_steps=3",
    "--config.analysis.permutations=5",
)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the first run, to change at will."""
    return shutil.copytree(trained / "seed_0", tmp_path / "run")


def call(*arguments):
    return analyze(["attnjax.analyze", *map(str, arguments)])


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_other_methods_and_settings_without_training(run):
    before = results(run)
    checkpoints = sorted((run / "checkpoints").rglob("*"))
    assert call(f"--workdir={run}", "--config.analysis.methods=gradient_norm", *QUICK) == 0
    after = results(run)
    assert set(after["analysis"]["agreement"]) == {"attention~gradient_norm"}
    assert after["config"]["analysis"]["methods"] == ["gradient_norm"]
    for part in ("test", "best", "data", "versions"):
        assert after[part] == before[part]
    assert sorted((run / "checkpoints").rglob("*")) == checkpoints
    example = json.loads((run / "analysis" / "examples.jsonl").read_text().splitlines()[0])
    assert set(example["importance"]) == {"gradient_norm"}
    # The training command takes the folder for the same run still.
    assert json.loads((run / "config.json").read_text()) == after["config"]


def test_what_changes_no_result_or_lies_elsewhere_may_change(run, tmp_path):
    before = results(run)
    (tmp_path / "moved.vec").write_text("good 1 2 3 4 5 6 7 8\n")
    data = shutil.copytree(before["config"]["data"]["path"], tmp_path / "moved")
    moved = {
        **{"data.path": data, "data.vectors": tmp_path / "moved.vec"},
        **{"train.compile_cache": tmp_path / "cache", "train.log_steps": 7},
        **{"train.profile_steps": "2,3", "train.checkpoint_steps": 9},
    }
    assert call(f"--workdir={run}", *(f"--config.{name}={moved[name]}" for name in moved)) == 0
    assert untimed(results(run)) == untimed(before)
    # The command that trained it goes on, as does one with the new place of the data.
    for config in (before["config"], results(run)["config"]):
        refuse_other_run(from_config_dict(config), epath.Path(run), recorded(epath.Path(run)))


@pytest.mark.parametrize("size", [1, 7])
def test_the_chunk_size_changes_no_result(run, size):
    before = results(run)["analysis"]
    assert call(f"--workdir={run}", f"--config.analysis.chunk_size={size}") == 0
    after = results(run)["analysis"]
    for method in ("gradient", "leave_one_out"):
        here, there = (each["agreement"][f"attention~{method}"] for each in (before, after))
        for measure in ("pearson", "jensen_shannon"):
            assert there[measure]["mean"] == pytest.approx(here[measure]["mean"], rel=1e-5)
    expected = before["permutation"]["median_change"]["mean"]
    assert after["permutation"]["median_change"]["mean"] == pytest.approx(expected, rel=1e-5)


def test_the_ceiling_is_the_agreement_of_two_seeds(run, trained):
    assert call(f"--workdir={run}", f"--second={trained / 'seed_1'}") == 0
    ceiling = results(run)["analysis"]["ceiling"]
    assert ceiling["run"] == "seed_1"
    rows = [read_lines(each / "analysis" / "examples.jsonl") for each in (run, trained / "seed_1")]
    expected = np.mean(
        [np.corrcoef(a["attention"], b["attention"])[0, 1] for a, b in zip(*rows, strict=True)]
    )
    assert ceiling["attention"]["pearson"]["mean"] == pytest.approx(expected, rel=1e-4)
    assert set(ceiling) == {"run", "attention", "gradient", "leave_one_out"}


def test_no_ceiling_of_the_same_seed_or_other_examples(run, trained, capsys):
    before = results(run), read_lines(run / "analysis" / "examples.jsonl")
    same = shutil.copytree(run, run.parent / "same")
    assert call(f"--workdir={run}", f"--second={same}") == 2
    assert "has the same seed, 0" in capsys.readouterr().err
    second = f"--second={trained / 'seed_1'}"
    assert call(f"--workdir={run}", second, "--config.analysis.examples=10") == 2
    assert "analysed 40 examples that are not the 10" in capsys.readouterr().err
    other = shutil.copytree(trained / "seed_1", run.parent / "other")
    rows = read_lines(other / "analysis" / "examples.jsonl")
    rows[0]["tokens"] = rows[1]["tokens"]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (other / "analysis" / "examples.jsonl").write_text(text)
    assert call(f"--workdir={run}", f"--second={other}") == 2
    assert call(f"--workdir={run}", second, "--config.analysis.examples=0") == 2
    assert (results(run), read_lines(run / "analysis" / "examples.jsonl")) == before


@pytest.mark.parametrize(
    ("group", "name", "value", "message"),
    [
        ("model", "hidden_dim", 16, "has model.hidden_dim=16, and this run 8; give a run"),
        ("analysis", "detach_attention", False, "has analysis.detach_attention=False"),
    ],
)
def test_no_ceiling_of_another_model(run, trained, capsys, group, name, value, message):
    other = shutil.copytree(trained / "seed_1", run.parent / "other")
    shutil.rmtree(other / "checkpoints")  # which know what they were trained with
    config = json.loads((other / "config.json").read_text())
    config[group][name] = value
    (other / "config.json").write_text(json.dumps(config))
    assert call(f"--workdir={run}", f"--second={other}") == 2
    assert message in capsys.readouterr().err
    config[group][name] = json.loads((run / "config.json").read_text())[group][name]
    config["analysis"] |= {"methods": ["gradient"], "chunk_size": 3}  # changes no explanation
    (other / "config.json").write_text(json.dumps(config))
    assert call(f"--workdir={run}", f"--second={other}", *QUICK) == 0


def test_a_signal_leaves_the_files_of_one_analysis(run, monkeypatch):
    """Not the examples of the new one beside the results of the old."""
    write = analysed.write_json_lines

    def write_and_stop(*given):
        found = write(*given)
        os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(analysed, "write_json_lines", write_and_stop)
    assert call(f"--workdir={run}", "--config.analysis.methods=gradient_norm", *QUICK) == 0
    found = results(run)
    assert found["config"]["analysis"]["methods"] == ["gradient_norm"]
    examples = (run / "analysis" / "examples.jsonl").read_bytes()
    assert found["analysis"]["examples_sha256"] == hashlib.sha256(examples).hexdigest()
    assert b'"gradient_norm"' in examples


def test_one_command_at_a_time_writes_to_a_folder(run, capsys):
    before = results(run)
    with held(epath.Path(run)):
        assert call(f"--workdir={run}") == 2
        assert f"another command is writing to {run}" in capsys.readouterr().err
    assert results(run) == before
    with held(epath.Path(run)):  # free again
        pass


def test_a_file_in_the_way_ends_in_one_line(run, capsys):
    shutil.rmtree(run / "figures")
    (run / "figures").write_text("")
    assert call(f"--workdir={run}", *QUICK) == 2
    assert f"error: {run / 'figures'} is a file, and a run's own" in capsys.readouterr().err


def test_a_folder_from_elsewhere_names_no_cache_and_no_place_to_write(run, tmp_path, monkeypatch):
    """Compiled programs are code; and links in it would have files elsewhere overwritten."""
    config = json.loads((run / "config.json").read_text())
    config["train"]["compile_cache"] = str(tmp_path / "poisoned")
    (run / "config.json").write_text(json.dumps(config))
    chosen = []
    monkeypatch.setattr("attnjax.analyze.use_compile_cache", chosen.append)
    (run / "results.json").rename(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_text()
    for name in ("results.json", "results.json.partial", "report.html", "tables/scores.csv"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(tmp_path / "elsewhere")
    assert call(f"--workdir={run}", "--config.analysis.examples=5", *QUICK) == 0
    assert chosen == ["auto"]
    assert not (tmp_path / "poisoned").exists()
    assert results(run)["config"]["train"]["compile_cache"] == "auto"
    assert (tmp_path / "elsewhere").read_text() == before


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [
        ("imdb_reviews", "{none}", "not downloaded to where a stored file says"),
        ("somebody:texts", "", "loads code from elsewhere"),
    ],
)
def test_a_stored_name_downloads_nothing(run, tmp_path, capsys, name, path, message):
    shutil.rmtree(run / "checkpoints")
    config = json.loads((run / "config.json").read_text())
    config["data"] |= {"source": "tfds", "name": name, "path": path.format(none=tmp_path / "none")}
    (run / "config.json").write_text(json.dumps(config))
    assert call(f"--workdir={run}") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_fewer_examples_are_drawn_from_all_and_none_leave_nothing(run):
    assert call(f"--workdir={run}", "--config.analysis.examples=10", *QUICK) == 0
    rows = read_lines(run / "analysis" / "examples.jsonl")
    ids = [row["id"] for row in rows]
    assert len(ids) == 10
    assert ids == sorted(set(ids))
    assert ids != list(range(10))
    assert {row["label"] for row in rows} == {"0", "1"}
    found = results(run)["analysis"]
    assert found["model"]["examples"] == found["uniform_attention"]["examples"] == 10
    right = np.mean([row["label"] == row["prediction"] for row in rows])
    assert found["model"]["accuracy"] == pytest.approx(right)
    assert call(f"--workdir={run}", "--config.analysis.examples=0", *QUICK) == 0
    assert results(run)["analysis"] == nothing()["analysis"]
    assert not list((run / "analysis").glob("*.jsonl"))


def test_relative_folders(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    assert attnjax.load_run(run.name).predict(["good"]).labels == ["1"]
    assert call(f"--workdir={run.name}", "--config.analysis.examples=5", *QUICK) == 0


LOOP = """
import sys, jax, attnjax
run = attnjax.load_run(sys.argv[1])
for word in ("worda", "wordb"):
    with jax.log_compiles():
        print(word, file=sys.stderr)
        run.predict([word + " good"])
        run.explain([word + " bad"])
"""


def test_a_loop_over_texts_compiles_once(run):
    # In a process of its own: here, type checks make every function another one.
    done = subprocess.run(
        [sys.executable, "-c", LOOP, run], capture_output=True, text=True, check=True
    )
    first, second = done.stderr.split("worda")[1].split("wordb")
    assert "XLA compilation of jit(evaluate)" in first
    assert "XLA compilation of" not in second


def test_explains_the_users_own_texts(run, tmp_path):
    texts = tmp_path / "mine.v1.jsonl"
    rows = [{"text": "worda good wordb"}, {"text": "<script>alert(1)</script> bad wordc"}]
    texts.write_text("\n".join(json.dumps(row) for row in rows))
    assert call(f"--workdir={run}", f"--input={texts}") == 0
    found = read_lines(run / "explained" / "mine.v1" / "examples.jsonl")
    assert [each["prediction"] for each in found] == ["1", "0"]
    assert found[0]["tokens"] == ["worda", "good", "wordb"]
    assert found[0]["label"] is None
    page = (run / "explained" / "mine.v1" / "examples.html").read_text()
    assert "<script>alert" not in page
    explained = attnjax.load_run(run).explain([row["text"] for row in rows])
    for row, each in enumerate(found):
        np.testing.assert_allclose(explained.attention[row], each["attention"], rtol=1e-5)
        for name, values in each["importance"].items():
            np.testing.assert_allclose(explained.importance[name][row], values, rtol=1e-5)


def test_the_rest_of_a_file_is_explained_with_its_columns(run, tmp_path, capfd, caplog):
    texts = tmp_path / "ids.csv"
    rows = ["A7,worda good", "B2,", "C3,zzz qqqq", "D4,bad wordb"]
    texts.write_text("\n".join(["id,text", *rows]))
    assert call(f"--workdir={run}", f"--input={texts}") == 0
    folder = run / "explained" / "ids"
    found = read_lines(folder / "examples.jsonl")
    assert [(each["id"], each["columns"]["id"]) for each in found] == [(0, "A7"), (3, "D4")]
    assert found[0]["cut"] == 0
    skipped = read_lines(folder / "skipped.jsonl")
    assert [(each["id"], each["columns"]["id"]) for each in skipped] == [(1, "B2"), (2, "C3")]
    assert skipped[0]["problem"] == "ids.csv, line 3 has no token; leave it out"
    page = (folder / "examples.html").read_text()
    assert "id: A7" in page
    assert "ids.csv, line 4 has only words" in page
    assert "2 of 4 texts cannot be read, and are marked; ids.csv, line 3" in caplog.text
    assert "skipped.jsonl" in capfd.readouterr().out
    explained = attnjax.load_run(run).explain(["worda good", "", "bad wordb"])
    assert explained.labels == ["1", None, "0"]
    assert [row.get("problem") for row in explained.rows][1] == "text 1 has no token; leave it out"
    assert [len(each) for each in explained.attention] == [2, 0, 2]
    assert [len(each) for each in explained.importance["gradient"]] == [2, 0, 2]
    kendall = explained.agreement["attention~gradient"]["kendall"]
    assert np.isnan(kendall).tolist() == [False, True, False]
    json.dumps(finite(explained.rows))


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (b"worda good\nbad wordb\n", {"text": "worda good"}),
        (b"\xef\xbb\xbfid,text\n1,worda good\n2,bad wordb\n", {"id": "1", "text": "worda good"}),
        (
            b'[{"text": "worda good", "n": 1}, {"text": "bad wordb"}]',
            {"text": "worda good", "n": 1},
        ),
        (b'{"text": "worda good"}\n{"text": "bad wordb"}', {"text": "worda good"}),
    ],
)
def test_texts_from_standard_input(run, monkeypatch, content, columns):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert call(f"--workdir={run}", "--input=-", f"--output={run / 'out'}") == 0
    found = read_lines(run / "out" / "examples.jsonl")
    assert [each["prediction"] for each in found] == ["1", "0"]
    assert found[0]["columns"] == columns


def test_one_text(run):
    for text in ("worda good", "bad wordb", "bad wordb"):
        assert call(f"--workdir={run}", f"--text={text}") == 0
    found = [read_lines(each / "examples.jsonl") for each in (run / "explained").iterdir()]
    assert sorted(row["prediction"] for (row,) in found) == ["0", "1"]


def test_explained_texts_replace_no_others(run, tmp_path, capsys):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.jsonl").write_text('{"text": "good"}')
    first, second = (f"--input={tmp_path}/{folder}/mine.jsonl" for folder in ("one", "two"))
    for _ in range(2):  # the same again is welcome
        assert call(f"--workdir={run}", first) == 0
    assert call(f"--workdir={run}", second) == 2
    assert "one/mine.jsonl" in capsys.readouterr().err.splitlines()[-1]
    before = (run / "analysis" / "examples.jsonl").read_text()
    assert call(f"--workdir={run}", second, f"--output={run / 'analysis'}") == 2
    assert (run / "analysis" / "examples.jsonl").read_text() == before


def test_explain_shows_itself_in_a_notebook(run):
    explained = attnjax.load_run(str(run)).explain(
        ["worda good <b>wordb</b>"], methods=["gradient"]
    )
    page = explained._repr_html_()
    assert "good" in page
    assert "<b>wordb" not in page
    assert set(explained.importance) == {"gradient"}
    assert explained.attention[0].sum() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["good"], {"methods": ["gradiant"]}, "did you mean 'gradient'"),
        (["good"], {"methods": "gradient"}, "a list of methods"),
        (["", " "], {}, "text 0 has no token"),
        (["zzz qqqq"], {}, "text 0 has only words that the model has never seen"),
        ("good", {}, "a list of texts"),
        ([], {}, "no text to explain"),
    ],
)
def test_texts_that_cannot_be_explained(run, texts, options, message):
    with pytest.raises(attnjax.errors.UserError, match=message):
        attnjax.load_run(str(run)).explain(texts, **options)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workdir={none}"], "holds no run"),
        ([], "needs --workdir"),
        (["--workdir={run}", "--config.analysis.methods=limo"], "analysis.methods"),
        (["--workdir={run}", "--config.analysis.method=gradient"], "did you mean"),
        (["--workdir={run}", "--config.train.epochs=9"], "trained with train.epochs=2, not 9"),
        (["--workdir={run}", "--config.data.min_count=9"], "trains nothing"),
        (["--workdir={run}", f"--config.analysis.permutations={10**12}"], "at most 1,000,000"),
        (["--workdir={run}", "--second={none}"], "holds no run"),
        (["--workdir={run}", "--input={none}"], "there is no file"),
        (["--workdir={run}", "--input={empty}"], "has only words that the model has never seen"),
        (["--workdir={run}", "--output=there"], "--input, which is missing"),
        (["--workdir={run}", "--input={empty}", "--output={empty}"], "output {empty} is not"),
        (["--workdir={run}", "--verbose=1"], "bad command line"),
        (["--workdir={run}", "--text=zzz"], "--text has only words that the model has never seen"),
        (
            ["--workdir={run}", "--text=good", "--query=x"],
            "--query goes with --text, where the run",
        ),
        (["--workdir={run}", "--text=good", "--input={empty}"], "leave one out"),
        (["--workdir={run}", "--text=good", "--second={none}"], "leave out --text"),
    ],
)
def test_mistakes_end_in_one_line(run, tmp_path, capfd, more, message):
    unknown = tmp_path / "unknown.jsonl"
    unknown.write_text('{"text": "zzz yyy"}\n')
    places = {"run": run, "none": tmp_path / "none", "empty": unknown}
    before = results(run)
    assert call(*(each.format(**places) for each in more)) == 2
    error = capfd.readouterr().err
    lines = [line for line in error.splitlines() if "error:" in line]
    assert len(lines) == 1
    assert message.format(**places) in lines[0]
    assert "Traceback" not in error
    assert results(run) == before


def test_an_unfinished_run_is_refused(run, capfd):
    (run / "results.json").unlink()
    assert call(f"--workdir={run}") == 2
    assert "is no finished run" in capfd.readouterr().err
