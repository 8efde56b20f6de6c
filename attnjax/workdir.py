"""The files of a run's folder: opening it, and reading and writing JSON that survives a kill.

Of several processes that train one run, the first alone writes; for the others, writing does
nothing. A folder may come from anybody: what is read has the shape it should have, and nothing is
written through a link that lies in it.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import math
import os
import re
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

from attnjax.errors import UserError, encodable
from attnjax.hosts import is_first_process
from attnjax.shapes import EXAMPLES_SHAPE, RESULTS_SHAPE, misfit, too_deep, uneven

PARTIAL = re.compile(r"\..+\.[0-9a-f]{32}\.partial")  # names of files that are being written
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
SELF_ATTENTION = "analysis/self_attention.npz"
RATIONALES = "analysis/rationales_{}.jsonl"  # one for each explanation
EXPLAINED = "explained"
FOLDERS = (  # all that a run writes into
    *("analysis", FIGURES, TABLES, PROFILE, "tensorboard", EXPLAINED),
    *(CHECKPOINTS, f"{CHECKPOINTS}/latest", f"{CHECKPOINTS}/best"),
)

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
    refuse_links(folder)
    return folder


def refuse_links(folder: epath.Path) -> None:
    """Raises UserError where a link or a file stands for a folder that a run has inside its own.

    Through a link, files elsewhere would be overwritten. The folder itself may be one.
    """
    if "://" in str(folder):
        return
    for name in FOLDERS:
        path = os.path.join(folder, name)
        if os.path.islink(path) or (os.path.exists(path) and not os.path.isdir(path)):
            what = "a symbolic link" if os.path.islink(path) else "a file"
            raise UserError(
                f"{path} is {what}, and a run's own folder belongs there; move it away, or choose "
                "another --workdir"
            )


@contextlib.contextmanager
def held(folder: epath.Path) -> Iterator[None]:
    """Keeps other commands from writing to the folder of a run for the block.

    Deletes what killed commands had half written. Raises UserError where another one holds the
    folder. The lock ends with the process, however it ends. No effect on gs://, on file systems
    without locks, and in all but the first process of a run.
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
        for each in (folder, *(folder / name for name in FOLDERS)):
            delete_partial(each)
        yield
    finally:
        os.close(handle)


def delete_partial(folder: epath.Path) -> None:
    """Deletes the files that a command was writing here when it was killed."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if PARTIAL.fullmatch(name):
                os.unlink(os.path.join(folder, name))


def find_workdir(path: Any) -> epath.Path:
    """Returns the folder of a run that is there; raises UserError where none is."""
    folder = absolute(path)
    if not any((folder / name).exists() for name in (CONFIG, CHECKPOINTS)):
        raise UserError(
            f"{folder} holds no run (no {CONFIG}); give the --workdir of a finished training"
        )
    return folder


def absolute(path: Any) -> epath.Path:
    """The folder of that name, local or gs://; raises UserError where gs:// cannot be used."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise UserError(f"a folder is named by a text or a path, not by {path!r:.40}")
    path = os.fspath(path)
    if not encodable(path) or "\0" in path:
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
    """Writes the file whole or not at all, as `write_bytes`."""
    write_bytes(path, encoded(text))


def encoded(text: str) -> bytes:
    """UTF-8; what it cannot hold, as names of files may, becomes the escape that JSON has."""
    return text.encode(errors="backslashreplace")


def write_bytes(path: epath.Path, content: bytes) -> None:
    """Writes the file whole or not at all: under a name that nobody can foresee, then renamed.

    A link of the file's name is replaced, not followed. An object on gs:// is whole by itself.
    """
    if not is_first_process():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if "://" in str(path):
        path.write_bytes(content)
        return
    partial = os.path.join(path.parent, f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with open(partial, "xb") as file:  # x: refuses a name that is there, be it a link
            file.write(content)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def delete(path: epath.Path) -> None:
    """Deletes a file if it is there."""
    if is_first_process():
        path.unlink(missing_ok=True)


def append_text(path: epath.Path, text: str) -> None:
    """Adds to the end of a file; objects on gs:// have no append and are written anew.

    Raises UserError where a link of that name lies there: another file would grow.
    """
    if "://" in str(path):
        path.write_text((path.read_text() if path.exists() else "") + text)
    else:
        if os.path.islink(path):
            raise UserError(f"{path} is a symbolic link; move it away, or choose another --workdir")
        with path.open("a") as file:
            file.write(text)


def write_json(path: epath.Path, value: Any) -> None:
    """Writes indented JSON; numbers that are not finite become null."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")


def write_json_lines(path: epath.Path, rows: Iterator[Any] | list[Any]) -> str:
    """Writes one JSON object a line; returns the SHA-256 of the file."""
    text = "".join(json.dumps(finite(row), ensure_ascii=False) + "\n" for row in rows)
    write_text(path, text)
    return hashlib.sha256(encoded(text)).hexdigest()


def write_arrays(path: epath.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a compressed .npz of arrays by name."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # pyright: ignore[reportArgumentType]
    write_bytes(path, content.getvalue())


def read_arrays(path: epath.Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz by name, none where there is no file; UserError if it is damaged."""
    refuse_pipe(path)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise UserError(f"{path} is damaged ({_reason(error)}); delete it") from error


def read_json(path: epath.Path, shape: Any = object) -> Any:
    """Reads a JSON file of the shape, as `misfit` has it.

    Raises UserError if it is missing, damaged, or of another shape.
    """
    try:
        return parse(_read_text(path), shape)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; {path.parent} is no finished run") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({_reason(error)}); restore it, or start in another folder"
        ) from error


def read_json_lines(path: epath.Path, shape: Any = dict) -> list[Any]:
    """Reads one JSON object of the shape a line; a last line that a kill cut short is left out.

    Empty where there is no file. Raises UserError if another line is damaged or of another shape.
    """
    try:
        lines = _read_text(path).split("\n")  # words may hold the other separators
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({_reason(error)}); restore it") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(parse(line, shape))
        except ValueError as error:
            if number == len(lines):  # cut short, or empty: after the last line feed
                break
            raise UserError(
                f"line {number} of {path} is damaged ({_reason(error)}); restore or delete it"
            ) from error
    return rows


def read_examples(folder: epath.Path) -> list[dict[str, Any]]:
    """The analysed examples of a run, with a value a token of each explanation; [] of none.

    Raises UserError as `read_json_lines` and `refuse_other_examples`, and where explanations do not
    fit the tokens, or are not those of the other examples.
    """
    if (folder / RESULTS).exists():
        refuse_other_examples(folder, read_json(folder / RESULTS, RESULTS_SHAPE)["analysis"])
    rows = read_json_lines(folder / EXAMPLES, EXAMPLES_SHAPE)
    for number, row in enumerate(rows, 1):
        if wrong := uneven(row, rows[0]):
            raise UserError(
                f"line {number} of {folder / EXAMPLES} is damaged ({wrong}); analyse that run again"
            )
    return rows


def refuse_other_examples(folder: epath.Path, analysis: Mapping[str, Any]) -> None:
    """Raises UserError where examples.jsonl is not that of the analysis in results.json.

    Nothing is said where there is none, or where an earlier version wrote no sum.
    """
    path, stored = folder / EXAMPLES, analysis.get("examples_sha256")
    refuse_pipe(path)
    if stored is None or not path.exists():
        return
    found = hashlib.sha256()
    with path.open("rb") as file:
        for line in file:
            found.update(line)
    if stored != found.hexdigest():
        raise UserError(
            f"{path} is not of the analysis that {RESULTS} tells of, which was stopped, or one of "
            "them was changed; analyse that run again"
        )


def _read_text(path: epath.Path) -> str:
    refuse_pipe(path)
    return path.read_bytes().decode()


def refuse_pipe(path: epath.Path) -> None:
    """Raises UserError for a pipe or a device under a file's name: reading it might never end."""
    local = "://" not in str(path) and os.path.exists(path)
    if local and not (os.path.isfile(path) or os.path.isdir(path)):
        raise UserError(f"{path} is a pipe or a device, not a file; restore the file")


def parse(text: str | bytes, shape: Any) -> Any:
    """The value of JSON; raises ValueError where it is none, or of another shape."""
    deep = ValueError("it is nested too deeply")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise deep from error
    if too_deep(value):
        raise deep
    if wrong := misfit(value, shape):
        raise ValueError(wrong)
    return value


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or f"{error!s:.200}"


def digest(value: Any) -> str:
    """The SHA-256 of a value of JSON, whatever the order of its names."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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
