"""Writes golden/BACKEND.txt: what --dry_run prints, action by action.

PYTHONPATH=launch python tests/launch/make_golden.py     (then read the difference)
"""

import contextlib
import io
import pathlib

import gcloud
import tpu

FOLDER = pathlib.Path(__file__).parent / "golden"
OPTIONS = ("--name=sst", "--project=my-project", "--preset=v6e-8", "--workdir=gs://bucket/sst")
CREATION = ("--spot", "--service_account=sa@p.iam", "--create_flags=--network=n --tags=t")
TRAINING = ("--config=configs/sst.py", "--config.data.path=my data")


def dry_run(backend, action, *more):
    """Returns what an action would run, with the repository's folder as REPOSITORY."""
    shown = io.StringIO()
    extra = CREATION if action in ("create", "babysit") else more
    with contextlib.redirect_stdout(shown):
        where = (f"--backend={backend}", "--zone=us-east5-b")
        status = tpu.main([action, *OPTIONS, *where, *extra, "--dry_run", "--", *TRAINING])
    assert status == 0
    return shown.getvalue().replace(gcloud.REPOSITORY, "REPOSITORY")


def golden(backend):
    """Returns all of a backend's commands."""
    parts = [f"== {action}\n{dry_run(backend, action)}" for action in tpu.ACTIONS]
    parts.append(f"== setup --prepare\n{dry_run(backend, 'setup', '--prepare=cp -r /a data')}")
    parts.append(f"== logs --follow\n{dry_run(backend, 'logs', '--follow')}")
    parts.append(f"== run a sweep\n{dry_run(backend, 'run', '--module=attnjax.sweep')}")
    if backend != "gce":
        parts.append(f"== run on 4 hosts\n{dry_run(backend, 'run', '--accelerator=v6e-16')}")
    return "\n".join(parts)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in gcloud.COMMANDS:
        (FOLDER / f"{name}.txt").write_text(golden(name))
