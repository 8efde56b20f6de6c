"""What a run says while it trains: `metrics.jsonl`, a bar or log lines, TensorBoard on wish."""

import json
import logging
import sys
from typing import Any

from etils import epath

from attnjax.errors import UserError
from attnjax.hosts import is_first_process
from attnjax.shapes import METRICS_SHAPE
from attnjax.workdir import (
    METRICS,
    append_text,
    finite,
    read_json_lines,
    write_json_lines,
)

logger = logging.getLogger(__name__)


class Log:
    """Writes the metrics of one run; resuming drops what was logged after the resumed step.

    Of several processes the first alone writes and shows them.
    """

    def __init__(self, workdir: epath.Path, total_steps: int, step: int, tensorboard: bool):
        self._path = workdir / METRICS
        self._writer: Any = None
        self._bar: Any = None
        self._first = is_first_process()
        if not self._first:
            return
        kept = [row for row in read_json_lines(self._path, METRICS_SHAPE) if row["step"] <= step]
        write_json_lines(self._path, kept)
        if tensorboard:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise UserError(
                    "train.tensorboard=True needs the extra: pip install 'attnjax[tensorboard]'"
                ) from error
            self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=step)
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total_steps, initial=step, unit="step", dynamic_ncols=True)

    def advance(self) -> None:
        """Moves the bar by one step."""
        if self._bar is not None:
            self._bar.update()

    def write(self, row: dict[str, Any]) -> None:
        """Appends one object {"step", "split", "loss", ...} and shows it."""
        if not self._first:
            return
        append_text(self._path, json.dumps(finite(row)) + "\n")
        numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and k != "step"}
        if self._writer is not None:
            for name, value in numbers.items():
                self._writer.add_scalar(f"{row['split']}/{name}", value, row["step"])
        shown = " ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if self._bar is None:
            logger.info("step %d %s: %s", row["step"], row["split"], shown)
        elif row["split"] == "train":
            speed = row["examples_per_s"]
            told = f"loss {row['loss']:.3f}"
            self._bar.set_postfix_str(told + (f", {speed:.0f} examples/s" if speed else ""))
        else:
            self._bar.write(f"step {row['step']} {row['split']}: {shown}", file=sys.stderr)

    def close(self) -> None:
        """Ends the bar and the TensorBoard file."""
        for each in (self._bar, self._writer):
            if each is not None:
                each.close()
