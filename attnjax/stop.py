"""Stopping a run from outside: SIGTERM and SIGINT become an exception at a safe moment.

With several processes they must stop at the same step. JAX's preemption service sees to that: it
takes SIGTERM over when the processes meet, tells the others, and names the next check that none
of them has passed. Every process makes the same checks, so their number is the name.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from attnjax.hosts import several_processes

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """The run was asked to stop; whatever can be resumed has been saved.

    No Exception: it may come anywhere, and must not look like a failure of what it interrupts.
    """


class Stop:
    """Turns the signals into `Stopped`: at once, or inside `deferred()` at the next `check()`."""

    def __init__(self) -> None:
        self._requested = False
        self._deferred = False
        self._checks = 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Takes SIGTERM and SIGINT over for the block; main thread only."""
        before = {each: signal.signal(each, self._handle) for each in SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block, signals wait for the next `check()`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def check(self) -> None:
        """Raises Stopped if a signal has come, on every process at the same check."""
        if self._many():
            from jax.experimental import multihost_utils

            self._checks += 1
            if multihost_utils.reached_preemption_sync_point(self._checks):
                raise Stopped
        elif self._requested:
            raise Stopped

    @property
    def requested(self) -> bool:
        """Whether a signal has come; of several processes, none knows before the next check."""
        return self._requested

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._many():  # SIGINT: all are to stop
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._requested = True
        if not self._deferred:
            raise Stopped

    @staticmethod
    def _many() -> bool:
        return several_processes()
