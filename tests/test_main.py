"""The whole command on small data: its files, its errors, and resumption after any kill."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from etils import epath
from helpers import arguments, write_data

import attnjax
from attnjax.analysis.importance import METHODS
from attnjax.checkpoint import Checkpoints
from attnjax.config import from_config_dict
from attnjax.data.dataset import load_dataset
from attnjax.errors import UserError
from attnjax.main import main
from attnjax.model.stages import build_stages
from attnjax.perturb.ascent import random_perturbation
from attnjax.perturb.techniques import TECHNIQUES, Technique
from attnjax.training.setup import starting_state

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[1]
WHOLE = ("--config.analysis.permutations=10", "--config.analysis.adversaries=2")
WHOLE += ("--config.analysis.adversary_steps=3", "--config.analysis.robustness=1.0")


def run(*more):
    return main(["attnjax", *more])


@pytest.fixture
def finished(trained, tmp_path):
    """(data, a copy of a finished run on them)."""
    return trained / "data", shutil.copytree(trained / "seed_0", tmp_path / "finished")


def test_a_run_leaves_every_file_of_the_contract(finished):
    _, workdir = finished
    results = json.loads((workdir / "results.json").read_text())
    assert set(results["test"]) == {"accuracy", "f1", "micro_f1", "auc", "loss", "examples"}
    assert results["test"]["examples"] == 40
    assert results["test"]["accuracy"] > 0.8
    assert set(results["timing"]) >= {"train_examples_per_s", "compile_s", "train_s", "analysis_s"}
    assert results["config"]["data"]["source"] == "files"
    assert results["versions"]["jax"] == jax.__version__
    agreement = results["analysis"]["agreement"]
    assert set(agreement) == {
        "attention~gradient",
        "attention~leave_one_out",
        "gradient~leave_one_out",
    }
    kendall = agreement["attention~gradient"]["kendall"]
    assert set(kendall) == {"mean", "std", "significant_fraction", "ci95", "undefined"}
    assert -1 <= kendall["ci95"][0] <= kendall["mean"] <= kendall["ci95"][1] <= 1
    assert set(agreement["attention~gradient"]["by_class"]) == {"0", "1"}
    metrics = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert {"step", "split", "loss"} <= set(metrics[0])
    assert {row["split"] for row in metrics} == {"train", "validation"}
    assert metrics[-1]["step"] == 40
    vocabulary = json.loads((workdir / "vocab.json").read_text())
    assert vocabulary["labels"] == ["0", "1"]
    assert results["analysis"]["permutation"]["permutations"] == 10
    assert len(results["analysis"]["permutation"]["bins"]) == 4
    assert 0 <= results["analysis"]["adversarial_attention"]["max_jsd"]["mean"] <= np.log(2)
    assert results["analysis"]["uniform_attention"]["examples"] == 40
    assert set(agreement["attention~gradient"]["floor"]["pearson"]) == {
        "mean",
        "std",
        "ci95",
        "undefined",
    }
    examples = (workdir / "analysis" / "examples.jsonl").read_text().splitlines()
    example = json.loads(examples[0])
    assert len(examples) == 40
    assert len(example["tokens"]) == len(example["attention"])
    assert len(example["tokens"]) == len(example["importance"]["gradient"])
    assert sum(example["attention"]) == pytest.approx(1, rel=1e-5)
    assert (workdir / "report.html").exists()
    assert list((workdir / "figures").glob("*.svg"))
    assert list((workdir / "figures").glob("*.pdf"))


def test_loaded_run_predicts_what_the_test_scores_say(finished):
    data, workdir = finished
    loaded = attnjax.load_run(str(workdir))
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    found = loaded.predict([row["text"] for row in rows])
    results = json.loads((workdir / "results.json").read_text())
    right = np.mean(
        [label == str(row["label"]) for label, row in zip(found.labels, rows, strict=True)]
    )
    assert right == pytest.approx(results["test"]["accuracy"])
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)
    alone = loaded.predict([rows[3]["text"]])
    np.testing.assert_allclose(alone.probabilities[0], found.probabilities[3], rtol=1e-5)
    marked = loaded.predict(["good", ""])  # one that cannot be read is not fatal
    assert marked.labels[0] is not None
    assert marked.labels[1] is None
    assert "text 1 has no token" in marked.problems[1]
    with pytest.raises(UserError, match="list of texts"):
        loaded.predict("good")


def test_the_same_command_again_changes_nothing(finished):
    data, workdir = finished
    before = json.loads((workdir / "results.json").read_text())
    metrics = (workdir / "metrics.jsonl").read_text()
    assert run(*arguments(data, workdir, *WHOLE)) == 0
    after = json.loads((workdir / "results.json").read_text())
    for part in ("test", "best", "data", "config"):
        assert after[part] == before[part]
    assert untimed(after) == untimed(before)
    assert (workdir / "metrics.jsonl").read_text() == metrics


def test_what_changes_no_result_may_change_when_a_run_resumes(finished, tmp_path):
    data, workdir = finished
    copied = shutil.copytree(workdir, tmp_path / "run")
    before = json.loads((workdir / "results.json").read_text())
    more = ("--config.train.log_steps=9", "--config.train.profile_steps=1,2")
    more = (*more, "--config.train.compile_cache=off", "--config.analysis.chunk_size=7")
    assert run(*arguments(data, copied, *WHOLE, *more, "--config.train.patience=5")) == 0
    assert (copied / "metrics.jsonl").read_text() == (workdir / "metrics.jsonl").read_text()
    assert json.loads((copied / "results.json").read_text())["test"] == before["test"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--config.model.hidden_dim=16", "model.hidden_dim=8, but this one has"),
        ("--config.data.min_count=3", "data.min_count=2, but this one has"),
        ("--config.seed=1", "seed=0, but this one has"),
        ("--config.data.path=elsewhere", "but this one has data.path='elsewhere'"),
        ("--config.data.vectors=other.vec", "data.vectors='', but this one has"),
        ("--config.train.epochs=1", "epochs, more than train.epochs=1; raise it"),
    ],
)
def test_another_run_in_the_same_workdir_is_refused(finished, more, message, capsys):
    data, workdir = finished
    before = sorted(str(path) for path in workdir.rglob("*"))
    assert run(*arguments(data, workdir, more)) == 2
    assert message in capsys.readouterr().err
    assert sorted(str(path) for path in workdir.rglob("*")) == before


def test_a_lost_configuration_is_that_of_the_checkpoints(finished, capsys):
    """And no other takes its place: results.json would tell of a run that never was."""
    data, workdir = finished
    before = (workdir / "config.json").read_text()
    metrics = (workdir / "metrics.jsonl").read_bytes()
    for name in ("config.json", "results.json"):
        (workdir / name).unlink()
    assert attnjax.load_run(workdir).config.model.hidden_dim == 8
    assert run(*arguments(data, workdir, "--config.train.learning_rate=0.5", *WHOLE)) == 2
    assert "holds a run with train.learning_rate=0.03, but this one" in capsys.readouterr().err
    assert not (workdir / "config.json").exists()
    changed = json.loads(before)
    changed["train"]["learning_rate"] = 0.5
    (workdir / "config.json").write_text(json.dumps(changed))
    assert run(*arguments(data, workdir, "--config.train.learning_rate=0.5", *WHOLE)) == 2
    told = capsys.readouterr().err
    assert "config.json has train.learning_rate=0.5, but its checkpoints were trained with" in told
    (workdir / "config.json").unlink()
    assert run(*arguments(data, workdir, *WHOLE)) == 0
    assert (workdir / "config.json").read_text() == before
    assert (workdir / "metrics.jsonl").read_bytes() == metrics


def test_other_words_than_the_checkpoints_know(finished, capsys):
    data, workdir = finished
    vocabulary = json.loads((workdir / "vocab.json").read_text())
    (workdir / "vocab.json").unlink()
    other = shutil.copytree(data, workdir.parent / "other")
    train = other / "train.jsonl"
    train.write_text(train.read_text().replace("good", "great"))
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["path"] = str(other)
    (workdir / "config.json").write_text(json.dumps(config))
    assert run(*arguments(other, workdir, *WHOLE)) == 2
    assert "holds a run on other data" in capsys.readouterr().err
    vocabulary["tokens"][4:6] = vocabulary["tokens"][5:3:-1]
    (workdir / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(UserError, match=r"vocab.json is not what the run was trained with"):
        attnjax.load_run(workdir)


def test_other_data_behind_the_same_path_is_refused(tmp_path, capsys):
    data, workdir = write_data(tmp_path / "data"), tmp_path / "run"
    more = ("--config.train.epochs=1", "--config.analysis.examples=0")
    assert run(*arguments(data, workdir, *more)) == 0
    before = (workdir / "vocab.json").read_text()
    train = data / "train.jsonl"
    train.write_text(train.read_text().replace("good", "great"))
    assert run(*arguments(data, workdir, *more)) == 2
    assert "holds a run on other data" in capsys.readouterr().err
    assert (workdir / "vocab.json").read_text() == before


def test_parameters_that_the_last_step_spoilt(tmp_path, capsys):
    data = write_data(tmp_path / "data")
    more = ("--config.train.learning_rate=1e38", "--config.train.optimizer=sgd")
    more = (*more, "--config.train.batch_size=1000", "--config.train.epochs=1")
    more = (*more, "--config.model.encoder=cnn")  # ReLU bounds nothing, as a BiLSTM's tanh would
    assert run(*arguments(data, tmp_path / "run", *more)) == 2
    assert "the validation loss is not finite after step 1" in capsys.readouterr().err


def test_lost_parameters(finished, capsys):
    data, workdir = finished
    shutil.rmtree(workdir / "checkpoints" / "best")
    assert run(*arguments(data, workdir, *WHOLE)) == 2
    assert "has lost the best parameters" in capsys.readouterr().err
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "config.json").write_text("[]")
    assert run(*arguments(data, workdir, *WHOLE)) == 2
    assert "config.json is damaged (it is no dict)" in capsys.readouterr().err


def test_mistakes_in_the_data_end_in_one_line(tmp_path, capsys):
    data = write_data(tmp_path / "data")
    (data / "test.jsonl").write_text('{"label": 1}\n')
    assert run(*arguments(data, tmp_path / "run")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_line_in_a_table_is_all_that_a_new_technique_and_method_need(tmp_path, monkeypatch):
    def places(stages, params, batch, key):
        words = batch.words.astype(np.float32)
        return words * np.arange(words.shape[1], dtype=np.float32)[None]

    monkeypatch.setitem(METHODS, "places", places)
    monkeypatch.setitem(TECHNIQUES, "mine", Technique("attention", random_perturbation))
    more = ["--config.analysis.methods=places", "--config.adversary.technique=mine", *WHOLE]
    more += ["--config.train.epochs=1", "--config.analysis.examples=10"]
    workdir = tmp_path / "run"
    assert run(*arguments(write_data(tmp_path / "data"), workdir, *more)) == 0
    results = json.loads((workdir / "results.json").read_text())
    assert results["analysis"]["agreement"]["attention~places"]["kendall"]["mean"] is not None
    assert "places" in (workdir / "report.html").read_text()
    row = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[0])
    assert row["perturbation_norm"] > 0


def test_unwritable_workdir(tmp_path, capsys):
    assert run(*arguments(write_data(tmp_path / "data"), tmp_path / "caf\udce9")) == 2
    assert "is no UTF-8; choose another" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run(*arguments(write_data(tmp_path / "data"), tmp_path / "file" / "run")) == 2
    assert "is not writable" in capsys.readouterr().err


def test_nan_stops_the_run_and_names_the_steps(tmp_path, capsys):
    data = write_data(tmp_path / "data")
    more = ("--config.train.learning_rate=1e30", "--config.train.optimizer=sgd")
    assert run(*arguments(data, tmp_path / "run", *more)) == 2
    assert "not finite between steps 1 and" in capsys.readouterr().err


def test_early_stopping_and_class_weights(tmp_path):
    data = write_data(tmp_path / "data")
    more = (
        "--config.train.patience=1",
        "--config.train.epochs=30",
        "--config.train.class_weighted=True",
        "--config.train.tensorboard=True",
        "--config.train.learning_rate=0.05",
        "--config.analysis.examples=0",
    )
    assert run(*arguments(data, tmp_path / "run", *more)) == 0
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    validations = [row for row in rows if row["split"] == "validation"]
    assert 2 <= len(validations) < 30
    best = max(row["auc"] for row in validations)
    assert validations[-2]["auc"] == best


def test_word_iat_on_a_vocabulary_too_small_for_its_neighbours(tmp_path, capsys):
    data = write_data(tmp_path / "data")
    more = ("--config.adversary.technique=word_iat", "--config.adversary.neighbours=50")
    assert run(*arguments(data, tmp_path / "run", *more)) == 2
    assert "adversary.neighbours=50, but the vocabulary has 18 words" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints" / "latest").exists()
    more = (more[0], "--config.adversary.neighbours=3", "--config.train.epochs=1")
    assert run(*arguments(data, tmp_path / "run", *more, "--config.analysis.examples=0")) == 0


def test_semi_supervised_training_reads_unlabelled_texts(tmp_path):
    data = write_data(tmp_path / "data")
    (data / "more.jsonl").write_text('{"text": "good worda"}\n{"text": "bad wordb"}\n' * 8)
    more = (
        "--config.adversary.technique=attention_vat",
        f"--config.data.unlabelled={data / 'more.jsonl'}",
        "--config.adversary.unlabelled_batch=8",
        "--config.analysis.examples=0",
        "--config.train.log_steps=1",
    )
    assert run(*arguments(data, tmp_path / "run", *more)) == 0
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"clean_loss", "perturbed_loss", "perturbation_norm", "flipped"} <= set(rows[0])
    assert rows[0]["perturbation_norm"] == pytest.approx(1.0, rel=1e-4)
    assert rows[0]["examples_per_s"] is None  # the first step compiles
    assert max(row["examples_per_s"] or 0 for row in rows if row["split"] == "train") > 0


# Resumption: real processes, killed at moments the test does not choose to the step.


def start(data, workdir):
    command = [sys.executable, "-m", "attnjax.main", *arguments(data, workdir)]
    command += ["--config.train.checkpoint_steps=7", "--config.train.epochs=4"]
    # Neighbours renewed each epoch and noise in every step: the most that there is to resume.
    command += ["--config.adversary.technique=word_ivat", "--config.adversary.neighbours=3"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def final_state(workdir, steps=4 * 80):
    config = from_config_dict(json.loads((workdir / "config.json").read_text()))
    dataset = load_dataset(config)
    stages = build_stages(config.model, words=len(dataset.vocabulary), classes=2, pair=False)
    with Checkpoints(epath.Path(workdir / "checkpoints"), read_only=True) as checkpoints:
        state, progress = checkpoints.restore(starting_state(config, dataset, stages))
    assert progress["step"] == steps
    return jax.tree.map(np.asarray, state)


def logged(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if name != "examples_per_s"} for row in rows]


@pytest.fixture(scope="session")
def uninterrupted(once):
    def make(folder):
        process = start(write_data(folder / "data", rows=640), folder / "whole")
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error.decode()

    folder = once("uninterrupted", make)
    return folder / "data", folder / "whole"


def wait_for_checkpoint(process, workdir, steps):
    """Returns once a checkpoint of at least `steps` is on disk."""
    latest = workdir / "checkpoints" / "latest"
    for _ in range(3000):
        saved = (
            [int(p.name) for p in latest.iterdir() if p.name.isdigit()] if latest.exists() else []
        )
        if max(saved, default=0) >= steps:
            return
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.02)
    raise AssertionError("no checkpoint appeared")


def finish(data, workdir):
    process = start(data, workdir)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error.decode()
    assert b"resuming at step" in error
    return error.decode()


def untimed(results):
    """What two runs have in common: all of the analysis but what its methods cost."""
    return {name: each for name, each in results["analysis"].items() if name != "cost"}


def assert_equal_runs(workdir, whole):
    jax.tree.map(np.testing.assert_array_equal, final_state(workdir), final_state(whole))
    assert logged(workdir) == logged(whole)
    results = [json.loads((each / "results.json").read_text()) for each in (workdir, whole)]
    assert results[0]["test"] == results[1]["test"]
    assert untimed(results[0]) == untimed(results[1])


def test_resumes_bit_for_bit_after_sigkill(uninterrupted, tmp_path):
    data, whole = uninterrupted
    workdir = tmp_path / "run"
    process = start(data, workdir)
    wait_for_checkpoint(process, workdir, 7)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (workdir / "results.json").exists()
    finish(data, workdir)
    assert_equal_runs(workdir, whole)


def test_sigterm_saves_and_resumes_bit_for_bit_despite_damage(uninterrupted, tmp_path):
    data, whole = uninterrupted
    workdir = tmp_path / "run"
    process = start(data, workdir)
    wait_for_checkpoint(process, workdir, 14)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error.decode()
    assert b"stopped; the same command resumes" in error
    stopped_at = int(error.split(b"saved at step ")[1].split()[0])
    latest = workdir / "checkpoints" / "latest"
    assert (latest / str(stopped_at)).exists()
    for path in (latest / str(stopped_at)).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said = finish(data, workdir)
    assert f"{stopped_at} is damaged" in said
    assert_equal_runs(workdir, whole)
