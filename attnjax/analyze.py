"""Analyses a finished run again with other settings, or explains the user's own texts with it.

python -m attnjax.analyze --workdir=runs/sst [--config.analysis.FIELD=VALUE ...] [--second=DIR]
python -m attnjax.analyze --workdir=runs/sst --input=my_texts.jsonl [--output=DIR]

The first reads the data again, trains nothing, and rewrites results.json, analysis/ and the report;
--second names the same run trained with another seed, whose explanations give the ceiling of every
agreement. The second reads the columns that config.data.fields names (a label is not needed) and
writes examples.jsonl and examples.html to --output (default WORKDIR/explained/my_texts).
"""

import os
import sys

from absl import flags

from attnjax.command import guarded, parse_overrides
from attnjax.config import OPTIONS, RunConfig, differences
from attnjax.data.files import SUFFIXES
from attnjax.errors import UserError
from attnjax.runs.again import explain_file, reanalyse
from attnjax.runs.loaded import read_config
from attnjax.runtime import keep_heap, use_compile_cache
from attnjax.stop import Stop
from attnjax.workdir import find_workdir


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 2 for a user's mistake.

    arguments  as `sys.argv`, which is the default: the first is the program's name
    """
    arguments = sys.argv if arguments is None else arguments
    return guarded(__doc__ or "", lambda stop: analyze(arguments, stop), arguments)


def analyze(arguments: list[str], stop: Stop) -> None:
    """Parses the command line and does what it asks for; raises UserError."""
    values = flags.FlagValues()
    for name, text in (
        ("workdir", "folder of a finished run"),
        ("second", "folder of the same run with another seed"),
        ("input", "JSONL, CSV or TSV file of texts to explain"),
        ("output", "folder for what is found in --input"),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    workdir = _workdir(arguments)
    stored = read_config(find_workdir(workdir))
    config = parse_overrides(arguments, values, stored)
    _refuse_other_fields(stored, config)
    if config.train.keep_heap:
        keep_heap()
    use_compile_cache(config.train.compile_cache)
    if values["input"].value is None:
        if values["output"].value is not None:
            raise UserError("--output says where to explain --input, which is missing")
        reanalyse(config, workdir, values["second"].value, stop)
        return
    if values["second"].value is not None:
        raise UserError("--second compares two runs on the test split; leave out --input")
    path = values["input"].value
    name = os.path.basename(path)
    stem = next((name.removesuffix(each) for each in SUFFIXES if name.endswith(each)), name)
    output = values["output"].value or os.path.join(workdir, "explained", stem)
    explain_file(config, workdir, path, output)


def _workdir(arguments: list[str]) -> str:
    for place, each in enumerate(arguments):
        if each.startswith("--workdir="):
            return each.removeprefix("--workdir=")
        if each == "--workdir" and place + 1 < len(arguments):
            return arguments[place + 1]
    raise UserError("analyze needs --workdir=DIR, the folder of a finished run")


def _refuse_other_fields(stored: RunConfig, config: RunConfig) -> None:
    """Raises UserError where more changed than the analysis, its pace, and where things lie."""
    movable = [name for name, each in OPTIONS.items() if each.incidental or each.own]
    for name, (trained, value) in differences(stored, config).items():
        if not (name.startswith("analysis.") or name in movable):
            raise UserError(
                f"analyze trains nothing, and this run was trained with {name}={trained!r}, not "
                f"{value!r}; beside analysis.* only {', '.join(movable)} can change; use "
                "attnjax.main for another run"
            )


if __name__ == "__main__":
    sys.exit(main())
