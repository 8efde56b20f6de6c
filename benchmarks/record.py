"""What the JSON of a benchmark says of its origin: the command and the machine."""

import os
import platform
import re
import sys
from typing import Any

PATHS = ("data", "workdir")  # their values differ from machine to machine


def command_line() -> str:
    """This process's command line, without where files lie here."""
    shown = []
    arguments = iter(sys.argv[1:])
    for each in arguments:
        name, equals, _ = each.partition("=")
        name = name.lstrip("-")
        if name in ("out", *PATHS) and not equals:
            next(arguments, None)
        if name in PATHS:
            shown.append(f"--{name}=DIR")
        elif name != "out":
            shown.append(each)
    return " ".join([f"python benchmarks/{os.path.basename(sys.argv[0])}", *shown])


def machine() -> dict[str, Any]:
    """The processor's name, as far as the system tells, and the number of cores."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            named = re.search(r"^model name\s*: (.+)$", file.read(), re.MULTILINE)
    except OSError:
        named = None
    return {"processor": named[1] if named else name, "cores": os.cpu_count()}
