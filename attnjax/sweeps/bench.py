"""A whole sweep: its points trained in chunks or in processes, each run's folder, and the table."""

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

from attnjax.analysis.progress import progress
from attnjax.checkpoint import Checkpoints
from attnjax.config import RunConfig, to_dict
from attnjax.data.dataset import Dataset, brief, load_dataset
from attnjax.errors import UserError
from attnjax.model_checks import refuse_training
from attnjax.pipeline import model_of, record_of, write_vocabulary
from attnjax.report.sweep import FILES, write_sweep
from attnjax.report.wording import in_words
from attnjax.runtime import (
    device_summary,
    keep_heap,
    keep_to_share,
    one_device_per_core,
    use_compile_cache,
    versions,
)
from attnjax.stop import Stop
from attnjax.sweeps.analyst import Analyst
from attnjax.sweeps.chunk import Outcome, train_chunk
from attnjax.sweeps.points import Point, SweepSettings, points_of
from attnjax.sweeps.programs import (
    Programs,
    choose,
    free_memory,
    structure,
    way_on_a_core,
)
from attnjax.sweeps.stored import SWEEP, row_of, same_sweep
from attnjax.training.encodings import disturbed, with_encodings
from attnjax.training.parallel import Parallel, make_row_parallel, place_runs
from attnjax.training.selection import fallback, monitored
from attnjax.training.setup import starting_state
from attnjax.types import Stages
from attnjax.workdir import (
    CHECKPOINTS,
    CONFIG,
    METRICS,
    RESULTS,
    delete,
    held,
    open_workdir,
    write_json,
    write_json_lines,
)

# A process more must train so many points at least: it starts and compiles for itself.
LEAST_POINTS = 4

logger = logging.getLogger(__name__)


def run_sweep(
    config: RunConfig, workdir: str, asked: SweepSettings, arguments: Sequence[str], stop: Stop
) -> None:
    """Trains the points and writes the table, its figures and its page.

    arguments  of the command, for the processes that share the points
    Raises UserError before anything is trained.
    """
    refuse_training(config.model)
    points = points_of(config, asked)
    if asked.share:
        keep_to_share(*asked.share)
    if config.train.tensorboard or config.train.profile_steps:
        raise UserError(
            "train.tensorboard and train.profile_steps are for one run: python -m attnjax.main"
        )
    analysis = config.analysis
    if "influence" in analysis.questions and analysis.influence_scope == "tracin":
        raise UserError(
            "analysis.influence_scope=tracin sums over a run's checkpoints, and the runs of a "
            "sweep keep the best one alone; set it to last_layer or all, or use "
            "python -m attnjax.main"
        )
    if config.train.keep_heap:
        keep_heap()
    cores = config.train.devices == 0 and one_device_per_core(len(points))
    use_compile_cache(config.train.compile_cache)
    parallel = make_row_parallel(dataclasses.replace(config.train, parallel="jit"))
    folder = open_workdir(workdir)
    if asked.share:  # the process that started this one has told what is odd about the data
        logging.getLogger("attnjax.data").setLevel(logging.ERROR)
    dataset = load_dataset(config)
    stages = model_of(config, dataset)
    bench = Bench(dataset, stages, parallel, folder, stop)
    if asked.share:  # the process that started this one holds the folder
        number, count = asked.share
        memory = (asked.memory or free_memory(1)) // count
        asked = asked._replace(memory=memory, mode=way_on_a_core(config, dataset, stages))
        print(json.dumps(list(bench.train_all(points[number::count], asked))))
        return
    with held(folder):
        stored = same_sweep(folder, config, points, dataset)
        waiting = bench.unfinished(points)
        for point in points:  # what is wrong with those that are finished is said before the rest
            if point not in waiting:
                row_of(folder, point, dataset)
        logger.info("data: %s", in_words(brief(dataset.summary)))
        if note := fallback(config, dataset):
            logger.warning(note)
        logger.info("%d runs on %d devices; workdir %s", len(points), parallel.devices, folder)
        write_json(folder / SWEEP, stored)
        processes = min(parallel.devices, len(waiting) // LEAST_POINTS)
        if cores and asked.mode == "auto" and processes > 1 and is_command():
            logger.info("%d processes, each on its own cores and runs", processes)
            ways = spread(arguments, processes, stop)
        else:
            ways = bench.train_all(points, asked)
        for way in ways:
            stored["ways"].append(way)
            write_json(folder / SWEEP, stored)
        rows = [row_of(folder, point, dataset) for point in points]
        test = dataset.summary["splits"]["test"]
        write_sweep(folder, rows, asked.varied, asked.draw, monitored(config, dataset), test)
    failed = sum(row["failed"] for row in rows)
    print("\n".join(f"{name + ':':9}{folder / path}" for name, path in FILES.items()))
    if failed:
        logger.warning("%d of %d runs failed: their loss was not finite", failed, len(rows))


def is_command() -> bool:
    """Whether this is `python -m attnjax.sweep`, not a script with entries of its own in tables.

    A process of the command would not have them.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "attnjax.sweep"


def spread(arguments: Sequence[str], count: int, stop: Stop) -> list[dict[str, Any]]:
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


class Bench:
    """What the runs of a sweep share: data, model, devices, analysis."""

    def __init__(
        self, dataset: Dataset, stages: Stages, parallel: Parallel, folder: epath.Path, stop: Stop
    ):
        self.dataset, self.stages, self.folder, self.stop = dataset, stages, folder, stop
        self.parallel, self.devices = parallel, parallel.devices
        self.read: Dataset | None = None  # once a frozen encoder has read it
        self.analyst = Analyst(dataset, stages, parallel, stop)

    def training_data(self, config: RunConfig) -> Dataset:
        """What runs of this structure train on: a frozen encoder reads it once for all of them."""
        if not config.model.freeze_encoder:
            return self.dataset
        if self.read is not None and not disturbed(config):
            return self.read
        state = starting_state(config, self.dataset, self.stages)
        shared = self.dataset, self.stages, self.parallel, self.parallel.replicate(state.params)
        found = with_encodings(config, *shared, self.stop.check, progress)
        if found is not self.dataset:
            self.read = found
        return found

    def unfinished(self, points: list[Point]) -> list[Point]:
        """The points without results."""
        return [point for point in points if not (self.folder / point.name / RESULTS).exists()]

    def train_all(self, points: list[Point], asked: SweepSettings) -> Iterator[dict[str, Any]]:
        """Trains the unfinished points, structure by structure; yields how, after each."""
        groups: dict[RunConfig, list[Point]] = {}
        for point in self.unfinished(points):
            groups.setdefault(structure(point.config), []).append(point)
        for members in groups.values():
            yield self.train(members, asked)

    def train(self, waiting: list[Point], asked: SweepSettings) -> dict[str, Any]:
        """Trains points of one structure; returns how, and what other ways took."""
        waiting.sort(key=lambda point: point.config.seed)  # runs of one seed share their batches
        config = waiting[0].config
        runs = place_runs(min(self.devices, len(waiting)))
        dataset = self.training_data(config)
        programs, took = choose(
            config, dataset, self.stages, runs, len(waiting), asked.mode, asked.memory
        )
        chunks = -(-len(waiting) // programs.chunk)
        for number in range(chunks):
            chunk = waiting[number * len(waiting) // chunks : (number + 1) * len(waiting) // chunks]
            name = f"{config.adversary.technique}, {chunk[0].name} to {chunk[-1].name}"
            logger.info("%s: %d runs by %s", name, len(chunk), programs.way)
            self.finish(chunk, programs, dataset)
            logger.info("%s: finished, chunk %d of %d", name, number + 1, chunks)
        return {
            "technique": config.adversary.technique,
            "way": programs.way,
            "runs_on_a_device": programs.together,
            "devices": runs.devices,
            "ms_a_step_and_run": took,
        }

    def finish(self, points: list[Point], programs: Programs, dataset: Dataset) -> None:
        """Trains one chunk and writes the folders of its runs."""
        started = time.perf_counter()
        configs = [point.config for point in points]
        outcomes = train_chunk(configs, dataset, self.stages, programs, self.stop)
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
        clear(folder)
        write_json(folder / CONFIG, to_dict(point.config))
        write_vocabulary(folder, self.dataset)
        write_json_lines(folder / METRICS, outcome.metrics)
        if outcome.params is not None:
            assert outcome.best_step is not None
            assert outcome.validation is not None
            record = record_of(point.config, self.dataset)
            with Checkpoints(folder / CHECKPOINTS, record) as checkpoints:
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
            "analysis": analysis["analysis"],
            **analysis["results"],
        }
        write_json(folder / RESULTS, results)


def clear(folder: epath.Path) -> None:
    """Makes the folder anew; what lies there was left by a sweep that was killed."""
    if folder.is_dir():
        folder.rmtree()
    elif folder.exists():
        delete(folder)  # a file, or a pipe, which the deletion of a tree would wait for
    folder.mkdir(parents=True)
