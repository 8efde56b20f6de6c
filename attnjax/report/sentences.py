"""Numbers -> the words of a sentence: how much, within which interval, and what chance gives."""

import math
from collections.abc import Sequence
from typing import Any

FEWEST = 10  # examples; of fewer a sentence names the numbers and judges nothing
QUANTILE = 1.959964  # of the standard normal distribution, for 95 %


def number(value: float) -> str:
    """Two digits behind the point, more where they would be zeros: 0.20, −0.05, 0.004, 0.00."""
    text = f"{value:.1g}" if 1e-9 < abs(value) < 0.005 else f"{round(value, 2) + 0.0:.2f}"
    return text.replace("-", "−")


def share(value: float) -> str:
    """In percent, one digit behind the point: 81.2 %, 100 %."""
    return f"{100 * value:.1f}".removesuffix(".0") + "\u00a0%"


def accuracy(value: float, count: int | None) -> str:
    """A share of so many examples with its 95 % interval: "81.2 % (79.1 to 82.7 %)".

    Of fewer than FEWEST the share alone.
    """
    if not count or count < FEWEST:
        return share(value)
    low, high = share_interval(value, count)
    return f"{share(value)} ({share(low)[:-2]} to {share(high)})"


def estimate(found: dict[str, Any]) -> str:
    """A summary's mean and interval: "0.20 (0.18 to 0.22)", the mean alone where it has none."""
    interval = found.get("ci95")
    ends = f" ({number(interval[0])} to {number(interval[1])})" if interval else ""
    return number(found["mean"]) + ends


def usable(found: dict[str, Any] | None, examples: int | None) -> dict[str, Any] | None:
    """The summary, without its interval where fewer than FEWEST examples are defined.

    None where nothing is; "defined" is how many are, None where that is not known. Only of what has
    an interval a sentence says how much that is.
    """
    if not found or found.get("mean") is None:
        return None
    defined = None if examples is None else examples - (found.get("undefined") or 0)
    few = defined is not None and defined < FEWEST
    return {**found, "defined": defined} | ({"ci95": None} if few else {})


def grade(value: float, steps: Sequence[tuple[float, str]], above: str) -> str:
    """The word of the first step that the value lies below, else `above`.

    >>> grade(0.2, ((0.1, "hardly"), (0.3, "a little")), "well")
    'a little'
    """
    return next((word for bound, word in steps if value < bound), above)


def joined(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def counted(count: int, noun: str = "example") -> str:
    """ "1 example", "1,234 examples"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def of_few(found: dict[str, Any]) -> str:
    """Of what is `usable` says that so few examples bear no interval; "" where there is one."""
    if found.get("ci95"):
        return ""
    count = found["defined"]
    return f", over {counted(count)}: too few for an interval" if count else ", without an interval"


def share_interval(share: float, count: int) -> list[float]:
    """Wilson's 95 % interval of a share of so many examples (Wilson 1927).

    share_interval(1.0, 10) == [0.722, 1.0]
    """
    square = QUANTILE**2 / count
    middle = (share + square / 2) / (1 + square)
    half = QUANTILE * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return [max(0.0, middle - half), min(1.0, middle + half)]
