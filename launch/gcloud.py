"""What the launcher knows of Google Cloud: presets, commands, states, and errors that last.

Standard library only, Python 3.9 or later.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ARCHIVE = os.path.join(REPOSITORY, "dist", "attnjax-launch.tar.gz")

# zone: an example only. machine: Compute Engine's type, where it has one for a single host.
PRESETS = {
    "v4-8": {"accelerator": "v4-8", "runtime": "tpu-ubuntu2204-base", "zone": "us-central2-b"},
    "v5litepod-8": {
        "accelerator": "v5litepod-8",
        "runtime": "v2-alpha-tpuv5-lite",
        "zone": "us-central1-a",
    },
    "v6e-8": {
        "accelerator": "v6e-8",
        "runtime": "v2-alpha-tpuv6e",
        "zone": "us-east5-b",
        "machine": "ct6e-standard-8t",
    },
}

# Every command. A template is split at spaces before its fields are filled in, so that a value
# with spaces stays one argument.
_WHERE = "--project={project} --zone={zone}"
_TPU_VM = {
    "scp": f"gcloud compute tpus tpu-vm scp {{archive}} {{name}}: {_WHERE} --worker=all --quiet",
    "ssh": f"gcloud compute tpus tpu-vm ssh {{name}} {_WHERE} --worker={{worker}} --quiet"
    " --command={command}",
}
COMMANDS = {
    "queued": {
        "describe": f"gcloud compute tpus queued-resources describe {{name}} {_WHERE}"
        " --format=value(state.state)",
        "create": f"gcloud compute tpus queued-resources create {{name}} {_WHERE}"
        " --node-id={name} --accelerator-type={accelerator} --runtime-version={runtime}"
        " --labels=app=attnjax --quiet",
        "delete": f"gcloud compute tpus queued-resources delete {{name}} {_WHERE} --force --quiet",
        **_TPU_VM,
    },
    "tpu-vm": {
        "describe": f"gcloud compute tpus tpu-vm describe {{name}} {_WHERE} --format=value(state)",
        "create": f"gcloud compute tpus tpu-vm create {{name}} {_WHERE}"
        " --accelerator-type={accelerator} --version={runtime} --labels=app=attnjax --quiet",
        "delete": f"gcloud compute tpus tpu-vm delete {{name}} {_WHERE} --quiet",
        **_TPU_VM,
    },
    "gce": {
        "describe": f"gcloud compute instances describe {{name}} {_WHERE} --format=value(status)",
        "create": f"gcloud compute instances create {{name}} {_WHERE} --machine-type={{machine}}"
        " --image-project=ubuntu-os-accelerator-images"
        " --image-family=ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e --boot-disk-size=100GB"
        " --maintenance-policy=TERMINATE --scopes=cloud-platform --labels=app=attnjax --quiet",
        "delete": f"gcloud compute instances delete {{name}} {_WHERE} --quiet",
        "scp": f"gcloud compute scp {{archive}} {{name}}: {_WHERE} --quiet",
        "ssh": f"gcloud compute ssh {{name}} {_WHERE} --quiet --command={{command}}",
    },
}
ANY_BACKEND = {
    "pack": "tar -czf {archive} --exclude=__pycache__ -C {repository}"
    " attnjax configs launch pyproject.toml constraints.txt README.md",
    "list": "gcloud storage ls {workdir}/ --project={project}",
    "read": "gcloud storage cat {workdir}/FAILED --project={project}",
}
SPOT = {
    "queued": ["--spot"],
    "tpu-vm": ["--spot"],
    "gce": ["--provisioning-model=SPOT", "--instance-termination-action=STOP"],
}
# Any other state is on its way to one of these.
READY = {"queued": "ACTIVE", "tpu-vm": "READY", "gce": "RUNNING"}
LOST = {
    "queued": ("FAILED", "SUSPENDED"),
    "tpu-vm": ("PREEMPTED", "TERMINATED", "STOPPED"),
    "gce": ("TERMINATED", "STOPPED", "SUSPENDED"),
}
ABSENT = ""

# What no repetition cures: a pattern in gcloud's error, and what to do. The first match counts.
REFUSALS = (
    (r"active account|gcloud auth login|reauthenticat|refresh.*token", "run: gcloud auth login"),
    (
        r"SERVICE_DISABLED|has not been used in project|API .*not enabled",
        "run: gcloud services enable tpu.googleapis.com compute.googleapis.com",
    ),
    (r"quota", "ask for quota of this type in this zone, or choose another --zone or --spot"),
    (
        r"PERMISSION_DENIED|permission|\b403\b",
        "the account lacks a role; see launch/README.md, Roles",
    ),
    (r"INVALID_ARGUMENT|unrecognized arg|invalid value|invalid choice", "correct the options"),
    (r"gs://\S+ not found", "create the bucket, or correct --workdir"),
)
MISSING = r"NOT_FOUND|not found|matched no objects"


class Mistake(Exception):
    """Something a user can put right: one line, exit status 2."""


class Trouble(Exception):
    """Something that may pass: `babysit` pauses and tries again."""


def hosts(accelerator):
    """Number of hosts: hosts("v4-16") == 2, hosts("v5litepod-8") == 1, hosts("v6e-16") == 4."""
    family, _, size = accelerator.rpartition("-")
    if not size.isdigit():
        raise Mistake(f"--accelerator={accelerator} must be FAMILY-SIZE, such as v5litepod-8")
    if family in ("v5litepod", "v6e"):  # size in chips: up to 8 on one host, 4 a host beyond
        return 1 if int(size) <= 8 else int(size) // 4
    return max(1, int(size) // 8)  # size in cores, 8 a host


def command(options, name, **fields):
    """Returns one of the commands as a list of arguments."""
    template = {**ANY_BACKEND, **COMMANDS[options.backend]}[name]
    values = {**vars(options), "archive": ARCHIVE, "repository": REPOSITORY, **fields}
    words = [word.format(**values) for word in template.split()]
    if name == "create":
        words += SPOT[options.backend] if options.spot else []
        if options.service_account:
            words.append(f"--service-account={options.service_account}")
        words += shlex.split(options.create_flags)
    return words


def call(words, show=False):
    """Runs a command and returns (status, output, error); `show` leaves both on the terminal."""
    pipe = None if show else subprocess.PIPE
    done = subprocess.run(words, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True)
    return done.returncode, (done.stdout or "").strip(), (done.stderr or "").strip()


def ask(options, name):
    """Runs a command that talks to Google's API; returns its output, or None for "not found".

    Raises Mistake for what no repetition cures, and Trouble for everything else.
    """
    status, output, error = call(command(options, name))
    if status == 0:
        return output
    line = " ".join(error.split())[:300] or f"gcloud {name} ended with status {status}"
    for pattern, advice in REFUSALS:
        if re.search(pattern, error, re.IGNORECASE):
            raise Mistake(f"{line.rstrip('.')}; {advice}")
    if re.search(MISSING, error, re.IGNORECASE):
        if name == "create":
            raise Mistake(f"{line.rstrip('.')}; correct the options, or choose another --zone")
        return None
    raise Trouble(line)
