"""The command line: flags and overrides -> RunConfig, and errors -> one line and a status."""

import contextlib
import io
import logging
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from operator import attrgetter
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from attnjax import shipped
from attnjax.checks import bounds_of, choices_of
from attnjax.config import OPTIONS, RunConfig, default_config, from_config_dict, to_dict
from attnjax.errors import UserError, suggest
from attnjax.hosts import (
    Hosts,
    is_first_process,
    join_hosts,
    leave_hosts,
    on_tpu_pod,
    several_processes,
)
from attnjax.runtime import collect_garbage_rarely, set_compiler
from attnjax.stop import TOLD, Stop, Stopped, failed_import, failed_under_debugging, tell

USAGE = (
    "usage: python -m attnjax.main [--config=NAME or FILE.py] [--workdir=DIR] "
    "[--config.FIELD=VALUE ...]"
)
HOST_FLAGS = """\
  --distributed               one of several, in a cluster that JAX knows (Slurm, Open MPI,
                              Kubernetes); on a Cloud TPU pod it is the default
  --coordinator=HOST:PORT     elsewhere: address of process 0, the same for all
  --processes=N --process=I   elsewhere: how many there are, and which this is, from 0
  --coordinator_timeout=300   seconds until all must have met"""
NO_INTEGER = r"\1 is no whole number, which is written in digits: 1000000"
NO_BOOLEAN = r"\1 is neither True nor False"
MOST_PROCESSES, LONGEST_S = 1_000_000, 1_000_000
COMPILERS = ("ptxas exited", "nvlink exited")
EXHAUSTED = "RESOURCE_EXHAUSTED"  # how XLA begins where a device has no memory left
LOST = ("Gloo", "closed by peer", "reset by peer", "coordination", "heartbeat", "NCCL")


def parse_hosts(arguments: Sequence[str]) -> tuple[Hosts | None, list[str]]:
    """Takes the flags about other processes out: (None where there are none, other arguments).

    Raises UserError where they contradict each other.
    """
    values = flags.FlagValues()
    flags.DEFINE_bool("distributed", None, "one of several processes", flag_values=values)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0", flag_values=values)
    flags.DEFINE_integer("processes", None, "how many", flag_values=values)
    flags.DEFINE_integer("process", None, "which one", flag_values=values)
    flags.DEFINE_integer("coordinator_timeout", 300, "seconds", flag_values=values)
    try:
        left = values(list(arguments), known_only=True)
    except flags.Error as error:
        raise UserError(f"bad command line: {reason_of(error)}") from error
    names = ("coordinator", "processes", "process", "coordinator_timeout", "distributed")
    found: list[Any] = [values[name].value for name in names]
    address, count, number, seconds, wanted = found
    given = [each is not None for each in (address, count, number)]
    if any(given) and not all(given):
        raise UserError("--coordinator=HOST:PORT, --processes=N and --process=I belong together")
    if all(given):
        host, _, port = address.rpartition(":")
        if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 2**16:
            raise UserError(f"--coordinator={address} must be HOST:PORT, such as 10.0.0.1:8476")
        if not 1 <= count <= MOST_PROCESSES:
            raise UserError(f"--processes={count} must lie between 1 and {MOST_PROCESSES:,}")
        if not 0 <= number < count:
            raise UserError(f"--process={number} must lie between 0 and {count - 1}, one for each")
    if not 1 <= seconds <= LONGEST_S:
        raise UserError(
            f"--coordinator_timeout={seconds} must lie between 1 and {LONGEST_S:,} seconds"
        )
    if wanted is None:
        wanted = all(given) or on_tpu_pod()
    return (Hosts(address, count, number, seconds) if wanted else None), left


def parse_command(arguments: Sequence[str]) -> tuple[RunConfig, str]:
    """Returns the checked configuration and the workdir (default runs/NAME).

    Without --config the built-in default runs: bAbI task 1 from the simulator.
    Raises UserError for an unknown flag or field, or a value that does not fit.
    """
    arguments = list(arguments)
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    path = _config_path(arguments)
    _refuse_unknown_fields(arguments)
    try:
        if path is None:
            config_flags.DEFINE_config_dict(
                "config", default_config(), flag_values=values, sys_argv=arguments
            )
        else:
            config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
        with contextlib.redirect_stderr(io.StringIO()):
            left = values(arguments)
        config = values["config"].value
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # of a config file or a flag parser: the user's
        raise UserError(f"bad command line: {reason_of(error)}; {USAGE}") from error
    if len(left) > 1:
        raise UserError(f"unexpected argument '{left[1]}'; {USAGE}")
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path} must return a ConfigDict from get_config()")
    if values["workdir"].value == "":
        raise UserError("--workdir is empty; name the folder of the run, or leave the flag out")
    stem = os.path.splitext(os.path.basename(path.split(":", 1)[0]))[0] if path else "babi"
    argument = path.split(":", 1)[1] if path and ":" in path else ""
    workdir = values["workdir"].value or os.path.join(
        "runs", stem + (f"_{argument}" if argument else "")
    )
    return from_config_dict(config), workdir


def _config_path(arguments: list[str]) -> str | None:
    """The file of --config, with what follows a colon; writes it into the arguments, where a
    shipped configuration stands by its name."""
    places = [
        place
        for place in range(1, len(arguments))
        if arguments[place].partition("=")[0] in ("--config", "-config")
    ]
    if len(places) > 1:
        raise UserError(f"--config is given {len(places)} times; leave all but one out")
    if not places:
        return None
    place = places[0]
    _, equals, wanted = arguments[place].partition("=")
    if not equals and place + 1 < len(arguments):
        wanted = arguments.pop(place + 1)
    file, colon, argument = wanted.partition(":")
    path = f"{shipped.find(file)}{colon}{argument}"
    arguments[place] = f"--config={path}"
    return path


def _overridden(arguments: Sequence[str]) -> list[str]:
    """Dotted field names that the arguments override: ["train.epochs"]."""
    starts = [each.lstrip("-").split("=", 1)[0] for each in arguments if each.startswith("-")]
    return [name.removeprefix("config.") for name in starts if name.startswith("config.")]


def parse_overrides(
    arguments: Sequence[str], values: flags.FlagValues, base: RunConfig
) -> RunConfig:
    """Parses flags already defined on `values` and --config.FIELD=VALUE on top of `base`.

    Raises UserError for an unknown flag or field, a value that does not fit, or a stray argument.
    """
    _refuse_unknown_fields(arguments)
    config_flags.DEFINE_config_dict(
        "config", ConfigDict(to_dict(base)), flag_values=values, sys_argv=list(arguments)
    )
    left = _parse(values, arguments)
    if len(left) > 1:
        raise UserError(f"unexpected argument '{left[1]}'")
    config: Any = values["config"].value
    return from_config_dict(config)


def _parse(values: flags.FlagValues, arguments: Sequence[str]) -> list[str]:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return values(list(arguments))
    except Exception as error:  # whatever a flag's parser raises is the user's
        raise UserError(f"bad command line: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """The last line of what a flag's parser says; all that anything else does."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and isinstance(error, flags.Error | ValueError):
        told = re.sub(r"invalid literal for int\(\) with base 10: (.*)", NO_INTEGER, lines[-1])
        told = re.sub(r"could not convert string to float: (.*)", r"\1 is no number", told)
        told = re.sub(r"\('Non-boolean argument to boolean flag', (.*)\)", NO_BOOLEAN, told)
        return told if len(told) < 300 else f"{told[:100]} ... {told[-100:]}"
    return f"{type(error).__name__}: {' '.join(lines)}"


def _refuse_unknown_fields(arguments: Sequence[str]) -> None:
    """Raises UserError for a field that is not there, and for a list that is given twice."""
    names = _overridden(arguments[1:])
    for name in names:
        if name not in OPTIONS:
            raise UserError(f"config has no field '{name}'{suggest(name, OPTIONS)}")
        if isinstance(OPTIONS[name].default, tuple) and names.count(name) > 1:
            raise UserError(
                f"--config.{name} is given {names.count(name)} times, and the last would replace "
                "the others; join the values with commas"
            )


def run_command(action: Callable[[RunConfig, str, Stop], None], arguments: Sequence[str]) -> int:
    """Parses the command line of one run, joins the other processes if any, and runs it."""

    def run(stop: Stop) -> None:
        hosts, rest = parse_hosts(arguments)
        config, workdir = parse_command(rest)
        if hosts is not None:
            join_hosts(hosts)
            _log_of_process()
        action(config, workdir, stop)

    parts = [each.partition("=")[2] for each in arguments[1:] if each.startswith("--help=")]
    if parts:
        return guarded("", lambda _: print_whole(help_on(parts[0])), arguments[:1])
    processes = f"several processes, all with the same workdir:\n{HOST_FLAGS}"
    listed = f"fields, with their defaults (--help=PART prints some):\n\n{help_on('')}"
    return guarded(f"{USAGE}\n\n{processes}\n\n{listed}", run, arguments)


def help_on(part: str) -> str:
    """Meaning, default, and range or choices of the fields whose names have this part, grouped.

    Raises UserError where no name has it.
    """
    wanted = part.removeprefix("--").removeprefix("config.")
    groups: dict[str, list[str]] = {}
    for name in OPTIONS:
        if wanted in name:
            groups.setdefault(name.rpartition(".")[0], []).append(_help_on_field(name))
    if not groups:
        near = [n for n in OPTIONS if get_close_matches(wanted, [n, *n.split(".")[1:]])]
        known = f"did you mean {', '.join(near)}?" if near else "--help alone prints all"
        raise UserError(f"config has no field with '{part}' in its name; {known}")
    defaults = RunConfig()
    headings = {group: attrgetter(group)(defaults).__doc__ for group in groups if group}
    return "\n\n".join(
        "\n".join([f"{group}: {headings[group]}" if group else "of the run:", *fields])
        for group, fields in groups.items()
    )


def _help_on_field(name: str) -> str:
    option = OPTIONS[name]
    several = isinstance(option.default, tuple)
    default = ",".join(map(str, option.default)) if several else option.default
    allowed = "True or False" if isinstance(default, bool) else bounds_of(option)
    if known := choices_of(name, option):
        names = ", ".join(each or "empty" for each in known)
        allowed = f"{'any' if several else 'one'} of {names}"
    text = f"{option.meaning} ({allowed})" if allowed else option.meaning
    indent = " " * 6
    told = textwrap.fill(
        text, 100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    flag = f"  --config.{name}={default}"
    if len(flag) > 100:
        flag = f"  --config.{name}=\n{indent}{default}"
    return f"{flag}\n{told}"


def print_whole(text: str) -> None:
    """Prints the text, or as much of it as anybody reads: `| head` is no failure."""
    with contextlib.suppress(BrokenPipeError):
        print(text)


def guarded(usage: str, action: Callable[[Stop], None], arguments: Sequence[str]) -> int:
    """Runs a command: a user's mistake becomes one line on stderr and status 2; signals stop it.

    usage  is printed for --help instead. Where another process of the run is lost, it ends with
    one line and status 1.
    """
    logging.basicConfig(level=logging.WARNING, format="attnjax: %(message)s", stream=sys.stderr)
    logging.getLogger("attnjax").setLevel(logging.INFO)
    for name in ("absl", "asyncio", "concurrent.futures"):  # Orbax tells all its threads' failures
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.excepthook = _without_late_threads
    stop = Stop()
    status = 0
    try:
        if any(each in ("--help", "-h", "--helpfull") for each in arguments[1:]):
            print_whole(usage)
            return 0
        os.environ["MPLBACKEND"] = "agg"  # no window opens; Matplotlib stops at a name it lacks
        with stop.installed():
            set_compiler()
            collect_garbage_rarely()
            action(stop)
    except UserError as error:
        tell(f"attnjax: error: {error}")
        status = 2
    except Stopped:
        tell(TOLD)
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        if stop.requested and any(word in reason for word in COMPILERS):
            # The signal went to this process and to those it had started. Nothing else that fails
            # now is a stop: it may be what was to be saved.
            tell(f"attnjax: stopped at once ({reason}); the same command resumes")
            return 0
        if several_processes() and any(word in str(error) for word in LOST):
            tell(
                f"attnjax: error: another process of this run is gone ({reason}); start all of "
                "them again with the same command to resume"
            )
            os._exit(1)  # an orderly end would wait for the one that is gone
        if isinstance(error, OSError):  # a full disk, a file for a folder
            where = f"{error.filename}: " if error.filename else ""
            told = f"{where}{error.strerror or reason}; mend that, and give the same command again"
        elif isinstance(error, MemoryError):  # not of a device: what holds the data and the model
            told = (
                f"out of memory ({reason}); less is needed with a lower data.train_examples, "
                "analysis.examples, model.embed_dim or model.hidden_dim, or a higher data.min_count"
            )
        elif told := failed_import(error):
            pass
        elif "Unable to initialize backend" in reason:
            told = f"JAX cannot start ({reason}); unset JAX_PLATFORMS, or name what is here: cpu"
        elif EXHAUSTED in reason:
            told = (
                f"out of memory ({reason}); lower train.batch_size, analysis.chunk_size or "
                "data.max_length, or --sweep.memory of a sweep"
            )
        elif told := failed_under_debugging(error):
            pass
        else:
            raise
        tell(f"attnjax: error: {told}")
        status = 2
    if status:
        leave_hosts(status)
    return status


def _without_late_threads(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Prints an exception, but not that of a thread of Orbax's that comes after what it read."""
    if str(error) != "Event loop is closed":
        sys.__excepthook__(kind, error, trace)


def _log_of_process() -> None:
    """The first process tells what all do; the others are heard only when something is wrong."""
    if not is_first_process():
        logging.getLogger("attnjax").setLevel(logging.WARNING)
