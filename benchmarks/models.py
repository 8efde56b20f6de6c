"""Models side by side, over seeds: does attention explain them, and what do their states know?

python benchmarks/scores.py --config=configs/sst.py --name=models/sst/bilstm --seeds=3 \
    --keep=agreement,faithfulness,plausibility,information,usable_information -- \
    --config.data.path=DIR --config.data.fields.rationale=rationale \
    --config.analysis.questions=agreement,faithfulness,plausibility,information,usable_information \
    --config.analysis.information_neighbours=2 ...
python benchmarks/models.py [--name=sst]

The first stores the runs of one model, the second prints the tables of all models of a data set:
every attention and every importance judged; nats per dimension that each state retains of the words
of a class; how a state of a token shares out among the token's own word, its neighbours and the
others; and each claim of Guan et al. (ICML 2019) with its 95 % interval over seeds (Student's t).
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
from benchmarks.explanations import FIGURES, figures
from benchmarks.scores import RUNS, spread

STORED = RUNS / "models"
TITLES = {
    "average": "average",
    "cnn": "CNN",
    "bilstm": "BiLSTM",
    "bilstm_attention_at": "BiLSTM, `attention_at`",
    "bilstm_word_at": "BiLSTM, `word_at`",
    "transformer": "Transformer",
    "minilm_frozen": "MiniLM, frozen",
    "minilm_tuned": "MiniLM, fine-tuned",
}
TITLES_OF_DATA = {"sst": "SST", "imdb": "IMDB", "snli": "SNLI", "cola": "CoLA"}
ATTENTIONS = ("attention", "attention_last", "rollout", "norm_attention", "alti")
JUDGED = ("aopc", "comprehensiveness", "sufficiency", "average_precision")
TAUS = {"gradient": "tau with gradient", "leave_one_out_signed": "tau with leave one out"}
ORIGINS = {"own": "own word", "neighbours": "at most two places off", "further": "further off"}
POOLED = ("context", "logits")  # states without a vector a token

Runs = list[dict[str, Any]]  # of one model, one a seed


def models(data: str, question: str) -> dict[str, Runs]:
    """Title -> its seeds' results, of the stored models that were asked this question."""
    every = {
        title: [json.loads(each.read_text()) for each in sorted((STORED / data / name).glob("*"))]
        for name, title in TITLES.items()
    }
    return {
        title: runs for title, runs in every.items() if runs and question in runs[0]["analysis"]
    }


def tau(run: dict[str, Any], attention: str, method: str) -> float | None:
    """Mean Kendall's tau of the two explanations."""
    pairs = run["analysis"]["agreement"]
    for name in (f"{attention}~{method}", f"{method}~{attention}"):
        if name in pairs:
            return pairs[name]["kendall"]["mean"]
    return None


def attentions(data: str) -> list[list[str]]:
    """Rows of one table: attentions of every model down, agreement and judgements across."""
    rows = [["model", "accuracy", "explanation", *TAUS.values(), *(FIGURES[f] for f in JUDGED)]]
    for model, runs in models(data, "faithfulness").items():
        found, accuracy = [figures(run) for run in runs], [run["test"]["accuracy"] for run in runs]
        for name in (*(each for each in ATTENTIONS if each in found[0]), "random"):
            cells = [spread([tau(run, name, method) for run in runs]) for method in TAUS]
            cells += [spread([each[name][figure] for each in found]) for figure in JUDGED]
            rows.append([model, spread([*accuracy]), f"`{name}`", *cells])
    return rows


def both(found: list[Any], name: str) -> str:
    """AOPC and, where people marked the words, average precision of one explanation."""
    told = [
        spread([each.get(name, {}).get(figure) for each in found])
        for figure in ("aopc", "average_precision")
    ]
    return "; ".join(each for each in told if each != "–") or "–"


def importance(data: str) -> list[list[str]]:
    """Rows of one table: importance methods down; AOPC and average precision of every model."""
    every = {
        model: [figures(run) for run in runs]
        for model, runs in models(data, "faithfulness").items()
    }
    names = dict.fromkeys(name for found in every.values() for name in found[0])
    rows = [["AOPC; average precision", *every]]
    for name in names:
        if name in (*ATTENTIONS, "people"):
            continue
        rows.append([f"`{name}`", *(both(found, name) for found in every.values())])
    return rows


def of_state(run: dict[str, Any], place: int) -> dict[str, Any]:
    """The figures of one state."""
    return run["analysis"]["information"]["by_state"][place]


def explained(data: str) -> list[list[str]]:
    """Rows of one table over data sets, comma-separated: what explains each model how well."""
    names = ("attention", "alti", "lrp", "leave_one_out_signed", "random")
    header = ["data", "model", "accuracy", "tau of attention with gradient"]
    rows = [[*header, *(f"`{name}`: AOPC; average precision" for name in names)]]
    for each in data.split(","):
        for model, runs in models(each, "faithfulness").items():
            found = [figures(run) for run in runs]
            cells = [spread([run["test"]["accuracy"] for run in runs])]
            cells += [spread([tau(run, "attention", "gradient") for run in runs])]
            cells += [both(found, name) for name in names]
            rows.append([TITLES_OF_DATA[each], model, *cells])
    return rows


def known(run: dict[str, Any], place: int, word_class: str) -> float:
    """Nats per dimension that a state retains of the words of a class."""
    return of_state(run, place)["by_word_class"][word_class]["mean"]


def states(runs: Runs) -> list[str]:
    """The states of a model, first to last."""
    return runs[0]["analysis"]["information"]["states"]


def by_class(data: str) -> list[list[str]]:
    """Rows of one table: states of every model down, classes of words across."""
    rows = [["model", "state", *CLASSES]]
    for model, runs in models(data, "information").items():
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
    for model, runs in models(data, "information").items():
        for place, state in enumerate(states(runs)):
            if all(of_state(run, place)["origin"] for run in runs):
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
            "context: content less function words",
            "last layer: share of words at most two places off",
        ]
    ]
    for model, runs in models(data, "information").items():
        layers = [
            place for place, state in enumerate(states(runs)) if state not in (*POOLED, "embedding")
        ]
        first, half, last = layers[0], layers[(len(layers) + 1) // 2 - 1], layers[-1]

        def lost(name: str, later: int, runs: Runs = runs, first: int = first) -> str:
            if later == first:
                return "–"
            return interval([known(run, first, name) - known(run, later, name) for run in runs])

        cells = [lost("end", half), lost("function", last), lost("content", last)]
        for place in (last, states(runs).index("context")):
            apart = [known(run, place, "content") - known(run, place, "function") for run in runs]
            cells.append(interval(apart))
        beside = "–"
        if all(of_state(run, last)["origin"] for run in runs):
            beside = interval([shares(run, last)["neighbours"] for run in runs])
        rows.append([model, *cells, beside])
    return rows


def usable(data: str) -> list[list[str]]:
    """Rows of one table: accuracy and usable information of every model."""
    rows = [["model", "accuracy", "usable information, bits", "seeds"]]
    for model, runs in models(data, "usable_information").items():
        bits = [run["analysis"]["usable_information"]["bits"] for run in runs]
        mean = spread([each["mean"] for each in bits])
        accuracy = spread([run["test"]["accuracy"] for run in runs])
        rows.append([model, accuracy, mean, str(len(runs))])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--name", default="sst", help="folder under results/runs/models")
    name = parser.parse_args().name
    for tell in (attentions, importance, usable, by_class, by_origin, claims):
        header, *rest = tell(name)
        if not rest:
            continue  # no model was asked
        for line in (header, ["---"] * len(header), *rest):
            print(f"| {' | '.join(line)} |")
        print()


if __name__ == "__main__":
    main()
