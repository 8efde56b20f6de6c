"""Trains a grid of runs, many in one program, and tabulates and draws what came out.

python -m attnjax.sweep --config=configs/sst.py --sweep.epsilon=0:30:100 --sweep.seeds=3 \\
    --sweep.technique=attention_at,word_at [--workdir=DIR] [--config.FIELD=VALUE ...]

What varies; every combination is one run, equal to `python -m attnjax.main` with these fields:
  --sweep.epsilon, .weight, .relevance, .learning_rate
                      a:b:n (n values from a to b), x,y,z, or one number
  --sweep.technique   names of techniques
  --sweep.seeds=N     N seeds, from config.seed on
How it is done:
  --sweep.draw        grid, or uniform: a:b:n are n random draws from [a, b]
  --sweep.mode        auto (measures a few steps of each), vmap, map or turn; on a CPU with several
                      cores, auto divides the points among processes, one for each core
  --sweep.memory=GB   what the runs of a chunk may take, over all devices; half of it all

A run's folder DIR/point_0007 (DIR: runs/NAME_sweep) holds config.json, vocab.json, metrics.jsonl,
results.json and the best checkpoint; `python -m attnjax.analyze --workdir=DIR/point_0007` adds
permutations, adversarial attention and the report. DIR holds sweep.html, the table as sweep.jsonl,
sweep.csv and sweep.tex, and figures/. The same command again goes on after the last finished chunk.
"""

import sys
from collections.abc import Sequence

from attnjax.stop import Stop, end, starting

with starting(__name__):
    from attnjax.command import guarded, parse_command, parse_hosts
    from attnjax.errors import UserError
    from attnjax.sweeps.bench import run_sweep
    from attnjax.sweeps.points import parse_sweep


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 2 for a user's mistake.

    arguments  as `sys.argv`, which is the default: the first is the program's name
    """
    arguments = sys.argv if arguments is None else arguments
    return guarded(__doc__ or "", lambda stop: sweep(arguments, stop), arguments)


def sweep(arguments: Sequence[str], stop: Stop) -> None:
    """Parses the command line and does the sweep; raises UserError before anything is trained."""
    asked, rest = parse_sweep(arguments)
    hosts, rest = parse_hosts(rest)
    if hosts is not None:
        raise UserError(
            "a sweep runs on one host, and this would be one of several; give each host a sweep of "
            "its own, with a part of the values and another --workdir"
        )
    config, workdir = parse_command(rest)
    if not any(each.lstrip("-").split("=")[0] == "workdir" for each in rest[1:]):
        workdir += "_sweep"
    run_sweep(config, workdir, asked, arguments, stop)


if __name__ == "__main__":
    end(main())
