"""Stopping a run from outside: SIGTERM and SIGINT become an exception at a safe moment.

With several processes they must stop at the same step. JAX's preemption service sees to that: it
takes SIGTERM over when the processes meet, tells the others, and names the next check that none
of them has passed. Every process makes the same checks, so their number is the name.
"""

import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)
DEBUGGING = (  # variables under which JAX refuses what is no mistake here
    *("JAX_DISABLE_JIT", "JAX_DEBUG_NANS", "JAX_DEBUG_INFS", "JAX_TRANSFER_GUARD"),
    *("JAX_CHECK_TRACER_LEAKS", "JAX_NUMPY_RANK_PROMOTION", "JAX_NUMPY_DTYPE_PROMOTION"),
)
TOLD = "attnjax: stopped; the same command resumes"


@contextlib.contextmanager
def starting(module: str) -> Iterator[None]:
    """Around what a command imports, which takes seconds: signals end it as they do later.

    module  its `__name__`: no effect where it is imported and not run. Variables of the environment
    that JAX cannot be imported with end it in one line and status 2.
    """
    if module != "__main__":
        yield
        return
    settle_streams()

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        tell(TOLD)
        os._exit(0)  # an exception might be taken for a failure of what is being imported

    for each in SIGNALS:
        signal.signal(each, leave)
    try:
        yield
    except Exception as error:
        if not (told := failed_import(error)):
            raise
        tell(f"attnjax: error: {told}")
        os._exit(2)


def failed_import(error: Exception) -> str:
    """What to say where JAX could not be imported for a variable of the environment; else ""."""
    named = sorted(name for name in os.environ if name.startswith(("JAX_", "XLA_")))
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    inside = any(frame.f_globals.get("__name__", "").startswith("jax") for frame in frames)
    if "jax" in sys.modules or not named or not inside:  # Python takes out what fails to import
        return ""
    lines = (str(error).strip() or repr(error)).splitlines()
    guilty = [name for name in named if name.lower() in lines[0].lower()] or named
    given = ", ".join(f"{name}={os.environ[name]!r}" for name in guilty)
    return (
        f"JAX cannot be imported with {given} ({lines[0]:.200}); unset it, or give it another value"
    )


def failed_under_debugging(error: Exception) -> str:
    """What to say where something failed under a variable that makes JAX stricter; else ""."""
    given = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith(DEBUGGING) and value.lower() not in ("", "0", "false", "off", "allow")
    ]
    if not given:
        return ""
    reason = (str(error).strip() or repr(error)).splitlines()[0]
    return f"this does not run with {', '.join(given)} ({reason:.200}); unset it"


def settle_streams() -> None:
    """Gives this process streams that hold: one that was closed reads and takes nothing.

    Else the next file that is opened would stand in its place, and take what is printed. What an
    encoding cannot hold is printed as an escape.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tell(line: str) -> None:
    """Prints a line on stderr, if that takes it."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def end(status: int) -> NoReturn:
    """Ends the process; where something failed, without waiting for threads that may never end.

    What could not be printed is one line on stderr and status 2, but where nobody reads any more.
    """
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # Python flushes again at its end
            if number == 1 and not isinstance(error, BrokenPipeError):
                tell(f"attnjax: error: nothing can be printed ({error.strerror}); mend that")
                status = status or 2
    if status:
        os._exit(status)
    sys.exit(status)


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

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Takes SIGTERM and SIGINT over for the block; main thread only."""
        before = {each: signal.signal(each, self._handle) for each in SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    @contextlib.contextmanager
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
        from attnjax.hosts import several_processes  # imported late: signals wait for this module

        return several_processes()
