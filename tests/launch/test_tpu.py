"""The launcher's command line: exact commands, mistakes, and single actions on a fake gcloud."""

import ast
import pathlib
import shlex
import shutil
import subprocess
import sys

import gcloud
import make_golden
import pytest
import tpu

pytestmark = pytest.mark.slow
FOLDER = pathlib.Path(gcloud.REPOSITORY) / "launch"


@pytest.mark.parametrize("backend", gcloud.COMMANDS)
def test_a_dry_run_prints_the_commands_that_were_agreed(backend):
    """If a change is meant: run make_golden.py and read the difference."""
    assert make_golden.golden(backend) == (make_golden.FOLDER / f"{backend}.txt").read_text()


def test_a_dry_run_can_be_pasted_into_a_shell():
    """Quoting survives two shells: the laptop's and the machine's."""
    line = make_golden.dry_run("queued", "run").strip()
    words = shlex.split(line)
    assert words[:5] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh"]
    remote = shlex.split(words[-1].removeprefix("--command="))
    assert remote[:2] == ["bash", "attnjax/launch/run.sh"]
    assert remote[2:] == ["gs://bucket/sst", "attnjax.main", *make_golden.TRAINING]


def test_a_dry_run_needs_no_gcloud_and_runs_nothing(cloud, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert cloud.launch("babysit", "--dry_run") == 0
    assert "queued-resources create" in capsys.readouterr().out
    assert cloud.calls == []
    assert not (cloud.folder / "dist").exists()


def test_every_create_has_a_label_and_a_delete():
    for backend in gcloud.COMMANDS.values():
        assert "--labels=app=attnjax" in backend["create"]
        start = backend["create"].split(" create ")[0]
        assert backend["delete"].startswith(f"{start} delete {{name}}")


@pytest.mark.parametrize("name", ["tpu.py", "gcloud.py"])
def test_the_launcher_is_python_39_and_standard_library(name):
    tree = ast.parse((FOLDER / name).read_text(), feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported <= set(sys.stdlib_module_names) | {"gcloud"}


@pytest.mark.parametrize(
    ("accelerator", "expected"),
    [("v4-8", 1), ("v4-16", 2), ("v5litepod-8", 1), ("v5litepod-16", 4), ("v6e-1", 1)],
)
def test_hosts_of_an_accelerator(accelerator, expected):
    assert gcloud.hosts(accelerator) == expected


GOOD = ("--name=sst", "--project=p", "--zone=z", "--preset=v4-8", "--workdir=gs://b/sst")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["creat", *GOOD], "no action 'creat'; did you mean 'create'?"),
        (["create", *GOOD, "--preset=v4_8"], "no preset 'v4_8'; did you mean 'v4-8'?"),
        (["create", *GOOD, "--backend=quued"], "no backend 'quued'; did you mean 'queued'?"),
        (["create", *GOOD, "--backend=gce"], "preset 'v4-8' has none"),
        (["create", *GOOD[:3]], "--backend=queued needs --accelerator or --preset"),
        (["create", "--name=a", "--zone=z", "--preset=v4-8"], "no project; say --project=NAME"),
        (["create", "--name=a", "--project=p", "--preset=v4-8"], "such as --zone=us-central2-b"),
        (["create", *GOOD[1:]], "--name='' must be"),
        (["create", *GOOD, "--name=My_TPU"], "--name='My_TPU' must be lower-case"),
        (["create", *GOOD, "--create_flags=a='b"], "--create_flags=a='b: No closing quotation"),
        (["create", *GOOD, "--nope=1"], "unrecognized arguments: --nope=1"),
        (["create", *GOOD, "--poll_s=soon"], "invalid int value: 'soon'"),
        (["wait", *GOOD, "--poll_s=0"], "--poll_s must be at least 1"),
        ([], "the following arguments are required"),
        (["run", *GOOD[:4]], "no workdir"),
        (["babysit", *GOOD, "--workdir=runs/sst"], "goes with it; say --workdir=gs://"),
        (["run", *GOOD, "--workdir=a", "--accelerator=v4-16"], "goes with it; say --workdir=gs://"),
        (["run", *GOOD, "--accelerator=tpu"], "must be FAMILY-SIZE"),
        (
            ["create", *GOOD, "--backend=gce", "--machine=m", "--accelerator=v6e-16"],
            "--backend=gce has one host",
        ),
        (
            ["create", *GOOD, "--module=attnjax.sweep", "--accelerator=v4-16"],
            "a sweep runs on one host",
        ),
        (["run", *GOOD, "--module=attnjax.sweep", "--distributed"], "a sweep runs on one host"),
    ],
)
def test_a_mistake_ends_in_one_line_before_anything_is_run(arguments, message, cloud, capsys):
    assert tpu.main(arguments, sleep=cloud.sleep) == 2
    error = capsys.readouterr().err
    assert error.startswith("tpu.py: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert cloud.calls == []


def test_without_gcloud_nothing_starts(cloud, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(cloud.folder / "nothing"))
    assert cloud.launch("create") == 2
    assert "gcloud is not on PATH" in capsys.readouterr().err


def test_project_and_zone_come_from_the_environment(cloud, monkeypatch):
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", "mine")
    monkeypatch.setenv("CLOUDSDK_COMPUTE_ZONE", "here")
    options = tpu.parse(["wait", "--name=a"])
    assert (options.project, options.zone) == ("mine", "here")


ABSENT = {"status": 1, "err": "ERROR: (gcloud.x) NOT_FOUND: Resource 'sst' was not found"}


def test_create_asks_once_where_the_name_is_free(cloud):
    cloud.scenario(describe=[ABSENT])
    assert cloud.launch("create") == 0
    assert cloud.calls == ["describe", "create"]


def test_create_refuses_a_taken_name(cloud, capsys):
    cloud.scenario(describe=["SUSPENDED"])
    assert cloud.launch("create") == 2
    error = capsys.readouterr().err
    assert "sst already exists in z (SUSPENDED)" in error
    assert "python launch/tpu.py delete --name=sst --project=p --zone=z" in error
    assert cloud.calls == ["describe"]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("PERMISSION_DENIED: Permission 'tpu.nodes.create' denied", "lacks a role"),
        ("RESOURCE_EXHAUSTED: Quota limit 'TPUV6EPerProject' exceeded", "ask for quota"),
        ("You do not currently have an active account selected.\nRun\n", "gcloud auth login"),
        ("Cloud TPU API has not been used in project p before", "gcloud services enable"),
        ("NOT_FOUND: accelerator type v6e-8 was not found in zone z", "another --zone"),
        ('There is no more capacity in the zone "z"', "no more capacity"),
    ],
)
def test_an_error_of_google_is_one_line_with_advice(error, advice, cloud, capsys):
    cloud.scenario(describe=[ABSENT], create=[{"status": 1, "err": f"ERROR: (gcloud) {error}"}])
    assert cloud.launch("create") == 2
    shown = capsys.readouterr().err
    assert error.split("\n")[0].rstrip(".") in shown
    assert advice in shown
    assert shown.count("\n") == 1


def test_wait_looks_until_the_machine_is_ready(cloud):
    cloud.scenario(describe=["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"])
    assert cloud.launch("wait") == 0
    assert cloud.calls == ["describe"] * 3
    assert cloud.pauses == [60, 60]


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (["WAITING_FOR_RESOURCES"], "still WAITING_FOR_RESOURCES after 300 s"),
        (["WAITING_FOR_RESOURCES", "FAILED"], "sst is FAILED and will not come back; delete it"),
        ([ABSENT], "sst does not exist in z; create it first"),
    ],
)
def test_wait_ends_with_a_message(states, message, cloud, capsys):
    cloud.scenario(describe=states)
    assert cloud.launch("wait", "--timeout_s=300") == 2
    assert message in capsys.readouterr().err
    assert sum(cloud.pauses) <= 300


def test_setup_uploads_the_repository_and_installs_it(cloud):
    cloud.scenario()
    assert cloud.launch("setup") == 0
    assert cloud.calls == ["scp", "setup"]
    archive = cloud.folder / "dist" / "attnjax-launch.tar.gz"
    packed = subprocess.run(
        ["tar", "-tzf", archive], capture_output=True, text=True, check=True
    ).stdout.split()
    for name in ("attnjax/main.py", "configs/sst.py", "launch/run.sh", "constraints.txt"):
        assert name in packed
    assert not any("__pycache__" in name for name in packed)


def test_a_failed_setup_says_so(cloud, capfd):
    cloud.scenario(setup=[{"status": 1, "err": "no pip"}])
    assert cloud.launch("setup") == 2
    assert "setup on sst failed" in capfd.readouterr().err


def test_delete_of_nothing_is_no_error(cloud, capsys):
    cloud.scenario(delete=[ABSENT])
    assert cloud.launch("delete") == 0
    assert "sst does not exist" in capsys.readouterr().out


def test_an_interrupt_leaves_the_machine_and_says_how_to_delete_it(cloud, capsys):
    cloud.scenario(describe=["PROVISIONING"])
    cloud.interrupt_after = 2
    assert cloud.launch("wait") == 130
    error = capsys.readouterr().err
    assert "sst stays: python launch/tpu.py delete --name=sst --project=p --zone=z" in error
    assert "delete" not in cloud.calls


def test_it_starts_as_a_script_in_any_folder(tmp_path):
    words = [shutil.which("python3") or sys.executable, str(FOLDER / "tpu.py"), "--help"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(action in done.stdout for action in tpu.ACTIONS)
