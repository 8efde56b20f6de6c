"""What each state of a model still knows of its words, over seeds: the claims of the source.

python benchmarks/scores.py --config=configs/sst.py --name=models/sst/bilstm --seeds=3 \
    --keep=information,usable_information -- --config.data.path=DIR \
    --config.model.encoder=bilstm --config.analysis.questions=information,usable_information ...
python benchmarks/layers.py [--name=sst]

The first stores the runs of one model, the second prints the tables of all models of a data set:
nats per dimension that each state retains of the words of a class, how a state of a token shares
out among the token's own word, its neighbours and the others, and each claim of Guan et al. (ICML
2019) with its 95 % interval over seeds (Student's t).
"""

import argparse
import json
import os
import sys
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from attnjax.analysis.information.word_classes import CLASSES
from benchmarks.scores import RUNS, spread

STORED = RUNS / "models"
ORIGINS = {"own": "own word", "neighbours": "the two beside it", "further": "further words"}
POOLED = ("context", "logits")  # states without a vector a token

Runs = list[dict[str, Any]]  # of one model, one a seed


def models(data: str) -> dict[str, Runs]:
    """Model -> its seeds' results."""
    return {
        folder.name: [json.loads(each.read_text()) for each in sorted(folder.glob("seed_*"))]
        for folder in sorted((STORED / data).iterdir())
    }


def of_state(run: dict[str, Any], place: int) -> dict[str, Any]:
    """The figures of one state."""
    return run["analysis"]["information"]["by_state"][place]


def known(run: dict[str, Any], place: int, word_class: str) -> float:
    """Nats per dimension that a state retains of the words of a class."""
    return of_state(run, place)["by_word_class"][word_class]["mean"]


def states(runs: Runs) -> list[str]:
    """The states of a model, first to last."""
    return runs[0]["analysis"]["information"]["states"]


def by_class(data: str) -> list[list[str]]:
    """Rows of one table: states of every model down, classes of words across."""
    rows = [["model", "state", *CLASSES]]
    for model, runs in models(data).items():
        for place, state in enumerate(states(runs)):
            if state == "embedding":
                continue  # it knows all
            cells = [spread([known(run, place, each) for run in runs]) for each in CLASSES]
            rows.append([model, state, *cells])
    return rows


def shares(run: dict[str, Any], place: int) -> dict[str, float]:
    """What part of a token's state comes from where."""
    return {name: of_state(run, place)["origin"][name]["mean"] for name in ORIGINS}


def by_origin(data: str) -> list[list[str]]:
    """Rows of one table: states of tokens of every model down, where they come from across."""
    rows = [["model", "state", *ORIGINS.values()]]
    for model, runs in models(data).items():
        for place, state in enumerate(states(runs)):
            if of_state(runs[0], place)["origin"]:
                found = [shares(run, place) for run in runs]
                rows.append([model, state, *(spread([s[name] for s in found]) for name in ORIGINS)])
    return rows


def interval(values: list[float]) -> str:
    """Mean and 95 % interval of Student's t; of one value that value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3f}"
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1))
    half /= float(np.sqrt(len(values)))
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def claims(data: str) -> list[list[str]]:
    """Rows of one table: models down; in nats per dimension what each claim is about.

    Layers are the states that have a vector a token, the half that at half the depth, upwards.
    """
    rows = [
        [
            "model",
            "end token: first layer less half depth",
            "function words: first layer less last",
            "content words: first layer less last",
            "last layer: content less function words",
            "last layer: share of the two beside it",
        ]
    ]
    for model, runs in models(data).items():
        layers = [
            place for place, state in enumerate(states(runs)) if state not in (*POOLED, "embedding")
        ]
        first, half, last = layers[0], layers[(len(layers) + 1) // 2 - 1], layers[-1]

        def lost(name: str, later: int, runs: Runs = runs, first: int = first) -> str:
            if later == first:
                return "–"
            return interval([known(run, first, name) - known(run, later, name) for run in runs])

        apart = [known(run, last, "content") - known(run, last, "function") for run in runs]
        cells = [lost("end", half), lost("function", last), lost("content", last), interval(apart)]
        beside = "–"
        if of_state(runs[0], last)["origin"]:
            beside = interval([shares(run, last)["neighbours"] for run in runs])
        rows.append([model, *cells, beside])
    return rows


def usable(data: str) -> list[list[str]]:
    """Rows of one table: accuracy and usable information of every model."""
    rows = [["model", "accuracy", "usable information, bits", "seeds"]]
    for model, runs in models(data).items():
        bits = [run["analysis"]["usable_information"]["bits"] for run in runs]
        mean = spread([each["mean"] for each in bits])
        accuracy = spread([run["test"]["accuracy"] for run in runs])
        rows.append([model, accuracy, mean, str(len(runs))])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--name", default="sst", help="folder under results/runs/models")
    name = parser.parse_args().name
    for rows in (usable(name), by_class(name), by_origin(name), claims(name)):
        header, *rest = rows
        for line in (header, ["---"] * len(header), *rest):
            print(f"| {' | '.join(line)} |")
        print()


if __name__ == "__main__":
    main()
