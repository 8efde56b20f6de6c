"""The analysis of the runs of a sweep: many in one program, where they trained so."""

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from attnjax.analysis.study import study
from attnjax.analysis.summary import NOTHING, summarise
from attnjax.config import RunConfig
from attnjax.data.dataset import Dataset
from attnjax.runs.analysed import analysed_rows
from attnjax.runtime import quick_compile
from attnjax.stop import Stop
from attnjax.sweeps.programs import Programs, across
from attnjax.train.parallel import Parallel, Runs, remembered
from attnjax.types import Batch, Compile, Params, RowCall, RowFunction, Stages

HELD = 2_000_000_000  # bytes of results of runs that are analysed together


class Analyst:
    """Analyses runs on the same data with the same model; what it compiles, it compiles once."""

    def __init__(self, dataset: Dataset, stages: Stages, parallel: Parallel, stop: Stop):
        self.dataset, self.stages, self.parallel, self.stop = dataset, stages, parallel, stop
        self.compilers: dict[int, Compile[RowFunction]] = {}  # by number of devices

    def at_once(self, config: RunConfig, programs: Programs) -> int:
        """How many runs to analyse in one program: as many as train in one, if vectorised.

        Fewer where the results of all of them, which are kept until the last is done, would take
        more than HELD bytes.
        """
        if programs.way != "vmap":
            return 1
        words = len(analysed_rows(config, self.dataset)) * self.dataset.shapes.text[-1]
        numbers = 2 + len(config.analysis.methods)  # for each word
        return max(1, min(programs.chunk, HELD // (4 * numbers * words + 1)))

    def analyse(
        self, configs: Sequence[RunConfig], params: Sequence[Params | None], runs: Runs
    ) -> list[dict[str, Any]]:
        """The analysis of each run; nothing for those without parameters.

        configs  of one structure and seed: another seed is another program
        """
        config = configs[0]
        known = [each for each in params if each is not None]
        if len(params) > 1 and len(known) >= runs.devices:
            devices, compilers = 1, self._together(known, len(params), runs)
            # An analysis needs up to 1.6 times the memory of a training step on the same rows.
            rows = max(1, min(config.analysis.chunk_size, config.train.batch_size // 2))
        else:
            devices, rows = self.parallel.devices, config.analysis.chunk_size
            compilers = (self.parallel.bind(self.parallel.replicate(each)) for each in known)
        return [
            NOTHING if each is None else self._agreement(own, next(compilers), rows, devices)
            for own, each in zip(configs, params, strict=True)
        ]

    def _together(
        self, params: Sequence[Params], size: int, runs: Runs
    ) -> Iterator[Compile[RowCall]]:
        """What `study` compiles with, run by run.

        A batch goes through all runs at one go when the first of them asks for it. They are filled
        up to `size` (and to a multiple of the devices), so that runs that failed change no shape.
        """
        size = -(-size // runs.devices) * runs.devices
        filled = [*params, *[params[-1]] * (size - len(params))]
        stacked = runs.split(jax.tree.map(lambda *each: np.stack(each), *filled))
        found: dict[tuple[RowFunction, bytes], Any] = {}

        def compile_anew(function: RowFunction) -> RowFunction:
            marked = (True, False)
            return runs.compile(across("vmap", function, marked), marked, (), quick_compile())

        compile_runs = self.compilers.setdefault(runs.devices, remembered(compile_anew))

        def rows_of(run: int) -> Compile[RowCall]:
            def compile_rows(builder: Callable[..., RowFunction], *settings: Hashable) -> RowCall:
                compiled = compile_runs(builder, *settings)

                def call(batch: Batch) -> Any:
                    asked = compiled, batch.rows.tobytes()
                    if asked not in found:
                        found[asked] = jax.device_get(compiled(stacked, runs.whole(batch)))
                    return jax.tree.map(lambda a: a[run], found[asked])

                return call

            return compile_rows

        return (rows_of(run) for run in range(len(params)))

    def _agreement(
        self, config: RunConfig, compile_rows: Compile[RowCall], rows: int, devices: int
    ) -> dict[str, Any]:
        """The analysis of one run, `rows` at a time, without counterfactual attention."""
        if config.analysis.examples == 0:
            return NOTHING
        settings = dataclasses.replace(
            config.analysis, permutations=0, adversaries=0, chunk_size=rows
        )
        split = self.dataset.splits["test"].take(analysed_rows(config, self.dataset))
        found = study(
            settings, self.stages, split, config.seed, compile_rows, devices, self.stop.check
        )
        return summarise(found, settings, self.dataset.labels, split.labels)
