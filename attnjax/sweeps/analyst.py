"""The analysis of the runs of a sweep: many in one program, where they trained so."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import numpy as np

from attnjax.analysis.rows import Builder, Call, Engine, of_rows
from attnjax.analysis.study import study
from attnjax.analysis.summary import nothing, summarise
from attnjax.config import RunConfig
from attnjax.data.dataset import Dataset
from attnjax.runs.analysed import (
    analysed_rows,
    analysed_words,
    engine_on,
    names_of,
    training_rows,
)
from attnjax.runtime import quick_compile
from attnjax.stop import Stop
from attnjax.sweeps.programs import Programs, across
from attnjax.training.parallel import Parallel, Runs, remembered
from attnjax.types import Compile, Params, RowFunction, Stages

MOST_HELD = 2_000_000_000  # bytes of results of runs that are analysed together
STACKED = (True, (False, True))  # of (params, (batch, given)): one each for every run


class Analyst:
    """Analyses runs on the same data with the same model; what it compiles, it compiles once."""

    def __init__(self, dataset: Dataset, stages: Stages, parallel: Parallel, stop: Stop):
        self.dataset, self.stages, self.parallel, self.stop = dataset, stages, parallel, stop
        self.compilers: dict[int, Compile[RowFunction]] = {}  # by number of devices

    def at_once(self, config: RunConfig, programs: Programs) -> int:
        """How many runs to analyse in one program: as many as train in one, if vectorised.

        Fewer where the results of all of them, which are kept until the last is done, would take
        more than MOST_HELD bytes.
        """
        if programs.way != "vmap":
            return 1
        words = len(analysed_rows(config, self.dataset)) * self.dataset.shapes.text[-1]
        numbers = 2 + len(config.analysis.methods)  # for each word
        return max(1, min(programs.chunk, MOST_HELD // (4 * numbers * words + 1)))

    def analyse(
        self, configs: Sequence[RunConfig], params: Sequence[Params | None], runs: Runs
    ) -> list[dict[str, Any]]:
        """What `summarise` says of each run; nothing for those without parameters.

        configs  of one structure and seed: another seed is another program
        """
        config = configs[0]
        known = [each for each in params if each is not None]
        if config.analysis.examples == 0:
            return [nothing() for _ in params]
        rows = config.analysis.chunk_size
        if len(params) > 1 and len(known) >= runs.devices:
            engines = [self._together(known, len(params), runs)]
            # An analysis needs up to 1.6 times the memory of a training step on the same rows.
            rows = max(1, min(rows, config.train.batch_size // 2))
        else:
            engines = [engine_on(self.parallel, self.parallel.replicate(each)) for each in known]
        summaries = (each for engine in engines for each in self._summaries(config, rows, engine))
        return [nothing() if each is None else next(summaries) for each in params]

    def _summaries(
        self, config: RunConfig, rows: int, engine: Engine
    ) -> list[dict[str, dict[str, Any]]]:
        """The analysis of the engine's runs, `rows` at a time: what a table of runs needs."""
        settings = dataclasses.replace(
            config.analysis,
            permutations=0,
            head_permutations=0,
            adversaries=0,
            robustness=(),
            chunk_size=rows,
        )
        split = self.dataset.splits["test"].take(analysed_rows(config, self.dataset))
        studies = study(
            settings,
            self.stages,
            split,
            config.seed,
            engine,
            lambda: training_rows(config, self.dataset),
            self.stop.check,
            names_of(config, self.dataset),
        )
        words = analysed_words(config, self.dataset)
        labels = self.dataset.labels
        return [summarise(each, settings, labels, split.labels, words) for each in studies]

    def _together(self, params: Sequence[Params], size: int, runs: Runs) -> Engine:
        """The engine of several runs, through all of which a batch goes at one go.

        They are filled up to `size` (and to a multiple of the devices), so that runs that failed
        change no shape.
        """
        size = -(-size // runs.devices) * runs.devices

        def stacked(trees: Sequence[Any]) -> Any:
            filled = [*trees, *[trees[-1]] * (size - len(trees))]
            return runs.split(jax.tree.map(lambda *each: np.stack(each), *filled))

        def compile_anew(function: RowFunction) -> RowFunction:
            return runs.compile(across("vmap", function, STACKED), STACKED, (), quick_compile())

        compile_rows = self.compilers.setdefault(runs.devices, remembered(compile_anew))
        own = stacked(params)

        def compile_bound(
            builder: Builder, settings: tuple[Hashable, ...], extra: Sequence[Any] | None
        ) -> Call:
            compiled = compile_rows(of_rows, builder, *settings)
            bound = own if extra is None else (own, stacked(extra))
            return lambda placed, given: compiled(bound, (placed, given))

        def collect(tree: Any) -> list[Any]:
            found = jax.device_get(tree)
            return [jax.tree.map(lambda a, run=run: a[run], found) for run in range(len(params))]

        return Engine(
            params,
            1,
            runs.whole,
            compile_bound,
            collect,
            lambda several: self._together(several, size, runs),
        )
