"""Tunes every technique on validation with the same budget, then scores the best over seeds.

python benchmarks/techniques.py --config=configs/sst.py --name=sst_techniques --seeds=3 \
    -- --config.data.path=DIR [--config.FIELD=VALUE ...]

Each technique gets three runs of seed 0, chosen by the validation metric that picks checkpoints:
over epsilon for the perturbations, over the weight for the relevance loss, over the learning rate
for the vanilla model. The winner is run with the remaining seeds; results.json files go to
benchmarks/results/runs/NAME/TECHNIQUE/, beside grid.json with the whole grid. Runs that are stored
are not repeated.

python benchmarks/techniques.py --table

prints what is stored, one table a figure: techniques down, data sets across; after each the
p-values of Welch's t-test against none.
"""

import argparse
import json
import os
import sys
import warnings
from typing import Any

from scipy import stats

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from attnjax.perturb.techniques import TECHNIQUES
from benchmarks.scores import RUNS, run, spread, write

EVERYWHERE = (name for name, each in TECHNIQUES.items() if each.level != "inner")
TRIED = ("none", *EVERYWHERE, "relevance")  # unless others are named, what every encoder can do
EPSILONS = (0.3, 1.0, 3.0)
WEIGHTS = (0.03, 0.1, 0.3)
RATES = (5e-4, 1e-3, 2e-3)
SUFFIX = "_techniques"  # of the folders that --table reads
SCORES = {"classification": "f1", "nli": "accuracy", "qa": "micro_f1"}  # the tasks' usual ones


def grid(technique: str) -> list[list[str]]:
    """The overrides that one technique is tuned over."""
    if technique == "none":
        return [[f"--config.train.learning_rate={rate}"] for rate in RATES]
    if technique == "relevance":
        return [[f"--config.relevance.weight={weight}"] for weight in WEIGHTS]
    name = f"--config.adversary.technique={technique}"
    return [[name, f"--config.adversary.epsilon={epsilon}"] for epsilon in EPSILONS]


def validation_score(results: dict[str, Any]) -> float:
    """The monitored validation metric of one run: AUC if there is one, else accuracy."""
    found = results["best"]["validation"]
    return found["accuracy"] if found["auc"] is None else found["auc"]


def winner(tried: list[dict[str, Any]]) -> list[str]:
    """The overrides of a grid.json that validation prefers."""
    return max(tried, key=lambda each: each["validation"])["overrides"]


def tune(config: str, technique: str, name: str, overrides: list[str]) -> list[str]:
    """Runs the grid with seed 0, keeps the winner's results and returns its overrides."""
    folder = RUNS / name / technique
    stored = folder / "grid.json"
    if stored.exists():
        return winner(json.loads(stored.read_text()))
    tried, best = [], None
    for point in grid(technique):
        results = run(config, 0, [*overrides, *point])
        tried.append({"overrides": point, "validation": validation_score(results)})
        if best is None or validation_score(results) > validation_score(best[0]):
            best = results, point
    assert best is not None
    write(folder / "seed_0.json", best[0])
    stored.write_text(json.dumps(tried, indent=1) + "\n")
    return best[1]


def figures(results: dict[str, Any]) -> dict[str, float | None]:
    """What the tables show of one run."""
    pair = results["analysis"]["agreement"]["attention~gradient"]
    return {
        "score": results["test"][SCORES[results["config"]["task"]]],
        "Kendall's tau": pair["kendall"]["mean"],
        "Pearson's r": pair["pearson"]["mean"],
    }


def table() -> None:
    """Prints the stored scores and agreements, and the values that tuning chose."""
    rows: dict[str, dict[str, list[dict[str, float | None]]]] = {}
    for folder in sorted(RUNS.glob(f"*{SUFFIX}/*")):
        runs = [figures(json.loads(each.read_text())) for each in sorted(folder.glob("seed_*"))]
        rows.setdefault(folder.parent.name.removesuffix(SUFFIX), {})[folder.name] = runs
    for figure in ("score", "Kendall's tau", "Pearson's r"):
        cells = {
            (technique, name): spread([each[figure] for each in found.get(technique, [])])
            for name, found in rows.items()
            for technique in TRIED
        }
        print_table(figure, cells)
        doubts = {
            (technique, name): doubt(
                *([each[figure] for each in found.get(which, [])] for which in (technique, "none"))
            )
            for name, found in rows.items()
            for technique in TRIED
        }
        print_table(f"p of no difference from none: {figure}", doubts)
    print_table("tuned", {key: tuned(*key) for key in cells})


def doubt(values: list[Any], baseline: list[Any]) -> str:
    """p-value of Welch's t-test over the seeds; the tables' many tests are not corrected for."""
    if values == baseline or len(set(values + baseline)) < 2:
        return "–"
    with warnings.catch_warnings(action="ignore"):  # of seeds that all scored alike
        return f"{stats.ttest_ind(values, baseline, equal_var=False).pvalue:.3f}"


def tuned(technique: str, name: str) -> str:
    """The value that validation chose, such as "epsilon 1.0"."""
    path = RUNS / f"{name}{SUFFIX}" / technique / "grid.json"
    if not path.exists():
        return "–"
    field, _, value = winner(json.loads(path.read_text()))[-1].rpartition("=")
    return f"{field.split('.')[-1].replace('_', ' ')} {value}"


def print_table(title: str, cells: dict[tuple[str, str], str]) -> None:
    """Markdown of (row, column) -> text."""
    columns = list(dict.fromkeys(column for _, column in cells))
    print(f"| {title} | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for technique in TRIED:
        row = " | ".join(cells[technique, column] for column in columns)
        print(f"| {technique} | {row} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--config")
    parser.add_argument("--name", help=f"folder of the results, such as sst{SUFFIX}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--technique", action="append", help="repeatable; default: all but the inner ones"
    )
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    if options.table:
        table()
        return
    if not (options.config and options.name):
        parser.error("give --config and --name, or --table")
    for technique in options.technique or TRIED:
        point = tune(options.config, technique, options.name, options.overrides)
        for seed in range(1, options.seeds):
            stored = RUNS / options.name / technique / f"seed_{seed}.json"
            if not stored.exists():
                write(stored, run(options.config, seed, [*options.overrides, *point]))


if __name__ == "__main__":
    main()
