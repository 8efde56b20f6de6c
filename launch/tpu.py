#!/usr/bin/env python3
"""Creates a Cloud TPU, trains on it until the run is done, and deletes it, all through gcloud.

    python launch/tpu.py babysit --name=sst --project=P --zone=Z --preset=v5litepod-8 --spot \
        --workdir=gs://BUCKET/sst -- --config=configs/sst.py --config.data.path=data/sst

Standard library only, Python 3.9 or later: it runs on a laptop without attnjax. What follows `--`
goes to the training command. `--dry_run` prints the commands and runs none. See launch/README.md.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import shutil
import sys
import time

from gcloud import (
    ABSENT,
    ARCHIVE,
    COMMANDS,
    LOST,
    PRESETS,
    READY,
    Mistake,
    Trouble,
    ask,
    call,
    command,
    hosts,
)

LONGEST_PAUSE_S = 900
ATTEMPTS = 5  # set-ups that may fail in a row, and crashes of the training command in all

ACTIONS = {
    "create": "asks for the machine and returns at once",
    "wait": "returns when it is ready",
    "setup": "uploads this repository and installs it on every worker (--prepare=COMMAND after it)",
    "run": "starts the training command on every worker, unless it runs or is done",
    "logs": "prints the end of a worker's log (--follow goes on)",
    "babysit": "all of it, again after each preemption, until WORKDIR/DONE exists; then deletes",
    "delete": "deletes the machine; the workdir stays",
}
NEEDS_TYPE = ("create", "run", "babysit")


class Parser(argparse.ArgumentParser):
    """Ends in one line, without the usage."""

    def error(self, message):
        """Raises Mistake in place of printing."""
        raise Mistake(f"{message}; see python launch/tpu.py --help")


def suggest(name, known):
    """Returns "; did you mean 'x'?" for the nearest known name, or all known names."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"


def parse(arguments):
    """Returns the checked options; raises Mistake before anything is run."""
    parser = Parser(
        prog="tpu.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="actions:\n" + "\n".join(f"  {name:9}{text}" for name, text in ACTIONS.items()),
        allow_abbrev=False,
    )
    text = {
        "name": "of the machine",
        "project": "Google Cloud project (default: $CLOUDSDK_CORE_PROJECT)",
        "zone": "such as us-central1-a (default: $CLOUDSDK_COMPUTE_ZONE)",
        "preset": f"one of {', '.join(PRESETS)}",
        "accelerator": "accelerator type, in place of the preset's",
        "runtime": "runtime version, in place of the preset's",
        "machine": "--backend=gce: machine type, in place of the preset's",
        "workdir": "folder of the run: gs://BUCKET/RUN, or one on the machine (no babysit)",
        "service_account": "e-mail of the machine's service account",
        "create_flags": "more flags for gcloud's create, such as '--reserved --network=N'",
        "prepare": "shell command that setup runs on every worker, such as fetching data",
    }
    parser.add_argument("action", metavar="|".join(ACTIONS))
    for name, line in text.items():
        parser.add_argument(f"--{name}", default="", help=line)
    parser.add_argument("--backend", default="queued", help="queued (default), tpu-vm or gce")
    parser.add_argument("--module", default="attnjax.main", help="attnjax.main or attnjax.sweep")
    parser.add_argument("--worker", default="0", help="whose log (default 0)")
    switches = {
        "spot": "cheaper, can be preempted",
        "follow": "logs: go on",
        "keep": "babysit: do not delete the machine at the end",
        "distributed": "add --distributed (automatic where there are several hosts)",
        "dry_run": "print the commands, run none",
    }
    for name, line in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=line)
    numbers = {
        "poll_s": (60, "seconds between two looks at the machine"),
        "timeout_s": (21600, "wait: seconds before giving up"),
        "retries": (50, "babysit: preemptions and failures before giving up"),
    }
    for name, (default, line) in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=line)
    arguments = list(arguments)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:cut])
    options.training = arguments[cut + 1 :]
    check(options)
    return options


def check(options):
    """Fills in the preset and the environment's defaults; raises Mistake for bad options."""
    if options.action not in ACTIONS:
        raise Mistake(f"no action '{options.action}'{suggest(options.action, ACTIONS)}")
    if options.backend not in COMMANDS:
        raise Mistake(f"no backend '{options.backend}'{suggest(options.backend, COMMANDS)}")
    if options.preset and options.preset not in PRESETS:
        raise Mistake(f"no preset '{options.preset}'{suggest(options.preset, PRESETS)}")
    preset = PRESETS.get(options.preset, {})
    options.project = options.project or os.environ.get("CLOUDSDK_CORE_PROJECT", "")
    options.zone = options.zone or os.environ.get("CLOUDSDK_COMPUTE_ZONE", "")
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", options.name):
        raise Mistake(
            f"--name='{options.name}' must be lower-case letters, digits and hyphens, "
            "starting with a letter, such as --name=sst"
        )
    if not options.project:
        raise Mistake("no project; say --project=NAME (gcloud projects list shows yours)")
    if not options.zone:
        example = preset.get("zone", "us-central1-a")
        raise Mistake(f"no zone; say --zone=NAME, such as --zone={example}")
    try:
        shlex.split(options.create_flags)
    except ValueError as error:
        raise Mistake(f"--create_flags={options.create_flags}: {error}") from error
    for name in ("poll_s", "timeout_s", "retries"):
        if getattr(options, name) < 1:
            raise Mistake(f"--{name} must be at least 1, not {getattr(options, name)}")
    for name in ("accelerator", "runtime", "machine"):
        setattr(options, name, getattr(options, name) or preset.get(name, ""))
    options.workdir = options.workdir.rstrip("/")
    if options.action in NEEDS_TYPE:
        needed = ("accelerator", "machine") if options.backend == "gce" else ("accelerator",)
        needed += ("runtime",) if options.backend != "gce" else ()
        for name in needed:
            if not getattr(options, name):
                raise Mistake(
                    f"--backend={options.backend} needs --{name}"
                    + (f": preset '{options.preset}' has none" if preset else " or --preset")
                )
        if options.backend == "gce" and hosts(options.accelerator) > 1:
            raise Mistake("--backend=gce has one host; several need --backend=queued")
        if options.module == "attnjax.sweep" and (
            options.distributed or hosts(options.accelerator) > 1
        ):
            raise Mistake(
                "a sweep runs on one host; choose a type that has one, such as v5litepod-8, and "
                "leave out --distributed"
            )
    if options.action in ("run", "babysit"):
        if not options.workdir:
            raise Mistake("no workdir; say --workdir=gs://BUCKET/RUN")
        several = hosts(options.accelerator) > 1
        options.distributed = options.distributed or several
        if not options.workdir.startswith("gs://") and (several or options.action == "babysit"):
            raise Mistake(
                f"--workdir={options.workdir} is on the machine, and goes with it; "
                "say --workdir=gs://BUCKET/RUN"
            )
    if not options.dry_run and shutil.which("gcloud") is None:
        raise Mistake("gcloud is not on PATH; install the Google Cloud CLI, or see --dry_run")


def remote(options, name):
    """Returns the shell command that workers run for `setup`, `run` or `logs`."""
    if name == "setup":
        unpack = "mkdir -p attnjax && tar -xzf attnjax-launch.tar.gz -C attnjax --recursive-unlink"
        prepare = f" && cd attnjax && ( {options.prepare} )" if options.prepare else ""
        return f"{unpack} && bash attnjax/launch/startup.sh{prepare}"
    if name == "logs":
        return f"tail -n 200 {'-F ' if options.follow else ''}attnjax/run.log"
    extra = ["--distributed"] if options.distributed else []
    words = [options.workdir, options.module, *options.training, *extra]
    return "bash attnjax/launch/run.sh " + " ".join(shlex.quote(word) for word in words)


def plan(options, name):
    """Returns the commands of one action, in order."""
    plans = {
        "create": lambda: [command(options, "describe"), command(options, "create")],
        "wait": lambda: [command(options, "describe")],
        "setup": lambda: [
            command(options, "pack"),
            command(options, "scp"),
            command(options, "ssh", worker="all", command=remote(options, "setup")),
        ],
        "run": lambda: [command(options, "ssh", worker="all", command=remote(options, "run"))],
        "logs": lambda: [command(options, "ssh", command=remote(options, "logs"))],
        "delete": lambda: [command(options, "delete")],
        "babysit": lambda: [
            command(options, "list"),
            *plan(options, "create"),
            *plan(options, "setup"),
            *plan(options, "run"),
            command(options, "read"),
            *([] if options.keep else plan(options, "delete")),
        ],
    }
    return plans[name]()


def on_workers(options, name):
    """Runs the commands of `setup`, `run` or `logs`; raises Trouble with the failed one."""
    if name == "setup":
        os.makedirs(os.path.dirname(ARCHIVE), exist_ok=True)
    for words in plan(options, name):
        if call(words, show=True)[0] != 0:
            raise Trouble(f"{name} on {options.name} failed: {' '.join(words[:5])} ...")


def state(options):
    """Returns the machine's state, ABSENT where there is none."""
    return ask(options, "describe") or ABSENT


def create(options):
    """Asks for the machine; a taken name is a mistake."""
    found = state(options)
    if found != ABSENT:
        raise Mistake(
            f"{options.name} already exists in {options.zone} ({found}); choose another --name, "
            f"or delete it: {again(options, 'delete')}"
        )
    ask(options, "create")
    print(f"asked for {options.name}; next: wait", flush=True)


def wait(options, sleep, clock):
    """Returns when the machine is ready."""
    end = clock() + options.timeout_s
    while True:
        found = state(options)
        if found == READY[options.backend]:
            print(f"{options.name} is ready; next: setup", flush=True)
            return
        if found == ABSENT:
            raise Mistake(f"{options.name} does not exist in {options.zone}; create it first")
        if found in LOST[options.backend]:
            raise Mistake(
                f"{options.name} is {found} and will not come back; delete it: "
                f"{again(options, 'delete')}"
            )
        if clock() >= end:
            raise Mistake(
                f"{options.name} is still {found} after {options.timeout_s} s; it stays as it is: "
                f"wait again, or delete it: {again(options, 'delete')}"
            )
        print(f"{options.name} is {found}", flush=True)
        sleep(options.poll_s)


def delete(options):
    """Deletes the machine if there is one."""
    gone = ask(options, "delete") is None
    print(f"{options.name} {'does not exist' if gone else 'is deleted'}", flush=True)


def again(options, action):
    """Returns the command line of another action on the same machine."""
    return (
        f"python launch/tpu.py {action} --name={options.name} --project={options.project} "
        f"--zone={options.zone} --backend={options.backend}"
    )


def babysit(options, sleep):
    """Keeps the machine and the training up until WORKDIR/DONE exists, then deletes the machine.

    A preempted, failed or silent machine is deleted, created and set up again, and the same
    command resumes from the same workdir. The pause doubles after each trouble in a row, up to
    15 minutes. Raises Mistake where repetition cannot help, and after --retries troubles.
    """
    left = f"the machine stays; delete it: {again(options, 'delete')}"
    ready = started = False  # set up since it was created; ever started the training
    troubles = streak = silent = crashes = 0
    while True:
        try:
            marks = (ask(options, "list") or "").splitlines()
            if f"{options.workdir}/DONE" in marks:
                print(f"done: {options.workdir}", flush=True)
                if not options.keep:
                    delete(options)
                return
            found = state(options)
            if silent >= ATTEMPTS and not started:
                raise Mistake(f"set-up of {options.name} failed {silent} times; {left}")
            if found in (ABSENT, *LOST[options.backend]) or silent >= ATTEMPTS:
                ready, silent = False, 0
                if found != ABSENT:
                    delete(options)
                ask(options, "create")
                print(f"asked for {options.name}", flush=True)
                if found != ABSENT:
                    raise Trouble(f"{options.name} was {found}")
            elif found == READY[options.backend]:
                report = ""
                if ready and f"{options.workdir}/FAILED" in marks:
                    report = " ".join((ask(options, "read") or "").split())
                status = report.split()[1] if report.startswith("status ") else ""
                crashes += status not in ("", "143")  # 143: stopped by a signal, and saved
                if status == "2" or crashes >= ATTEMPTS:
                    raise Mistake(f"the training command ended with {report[-300:]}; {left}")
                silent += 1
                if not ready:
                    on_workers(options, "setup")
                on_workers(options, "run")  # starts nothing where it runs already
                ready, started, silent = True, True, 0
                if report:
                    raise Trouble(f"training ended with {report[:300]}; started again")
            else:
                print(f"{options.name} is {found}", flush=True)
            streak = 0
        except Trouble as trouble:
            troubles, streak = troubles + 1, streak + 1
            if troubles > options.retries:
                raise Mistake(
                    f"gave up after {options.retries} retries: {trouble}; {left}"
                ) from trouble
            print(f"trouble {troubles} of {options.retries}: {trouble}", flush=True)
        sleep(min(options.poll_s * 2**streak, max(LONGEST_PAUSE_S, options.poll_s)))


def main(arguments=None, sleep=time.sleep, clock=time.monotonic):
    """Runs one action and returns the exit status: 0, 2 for an error, 130 after Ctrl-C."""
    options = None
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        if options.dry_run:
            print("\n".join(shlex.join(words) for words in plan(options, options.action)))
            return 0
        actions = {
            "create": lambda: create(options),
            "wait": lambda: wait(options, sleep, clock),
            "setup": lambda: on_workers(options, "setup"),
            "run": lambda: on_workers(options, "run"),
            "logs": lambda: on_workers(options, "logs"),
            "babysit": lambda: babysit(options, sleep),
            "delete": lambda: delete(options),
        }
        actions[options.action]()
    except (Mistake, Trouble) as error:
        print(f"tpu.py: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        left = "" if options is None else f"; {options.name} stays: {again(options, 'delete')}"
        print(f"tpu.py: stopped{left}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
