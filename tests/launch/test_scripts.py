"""startup.sh and run.sh: linted, and run for real in a temporary home with stand-ins on PATH."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = sorted((REPOSITORY / "launch").glob("*.sh"))

# A training command: notes its arguments, then does what the file `behaviour` says.
TRAINER = """
import pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
with (here / "arguments.txt").open("a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
behaviour = (here / "behaviour").read_text()
if behaviour == "wait":
    def stop(*_):
        print("attnjax: stopped; the same command resumes", file=sys.stderr, flush=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    (here / "waiting").write_text("")
    time.sleep(60)
print("line one", flush=True)
print("attnjax: error: no such thing", file=sys.stderr)
sys.exit(int(behaviour))
"""

# Notes its arguments in $CALLS; `-m venv` and `uv venv` make an environment of the same stand-in.
PYTHON = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in
  *"ensurepip"*) [[ "$(basename "$0")" == "$SUITABLE" ]] ;;
  *"venv "*)
    folder="${!#}"
    mkdir -p "$folder/bin"
    cp "$0" "$folder/bin/python" ;;
  "-m pip --version") [[ -z "${NO_PIP:-}" ]] ;;
  *--editable*) [[ -z "${BROKEN:-}" ]] ;;
esac
"""


def test_there_are_scripts():
    assert [script.name for script in SCRIPTS] == ["run.sh", "startup.sh"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_bash_can_parse_it(script):
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script):
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck on PATH; Debian has it as a package")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


class Machine:
    """A home with the repository in ~/attnjax, as `setup` leaves it."""

    def __init__(self, home):
        self.home = home
        self.folder = home / "attnjax"
        (self.folder / "launch").mkdir(parents=True)
        for script in SCRIPTS:
            shutil.copy(script, self.folder / "launch")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(REPOSITORY / name, self.folder)
        self.workdir = home / "run"
        self.environment = {"HOME": str(home), "PATH": os.environ["PATH"]}

    def bash(self, script, *arguments):
        return subprocess.run(
            ["bash", str(self.folder / "launch" / script), *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def marks(self):
        return {path.name for path in self.workdir.glob("*")}


def until(condition):
    """Waits for another process to get there."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


# ---- run.sh, with this environment's Python as the machine's


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    python = tmp_path / "attnjax-venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (made.folder / "trainer.py").write_text(TRAINER)
    made.environment["PYTHONPATH"] = str(REPOSITORY)
    return made


def train(machine, behaviour, *arguments):
    (machine.folder / "behaviour").write_text(str(behaviour))
    return machine.bash("run.sh", str(machine.workdir), "trainer", *arguments)


def ended(machine, *names):
    until(lambda: set(names) & machine.marks and (machine.folder / "run.status").exists())
    until(lambda: lock_is_free(machine))
    return (machine.folder / "run.status").read_text().strip()


def lock_is_free(machine):
    return subprocess.run(["flock", "-n", machine.folder / "run.lock", "true"]).returncode == 0


def test_success_leaves_done_and_is_not_run_again(machine):
    started = train(machine, 0, "--config=a.py", "--config.data.path=my data")
    assert started.returncode == 0
    assert "started" in started.stdout
    assert ended(machine, "DONE") == "0"
    assert machine.marks == {"DONE"}
    expected = f"--workdir={machine.workdir} --config=a.py --config.data.path=my data\n"
    assert (machine.folder / "arguments.txt").read_text() == expected
    assert "line one" in (machine.folder / "run.log").read_text()
    assert "nothing to run" in train(machine, 0).stdout
    assert (machine.folder / "arguments.txt").read_text() == expected


def test_failure_leaves_its_status_and_last_lines_until_the_next_start(machine):
    train(machine, 2)
    assert ended(machine, "FAILED") == "2"
    lines = (machine.workdir / "FAILED").read_text().splitlines()
    assert lines[0] == "status 2"
    assert lines[-1] == "attnjax: error: no such thing"
    train(machine, 0)
    assert ended(machine, "DONE") == "0"
    assert machine.marks == {"DONE"}


def test_a_second_start_does_nothing_while_the_first_runs(machine):
    train(machine, "wait")
    until((machine.folder / "waiting").exists)
    second = machine.bash("run.sh", str(machine.workdir), "trainer")
    assert "already running" in second.stdout
    assert (machine.folder / "arguments.txt").read_text().count("\n") == 1
    stop(machine, "python")
    assert ended(machine, "FAILED") == "143"


@pytest.mark.parametrize("whom", ["python", "supervisor"])
def test_stopped_by_a_signal_is_not_done(machine, whom):
    """The trainer saves and ends with status 0; the run goes on later."""
    train(machine, "wait")
    until((machine.folder / "waiting").exists)
    stop(machine, whom)
    assert ended(machine, "FAILED", "DONE") == "143"
    assert machine.marks == {"FAILED"}
    assert "attnjax: stopped" in (machine.workdir / "FAILED").read_text()


def stop(machine, whom):
    mark = "run.sh --supervise" if whom == "supervisor" else "-m trainer"
    mine = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if mark in line and str(machine.workdir) in line:
            mine.append(int(folder.name))
    assert len(mine) == 1, mine
    os.kill(mine[0], signal.SIGTERM)


def test_an_unwritable_workdir_is_one_line_and_starts_nothing(machine):
    (machine.home / "file").write_text("")
    machine.workdir = machine.home / "file" / "run"
    done = train(machine, 0)
    assert done.returncode == 2
    assert done.stderr.startswith("attnjax: error: workdir ")
    assert done.stderr.count("\n") == 1
    assert not (machine.folder / "arguments.txt").exists()


def test_run_without_arguments_says_how(machine):
    done = machine.bash("run.sh")
    assert (done.returncode, done.stderr[:6]) == (2, "usage:")


def test_what_marks_a_stop_is_what_the_package_prints():
    assert '"attnjax: stopped' in (REPOSITORY / "attnjax" / "command.py").read_text()


# ---- startup.sh, with stand-ins for Python, pip and uv


@pytest.fixture
def bare(tmp_path):
    made = Machine(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("python3", "python3.12", "sudo"):
        (tools / name).write_text(PYTHON)
        (tools / name).chmod(0o755)
    for name in ("bash", "cat", "cksum", "hostname", "dirname", "basename", "mkdir", "cp", "rm"):
        (tools / name).symlink_to(str(shutil.which(name)))
    calls = tmp_path / "calls.txt"
    calls.write_text("")
    made.environment = {"HOME": str(tmp_path), "PATH": str(tools), "CALLS": str(calls)}
    made.environment["SUITABLE"] = "python3.12"
    made.calls = lambda: calls.read_text().splitlines()
    return made


def test_startup_takes_a_suitable_python_and_installs_with_constraints(bare):
    done = bare.bash("startup.sh")
    assert done.returncode == 0, done.stderr
    calls = bare.calls()
    venv = bare.home / "attnjax-venv"
    assert f"python3.12 -m venv --clear {venv}" in calls
    assert any(
        f"--constraint {bare.folder}/constraints.txt --editable {bare.folder}[tpu,gcp]" in each
        for each in calls
    )
    assert not any("uv" in each.split() for each in calls)


def test_startup_again_does_nothing_until_the_requirements_change(bare):
    bare.bash("startup.sh")
    before = bare.calls()
    assert "already set up" in bare.bash("startup.sh").stdout
    assert bare.calls() == before
    with (bare.folder / "constraints.txt").open("a") as file:
        file.write("# newer\n")
    assert "set up with" in bare.bash("startup.sh").stdout
    assert len(bare.calls()) > len(before)


def test_startup_brings_a_newer_python_where_the_image_has_an_old_one(bare):
    bare.environment["SUITABLE"] = "none"
    assert bare.bash("startup.sh").returncode == 0
    calls = [each for each in bare.calls() if "ensurepip" not in each]
    assert calls[1] == "python3 -m pip install --quiet --user uv"
    assert calls[2].startswith("python3 -m uv venv --quiet --clear --seed --python 3.12 ")
    assert not any(each.startswith("sudo") for each in calls)


def test_startup_installs_pip_where_the_image_has_none(bare):
    bare.environment |= {"SUITABLE": "none", "NO_PIP": "yes"}
    assert bare.bash("startup.sh").returncode == 0
    assert any("apt-get" in each and "python3-pip" in each for each in bare.calls())


def test_a_failed_installation_is_not_taken_for_done(bare):
    bare.environment["BROKEN"] = "yes"
    assert bare.bash("startup.sh").returncode != 0
    del bare.environment["BROKEN"]
    assert "set up with" in bare.bash("startup.sh").stdout
