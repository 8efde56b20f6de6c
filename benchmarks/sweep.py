"""Runs per hour of a sweep: vectorised, by lax.map, in turn, and by a shell loop of single runs.

python benchmarks/sweep.py --points=100 --out=benchmarks/results/sweep.json

Epsilons from 0 to 30, `attention_at` on simulated bAbI 1 with hidden 32 (configs/babi.py). Each way
is one whole `python -m attnjax.sweep`, process start, data, choice, compilation, test scores,
agreement and files included; "auto" is what a user gets. The shell loop is `python -m attnjax.main`
once an epsilon; a few of its runs are measured and scaled to the number of points, which the JSON
says. Both sides leave out the same parts of the analysis. Compiled programs are kept in a folder of
this benchmark: the sweeps start without any, the single runs after one that is not counted;
"compiling" are single runs that keep none, each of which compiles for itself.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from attnjax.runtime import versions
from benchmarks.record import command_line, machine, placeless

ROOT = pathlib.Path(__file__).resolve().parents[1]
SAME = [  # what a sweep leaves to `python -m attnjax.analyze`
    "--config.analysis.permutations=0",
    "--config.analysis.adversaries=0",
    "--config.analysis.robustness=",
]


SHELLS = ("shell", "compiling")


def timed(module: str, arguments: list[str], cache: str) -> tuple[float, float]:
    """Wall and CPU seconds of one command from the shell; ends the benchmark where it fails."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    started, before = time.perf_counter(), cpu_seconds()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - started, cpu_seconds() - before


def cpu_seconds() -> float:
    """Of all ended child processes: what another program on the machine cannot add to."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sweep(mode: str, options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """All points as one sweep."""
    workdir = f"{folder}/{mode}"
    arguments = [
        *overrides(options),
        "--sweep.technique=attention_at",
        f"--sweep.epsilon=0:30:{options.points}",
        f"--sweep.mode={mode}",
        f"--workdir={workdir}",
    ]
    seconds, cpu = timed("attnjax.sweep", arguments, f"{folder}/cache_{mode}")
    stored = json.loads(pathlib.Path(workdir, "sweep.json").read_text())
    points = sorted(pathlib.Path(workdir).glob("point_*/results.json"))
    timing = [json.loads(each.read_text())["timing"] for each in (points[0], points[-1])]
    more = {"ways": stored["ways"], "first_and_last_timing": timing}
    return row(mode, options.points, seconds, cpu, options.points, **more)


def shell(way: str, options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Single runs one after the other, as many as the option of that name, scaled to all points."""
    count, took = getattr(options, way), []
    cache = ["--config.train.compile_cache=off"] if way == "compiling" else []
    for number in range(count + 1):
        epsilon = 30 * number / count
        arguments = [
            *overrides(options),
            *cache,
            "--config.adversary.technique=attention_at",
            f"--config.adversary.epsilon={epsilon}",
            f"--workdir={folder}/{way}_{number}",
        ]
        took.append(timed("attnjax.main", arguments, f"{folder}/cache_single"))
    counted = took[1:]  # the first filled the compile cache
    seconds, cpu = (
        sum(each) / len(counted) * options.points for each in zip(*counted, strict=True)
    )
    stored = [
        json.loads(pathlib.Path(folder, f"{way}_{number}", "results.json").read_text())
        for number in (0, count)
    ]
    return row(
        way,
        options.points,
        seconds,
        cpu,
        len(counted),
        first=took[0],
        runs=counted,
        devices=stored[0]["devices"],
        first_and_last_timing=[each["timing"] for each in stored],
    )


def overrides(options: argparse.Namespace) -> list[str]:
    """What both sides are told."""
    epochs = [f"--config.train.epochs={options.epochs}"] if options.epochs else []
    return ["--config=configs/babi.py", *SAME, *epochs, *options.overrides]


def row(
    way: str, points: int, seconds: float, cpu: float, measured: int, **more: Any
) -> dict[str, Any]:
    """One line of the result: of `measured` runs, scaled to all points if they are fewer."""
    return {
        "way": way,
        "points": points,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "measured_runs": measured,
        "scaled": measured < points,
        "runs_per_hour": 3600 * points / seconds,
        **more,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--mode", action="append", choices=["auto", "vmap", "map", "turn"])
    parser.add_argument("--shell", type=int, default=4, help="single runs that are measured")
    parser.add_argument("--compiling", type=int, default=0, help="likewise, without a cache")
    parser.add_argument("--epochs", type=int, default=0, help="0: those of the configuration")
    parser.add_argument("--out", help="file for the JSON")
    parser.add_argument("overrides", nargs="*", help="after --: fields to override, on both sides")
    options = parser.parse_args()
    if options.points < 1 or options.shell < 1:
        parser.error("--points and --shell must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        modes = options.mode or ["auto", "vmap", "map", "turn"]
        rows: list[dict[str, Any]] = []
        print(f"{'way':10}{'runs':>6}{'s a run':>10}{'CPU s':>8}{'runs/hour':>11}{'x shell':>9}")
        shells = SHELLS if options.compiling else SHELLS[:1]
        for mode in (*shells, *modes):
            run = partial(shell, mode) if mode in SHELLS else partial(sweep, mode)
            each = run(options, folder)
            rows.append(each)
            each["times_the_shell"] = each["runs_per_hour"] / rows[0]["runs_per_hour"]
            print(
                f"{each['way']:10}{each['measured_runs']:6}{each['seconds'] / each['points']:10.2f}"
                f"{each['cpu_seconds'] / each['points']:8.2f}{each['runs_per_hour']:11.0f}"
                f"{each['times_the_shell']:9.2f}",
                flush=True,
            )
            if options.out:
                report = {
                    "command": command_line(),
                    "machine": machine(),
                    "devices": rows[0]["devices"],
                    "versions": versions(),
                    "options": {
                        **{name: value for name, value in vars(options).items() if name != "out"},
                        "overrides": placeless(options.overrides),
                    },
                    "rows": rows,
                }
                pathlib.Path(options.out).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
