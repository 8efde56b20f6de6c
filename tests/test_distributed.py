"""Two real processes on this machine: they train as one, stop together, and survive each other."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import assert_trained_alike
from test_main import ROOT, arguments, final_state, logged, wait_for_checkpoint, write_data

import attnjax
from attnjax.command import parse_hosts
from attnjax.errors import UserError
from attnjax.hosts import Hosts
from attnjax.main import main
from attnjax.training.lookup import SPECIAL

LEARNING_RATE = 0.003  # low: texts that are known for sure leave gradients of rounding alone
COMMON = [
    f"--config.train.learning_rate={LEARNING_RATE}",
    "--config.train.checkpoint_steps=7",
    "--config.train.epochs=4",
    "--config.adversary.technique=attention_iat",
    "--config.model.encoder=average",
    "--config.data.buckets=1",
    "--config.analysis.examples=8",
    "--config.analysis.methods=gradient",
    "--config.analysis.robustness=1.0",
]
STEPS = 4 * 40
slow = pytest.mark.slow


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def command(data, workdir, *more):
    return [sys.executable, "-m", "attnjax.main", *arguments(data, workdir), *COMMON, *more]


def start(line):
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.Popen(
        line,
        cwd=ROOT,
        env={**kept, "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(data, workdir, *more):
    address = f"--coordinator=localhost:{free_port()}"
    return [
        start(command(data, workdir, address, "--processes=2", f"--process={each}", *more))
        for each in range(2)
    ]


def ended(processes, status=0):
    """Waits for all, and returns what each wrote to stderr."""
    said = [process.communicate(timeout=400)[1] for process in processes]
    assert [process.returncode for process in processes] == [status] * len(processes), said
    return said


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="session")
def alone(once):
    def make(folder):
        data = write_data(folder / "data", rows=320, rare=320)  # steps look up rows of the table
        ended([start(command(data, folder / "run"))])

    folder = once("alone", make)
    return folder / "data", folder / "run"


@pytest.fixture(scope="session")
def together(alone, once):
    def make(folder):
        said = ended(start_two(alone[0], folder / "run"))
        (folder / "said.json").write_text(json.dumps(said))

    folder = once("together", make)
    return folder / "run", json.loads((folder / "said.json").read_text())


def assert_like(workdir, other):
    """Float32, and another order of summation: 160 steps amplify it a little."""
    states = [final_state(each, STEPS) for each in (workdir, other)]
    assert_trained_alike(*states, LEARNING_RATE, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        [row["loss"] for row in logged(workdir)],
        [row["loss"] for row in logged(other)],
        rtol=1e-4,
        atol=1e-6,
    )
    assert results(workdir)["best"]["step"] == results(other)["best"]["step"]
    assert results(workdir)["test"]["accuracy"] == results(other)["test"]["accuracy"]
    found, expected = (
        [json.loads(x) for x in (each / "analysis" / "examples.jsonl").read_text().splitlines()]
        for each in (workdir, other)
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a["attention"], b["attention"], rtol=1e-3, atol=1e-6)


@slow
def test_two_processes_train_as_one(alone, together):
    _, single = alone
    workdir, said = together
    assert_like(workdir, single)
    assert results(workdir)["devices"]["processes"] == 2
    assert len(attnjax.load_run(str(single)).vocab) > SPECIAL + 8 * 16  # tokens of a batch
    assert "in 2 processes" in said[0]
    assert said[1] == "", "only the first process speaks"
    # checkpoints name the devices that saved them; those of the other process are not here
    one, other = (
        attnjax.load_run(str(each)).predict(["good", "bad"]) for each in (workdir, single)
    )
    assert one.labels == other.labels


@slow
def test_two_processes_with_pmap(alone, tmp_path):
    data, single = alone
    ended(start_two(data, tmp_path / "run", "--config.train.parallel=pmap"))
    assert_like(tmp_path / "run", single)


def assert_equal_runs(workdir, whole):
    jax.tree.map(
        np.testing.assert_array_equal, final_state(workdir, STEPS), final_state(whole, STEPS)
    )
    assert logged(workdir) == logged(whole)
    assert results(workdir)["test"] == results(whole)["test"]


@slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_other_ends_and_both_resume(alone, together, tmp_path, victim):
    data, _ = alone
    processes = start_two(data, tmp_path / "run")
    wait_for_checkpoint(processes[0], tmp_path / "run", 7)
    processes[victim].kill()
    _, said = processes[1 - victim].communicate(timeout=150)
    processes[victim].communicate()
    assert processes[1 - victim].returncode not in (0, 2)
    # JAX itself aborts the others, with its own words, once the coordinator is gone
    assert re.search("another process of this run is gone|another task died", said)
    assert not (tmp_path / "run" / "results.json").exists()
    said = ended(start_two(data, tmp_path / "run"))
    assert "resuming at step" in said[0]
    assert_equal_runs(tmp_path / "run", together[0])


@slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_at_one_step_and_all_resume(alone, together, tmp_path, number):
    data, _ = alone
    processes = start_two(data, tmp_path / "run")
    wait_for_checkpoint(processes[0], tmp_path / "run", 14)
    reached = processes if number == signal.SIGTERM else processes[1:]
    for process in reached:
        process.send_signal(number)
    said = ended(processes)
    assert all("stopped; the same command resumes" in each for each in said)
    stopped_at = said[0].split("saved at step ")[1].split()[0]
    assert (tmp_path / "run" / "checkpoints" / "latest" / stopped_at).exists()
    ended(start_two(data, tmp_path / "run"))
    assert_equal_runs(tmp_path / "run", together[0])


@slow
@pytest.mark.parametrize(
    ("process", "message"), [(0, "not all of the 2 processes"), (1, "did not answer within 3 s")]
)
def test_a_meeting_that_does_not_happen(tmp_path, process, message):
    address = f"--coordinator=localhost:{free_port()}"
    more = (address, "--processes=2", f"--process={process}", "--coordinator_timeout=3")
    said = ended([start(command(tmp_path, tmp_path / "run", *more))], status=2)[0]
    lines = [line for line in said.splitlines() if line.startswith("attnjax")]
    assert message in lines[0]
    assert not (tmp_path / "run").exists()


@slow
def test_a_port_that_is_taken(tmp_path):
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        address = f"--coordinator=localhost:{taken.getsockname()[1]}"
        line = command(tmp_path, tmp_path / "run", address, "--processes=2", "--process=0")
        assert "choose another in --coordinator" in ended([start(line)], status=2)[0]


@slow
def test_all_processes_tell_a_mistake_that_all_make(alone, tmp_path):
    data, _ = alone
    processes = start_two(data, tmp_path / "run", "--config.train.batch_size=7")
    for said in ended(processes, status=2):
        assert "batch_size=7 cannot be split over 2 devices; use 6 or 8" in said


@slow
def test_processes_that_are_told_different_things_end_before_anything_is_made(alone, tmp_path):
    data, _ = alone
    address = f"--coordinator=localhost:{free_port()}"
    processes = [
        start(command(data, tmp_path / "run", address, "--processes=2", f"--process={each}", seed))
        for each, seed in enumerate(("--config.seed=0", "--config.seed=5"))
    ]
    for said in ended(processes, status=2):
        assert "of process 1 is another than that of process 0: seed is 5 and 0" in said
    assert not (tmp_path / "run").exists()


@slow
def test_processes_with_different_data_end_before_training(alone, tmp_path):
    data, _ = alone
    other = write_data(tmp_path / "data", rows=320, rare=319)
    address = f"--coordinator=localhost:{free_port()}"
    processes = [
        start(command(each, tmp_path / "run", address, "--processes=2", f"--process={number}"))
        for number, each in enumerate((data, other))
    ]
    for said in ended(processes, status=2):
        assert "the data of process 1 is another than that of process 0" in said
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--coordinator=here:1"], "belong together"),
        (["--processes=2", "--process=0"], "belong together"),
        (["--coordinator=here", "--processes=2", "--process=0"], "must be HOST:PORT"),
        (["--coordinator=here:70000", "--processes=2", "--process=0"], "must be HOST:PORT"),
        (
            ["--coordinator=here:1", "--processes=0", "--process=0"],
            "must lie between 1 and 1,000,000",
        ),
        (["--coordinator=here:1", "--processes=2", "--process=2"], "between 0 and 1"),
        (["--coordinator=here:1", "--processes=two", "--process=0"], "two"),
        (["--coordinator_timeout=0"], "must lie between 1 and 1,000,000 seconds"),
    ],
)
def test_flags_that_contradict_each_other(arguments, message, capsys):
    with pytest.raises(UserError, match=message):
        parse_hosts(["attnjax", *arguments])
    assert main(["attnjax", *arguments]) == 2
    assert "\n" not in capsys.readouterr().err.strip()


def test_host_flags_are_taken_out():
    flags = ["--coordinator=a:1", "--processes=3", "--process", "2", "--coordinator_timeout=9"]
    found = parse_hosts(["attnjax", "--config.seed=1", *flags, "--workdir=x"])
    assert found == (Hosts("a:1", 3, 2, 9), ["attnjax", "--config.seed=1", "--workdir=x"])
    assert parse_hosts(["attnjax", "--distributed"])[0] == Hosts()
    assert parse_hosts(["attnjax", "--workdir=x"])[0] is None


@slow
def test_distributed_without_a_cluster(tmp_path):
    said = ended([start(command(tmp_path, tmp_path / "run", "--distributed"))], status=2)[0]
    assert "finds no cluster here" in said
