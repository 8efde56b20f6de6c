"""Tunes every technique on validation with the same budget, then scores the best over seeds.

python benchmarks/techniques.py --config=configs/sst.py --name=sst --seeds=3 \
    -- --config.data.path=DIR [--config.FIELD=VALUE ...]

Each technique gets GRID runs of seed 0, chosen by the validation metric that picks checkpoints:
over epsilon for the perturbations, over the weight for the relevance loss, over the learning rate
for the vanilla model. The winner is run with every seed; results.json files go to
benchmarks/results/runs/NAME/TECHNIQUE/, beside grid.json with the whole grid. Runs that are stored
are not repeated. `python benchmarks/scores.py --table` prints the table.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from attnjax.config import TECHNIQUES
from benchmarks.scores import ROOT, RUNS, train

EPSILONS = {"attention": (0.3, 1.0, 3.0, 10.0), "word": (0.1, 0.3, 1.0, 3.0)}
WEIGHTS = (0.01, 0.1, 0.3, 1.0)
RATES = (3e-4, 1e-3, 2e-3, 4e-3)


def grid(technique: str) -> list[list[str]]:
    """The overrides that one technique is tuned over."""
    if technique == "none":
        return [[f"--config.train.learning_rate={rate}"] for rate in RATES]
    if technique == "relevance":
        return [[f"--config.relevance.weight={weight}"] for weight in WEIGHTS]
    name = f"--config.adversary.technique={technique}"
    level = technique.split("_")[0]
    return [[name, f"--config.adversary.epsilon={epsilon}"] for epsilon in EPSILONS[level]]


def validation_score(config: str, overrides: list[str]) -> float:
    """The monitored validation metric of one run of seed 0: AUC if there is one, else accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "attnjax.main", f"--config={config}", *overrides]
        command += [f"--workdir={folder}/run", "--config.analysis.examples=0"]
        subprocess.run(command, cwd=ROOT, check=True)
        results = json.loads(pathlib.Path(folder, "run", "results.json").read_text())
    found = results["best"]["validation"]
    return found["accuracy"] if found["auc"] is None else found["auc"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--technique", action="append", help="repeatable; default: all")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    for technique in options.technique or [*TECHNIQUES, "relevance"]:
        stored = RUNS / options.name / technique / "grid.json"
        tried = json.loads(stored.read_text()) if stored.exists() else []
        for point in grid(technique):
            if any(each["overrides"] == point for each in tried):
                continue
            score = validation_score(options.config, [*options.overrides, *point])
            tried.append({"overrides": point, "validation": score})
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_text(json.dumps(tried, indent=1) + "\n")
        best = max(tried, key=lambda each: each["validation"])
        train(
            argparse.Namespace(
                config=options.config,
                name=f"{options.name}/{technique}",
                seeds=options.seeds,
                again=False,
                overrides=[*options.overrides, *best["overrides"]],
            )
        )


if __name__ == "__main__":
    main()
