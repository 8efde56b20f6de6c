"""The command line: flags and overrides -> RunConfig, and errors -> one line and a status."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from attnjax.config import RunConfig, default_config, field_names, from_config_dict, to_dict
from attnjax.errors import UserError, suggest
from attnjax.train.stop import Stop, Stopped

USAGE = (
    "usage: python -m attnjax.main [--config=configs/NAME.py] [--workdir=DIR] "
    "[--config.FIELD=VALUE ...]"
)


def parse_command(arguments: Sequence[str]) -> tuple[RunConfig, str]:
    """Returns the checked configuration and the workdir (default runs/NAME).

    Without --config the built-in default runs: bAbI task 1 from the simulator.
    Raises UserError for an unknown flag or field, or a value that does not fit.
    """
    arguments = list(arguments)
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    path = _config_path(arguments[1:])
    _refuse_unknown_fields(arguments)
    try:
        if path is None:
            config_flags.DEFINE_config_dict(
                "config", default_config(), flag_values=values, sys_argv=arguments
            )
        else:
            if not os.path.isfile(path.split(":", 1)[0]):
                raise UserError(f"config file {path.split(':', 1)[0]} does not exist")
            config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
        with contextlib.redirect_stderr(io.StringIO()):
            left = values(arguments)
        config = values["config"].value
    except UserError:
        raise
    except Exception as error:  # whatever a config file or a flag parser raises is the user's
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(f"bad command line: {lines[-1] if lines else error!r}; {USAGE}") from error
    if len(left) > 1:
        raise UserError(f"unexpected argument '{left[1]}'; {USAGE}")
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path} must return a ConfigDict from get_config()")
    stem = os.path.splitext(os.path.basename(path.split(":", 1)[0]))[0] if path else "babi"
    argument = path.split(":", 1)[1] if path and ":" in path else ""
    workdir = values["workdir"].value or os.path.join(
        "runs", stem + (f"_{argument}" if argument else "")
    )
    return from_config_dict(config), workdir


def _config_path(arguments: Sequence[str]) -> str | None:
    for place, each in enumerate(arguments):
        for prefix in ("--config=", "-config="):
            if each.startswith(prefix):
                return each.removeprefix(prefix)
        if each in ("--config", "-config") and place + 1 < len(arguments):
            return arguments[place + 1]
    return None


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
    return from_config_dict(values["config"].value)


def _parse(values: flags.FlagValues, arguments: Sequence[str]) -> list[str]:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return values(list(arguments))
    except Exception as error:  # whatever a flag's parser raises is the user's
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(f"bad command line: {lines[-1] if lines else error!r}") from error


def _refuse_unknown_fields(arguments: Sequence[str]) -> None:
    for name in _overridden(arguments[1:]):
        if name not in field_names():
            raise UserError(f"config has no field '{name}'{suggest(name, field_names())}")


def run_command(action: Callable[[RunConfig, str, Stop], None], arguments: Sequence[str]) -> int:
    """Parses the command line of one run and runs it, see `guarded`."""
    fields = ["fields and defaults:"]
    for name in field_names():
        value: Any = default_config()
        for part in name.split("."):
            value = value[part]
        fields.append(f"  --config.{name}={value}")
    return guarded(
        f"{USAGE} \n\n" + "\n".join(fields),
        lambda stop: action(*parse_command(arguments), stop),
        arguments,
    )


def guarded(usage: str, action: Callable[[Stop], None], arguments: Sequence[str]) -> int:
    """Runs a command: a user's mistake becomes one line on stderr and status 2; signals stop it.

    usage  is printed for --help instead.
    """
    if any(each in ("--help", "-h", "--helpfull") for each in arguments[1:]):
        print(usage)
        return 0
    logging.basicConfig(level=logging.WARNING, format="attnjax: %(message)s", stream=sys.stderr)
    logging.getLogger("attnjax").setLevel(logging.INFO)
    logging.getLogger("absl").setLevel(logging.ERROR)
    stop = Stop()
    try:
        with stop.installed():
            action(stop)
    except UserError as error:
        print(f"attnjax: error: {error}", file=sys.stderr)
        return 2
    except Stopped:
        print("attnjax: stopped; the same command resumes", file=sys.stderr)
    return 0
