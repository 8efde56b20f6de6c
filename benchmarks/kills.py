"""Kills commands at random moments, gives them again, and compares with runs that nobody disturbed.

python benchmarks/kills.py [--kills=50] [--seed=0] [--parts=train,sweep,analyze] [--out=FILE]

Three commands on simulated bAbI: a training, a sweep of two points, and an analysis of a finished
run. Each is killed (SIGKILL) between 0.2 s after its start and the time it takes undisturbed, and
given again in the same folder until it ends. After every kill each file that is there must be whole
and the newest checkpoint no older than before; in the end scores, explanations and metrics must be
those of the undisturbed command, and nothing half written may be left. Each part is stored when it
is done, beside those that FILE has already (benchmarks/results/kills.json): parts may run one by
one.
"""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.record import command_line, machine

ROOT = pathlib.Path(__file__).resolve().parents[1]
LEAST_S = 0.2
SMALL = {
    "data.train_examples": 160,
    "model.embed_dim": 8,
    "model.hidden_dim": 8,
    "train.epochs": 2,
    "train.batch_size": 16,
    "train.checkpoint_steps": 2,
    "train.log_steps": 3,
    "analysis.examples": 20,
    "analysis.permutations": 5,
    "analysis.adversaries": 1,
    "analysis.adversary_steps": 3,
    "analysis.robustness": 1.0,
}
FLAGS = [f"--config.{name}={value}" for name, value in SMALL.items()]
COMMANDS = {  # name -> (module, arguments, share of the kills)
    "train": ("main", FLAGS, 0.6),
    "sweep": ("sweep", [*FLAGS, "--sweep.seeds=2"], 0.2),
    "analyze": ("analyze", ["--config.analysis.methods=gradient_norm"], 0.2),
}


def start(name: str, folder: pathlib.Path) -> subprocess.Popen[str]:
    """The command on this folder, as a process."""
    module, arguments, _ = COMMANDS[name]
    command = [sys.executable, "-m", f"attnjax.{module}", *arguments, f"--workdir={folder}"]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(name: str, folder: pathlib.Path) -> float:
    """Runs the command to its end; returns the seconds it took."""
    started = time.perf_counter()
    process = start(name, folder)
    _, error = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{name} ended with status {process.returncode}: {error}")
    return time.perf_counter() - started


def whole_files(folder: pathlib.Path) -> None:
    """Raises ValueError where a JSON file is damaged; the last line of metrics may be cut short."""
    for path in folder.rglob("*.json*"):
        if path.name.endswith(".partial"):
            continue
        lines = [path.read_text()] if path.suffix == ".json" else path.read_text().split("\n")[:-1]
        for line in lines:
            json.loads(line)


def newest(folder: pathlib.Path) -> dict[str, int]:
    """The newest step of every folder of checkpoints."""
    found: dict[str, int] = {}
    for path in folder.rglob("checkpoints/*/*"):
        if path.name.isdigit():
            where = str(path.parent.relative_to(folder))
            found[where] = max(found.get(where, 0), int(path.name))
    return found


def outcome(folder: pathlib.Path) -> dict[str, Any]:
    """All that a command has left but times: what must not depend on kills."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "results.json":
            results = json.loads(path.read_text())
            parts = ("config", "data", "best", "test", "analysis")
            found[name] = {part: results[part] for part in parts}
        elif path.name == "metrics.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [
                {key: row[key] for key in row if key != "examples_per_s"} for row in rows
            ]
        elif path.name in ("config.json", "vocab.json", "examples.jsonl", "sweep.jsonl"):
            found[name] = path.read_text()
        elif path.suffix == ".partial":
            found[name] = "half written"
    return found


def kill_until_done(
    name: str,
    prepare: Callable[[pathlib.Path], None],
    expected: dict[str, Any],
    seconds: float,
    kills: int,
    moments: random.Random,
    root: pathlib.Path,
) -> dict[str, Any]:
    """Kills the command so often, in as many folders as that takes, and counts what went wrong."""
    done, runs, wrong = 0, 0, []
    while done < kills:
        folder = root / f"{name}_{runs}"
        prepare(folder)
        steps: dict[str, int] = {}
        while done < kills:
            process = start(name, folder)
            try:
                _, error = process.communicate(timeout=moments.uniform(LEAST_S, seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                done += 1
                whole_files(folder)
                now = newest(folder)
                if name == "train" and any(now.get(each, 0) < steps[each] for each in steps):
                    wrong.append(f"kill {done}: a checkpoint is lost: {steps} -> {now}")
                steps = now
                continue
            if process.returncode:
                wrong.append(f"after kill {done}: status {process.returncode}: {error[-300:]}")
            break
        finish(name, folder)  # of one that ended, nothing changes
        found = outcome(folder)
        differing = [each for each in {*found, *expected} if found.get(each) != expected.get(each)]
        if differing:
            wrong.append(f"run {runs}: {', '.join(sorted(differing))} differ")
        runs += 1
        print(f"{name}: {done} of {kills} kills, {runs} runs, wrong: {wrong}", flush=True)
        shutil.rmtree(folder)
    return {"kills": done, "runs": runs, "undisturbed_s": seconds, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", default=",".join(COMMANDS))
    parser.add_argument("--out", type=pathlib.Path, default=None)
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := set(parts) - COMMANDS.keys():
        parser.error(f"--parts has {', '.join(sorted(unknown))}; there are {', '.join(COMMANDS)}")
    report: dict[str, Any] = {}
    if options.out and options.out.exists():
        report = json.loads(options.out.read_text())
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        if "analyze" in parts:
            finish("train", root / "trained")

        def prepare(name: str, place: pathlib.Path) -> None:
            if name == "analyze":
                shutil.copytree(root / "trained", place)
            else:
                place.mkdir()

        for name in parts:
            moments = random.Random(f"{options.seed} {name}")  # a part's are its own
            whole = root / f"{name}_whole"
            prepare(name, whole)
            finish(name, whole)  # which compiles
            shutil.rmtree(whole)
            prepare(name, whole)
            seconds = finish(name, whole)
            found = kill_until_done(
                name,
                lambda place, name=name: prepare(name, place),
                outcome(whole),
                seconds,
                round(COMMANDS[name][2] * options.kills),
                moments,
                root,
            )
            report[name] = {"command": command_line(), "machine": machine(), **found}
            if options.out:
                options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    if any(report[name]["wrong"] for name in parts):
        sys.exit(1)


if __name__ == "__main__":
    main()
