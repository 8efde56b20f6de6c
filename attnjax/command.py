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

from attnjax.config import RunConfig, default_config, field_names, from_config_dict
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
    for name in _overridden(arguments[1:]):
        if name not in field_names():
            raise UserError(f"config has no field '{name}'{suggest(name, field_names())}")
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


def run_command(action: Callable[[RunConfig, str, Stop], None], arguments: Sequence[str]) -> int:
    """Parses, runs, and turns a user's mistake into one line on stderr and status 2."""
    if any(each in ("--help", "-h", "--helpfull") for each in arguments[1:]):
        print(USAGE, "\n\nfields and defaults:")
        for name in field_names():
            value: Any = default_config()
            for part in name.split("."):
                value = value[part]
            print(f"  --config.{name}={value}")
        return 0
    logging.basicConfig(level=logging.WARNING, format="attnjax: %(message)s", stream=sys.stderr)
    logging.getLogger("attnjax").setLevel(logging.INFO)
    logging.getLogger("absl").setLevel(logging.ERROR)
    stop = Stop()
    try:
        with stop.installed():
            config, workdir = parse_command(arguments)
            action(config, workdir, stop)
    except UserError as error:
        print(f"attnjax: error: {error}", file=sys.stderr)
        return 2
    except Stopped:
        print("attnjax: stopped; the same command resumes", file=sys.stderr)
    return 0
