"""A trace of chosen training steps by `jax.profiler`, for TensorBoard, XProf or Perfetto."""

import logging
from collections.abc import Callable

import jax
from etils import epath

from attnjax.hosts import is_first_process

logger = logging.getLogger(__name__)


class Profile:
    """Traces the steps first..last, counted from 1; no steps, no trace.

    Of several processes the first alone is traced. A run that resumes between the two traces the
    rest.
    """

    def __init__(self, steps: tuple[int, ...], folder: epath.Path):
        self._first, self._last = steps if steps and is_first_process() else (1, 0)
        self._folder = folder
        self._running = False

    def before(self, step: int, drain: Callable[[], None]) -> None:
        """Starts the trace if the step is in it; `drain` waits for the steps under way."""
        if self._first <= step <= self._last and not self._running:
            drain()
            jax.profiler.start_trace(self._folder)
            self._running = True

    def after(self, step: int, drain: Callable[[], None]) -> None:
        """Ends the trace if the step was its last."""
        if self._running and step >= self._last:
            drain()
            self.close()

    def close(self) -> None:
        """Ends a trace that is still running, where training ends before its last step."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
            logger.info("profile: %s", self._folder)
