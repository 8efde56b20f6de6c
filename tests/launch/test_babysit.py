"""babysit on a fake gcloud that waits, runs, preempts, fails and finishes."""

import pytest

pytestmark = pytest.mark.slow
ABSENT = {"status": 1, "err": "ERROR: (gcloud.x) NOT_FOUND: Resource 'sst' was not found"}
EMPTY = {"status": 1, "err": "ERROR: (gcloud.storage.ls) One or more URLs matched no objects."}
RUNNING = "gs://bucket/sst/config.json\ngs://bucket/sst/checkpoints/"
DONE = f"{RUNNING}\ngs://bucket/sst/DONE"
FAILED = f"{RUNNING}\ngs://bucket/sst/FAILED"
NO_SSH = {"status": 255, "err": "Connection refused"}

STATES = {
    "queued": ("WAITING_FOR_RESOURCES", "ACTIVE", "SUSPENDED"),
    "tpu-vm": ("CREATING", "READY", "PREEMPTED"),
    "gce": ("STAGING", "RUNNING", "TERMINATED"),
}
SET_UP = ["scp", "setup", "run"]
LOOK = ["list", "describe"]


@pytest.mark.parametrize("backend", STATES)
def test_a_preempted_machine_is_deleted_and_made_again_until_the_run_is_done(backend, cloud):
    coming, ready, lost = STATES[backend]
    cloud.scenario(
        list=[EMPTY, EMPTY, EMPTY, RUNNING, RUNNING, RUNNING, RUNNING, DONE],
        describe=[ABSENT, coming, ready, ready, lost, coming, ready],
    )
    assert cloud.launch("babysit", "--", "--seed=1", backend=backend) == 0
    expected = [
        *(*LOOK, "create"),
        *LOOK,
        *(*LOOK, *SET_UP),
        *(*LOOK, "run"),  # starts nothing, for it runs already
        *(*LOOK, "delete", "create"),
        *LOOK,
        *(*LOOK, *SET_UP),
        *("list", "delete"),
    ]
    assert cloud.calls == expected
    commands = [
        words[-1] for words, call in zip(cloud.words, cloud.calls, strict=True) if call == "run"
    ]
    assert len(commands) == 3
    assert set(commands) == {
        "--command=bash attnjax/launch/run.sh gs://bucket/sst attnjax.main --seed=1"
    }
    assert cloud.pauses == [60, 60, 60, 60, 120, 60, 60]


def test_a_finished_run_needs_no_machine(cloud, capsys):
    cloud.scenario(list=[DONE], delete=[ABSENT])
    assert cloud.launch("babysit") == 0
    assert cloud.calls == ["list", "delete"]
    assert "done: gs://bucket/sst" in capsys.readouterr().out


def test_a_workdir_may_hold_a_blank(cloud):
    folder = "gs://bucket/my run"
    cloud.scenario(list=[{"out": f"{folder}/DONE\n{folder}/RUNNING-0\n"}], delete=[ABSENT])
    assert cloud.launch("babysit", f"--workdir={folder}") == 0
    assert cloud.calls == ["list", "delete"]


def test_the_machine_can_be_kept(cloud):
    cloud.scenario(list=[EMPTY, DONE], describe=["ACTIVE"])
    assert cloud.launch("babysit", "--keep") == 0
    assert "delete" not in cloud.calls


def test_another_runs_done_does_not_end_it(cloud):
    cloud.scenario(list=["gs://bucket/sst/old/DONE", DONE], describe=["ACTIVE"])
    assert cloud.launch("babysit") == 0
    assert cloud.calls == [*LOOK, *SET_UP, "list", "delete"]


def test_a_refused_command_is_not_repeated(cloud, capsys):
    """Status 2 is a mistake in the command; the machine stays and the message says so."""
    cloud.scenario(
        list=[EMPTY, FAILED],
        describe=["ACTIVE"],
        read=["status 2\nattnjax: error: config has no field 'x'"],
    )
    assert cloud.launch("babysit") == 2
    error = capsys.readouterr().err
    assert "config has no field 'x'" in error
    assert "delete it: python launch/tpu.py delete --name=sst" in error
    assert cloud.calls == [*LOOK, *SET_UP, *LOOK, "read"]


def test_an_earlier_failure_is_not_held_against_a_new_start(cloud):
    cloud.scenario(list=[FAILED, DONE], describe=["ACTIVE"], read=["status 2\nold"])
    assert cloud.launch("babysit") == 0
    assert "read" not in cloud.calls


def test_a_stopped_command_is_started_again(cloud):
    stopped = "status 143\nattnjax: stopped; the same command resumes"
    cloud.scenario(list=[EMPTY, *[FAILED] * 7, DONE], describe=["ACTIVE"], read=[stopped])
    assert cloud.launch("babysit") == 0
    assert cloud.calls.count("run") == 8
    assert cloud.calls.count("setup") == 1


def test_a_command_that_crashes_again_and_again_is_given_up(cloud, capsys):
    cloud.scenario(list=[EMPTY, FAILED], describe=["ACTIVE"], read=["status 1\nValueError: x"])
    assert cloud.launch("babysit") == 2
    assert "ended with status 1 ValueError: x" in capsys.readouterr().err
    assert cloud.calls.count("run") == 5


def test_pauses_double_and_are_bounded(cloud, capsys):
    full = {"status": 1, "err": "ERROR: no more capacity in the zone"}
    cloud.scenario(list=[EMPTY], describe=[ABSENT], create=[full])
    assert cloud.launch("babysit", "--retries=6") == 2
    assert cloud.pauses == [120, 240, 480, 900, 900, 900]
    error = capsys.readouterr().err
    assert "gave up after 6 retries" in error
    assert "no more capacity" in error


@pytest.mark.parametrize("error", ["Quota limit exceeded", "PERMISSION_DENIED: no"])
def test_quota_and_rights_stop_it_at_once(error, cloud, capsys):
    cloud.scenario(list=[EMPTY], describe=[ABSENT], create=[{"status": 1, "err": error}])
    assert cloud.launch("babysit") == 2
    assert cloud.calls == [*LOOK, "create"]
    assert cloud.pauses == []
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_bucket_stops_it_before_a_machine_is_made(cloud, capsys):
    cloud.scenario(
        list=[{"status": 1, "err": "ERROR: (gcloud.storage.ls) gs://bucket not found: 404."}]
    )
    assert cloud.launch("babysit") == 2
    assert cloud.calls == ["list"]
    assert "create the bucket" in capsys.readouterr().err


def test_a_machine_that_is_slow_to_answer_gets_time(cloud):
    cloud.scenario(
        list=[EMPTY, EMPTY, EMPTY, DONE], describe=["ACTIVE"], setup=[NO_SSH, NO_SSH, ""]
    )
    assert cloud.launch("babysit") == 0
    assert cloud.calls.count("setup") == 3
    assert "create" not in cloud.calls


def test_a_machine_that_falls_silent_is_made_again(cloud):
    """Ready, says the API, but five commands in a row went unanswered."""
    cloud.scenario(
        list=[*[EMPTY] * 9, DONE],
        describe=["ACTIVE"],
        run=["", *[NO_SSH] * 5, ""],
    )
    assert cloud.launch("babysit") == 0
    middle = [each for each in cloud.calls if each not in LOOK]
    assert middle == [*SET_UP, *["run"] * 5, "delete", "create", *SET_UP, "run", "delete"]


def test_a_set_up_that_never_works_is_not_paid_for_again(cloud, capsys):
    cloud.scenario(list=[EMPTY], describe=["ACTIVE"], setup=[NO_SSH])
    assert cloud.launch("babysit") == 2
    assert "set-up of sst failed 5 times; the machine stays" in capsys.readouterr().err
    assert "delete" not in cloud.calls


def test_an_interrupt_leaves_the_machine(cloud, capsys):
    cloud.scenario(list=[EMPTY], describe=["ACTIVE"])
    cloud.interrupt_after = 2
    assert cloud.launch("babysit") == 130
    assert "sst stays: python launch/tpu.py delete" in capsys.readouterr().err
    assert "delete" not in cloud.calls
