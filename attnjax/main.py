"""Trains (or resumes), evaluates, analyses and reports one run.

python -m attnjax.main --config=configs/snli.py --workdir=runs/snli [--config.FIELD=VALUE ...]
"""

import sys

from attnjax.stop import end, starting

with starting(__name__):
    from attnjax.command import run_command
    from attnjax.pipeline import run_pipeline


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 2 for a user's mistake.

    arguments  as `sys.argv`, which is the default: the first is the program's name
    """
    return run_command(run_pipeline, sys.argv if arguments is None else arguments)


if __name__ == "__main__":
    end(main())
