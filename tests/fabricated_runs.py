"""Folders as finished runs leave them, with numbers that a test chooses: nothing is trained."""

import json

import numpy as np

from attnjax.config import RunConfig, to_dict

PAIRS = ("attention~gradient", "attention~leave_one_out", "gradient~leave_one_out")


def example_rows(count=40, texts=0, noise=0, shift=0.0, wrong=0.1, words=None):
    """Analysed examples. texts: which test set; noise: which run; shift: of tau with the gradient.

    The runs of one test set share how hard each example is; `wrong` is the share of mistakes.
    """
    shared, own = np.random.default_rng([texts, 1]), np.random.default_rng([noise, 2])
    vocabulary = words or ["good", "bad", "film", "plot", "long", "short"]
    rows = []
    for number in range(count):
        length = int(shared.integers(2, 12))
        tokens = [vocabulary[k] for k in shared.integers(len(vocabulary), size=length)]
        label = str(shared.integers(2))
        hard, base = shared.uniform(), shared.normal(size=(3, 2)) * 0.2
        values = base + own.normal(size=(3, 2)) * 0.02
        agreement = {
            pair: {"kendall": float(values[k, 0]), "pearson": float(values[k, 1])}
            for k, pair in enumerate(PAIRS)
        }
        agreement["attention~gradient"]["kendall"] += shift
        sure = float(own.uniform(0.5, 1))
        rows.append(
            {
                "id": number,
                "tokens": tokens,
                "query": None,
                "label": label,
                "prediction": label if hard >= wrong else str(1 - int(label)),
                "probabilities": [sure, 1 - sure],
                "attention": own.dirichlet(np.ones(length)).tolist(),
                "importance": {
                    "gradient": own.uniform(size=length).tolist(),
                    "leave_one_out": own.uniform(size=length).tolist(),
                },
                "agreement": agreement,
            }
        )
    return rows


def write_run(folder, rows=None, test=None, **fields):
    """Writes config.json, results.json and analysis/examples.jsonl; returns the folder's name.

    fields  dotted fields of the configuration, with "__" for ".": seed=1, adversary__epsilon=2.0
    """
    rows = example_rows(noise=fields.get("seed", 0)) if rows is None else rows
    config = to_dict(RunConfig())
    for name, value in fields.items():
        *groups, last = name.split("__")
        place = config
        for group in groups:
            place = place[group]
        place[last] = value
    right = [row["label"] == row["prediction"] for row in rows]
    results = {
        "config": config,
        "test": {"accuracy": float(np.mean(right)), "auc": None, "examples": len(rows)}
        | (test or {}),
        "analysis": {"examples": len(rows), "agreement": {pair: {} for pair in PAIRS}},
    }
    (folder / "analysis").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.json").write_text(json.dumps(results))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "analysis" / "examples.jsonl").write_text(lines)
    return str(folder)
