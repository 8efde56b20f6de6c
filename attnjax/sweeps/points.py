"""The command line of a sweep -> its points, every one a checked configuration."""

import math
import re
from collections.abc import Sequence
from itertools import product
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from attnjax.config import OPTIONS, RunConfig, changed, from_config_dict, to_dict
from attnjax.errors import UserError, suggest

# short name -> field, of the numbers that a sweep varies. Their order numbers the points and seeds
# the random draws: the learning rate comes last.
SWEPT = {
    option.swept: name
    for name, option in sorted(OPTIONS.items(), key=lambda each: each[0].startswith("train."))
    if option.swept
}
MODES = ("auto", "vmap", "map", "turn")
DRAWS = ("grid", "uniform")
SETTINGS = {"mode": MODES, "draw": DRAWS}
VARY = (*SWEPT, "technique", "seeds")
MOST_GIGABYTES = 1_000_000
MOST = 100_000  # points: more is a slip of the keyboard


class SweepSettings(NamedTuple):
    """What was asked for.

    given   name -> text, of what varies; varied  those numeric fields that have several values
    memory  bytes, or None
    share   (number, count) in one of several processes that share the points, or None
    """

    given: dict[str, str]
    mode: str
    draw: str
    memory: int | None
    share: tuple[int, int] | None = None

    @property
    def varied(self) -> list[str]:
        """The numeric fields that vary, in the order of SWEPT."""
        return [name for name in SWEPT if name in self.given]


class Point(NamedTuple):
    """One run: its folder's name, its configuration, and the fields that a sweep may vary."""

    name: str
    config: RunConfig
    varied: dict[str, Any]


def parse_sweep(arguments: Sequence[str]) -> tuple[SweepSettings, list[str]]:
    """Splits off the --sweep flags; the rest is the command line of one run.

    Raises UserError for a field that cannot vary and for settings out of range.
    """
    given: dict[str, str] = {}
    rest: list[str] = []
    left = iter(arguments)
    for each in left:
        flag, equals, text = each.partition("=")
        name = flag.lstrip("-").removeprefix("sweep.")
        if not flag.startswith("-") or not flag.lstrip("-").startswith("sweep."):
            rest.append(each)
            continue
        if name not in (*VARY, *SETTINGS, "memory", "share"):
            raise UserError(
                f"a sweep cannot vary '{name}': it varies {', '.join(VARY)}; what changes the "
                "model or the data is a sweep of its own"
            )
        text = text if equals else next(left, "")
        if not text.strip():
            raise UserError(f"--sweep.{name} is empty; give it a value, as in {_example(name)}")
        if name in given:
            raise UserError(f"--sweep.{name} is given twice; join the values with commas")
        given[name] = text.strip()
    settings = {name: given.pop(name, known[0]) for name, known in SETTINGS.items()}
    for name, known in SETTINGS.items():
        if settings[name] not in known:
            raise UserError(f"--sweep.{name} is '{settings[name]}'{suggest(settings[name], known)}")
    memory = None
    if "memory" in given:
        gigabytes = _number("memory", given.pop("memory"))
        if not 0 < gigabytes <= MOST_GIGABYTES:
            raise UserError(
                f"--sweep.memory must be positive, at most {MOST_GIGABYTES:,}: gigabytes for the "
                "runs of a chunk"
            )
        memory = max(1, int(1e9 * gigabytes))
    share = None
    if "share" in given:
        number, _, count = given.pop("share").partition("/")
        share = int(_number("share", number)), int(_number("share", count))
        if not 0 <= share[0] < share[1]:
            raise UserError("--sweep.share is what a sweep tells its processes; leave it out")
    if settings["draw"] == "uniform" and not any(":" in given.get(name, "") for name in SWEPT):
        raise UserError(
            "--sweep.draw=uniform draws from a range, and none is given; write one, such as "
            "--sweep.epsilon=0.1:10:20 for 20 draws, or leave it out"
        )
    if not given:
        raise UserError(
            "nothing varies; give at least one of " + ", ".join(f"--sweep.{name}" for name in VARY)
        )
    return SweepSettings(given, settings["mode"], settings["draw"], memory, share), rest


def points_of(config: RunConfig, sweep: SweepSettings) -> list[Point]:
    """Every combination, techniques first and seeds last; raises UserError for what does not fit.

    Without a technique epsilon and weight change nothing: `none` runs once for all of them.
    """
    given = sweep.given
    values: dict[str, list[Any]] = {
        "technique": _names(given["technique"])
        if "technique" in given
        else [config.adversary.technique],
        **{
            name: parse_values(name, given[name], sweep.draw, config.seed)
            if name in given
            else [attrgetter(path)(config)]
            for name, path in SWEPT.items()
        },
        "seed": list(range(config.seed, config.seed + _count(given.get("seeds", "1")))),
    }
    if values["technique"] == ["none"] and ({"epsilon", "weight"} & set(given)):
        raise UserError(
            "epsilon and weight change nothing without a technique; name one with "
            "--sweep.technique=attention_at"
        )
    count = math.prod(len(each) for each in values.values())
    if count > MOST:
        raise UserError(f"the sweep has {count:,} points, more than {MOST:,}; give fewer values")
    points: list[Point] = []
    seen = set()
    for each in product(*values.values()):
        varied = dict(zip(values, each, strict=True))
        if varied["technique"] == "none":
            varied |= {"epsilon": None, "weight": None}
        if tuple(varied.values()) not in seen:
            seen.add(tuple(varied.values()))
            points.append(Point(f"point_{len(points):04d}", _configured(config, varied), varied))
    return points


def parse_values(name: str, text: str, draw: str, seed: int) -> list[float]:
    """a:b:n -> n values from a to b, or n random ones in [a, b]; x,y,z -> these.

    parse_values("epsilon", "0:30:4", "grid", 0) == [0, 10, 20, 30]
    """
    if ":" not in text:
        values = [_number(name, part) for part in text.split(",")]
        if len(set(values)) < len(values):
            raise UserError(f"--sweep.{name}={text} names a value twice")
        return values
    parts = text.split(":")
    if len(parts) != 3:
        raise UserError(f"--sweep.{name}={text} is no range; write {_example(name)}")
    low, high = _number(name, parts[0]), _number(name, parts[1])
    count = _number(name, parts[2])
    if count < 1 or count != int(count) or count > MOST:
        raise UserError(f"--sweep.{name}={text} must end in a number of values from 1 to {MOST:,}")
    if low > high or (low == high and count > 1):
        raise UserError(f"--sweep.{name}={text} is empty: {parts[0]} is not below {parts[1]}")
    if not math.isfinite(high - low):
        raise UserError(f"--sweep.{name}={text} is wider than a number can be")
    if draw == "uniform":
        random = np.random.default_rng([seed, list(SWEPT).index(name)])
        return [float(each) for each in random.uniform(low, high, int(count))]
    return [float(each) for each in np.linspace(low, high, int(count))]


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"--sweep.{name}: '{text}' is no number; write {_example(name)}")
    return value


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= MOST:
        raise UserError(f"--sweep.seeds={text:.20} must be a number of seeds from 1 to {MOST:,}")
    return int(text)


def _names(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"--sweep.technique={text} has an empty or repeated name")
    return names


def _example(name: str) -> str:
    examples = {
        "technique": "--sweep.technique=attention_at,word_at",
        "seeds": "--sweep.seeds=3",
        "memory": "--sweep.memory=4",
        **{name: f"--sweep.{name}={known[0]}" for name, known in SETTINGS.items()},
    }
    return examples.get(name, f"--sweep.{name}=0:30:100 or --sweep.{name}=0.1,1,10")


def _configured(config: RunConfig, varied: dict[str, Any]) -> RunConfig:
    """The configuration of one point, checked as if it had come from the command line."""
    values = {SWEPT[name]: varied[name] for name in SWEPT if varied[name] is not None}
    values |= {"seed": varied["seed"], "adversary.technique": varied["technique"]}
    return from_config_dict(to_dict(changed(config, values)))
