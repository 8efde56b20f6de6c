"""Trains a grid of runs, many in one program, and tabulates and draws what came out.

python -m attnjax.sweep --config=configs/sst.py --sweep.epsilon=0:30:100 --sweep.seeds=3 \\
    --sweep.technique=attention_at,word_at [--workdir=DIR] [--config.FIELD=VALUE ...]

What varies; every combination is one run, equal to `python -m attnjax.main` with these fields:
  --sweep.epsilon, .weight, .relevance, .learning_rate
                      a:b:n (n values from a to b), x,y,z, or one number
  --sweep.technique   names of techniques
  --sweep.seeds=N     N seeds, from config.seed on
How it is done:
  --sweep.draw        grid, or uniform: a:b:n are n random draws from [a, b]
  --sweep.mode        auto (measures a few steps of each), vmap, map or turn; on a CPU with several
                      cores, auto divides the points among processes, one for each core
  --sweep.memory=GB   what the runs of a chunk may take, over all devices; half of it all

A run's folder DIR/point_0007 (DIR: runs/NAME_sweep) holds config.json, vocab.json, metrics.jsonl,
results.json and the best checkpoint; `python -m attnjax.analyze --workdir=DIR/point_0007` adds
permutations, adversarial attention and the report. DIR holds sweep.html, the table as sweep.jsonl,
sweep.csv and sweep.tex, and figures/. The same command again goes on after the last finished chunk.
"""

import dataclasses
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any

from etils import epath

from attnjax.checkpoint import Checkpoints
from attnjax.command import guarded, parse_command, parse_hosts
from attnjax.config import OPTIONS, RunConfig, flatten, to_dict
from attnjax.data.dataset import Dataset, load_dataset
from attnjax.errors import UserError
from attnjax.pipeline import model_of, write_vocabulary
from attnjax.report.sweep import FILES, write_sweep
from attnjax.runtime import (
    device_summary,
    keep_heap,
    keep_to_share,
    one_device_per_core,
    use_compile_cache,
    versions,
)
from attnjax.together import Analyst
from attnjax.train.loop import monitored
from attnjax.train.parallel import Parallel, make_row_parallel, place_runs
from attnjax.train.points import Point, Sweep, parse_sweep, points_of
from attnjax.train.programs import (
    Programs,
    choose,
    free_memory,
    structure,
    way_on_a_core,
)
from attnjax.train.stop import Stop
from attnjax.train.sweep import Outcome, train_chunk
from attnjax.types import Stages
from attnjax.workdir import (
    CHECKPOINTS,
    CONFIG,
    METRICS,
    RESULTS,
    held,
    open_workdir,
    read_json,
    write_json,
    write_json_lines,
)

SWEEP = "sweep.json"
# A process more must train so many points at least: it starts and compiles for itself.
LEAST_POINTS = 4

logger = logging.getLogger("attnjax.sweep")  # __name__ is __main__ here, which shows warnings alone


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 2 for a user's mistake.

    arguments  as `sys.argv`, which is the default: the first is the program's name
    """
    arguments = sys.argv if arguments is None else arguments
    return guarded(__doc__ or "", lambda stop: sweep(arguments, stop), arguments)


def sweep(arguments: Sequence[str], stop: Stop) -> None:
    """Parses the command line and does the sweep; raises UserError before anything is trained."""
    asked, rest = parse_sweep(arguments)
    hosts, rest = parse_hosts(rest)
    if hosts is not None:
        raise UserError(
            "a sweep runs on one host, and this would be one of several; give each host a sweep of "
            "its own, with a part of the values and another --workdir"
        )
    config, workdir = parse_command(rest)
    if not any(each.lstrip("-").split("=")[0] == "workdir" for each in rest[1:]):
        workdir += "_sweep"
    points = points_of(config, asked)
    if asked.share:
        keep_to_share(*asked.share)
    if config.train.tensorboard or config.train.profile_steps:
        raise UserError(
            "train.tensorboard and train.profile_steps are for one run: python -m attnjax.main"
        )
    if config.train.keep_heap:
        keep_heap()
    cores = config.train.devices == 0 and one_device_per_core(len(points))
    use_compile_cache(config.train.compile_cache)
    parallel = make_row_parallel(dataclasses.replace(config.train, parallel="jit"))
    folder = open_workdir(workdir)
    dataset = load_dataset(config)
    stages = model_of(config, dataset)
    bench = _Bench(dataset, stages, parallel, folder, stop)
    if asked.share:  # the process that started this one holds the folder
        number, count = asked.share
        memory = (asked.memory or free_memory(1)) // count
        asked = asked._replace(memory=memory, mode=way_on_a_core(config, dataset, stages))
        print(json.dumps(list(bench.train_all(points[number::count], asked))))
        return
    with held(folder):
        stored = _same_sweep(folder, config, points, dataset)
        logger.info("data: %s", dataset.summary)
        logger.info("%d runs on %d devices; workdir %s", len(points), parallel.devices, folder)
        write_json(folder / SWEEP, stored)
        waiting = bench.unfinished(points)
        processes = min(parallel.devices, len(waiting) // LEAST_POINTS)
        if cores and asked.mode == "auto" and processes > 1 and _is_command():
            logger.info("%d processes, each on its own cores and runs", processes)
            ways = _spread(arguments, processes, stop)
        else:
            ways = bench.train_all(points, asked)
        for way in ways:
            stored["ways"].append(way)
            write_json(folder / SWEEP, stored)
        rows = [_row(folder, point, dataset) for point in points]
        write_sweep(folder, rows, asked.varied, asked.draw, monitored(config, dataset))
    failed = sum(row["failed"] for row in rows)
    print("\n".join(f"{name + ':':9}{folder / path}" for name, path in FILES.items()))
    if failed:
        logger.warning("%d of %d runs failed: their loss was not finite", failed, len(rows))


def _is_command() -> bool:
    """Whether this is `python -m attnjax.sweep`, not a script with entries of its own in tables.

    A process of the command would not have them.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "attnjax.sweep"


def _spread(arguments: Sequence[str], count: int, stop: Stop) -> list[dict[str, Any]]:
    """Trains the points in processes of this command, each on its share of points and cores.

    A core for each process is faster than all cores for each point: a small step has little that
    several cores could share, and processes do not wait for each other.
    """
    command = [sys.executable, "-m", "attnjax.sweep", *arguments[1:]]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen([*command, f"--sweep.share={number}/{count}"], **pipes)
        for number in range(count)
    ]
    try:
        while any(each.poll() is None for each in processes):
            stop.check()
            if any(each.poll() for each in processes):
                break
            time.sleep(0.05)
    finally:
        for each in processes:
            assert each.stdin is not None
            each.stdin.close()  # those that still run stop, and keep what they have finished
            each.wait()
    found = [each.stdout.read() for each in processes if each.stdout is not None]
    failed = [each.returncode for each in processes if each.returncode]
    if failed or not all(found):
        raise UserError(
            f"a process of the sweep ended early (status {failed[0] if failed else 0}); the same "
            "command goes on after the last finished chunk, with --sweep.mode=turn in one process"
        )
    # The last line: a configuration file may print as well.
    return [way for text in found for way in json.loads(text.splitlines()[-1])]


class _Bench:
    """What the runs of a sweep share: data, model, devices, analysis."""

    def __init__(
        self, dataset: Dataset, stages: Stages, parallel: Parallel, folder: epath.Path, stop: Stop
    ):
        self.dataset, self.stages, self.folder, self.stop = dataset, stages, folder, stop
        self.devices = parallel.devices
        self.analyst = Analyst(dataset, stages, parallel, stop)

    def unfinished(self, points: list[Point]) -> list[Point]:
        """The points without results."""
        return [point for point in points if not (self.folder / point.name / RESULTS).exists()]

    def train_all(self, points: list[Point], asked: Sweep) -> Iterator[dict[str, Any]]:
        """Trains the unfinished points, structure by structure; yields how, after each."""
        groups: dict[RunConfig, list[Point]] = {}
        for point in self.unfinished(points):
            groups.setdefault(structure(point.config), []).append(point)
        for members in groups.values():
            yield self.train(members, asked)

    def train(self, waiting: list[Point], asked: Sweep) -> dict[str, Any]:
        """Trains points of one structure; returns how, and what other ways took."""
        waiting.sort(key=lambda point: point.config.seed)  # runs of one seed share their batches
        config = waiting[0].config
        runs = place_runs(min(self.devices, len(waiting)))
        programs, took = choose(
            config, self.dataset, self.stages, runs, len(waiting), asked.mode, asked.memory
        )
        chunks = -(-len(waiting) // programs.chunk)
        for number in range(chunks):
            chunk = waiting[number * len(waiting) // chunks : (number + 1) * len(waiting) // chunks]
            name = f"{config.adversary.technique}, {chunk[0].name} to {chunk[-1].name}"
            logger.info("%s: %d runs by %s", name, len(chunk), programs.way)
            self.finish(chunk, programs)
            logger.info("%s: finished, chunk %d of %d", name, number + 1, chunks)
        return {
            "technique": config.adversary.technique,
            "way": programs.way,
            "runs_on_a_device": programs.together,
            "devices": runs.devices,
            "ms_a_step_and_run": took,
        }

    def finish(self, points: list[Point], programs: Programs) -> None:
        """Trains one chunk and writes the folders of its runs."""
        started = time.perf_counter()
        configs = [point.config for point in points]
        outcomes = train_chunk(configs, self.dataset, self.stages, programs, self.stop)
        seconds = (time.perf_counter() - started) / len(points)
        trained = zip(points, outcomes, strict=True)
        with self.stop.deferred():
            for _, same in groupby(trained, lambda each: each[0].config.seed):
                size = self.analyst.at_once(configs[0], programs)
                while group := list(islice(same, size)):
                    started = time.perf_counter()
                    analyses = self.analyst.analyse(
                        [point.config for point, _ in group],
                        [outcome.params for _, outcome in group],
                        programs.runs,
                    )
                    spent = (time.perf_counter() - started) / len(group)
                    for (point, outcome), analysis in zip(group, analyses, strict=True):
                        self.stop.check()
                        self.write(point, outcome, analysis, seconds, spent)

    def write(
        self,
        point: Point,
        outcome: Outcome,
        analysis: dict[str, Any],
        train_s: float,
        analysis_s: float,
    ) -> None:
        """Writes the folder of one run, results.json last.

        train_s, analysis_s  its share of the time of all that trained or were analysed with it
        """
        folder = self.folder / point.name
        if folder.exists():  # left by a sweep that was killed here
            folder.rmtree()
        folder.mkdir(parents=True)
        write_json(folder / CONFIG, to_dict(point.config))
        write_vocabulary(folder, self.dataset)
        write_json_lines(folder / METRICS, outcome.metrics)
        if outcome.params is not None:
            assert outcome.best_step is not None
            assert outcome.validation is not None
            with Checkpoints(folder / CHECKPOINTS) as checkpoints:
                checkpoints.save_best(outcome.params, outcome.best_step, outcome.validation)
        results = {
            "config": to_dict(point.config),
            "versions": versions(),
            "devices": device_summary(),
            "data": self.dataset.summary,
            "failed": outcome.failed_step is not None,
            "failed_step": outcome.failed_step,
            "best": {"step": outcome.best_step, "validation": outcome.validation},
            "test": outcome.test,
            "timing": {
                "train_examples_per_s": None,
                "compile_s": None,
                "train_s": train_s,
                "analysis_s": analysis_s,
            },
            "analysis": analysis,
            "robustness": None,
        }
        write_json(folder / RESULTS, results)


def _same_sweep(
    folder: epath.Path, config: RunConfig, points: list[Point], dataset: Dataset
) -> dict[str, Any]:
    """The content of sweep.json; raises UserError if the folder holds something else."""
    if (folder / CONFIG).exists():
        raise UserError(f"workdir {folder} holds a single run; choose another --workdir")
    wanted = {
        "config": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in flatten(to_dict(config)).items()
            if not OPTIONS[name].incidental  # those may change when a sweep goes on
        },
        "points": {point.name: point.varied for point in points},
        "data": dataset.fingerprint(),
    }
    if not (folder / SWEEP).exists():
        return {**wanted, "ways": []}
    stored = read_json(folder / SWEEP)
    for name, value in wanted["config"].items():
        if stored["config"].get(name) != value:
            raise UserError(
                f"workdir {folder} holds a sweep with {name}={stored['config'].get(name)!r}, but "
                f"this one has {name}={value!r}; choose another --workdir, or delete that one"
            )
    if stored["points"] != wanted["points"]:
        raise UserError(
            f"workdir {folder} holds a sweep of {len(stored['points'])} other points than these "
            f"{len(points)}; choose another --workdir, or delete that one"
        )
    if stored.get("data") != wanted["data"]:
        raise UserError(
            f"workdir {folder} holds a sweep on other data (or of another version of attnjax): its "
            "finished points would stand beside others; restore the data, or choose another "
            "--workdir"
        )
    return stored


def _row(folder: epath.Path, point: Point, dataset: Dataset) -> dict[str, Any]:
    """One row of the table, from the point's results.json; None for what a failed run lacks."""
    results = read_json(folder / point.name / RESULTS)
    test = results["test"] or {}
    pair = results["analysis"].get("agreement", {}).get("attention~gradient", {})
    validation = results["best"]["validation"] or {}
    return {
        "point": point.name,
        **point.varied,
        "validation": validation.get(monitored(point.config, dataset)),
        **{name: test.get(name) for name in ("accuracy", "f1", "auc")},
        **{name: pair.get(name, {}).get("mean") for name in ("kendall", "pearson")},
        "best_step": results["best"]["step"],
        "failed": results["failed"],
        "failed_step": results["failed_step"],
    }


if __name__ == "__main__":
    sys.exit(main())
