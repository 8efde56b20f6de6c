"""What long work over examples says while it goes on: what it is, and how many are done of all."""

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

SHARE = 0.1  # of all examples, after which it speaks again,
PAUSE = 2.0  # but not before so many seconds,
SILENCE = 15.0  # and at the latest with the first that is done after so many


def progress(
    doing: str,
    total: int,
    clock: Callable[[], float] = time.monotonic,
    what: str = "example",
) -> Callable[[int | float], None]:
    """Logs what begins; returns a function to call with the number of examples that got done.

    doing  in a few words: "analysis: agreement"; what  it is done with, in the singular
    A part of an example counts as that part.
    """
    start = said = clock()
    done = told = 0.0
    things = what if total == 1 else f"{what}s"
    logger.info("%s: %s %s", doing, f"{total:,}", things)

    def advance(count: int | float) -> None:
        nonlocal done, told, said
        done += count
        now = clock()
        far, long = done - told >= SHARE * total, now - said >= SILENCE
        if done <= total + 0.5 and ((far and now - said >= PAUSE) or long):
            part = f"{round(done):,} of {total:,} {things}, {now - start:.0f} s"
            logger.info("%s: %s", doing, part)
            told, said = done, now

    return advance
