"""What each method costs: seconds an example, and passes through the model."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import jax

from attnjax.analysis.importance.method import Method
from attnjax.config import AnalysisConfig

MANY = 30.0  # passes from which on a method is costly
COMPILED = "/jax/core/compile/backend_compile_duration"


def costly(method: Method, config: AnalysisConfig, words: float) -> bool:
    """Whether it takes many passes through the model: few examples' are asked again.

    words  of an example, in the mean
    """
    if method.points is not None:
        return True
    return method.passes is not None and sum(method.passes(config, words)) > MANY


@cache
def _compiled() -> list[float]:
    """[when XLA last finished a program], kept up to date from the first call on."""
    last = [-float("inf")]

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == COMPILED:
            last[0] = time.perf_counter()

    jax.monitoring.register_event_duration_secs_listener(listen)
    return last


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a compiled function returns, once it is there, and the seconds that it ran.

    Those of the first call, which compiles, count from when that is done.
    """
    last, start = _compiled(), time.perf_counter()
    found = jax.block_until_ready(call(*arguments))
    return found, time.perf_counter() - max(start, last[0])


def passes_of(
    method: Method, config: AnalysisConfig, words: float, points: float
) -> dict[str, float] | None:
    """Forward and backward passes for an example of so many words; None where it is not known.

    points  derivatives along a path, of a method that takes them: a pass of each kind
    """
    if method.passes is None:
        return None
    ahead, back = method.passes(config, words)
    return {"forward": float(ahead + points), "backward": float(back + points)}
