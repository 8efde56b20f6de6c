"""Facts of the configuration's fields, beside their defaults as metadata, and their types."""

import dataclasses
import functools
import math
import sys
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

from attnjax.errors import UserError, encodable

MANY = 10**9  # texts, words or steps: more is a slip of the keyboard
LARGEST = 1e15  # norm of a perturbation: float32 holds its square, and sums of such

# field -> the table whose names it may have beside its own choices. The modules that hold a table
# put it here when they are imported, so that a line in the table is all that a new entry needs.
# Where none has, as in a process that only reads configurations, any name passes.
REGISTERED: dict[str, Mapping[str, Any]] = {}


class Option(NamedTuple):
    """What is known of one field.

    meaning       what `--help` prints
    least, most   bounds of a number, or of each number of a list
    above, below  the same, where the bounds themselves are excluded
    unlimited     -1 is allowed as well, for all that there is
    lists         what the numbers of a list are
    choices       the values that a text, or each text of a list, may have
    registered    the names in a table, `REGISTERED`, are further choices
    swept         the short name by which a sweep varies it
    resumable     may change when a run resumes, although it changes the result
    incidental    changes no result: only how fast, how it is shown, how often something is saved
    own           belongs to one machine: where each process finds its things
    """

    default: Any
    meaning: str
    least: int | float = -math.inf
    most: int | float = math.inf
    above: int | float = -math.inf
    below: int | float = math.inf
    unlimited: bool = False
    lists: str = ""
    choices: tuple[str, ...] = ()
    registered: bool = False
    swept: str = ""
    resumable: bool = False
    incidental: bool = False
    own: bool = False


def option(default: Any, meaning: str, **facts: Any) -> Any:
    """A field of a dataclass; facts  as `Option` has them."""
    return dataclasses.field(
        default=default, metadata={"option": Option(default, meaning, **facts)}
    )


@functools.cache
def options(kind: type, prefix: str = "") -> dict[str, Option]:
    """Dotted name -> facts of every leaf of a tree of dataclasses, in order."""
    found: dict[str, Option] = {}
    hints = typing.get_type_hints(kind)
    for each in dataclasses.fields(kind):
        name = prefix + each.name
        if dataclasses.is_dataclass(hints[each.name]):
            found |= options(hints[each.name], f"{name}.")
        else:
            found[name] = each.metadata["option"]
    return found


def coerce(name: str, hint: Any, value: Any) -> Any:
    """The value as the type that a field has; raises UserError where it is none of that type."""
    if type(value) is int and abs(value) > sys.float_info.max:
        if hint is int:
            raise UserError(f"config field '{name}' is larger than any number it may be")
        value = math.inf if value > 0 else -math.inf  # it could be neither compared nor printed
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        if isinstance(value, list | tuple) and len(value) == 1:
            (value,) = value  # "--config.data.labels=a,b" arrives as ("a,b",)
        if isinstance(value, str):
            value = [_number(kind, part) for part in value.split(",") if part]
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = [value]
        if isinstance(value, list | tuple):
            if kind is str:  # "--config.data.labels=0,1" arrives as numbers
                value = [str(each) if type(each) is int else each for each in value]
            return tuple(coerce(name, kind, each) for each in value)
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif type(value) is hint:
        if isinstance(value, str) and (not encodable(value) or "\0" in value):
            raise UserError(
                f"config field '{name}' is no UTF-8 text: {value!r:.80}; rename what it names"
            )
        return value
    expected = "list" if typing.get_origin(hint) is tuple else hint.__name__
    raise UserError(f"config field '{name}' must be a {expected}, not {value!r:.80}")


def _number(kind: type, part: str) -> Any:
    """The part of a list as the number it stands for; as it is where it stands for none."""
    try:
        return kind(part) if kind in (int, float) else part
    except ValueError:
        return part
