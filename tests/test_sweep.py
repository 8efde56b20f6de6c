"""The whole sweep command on small data: files, resumption, refusals."""

import contextlib
import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from etils import epath
from helpers import assert_trained_alike
from small_runs import write_small_data

import attnjax
from attnjax.analysis.summary import nothing
from attnjax.compare import main as compare
from attnjax.errors import UserError
from attnjax.main import main as train_one
from attnjax.sweep import main
from attnjax.sweeps import analyst, bench
from attnjax.workdir import held

pytestmark = pytest.mark.slow


def arguments(data, workdir, *more):
    return [
        "attnjax",
        "--config=configs/custom.py",
        f"--config.data.path={data}",
        f"--workdir={workdir}",
        "--config.model.encoder=average",
        "--config.model.hidden_dim=4",
        "--config.model.embed_dim=6",
        "--config.model.embed_scale=1.0",
        "--config.data.buckets=1",
        "--config.train.batch_size=8",
        "--config.train.learning_rate=0.03",
        "--config.train.epochs=2",
        "--config.train.keep_heap=False",
        "--config.analysis.methods=gradient",
        "--config.analysis.examples=10",
        *more,
    ]


FLAGS = ("--sweep.epsilon=0.5:4:2", "--sweep.technique=none,attention_at", "--sweep.seeds=2")


@pytest.fixture
def finished(once, tmp_path):
    """(data, a copy of a finished sweep on them)."""

    def make(folder):
        data = write_small_data(folder / "data")
        assert main(arguments(data, folder / "sweep", *FLAGS, "--sweep.mode=map")) == 0

    folder = once("sweep", make)
    return folder / "data", shutil.copytree(folder / "sweep", tmp_path / "finished")


def results_of(workdir, point):
    return json.loads((workdir / point / "results.json").read_text())


def test_a_sweep_leaves_its_tables_figures_page_and_a_folder_for_each_run(finished):
    _, workdir = finished
    rows = [json.loads(line) for line in (workdir / "sweep.jsonl").read_text().splitlines()]
    assert len(rows) == 2 + 4
    assert [row["technique"] for row in rows] == ["none"] * 2 + ["attention_at"] * 4
    assert [row["epsilon"] for row in rows] == [None, None, 0.5, 0.5, 4.0, 4.0]
    with (workdir / "sweep.csv").open() as file:
        table = list(csv.DictReader(file))
    for row, line in zip(rows, table, strict=True):
        results = results_of(workdir, row["point"])
        assert results["config"]["seed"] == row["seed"] == int(line["seed"])
        assert results["test"]["accuracy"] == row["accuracy"] == float(line["accuracy"])
        pair = results["analysis"]["agreement"]["attention~gradient"]
        assert pair["kendall"]["mean"] == row["kendall"]
        assert pair["pearson"]["mean"] == row["pearson"]
        assert results["best"]["validation"]["auc"] == row["validation"]
        assert results["failed"] is False
        for name in ("config.json", "vocab.json", "metrics.jsonl"):
            assert (workdir / row["point"] / name).exists()
    assert "\\begin{tabular}" in (workdir / "sweep.tex").read_text()
    for measure in ("accuracy", "f1", "kendall", "pearson"):
        assert (workdir / "figures" / f"{measure}_epsilon.svg").exists()
        assert (workdir / "figures" / f"{measure}_epsilon.pdf").exists()
    page = (workdir / "sweep.html").read_text()
    assert page.count("<svg") == 4
    assert "point_0005" in page
    assert json.loads((workdir / "sweep.json").read_text())["ways"][1]["way"] == "map"


def test_a_point_equals_main_with_the_same_fields(finished, tmp_path):
    data, workdir = finished
    command = arguments(data, tmp_path / "alone")
    more = ("technique=attention_at", "epsilon=4.0")
    command += [f"--config.adversary.{each}" for each in more]
    command += ["--config.seed=1", "--config.train.devices=1", "--config.analysis.permutations=0"]
    command += ["--config.analysis.adversaries=0", "--config.analysis.robustness="]
    assert train_one(command) == 0
    alone = json.loads((tmp_path / "alone" / "results.json").read_text())
    found = results_of(workdir, "point_0005")
    assert found["config"]["adversary"] == alone["config"]["adversary"]
    assert found["best"]["step"] == alone["best"]["step"]
    assert found["best"]["validation"] == pytest.approx(alone["best"]["validation"], rel=1e-5)
    assert found["test"] == pytest.approx(alone["test"], rel=1e-5)
    for measure in ("kendall", "pearson"):
        values = [
            each["analysis"]["agreement"]["attention~gradient"][measure]["mean"]
            for each in (found, alone)
        ]
        assert values[0] == pytest.approx(values[1], rel=1e-4, abs=1e-5)
    runs = [attnjax.load_run(str(each)) for each in (workdir / "point_0005", tmp_path / "alone")]
    assert_trained_alike(*(each.params for each in runs), 0.03, rtol=1e-5, atol=1e-6)
    assert runs[0].predict(["good worda"]).labels == runs[1].predict(["good worda"]).labels


def test_runs_analysed_together_keep_their_own_figures_beside_one_that_failed(finished, tmp_path):
    data, other = finished
    flags = ("--sweep.learning_rate=0.01,1e30,0.03", "--sweep.mode=vmap")
    assert main(arguments(data, tmp_path / "run", *flags, "--config.train.devices=1")) == 0
    slow, failed, found = (results_of(tmp_path / "run", f"point_000{k}") for k in range(3))
    assert failed["failed"]
    assert failed["analysis"] == nothing()["analysis"]
    expected = results_of(other, "point_0000")  # the same fields, mapped over other devices
    assert expected["config"]["train"]["learning_rate"] == 0.03
    pair = "attention~gradient"
    for measure in ("kendall", "pearson"):
        means = [each["analysis"]["agreement"][pair][measure]["mean"] for each in (found, expected)]
        assert means[0] == pytest.approx(means[1], rel=1e-4, abs=1e-5)
        assert slow["analysis"]["agreement"][pair][measure]["mean"] != means[0]


def test_results_that_would_be_held_bound_the_runs_analysed_together(
    finished, tmp_path, monkeypatch
):
    data, _ = finished
    groups = []
    analyse = analyst.Analyst.analyse

    def noted(one, configs, params, runs):
        groups.append(len(configs))
        return analyse(one, configs, params, runs)

    monkeypatch.setattr(analyst.Analyst, "analyse", noted)
    flags = ("--sweep.learning_rate=0.01,0.02,0.03", "--sweep.mode=vmap", "--sweep.seeds=2")
    more = ("--config.train.devices=1", "--config.train.epochs=1")
    for most, expected in ((2_000_000_000, [3, 3]), (1, [1] * 6)):
        groups.clear()
        monkeypatch.setattr(analyst, "MOST_HELD", most)
        assert main(arguments(data, tmp_path / str(most), *flags, *more)) == 0
        assert groups == expected
    a, b = (
        results_of(tmp_path / str(most), "point_0005")["analysis"]["agreement"]
        for most in (1, 2_000_000_000)
    )
    for measure in ("kendall", "pearson"):
        means = [each["attention~gradient"][measure]["mean"] for each in (a, b)]
        assert means[0] == pytest.approx(means[1], rel=1e-4, abs=1e-5)


def test_a_run_that_its_last_step_spoilt_is_marked_and_the_others_go_on(tmp_path):
    data = write_small_data(tmp_path / "data")
    flags = ("--sweep.learning_rate=1e38,0.1", "--sweep.mode=map", "--config.train.devices=1")
    # One step an epoch, whose loss is still finite; ReLU bounds nothing.
    more = ("batch_size=1000", "epochs=2", "optimizer=sgd")
    command = arguments(data, tmp_path / "run", *flags, *(f"--config.train.{m}" for m in more))
    assert main([*command, "--config.model.encoder=cnn"]) == 0
    spoilt, fine = (results_of(tmp_path / "run", f"point_000{k}") for k in range(2))
    assert (spoilt["failed"], spoilt["failed_step"], spoilt["test"]) == (True, 1, None)
    assert not fine["failed"]
    assert fine["test"]["examples"]


def test_finished_points_are_not_trained_again(finished, monkeypatch):
    data, workdir = finished
    before = (workdir / "sweep.csv").read_text()
    monkeypatch.setattr(bench, "train_chunk", None)  # calling it would raise
    more = ("--config.train.log_steps=7", "--config.analysis.chunk_size=5")  # changes no result
    assert main(arguments(data, workdir, *FLAGS, *more)) == 0
    assert (workdir / "sweep.csv").read_text() == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((*FLAGS, "--config.model.hidden_dim=8"), "holds a sweep with model.hidden_dim=4"),
        ((*FLAGS, "--config.train.epochs=3"), "holds a sweep with train.epochs=2"),
        ((*FLAGS[1:], "--sweep.epsilon=0.5,3"), "holds a sweep of 6 other points"),
    ],
)
def test_another_sweep_in_the_same_workdir_is_refused(finished, more, message, capsys):
    data, workdir = finished
    before = sorted(str(path) for path in workdir.rglob("*"))
    assert main(arguments(data, workdir, *more)) == 2
    assert message in capsys.readouterr().err
    assert sorted(str(path) for path in workdir.rglob("*")) == before


def test_a_sweep_does_not_go_on_with_other_data(finished, tmp_path, capsys):
    data, workdir = shutil.copytree(finished[0], tmp_path / "data"), finished[1]
    lines = (data / "test.jsonl").read_text().splitlines()
    (data / "test.jsonl").write_text("\n".join(lines[1:]) + "\n")
    shutil.rmtree(workdir / "point_0001")
    stored = json.loads((workdir / "sweep.json").read_text())
    stored["config"]["data.path"] = str(data)
    (workdir / "sweep.json").write_text(json.dumps(stored))
    assert main(arguments(data, workdir, *FLAGS)) == 2
    assert "holds a sweep on other data" in capsys.readouterr().err
    assert not (workdir / "point_0001").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--sweep.hidden_dim=4,8",), "a sweep cannot vary 'hidden_dim'"),
        (("--sweep.relevance=0:1",), "is no range"),
        (("--sweep.relevance=2:1:3",), "is empty"),
        ((), "nothing varies"),
        (("--sweep.seeds=2", "--config.model.encodr=cnn"), "config has no field 'model.encodr'"),
        (("--sweep.seeds=2", "--config.train.tensorboard=True"), "are for one run"),
        (
            (
                "--sweep.seeds=2",
                "--config.analysis.questions=influence",
                "--config.analysis.influence_scope=tracin",
            ),
            "the runs of a sweep",
        ),
        (("--sweep.seeds=2", "--config.train.devices=99"), "train.devices=99, but there are"),
        (("--sweep.seeds=2", "--distributed"), "a sweep runs on one host"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_is_made(tmp_path, more, message, capsys):
    data = write_small_data(tmp_path / "data")
    assert main(arguments(data, tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_too_little_memory_and_a_folder_with_a_single_run(tmp_path, capsys):
    data = write_small_data(tmp_path / "data")
    flags = ("--sweep.seeds=2", "--sweep.memory=0.00001")
    assert main(arguments(data, tmp_path / "run", *flags)) == 2
    assert "raise --sweep.memory" in capsys.readouterr().err
    with held(epath.Path(tmp_path / "run")):
        assert main(arguments(data, tmp_path / "run", "--sweep.seeds=2")) == 2
    assert "another command is writing" in capsys.readouterr().err
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / "config.json").write_text("{}")
    assert main(arguments(data, tmp_path / "single", "--sweep.seeds=2")) == 2
    assert "holds a single run" in capsys.readouterr().err


def test_a_stopped_sweep_goes_on_after_its_last_finished_chunk(tmp_path, monkeypatch, capsys):
    data = write_small_data(tmp_path / "data")
    flags = ("--sweep.learning_rate=0.03,1e30,0.01", "--config.train.optimizer=sgd")
    flags += ("--sweep.mode=turn", "--config.train.devices=1")  # a chunk is one run
    trained = []
    train_chunk = bench.train_chunk

    def stopped(configs, dataset, stages, programs, stop):
        trained.append(configs[0].train.learning_rate)
        if len(trained) == 2:
            with stop.deferred():
                os.kill(os.getpid(), signal.SIGTERM)
        return train_chunk(configs, dataset, stages, programs, stop)

    monkeypatch.setattr(bench, "train_chunk", stopped)
    assert main(arguments(data, tmp_path / "run", *flags)) == 0
    assert "stopped; the same command resumes" in capsys.readouterr().err
    assert trained == [0.03, 1e30]
    first = (tmp_path / "run" / "point_0000" / "results.json").read_text()
    assert not (tmp_path / "run" / "point_0001").exists()
    # What a kill in the middle of writing leaves behind.
    (tmp_path / "run" / "point_0001").mkdir()
    (tmp_path / "run" / "point_0001" / "metrics.jsonl").write_text('{"step"')
    assert main(arguments(data, tmp_path / "run", *flags)) == 0
    assert trained == [0.03, 1e30, 1e30, 0.01]
    assert (tmp_path / "run" / "point_0000" / "results.json").read_text() == first
    rows = [json.loads(x) for x in (tmp_path / "run" / "sweep.jsonl").read_text().splitlines()]
    assert [row["failed"] for row in rows] == [False, True, False]
    failed = results_of(tmp_path / "run", "point_0001")
    assert failed["failed_step"] == rows[1]["failed_step"] > 0
    assert failed["test"] is None
    assert rows[1]["accuracy"] is None
    assert "point_0001 at step" in (tmp_path / "run" / "sweep.html").read_text()
    points = [str(tmp_path / "run" / f"point_000{number}") for number in range(2)]
    with pytest.raises(UserError, match="point_0001 failed: its loss was not finite"):
        attnjax.load_run(points[1])
    for folders, message in (
        (points[::-1], "point_0001 failed: its loss was not finite; leave it out"),
        (points, f"python -m attnjax.analyze --workdir={points[0]}"),
    ):
        assert compare(["attnjax", *folders, f"--out={tmp_path / 'out'}"]) == 2
        assert message in capsys.readouterr().err


SEVERAL = ("--sweep.epsilon=0.5:4:8", "--sweep.technique=attention_at", "--config.train.epochs=1")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
TWO_CORES = pytest.mark.skipif(CORES < 2, reason="needs two cores: one process for each")


def process_of(*words):
    """The process whose command line has these words in it, if there is one."""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if all(word in path.read_text() for word in words):
                return int(path.parent.name)
    return None


def without_devices():
    """The environment of a user: no fake devices, which would keep the sweep to one process."""
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


@TWO_CORES
def test_the_cores_of_a_cpu_share_the_points_in_processes(tmp_path):
    data, workdir = write_small_data(tmp_path / "data"), tmp_path / "run"
    command = [sys.executable, "-m", "attnjax.sweep", *arguments(data, workdir, *SEVERAL)[1:]]
    done = subprocess.run(command, env=without_devices(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line in ("8 runs on 2 devices", "epoch 1 of 1: validation", "finished, chunk 1 of 1"):
        assert line in done.stderr  # minutes pass between the first and the last
    stored = json.loads((workdir / "sweep.json").read_text())
    assert len(stored["ways"]) == 2
    rows = [json.loads(line) for line in (workdir / "sweep.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    assert not any(row["failed"] for row in rows)
    alone = arguments(data, tmp_path / "alone", "--config.train.epochs=1")
    alone += ["--config.adversary.technique=attention_at", "--config.adversary.epsilon=0.5"]
    assert train_one(alone) == 0
    expected = json.loads((tmp_path / "alone" / "results.json").read_text())
    np.testing.assert_allclose(rows[0]["auc"], expected["test"]["auc"], rtol=1e-5)


SCRIPT = """
import sys
from attnjax import sweep
from attnjax.analysis.importance import METHODS
from attnjax.model.attention import forward

METHODS["gradient"] = lambda stages, params, batch, key: forward(stages, params, batch).weights
sys.exit(sweep.main(sys.argv))
"""


@TWO_CORES
def test_a_scripts_own_entries_in_tables_hold_for_every_point(tmp_path):
    data, workdir = write_small_data(tmp_path / "data"), tmp_path / "run"
    command = [sys.executable, "-c", SCRIPT, *arguments(data, workdir, *SEVERAL)[1:]]
    done = subprocess.run(command, env=without_devices(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (workdir / "sweep.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    np.testing.assert_allclose([row["kendall"] for row in rows], 1, rtol=1e-5)


@TWO_CORES
def test_a_process_that_is_killed_ends_the_sweep_in_one_line_and_it_goes_on(tmp_path):
    data, workdir = write_small_data(tmp_path / "data"), tmp_path / "run"
    command = [sys.executable, "-m", "attnjax.sweep", *arguments(data, workdir, *SEVERAL)[1:]]
    sweep = subprocess.Popen(command, env=without_devices(), stderr=subprocess.PIPE, text=True)
    share = None
    while share is None:
        assert sweep.poll() is None
        share = process_of(str(workdir), "--sweep.share=1/2")
    os.kill(share, signal.SIGKILL)
    _, errors = sweep.communicate()
    assert sweep.returncode == 2
    assert "a process of the sweep ended early (status -9)" in errors.splitlines()[-1]
    done = subprocess.run(command, env=without_devices(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len((workdir / "sweep.jsonl").read_text().splitlines()) == 8
