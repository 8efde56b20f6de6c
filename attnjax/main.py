"""Trains (or resumes), evaluates, analyses and reports one run.

python -m attnjax.main --config=configs/snli.py --workdir=runs/snli [--config.FIELD=VALUE ...]
"""

import contextlib
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from attnjax.stop import end, starting

with starting(__name__):
    from ml_collections import ConfigDict

    from attnjax.command import run_command
    from attnjax.config import RunConfig, from_config_dict
    from attnjax.errors import UserError
    from attnjax.pipeline import run_pipeline
    from attnjax.runs.loaded import Run, load_run
    from attnjax.runtime import set_compiler
    from attnjax.stop import Stop, Stopped


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 2 for a user's mistake.

    arguments  as `sys.argv`, which is the default: the first is the program's name
    """
    return run_command(run_pipeline, sys.argv if arguments is None else arguments)


def train(config: Any, workdir: str | os.PathLike[str]) -> Run:  # Any: users pass anything
    """Does what the command does, from Python: trains or resumes, analyses, reports; the run.

    config  as `attnjax.default_config()` gives it, to be changed; as `Run.config` holds it; or the
            same as nested dicts
    Raises UserError for whatever ends the command with one line. Ctrl-C in the main thread saves
    and raises KeyboardInterrupt; the same call resumes.

    config = attnjax.default_config()
    config.train.epochs = 3
    run = attnjax.train(config, "runs/mine")
    """
    if isinstance(config, Mapping):
        config = dict(config)
    elif not isinstance(config, RunConfig | ConfigDict):
        raise UserError(f"train takes a configuration, not {config!r:.40}")
    checked = config if isinstance(config, RunConfig) else from_config_dict(config)
    set_compiler()
    stop = Stop()
    here = threading.current_thread() is threading.main_thread()
    try:
        with stop.installed() if here else contextlib.nullcontext():
            run_pipeline(checked, os.fspath(workdir), stop)
    except Stopped:
        raise KeyboardInterrupt from None
    return load_run(workdir)


if __name__ == "__main__":
    end(main())
