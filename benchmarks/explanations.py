"""Judges every explanation of models trained with and without adversaries, over seeds.

python benchmarks/explanations.py --config=configs/sst.py --name=sst --tuned=sst_techniques \
    --examples=300 -- --config.data.path=DIR --config.data.fields.rationale=rationale

DIR holds texts with people's rationales; --without=shapley,mask leaves methods out. Each technique
trains with what validation chose in benchmarks/results/runs/TUNED (`techniques.py`), every seed in
a process of its own; its analysis asks all methods that the encoder has all questions that judge an
explanation. Only what the tables show is stored, with the command, in
benchmarks/results/explanations/NAME/TECHNIQUE/seed_N.json; what is stored is not run again, so that
the work can be cut into sessions.

python benchmarks/explanations.py --table

prints what is stored, a data set after the other.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from attnjax.analysis.importance import METHODS, method_named
from attnjax.analysis.questions.randomisation import CASCADE
from benchmarks.scores import RUNS, run, spread, write
from benchmarks.techniques import doubt, winner

STORED = RUNS.parent / "explanations"
TRIED = ("none", "attention_at", "attention_iat", "word_at")
QUESTIONS = ("agreement", "faithfulness", "continuity", "randomisation", "plausibility")
SAME = ("integrated_gradients", "leave_one_out")  # their signed forms are asked
FIGURES = {
    "agreement": "tau with attention",
    "aopc": "AOPC, most first",
    "aopc_least_first": "least first",
    "comprehensiveness": "comprehensiveness",
    "sufficiency": "sufficiency",
    "max_sensitivity": "largest change",
    "decoder": "decoder redrawn",
    "all": "all redrawn",
    "average_precision": "average precision, people",
    "seconds": "s an example",
}


def methods_of(encoder: str, without: str = "") -> list[str]:
    """All importance methods that an encoder has but these, signed forms where there are two."""
    return [
        name
        for name in METHODS
        if name not in (*SAME, *without.split(","))
        and method_named(name).kind == "importance"
        and encoder in (method_named(name).encoders or (encoder,))
    ]


def figures(results: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Explanation -> figure -> mean over the examples, None where it is not asked."""
    found = results["analysis"]

    def of(question: str, name: str, *path: str) -> float | None:
        value: Any = found.get(question) or {}
        for key in (name, *path):
            value = value.get(key) or {}
        return value.get("mean")

    return {
        name: {
            "agreement": of("agreement", f"attention~{name}", "kendall"),
            **{
                figure: of("faithfulness", name, figure)
                for figure in ("aopc", "aopc_least_first", "comprehensiveness", "sufficiency")
            },
            "max_sensitivity": of("continuity", name),
            "decoder": of("randomisation", name, CASCADE[0]),
            "all": of("randomisation", name, CASCADE[-1]),
            "average_precision": of("plausibility", name, "average_precision"),
            "seconds": (results["cost"].get(name) or {}).get("seconds_per_example"),
        }
        for name in found.get("faithfulness") or found["plausibility"]
    }


def train(options: argparse.Namespace) -> None:
    """Runs every technique and seed that is not stored."""
    asked = [
        f"--config.analysis.examples={options.examples}",
        f"--config.analysis.methods={','.join(methods_of(options.encoder, options.without))}",
        f"--config.analysis.questions={options.questions}",
        f"--config.model.encoder={options.encoder}",
    ]
    for seed in range(options.seeds):
        for technique in options.techniques.split(","):
            path = STORED / options.name / technique / f"seed_{seed}.json"
            if path.exists():
                print(f"{options.name} {technique} {seed} is stored")
                continue
            chosen = json.loads((RUNS / options.tuned / technique / "grid.json").read_text())
            results = run(options.config, seed, [*options.overrides, *winner(chosen), *asked])
            kept = {name: results[name] for name in ("command", "versions", "devices", "test")}
            write(path, kept | {"timing": results["timing"], "figures": figures(results)})


def stored(name: str) -> dict[str, list[dict[str, Any]]]:
    """Technique -> its seeds' files."""
    return {
        technique: [
            json.loads(each.read_text()) for each in sorted((STORED / name / technique).glob("*"))
        ]
        for technique in TRIED
        if (STORED / name / technique).is_dir()
    }


def values(runs: list[dict[str, Any]], method: str, figure: str) -> list[float]:
    """One figure of the seeds that have it."""
    found = [each["figures"].get(method, {}).get(figure) for each in runs]
    return [value for value in found if value is not None]


def asked_of(runs: list[dict[str, Any]], methods: Iterable[str]) -> dict[str, str]:
    """The figures that one of these explanations has, with their titles."""
    return {
        figure: title
        for figure, title in FIGURES.items()
        if any(values(runs, method, figure) for method in methods)
    }


def by_method(name: str, technique: str) -> list[list[str]]:
    """Rows of one table: explanations down, figures across, of the models of one technique."""
    runs = stored(name)[technique]
    asked = asked_of(runs, runs[0]["figures"])
    return [["explanation", *asked.values()]] + [
        [method, *(spread([*values(runs, method, each)]) for each in asked)]
        for method in runs[0]["figures"]
    ]


def by_technique(name: str, method: str) -> list[list[str]]:
    """Rows of one table: techniques down, figures across, p of no difference from none behind."""
    found = stored(name)
    asked = asked_of(found["none"], [method])
    rows = [["technique", "accuracy", *asked.values()]]
    for technique, runs in found.items():
        cells = [spread([each["test"]["accuracy"] for each in runs])]
        for figure in asked:
            mine = values(runs, method, figure)
            cell = spread([*mine])
            if technique != "none" and len(mine) > 2 and figure != "seconds":
                cell += f" (p {doubt(mine, values(found['none'], method, figure))})"
            cells.append(cell)
        rows.append([technique, *cells])
    return rows


def show(title: str, rows: list[list[str]]) -> None:
    """Prints Markdown."""
    print(f"{title}\n")
    for number, row in enumerate(rows):
        print(f"| {' | '.join(row)} |")
        if not number:
            print("|---" * len(row) + "|")
    print()


def table() -> None:
    """Prints every stored data set: each explanation of plain models, attention by technique."""
    for folder in sorted(each for each in STORED.glob("*") if each.is_dir()):
        show(f"{folder.name}: trained plainly", by_method(folder.name, "none"))
        show(f"{folder.name}: attention", by_technique(folder.name, "attention"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--config")
    parser.add_argument("--name", help="folder of the results, such as sst")
    parser.add_argument("--tuned", help="folder under results/runs with each technique's grid.json")
    parser.add_argument("--encoder", default="bilstm")
    parser.add_argument("--questions", default=",".join(QUESTIONS), help="that are asked")
    parser.add_argument("--without", default="", help="methods that are left out")
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--techniques", default=",".join(TRIED))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="after --: fields to override")
    options = parser.parse_args()
    if options.table:
        table()
    elif options.config and options.name and options.tuned:
        train(options)
    else:
        parser.error("give --config, --name and --tuned, or --table")


if __name__ == "__main__":
    main()
