"""The files of a run's folder: opening it, and reading and writing JSON that survives a kill.

Of several processes that train one run, the first alone writes; for the others, writing does
nothing.
"""

import contextlib
import hashlib
import importlib.util
import json
import logging
import math
import os
import re
import uuid
from collections.abc import Iterator
from typing import Any

from etils import epath

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

from attnjax.errors import UserError, encodable
from attnjax.hosts import is_first_process

PARTIAL = ".partial"  # ends the names of files that are being written
CONFIG = "config.json"
VOCABULARY = "vocab.json"
METRICS = "metrics.jsonl"
RESULTS = "results.json"
EXAMPLES = "analysis/examples.jsonl"
REPORT = "report.html"
CHECKPOINTS = "checkpoints"
FIGURES = "figures"
TABLES = "tables"
EXAMPLES_README = "analysis/README.md"
PROFILE = "profile"
RATIONALES = "analysis/rationales_{}.jsonl"  # one for each explanation

STORAGE_ADVICE = (  # what a failed write to gs:// says, and what to do; the first match counts
    (
        r"\b401\b|anonymous|credential|RefreshError",
        "sign in with: gcloud auth application-default login",
    ),
    (
        r"\b403\b|permission|forbidden",
        "grant this account the role Storage Object Admin (roles/storage.objectAdmin)",
    ),
    (
        r"\b404\b|not ?found|not exist|no such",
        "create the bucket with: gcloud storage buckets create",
    ),
    (r"connect|timed? ?out", "check the network"),
)


def open_workdir(path: str, flag: str = "--workdir") -> epath.Path:
    """Creates the folder if need be and returns it; raises UserError where it is not writable.

    path  a local folder, or gs://BUCKET/RUN, which needs the extra attnjax[gcp]; flag  its name
    """
    folder = absolute(path)
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs a traceback, then raises
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{uuid.uuid4().hex}"  # the processes of a run try at once
        probe.write_text("")
        probe.unlink()
    except Exception as error:
        first = str(error).split("\n")[0]
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {first}"
        advice = f"choose another with {flag}=DIR"
        if "://" in path:
            advice = _storage_advice(error)
        name = flag.removeprefix("--")
        raise UserError(f"{name} {folder} is not writable ({reason}); {advice}") from error
    return folder


@contextlib.contextmanager
def held(folder: epath.Path) -> Iterator[None]:
    """Keeps other commands from writing to the folder of a run for the block.

    Raises UserError where another one holds it. The lock ends with the process, however it ends. No
    effect on gs://, on file systems without locks, and in all but the first process of a run.
    """
    if fcntl is None or "://" in str(folder) or not is_first_process():
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another command is writing to {folder}; wait for it, or choose another --workdir"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def find_workdir(path: str | os.PathLike[str]) -> epath.Path:
    """Returns the folder of a run that is there; raises UserError where none is."""
    folder = absolute(path)
    if not (folder / CONFIG).exists():
        raise UserError(
            f"{folder} holds no run (no {CONFIG}); give the --workdir of a finished training"
        )
    return folder


def absolute(path: str | os.PathLike[str]) -> epath.Path:
    """The folder of that name, local or gs://; raises UserError where gs:// cannot be used."""
    path = os.fspath(path)
    if not encodable(path):
        raise UserError(f"the name of the folder {path!r} is no UTF-8; choose another")
    if "://" not in path:
        return epath.Path(os.path.abspath(os.path.expanduser(path)))  # no shell expands --x=~/y
    _check_remote(path)
    return epath.Path(path)


def _check_remote(path: str) -> None:
    """Raises UserError unless the path is gs://BUCKET/RUN and its packages are installed."""
    if not re.match(r"gs://[^/]+/.*[^/]", path):
        raise UserError(f"workdir {path} must be a local folder, or gs://BUCKET/RUN")
    # epath prefers TensorFlow's file system where there is one, as long as it can be imported.
    if importlib.util.find_spec("tensorflow") is None:
        for package in ("fsspec", "gcsfs"):
            if importlib.util.find_spec(package) is None:
                raise UserError(
                    f"workdir {path} needs the package {package}: pip install 'attnjax[gcp]'"
                )


def _storage_advice(error: Exception) -> str:
    text = f"{type(error).__name__} {error}"
    for pattern, advice in STORAGE_ADVICE:
        if re.search(pattern, text, re.IGNORECASE):
            return advice
    return "choose another with --workdir=DIR"


def write_text(path: epath.Path, text: str) -> None:
    """Writes the file whole or not at all: under another name first, then renamed."""
    if not is_first_process():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / (path.name + PARTIAL)
    partial.write_text(text)
    partial.replace(path)


def delete(path: epath.Path) -> None:
    """Deletes a file if it is there."""
    if is_first_process():
        path.unlink(missing_ok=True)


def append_text(path: epath.Path, text: str) -> None:
    """Adds to the end of a file; objects on gs:// have no append and are written anew."""
    if "://" in str(path):
        path.write_text((path.read_text() if path.exists() else "") + text)
    else:
        with path.open("a") as file:
            file.write(text)


def write_json(path: epath.Path, value: Any) -> None:
    """Writes indented JSON; numbers that are not finite become null."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")


def write_json_lines(path: epath.Path, rows: Iterator[Any] | list[Any]) -> str:
    """Writes one JSON object a line; returns the SHA-256 of the file."""
    text = "".join(json.dumps(finite(row), ensure_ascii=False) + "\n" for row in rows)
    write_text(path, text)
    return hashlib.sha256(text.encode()).hexdigest()


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
    for line in path.read_text().split("\n"):  # words may hold the other separators
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
