"""Trains one configuration with several seeds and tabulates test scores and agreement.

python benchmarks/scores.py --config=configs/sst.py --name=sst --seeds=3 \
    -- --config.data.path=DIR [--config.FIELD=VALUE ...]
python benchmarks/scores.py --table

Each seed is one `python -m attnjax.main` run. Its results.json is copied to
benchmarks/results/runs/NAME/seed_N.json with the command that made it; --table prints what is
there: mean and standard deviation over seeds.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from benchmarks.record import placeless

ROOT = pathlib.Path(__file__).resolve().parents[1]
RUNS = ROOT / "benchmarks" / "results" / "runs"


def run(config: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """One `python -m attnjax.main` in a temporary folder: its results.json and its command."""
    arguments = [f"--config={config}", f"--config.seed={seed}", *overrides]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "attnjax.main", *arguments, f"--workdir={folder}/run"]
        subprocess.run(command, cwd=ROOT, check=True)
        results = json.loads(pathlib.Path(folder, "run", "results.json").read_text())
    results["config"]["data"]["path"] = "DIR"
    if results["config"]["model"]["pretrained"]:
        results["config"]["model"]["pretrained"] = "DIR"
    results["command"] = " ".join(["python -m attnjax.main", *placeless(arguments)])
    return results


def kept(results: dict[str, Any], parts: str) -> dict[str, Any]:
    """Of the analysis these parts alone, comma-separated; all of the results where none is named.

    An analysis of many explanations takes megabytes by class of prediction: that is left out.
    """
    if not parts:
        return results
    about = ("command", "versions", "devices", "best", "test", "timing", "cost")
    analysis = {name: results["analysis"][name] for name in ("examples", *parts.split(","))}
    return {name: results[name] for name in about} | {"analysis": _whole(analysis)}


def _whole(found: Any) -> Any:
    """The same without what is told by class."""
    if not isinstance(found, dict):
        return found
    return {name: _whole(each) for name, each in found.items() if name != "by_class"}


def write(path: pathlib.Path, results: dict[str, Any]) -> None:
    """Stores the results of one run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def train(options: argparse.Namespace) -> None:
    """Runs every seed that has no stored result yet."""
    for seed in range(options.seeds):
        stored = RUNS / options.name / f"seed_{seed}.json"
        if stored.exists() and not options.again:
            print(f"{stored.relative_to(ROOT)} is there; --again trains it anew")
        else:
            write(stored, kept(run(options.config, seed, options.overrides), options.keep))


def columns(results: dict[str, Any]) -> dict[str, float | None]:
    """The figures of one run that the table shows."""
    found = {name: results["test"][name] for name in ("accuracy", "f1", "auc")}
    agreement = results["analysis"].get("agreement", {}).get("attention~gradient")
    for measure in ("kendall", "pearson"):
        found[measure] = agreement[measure]["mean"] if agreement else None
    found["examples/s"] = results["timing"]["train_examples_per_s"]
    found["train s"] = results["timing"]["train_s"]
    return found


def table() -> None:
    """Prints one Markdown row for each stored configuration."""
    header = None
    for folder in sorted(path for path in RUNS.glob("**/") if any(path.glob("seed_*.json"))):
        files = sorted(folder.glob("seed_*.json"))
        rows = [columns(json.loads(each.read_text())) for each in files]
        if header is None:
            header = list(rows[0])
            print("| run | seeds | " + " | ".join(header) + " |")
            print("|---" * (len(header) + 2) + "|")
        cells = [spread([row[name] for row in rows]) for name in header]
        name = folder.relative_to(RUNS).as_posix()
        print(f"| {name} | {len(rows)} | " + " | ".join(cells) + " |")


def spread(values: list[float | None]) -> str:
    """Mean and, from two values on, standard deviation: 0.812 ± 0.004."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    digits = 0 if max(known) > 10 else 3
    mean = f"{statistics.mean(known):.{digits}f}"
    return mean + (f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--config")
    parser.add_argument("--name", help="folder of the results, such as sst or sst/attention_at")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", default="", help="parts of the analysis to store; default: all")
    parser.add_argument("--again", action="store_true", help="run seeds that are stored already")
    parser.add_argument("overrides", nargs="*", help="after --: fields to override")
    options = parser.parse_args()
    if options.table:
        table()
    elif options.config and options.name:
        train(options)
    else:
        parser.error("give --config and --name, or --table")


if __name__ == "__main__":
    main()
