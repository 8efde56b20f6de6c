"""What the JSON of a benchmark says of its origin: the command and the machine."""

import os
import platform
import re
import sys
from collections.abc import Sequence
from typing import Any

PATHS = (
    "data",
    "words",
    "workdir",
    "path",
    "vectors",
    "pretrained",
)  # their values differ from machine to machine


def command_line() -> str:
    """This process's command line, without where files lie here."""
    name = os.path.basename(sys.argv[0])
    return " ".join([f"python benchmarks/{name}", *placeless(sys.argv[1:])])


def placeless(arguments: Sequence[str]) -> list[str]:
    """Arguments with DIR for every path, and without --out.

    placeless(["--data", "/a", "--out=b"]) == ["--data=DIR"]
    """
    shown = []
    left = iter(arguments)
    for each in left:
        flag, equals, _ = each.partition("=")
        name = flag.lstrip("-").rpartition(".")[2]
        if name in ("out", *PATHS) and not equals:
            next(left, None)
        if name in PATHS:
            shown.append(f"{flag}=DIR")
        elif name != "out":
            shown.append(each)
    return shown


def machine() -> dict[str, Any]:
    """The processor's name, as far as the system tells, and the number of cores."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            named = re.search(r"^model name\s*: (.+)$", file.read(), re.MULTILINE)
    except OSError:
        named = None
    return {"processor": named[1] if named else name, "cores": os.cpu_count()}
