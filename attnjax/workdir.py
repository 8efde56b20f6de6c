"""The files of a run's folder: opening it, and reading and writing JSON that survives a kill.

Of several processes that train one run, the first alone writes; for the others, writing does
nothing.
"""

import json
import math
import os
import uuid
from collections.abc import Iterator
from typing import Any

from etils import epath

from attnjax.errors import UserError
from attnjax.runtime import is_first_process

CONFIG = "config.json"
VOCABULARY = "vocab.json"
METRICS = "metrics.jsonl"
RESULTS = "results.json"
EXAMPLES = "analysis/examples.jsonl"
REPORT = "report.html"
CHECKPOINTS = "checkpoints"
FIGURES = "figures"
PROFILE = "profile"


def open_workdir(path: str) -> epath.Path:
    """Creates the folder if need be and returns it; raises UserError where it is not writable."""
    folder = epath.Path(path) if "://" in path else epath.Path(os.path.abspath(path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{uuid.uuid4().hex}"  # the processes of a run try at once
        probe.write_text("")
        probe.unlink()
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise UserError(
            f"workdir {folder} is not writable ({reason}); choose another with --workdir=DIR"
        ) from error
    return folder


def write_text(path: epath.Path, text: str) -> None:
    """Writes the file whole or not at all: under another name first, then renamed."""
    if not is_first_process():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / (path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def write_json(path: epath.Path, value: Any) -> None:
    """Writes indented JSON; numbers that are not finite become null."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")


def write_json_lines(path: epath.Path, rows: Iterator[Any] | list[Any]) -> None:
    """Writes one JSON object a line."""
    lines = (json.dumps(finite(row), ensure_ascii=False) + "\n" for row in rows)
    write_text(path, "".join(lines))


def read_json(path: epath.Path) -> Any:
    """Reads a JSON file; raises UserError if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; {path.parent} is no finished run") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it, or start in another folder"
        ) from error


def read_json_lines(path: epath.Path) -> list[Any]:
    """Reads one JSON object a line; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def finite(value: Any) -> Any:
    """Replaces NaN and infinities by None, tuples by lists and NumPy scalars by numbers."""
    if isinstance(value, dict):
        return {str(name): finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
