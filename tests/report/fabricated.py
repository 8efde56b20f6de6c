"""A finished run that nobody trained: every part of results.json and of the examples, seeded."""

import json
from itertools import combinations

import numpy as np

from attnjax.config import RunConfig, to_dict

EVIL = '<script>alert("x")</script>'
TEXT = (
    "a quiet moving film about two brothers who never say what they mean and the long summer that "
    "teaches them to listen , told with wit patience and an eye for small betrayals ; dull fake "
    "clumsy brilliant <unk> ."
)
WORDS = TEXT.split()
EXPLANATIONS = ("attention", "gradient", "leave_one_out")
MEASURES = {
    "kendall": (-1, 1),
    "pearson": (-1, 1),
    "spearman": (-1, 1),
    "top_k_kendall": (0, 1),
    "jensen_shannon": (0, 0.69),
    "top_k_overlap": (0, 1),
}


def describe(values):
    defined = np.array([value for value in values if value is not None], float)
    row = {"mean": None, "std": None, "ci95": None, "undefined": len(values) - len(defined)}
    if len(defined):
        half = 2 * defined.std() / np.sqrt(len(defined))
        row |= {"mean": float(defined.mean()), "std": float(defined.std())}
        row["ci95"] = [row["mean"] - half, row["mean"] + half]
    return row


def agreements(random, pairs, short):
    found = {}
    for pair in pairs:
        centre = random.normal(0.35, 0.2)
        found[pair] = {
            name: None if short else float(np.clip(centre + random.normal(0, 0.1), low, high))
            for name, (low, high) in MEASURES.items()
        }
    return found


def fabricated_examples(count, labels, pair_task=False, seed=0):
    random = np.random.default_rng(seed)
    pairs = [f"{a}~{b}" for a, b in combinations(EXPLANATIONS, 2)]
    rows = []
    for number in range(count):
        length = 1 if number == 0 else int(random.integers(4, 34))
        attention = random.dirichlet(np.full(length, 0.4)).tolist()
        probabilities = random.dirichlet(np.ones(len(labels)))
        query = [str(word) for word in random.choice(WORDS, 6)] if pair_task else None
        row = {
            "id": number,
            "tokens": [str(word) for word in random.choice(WORDS, length)],
            "query": query,
            "label": labels[int(random.integers(len(labels)))],
            "prediction": labels[int(probabilities.argmax())],
            "probabilities": probabilities.tolist(),
            "attention": attention,
            "importance": {
                name: (random.dirichlet(np.full(length, 0.5)) * 0.01).tolist()
                for name in EXPLANATIONS[1:]
            },
            "agreement": agreements(random, pairs, length < 2),
            "permutation": {
                "median_change": float(random.beta(1, 8) * (1 - max(attention) / 2)),
                "max_attention": max(attention),
            },
            "adversarial": {
                "max_jsd": 0.0 if length < 2 else float(0.69 * random.beta(5, 2)),
                "output_change": float(random.uniform(0, 0.05)),
                "attention": random.dirichlet(np.full(length, 0.1)).tolist(),
            },
        }
        if pair_task:
            row["query_importance"] = {
                name: random.dirichlet(np.ones(6)).tolist() for name in EXPLANATIONS[1:]
            }
        rows.append(row)
    return rows


def unlabelled(examples):
    """As a model explains texts of a user: without labels, permutations and adversaries."""
    return [
        {name: value for name, value in row.items() if name not in ("permutation", "adversarial")}
        | {"label": None}
        for row in examples
    ]


def summary(examples, pair, shrink=1.0):
    """The summary of one pair; shrink < 1 stands for a floor or a ceiling."""
    found = {}
    for name in MEASURES:
        values = [each["agreement"][pair][name] for each in examples]
        found[name] = describe([None if value is None else shrink * value for value in values])
    found["kendall"]["significant_fraction"] = 0.375
    return found


def pair_summary(examples, pair, labels):
    return {
        **summary(examples, pair),
        "floor": summary(examples, pair, 0.01),
        "by_class": {
            label: {**summary(members, pair), "floor": summary(members, pair, 0.02)}
            for label in labels
            if (members := [each for each in examples if each["prediction"] == label])
        },
    }


def fabricated_analysis(examples, labels, pair_task=False):
    changes = [each["permutation"]["median_change"] for each in examples]
    largest = [each["permutation"]["max_attention"] for each in examples]
    bins = []
    for low in (0.0, 0.25, 0.5, 0.75):
        here = [c for c, m in zip(changes, largest, strict=True) if low <= m < low + 0.25]
        bins.append(
            {
                "max_attention": [low, low + 0.25],
                "examples": len(here),
                "median_change": describe(here),
            }
        )
    pairs = list(examples[0]["agreement"])
    divergences = [each["adversarial"]["max_jsd"] for each in examples]
    analysis = {
        "examples": len(examples),
        "agreement": {pair: pair_summary(examples, pair, labels) for pair in pairs},
        "ceiling": {
            "run": "sst_seed_1",
            **{name: summary(examples, pairs[0], 1 + len(name) / 20) for name in EXPLANATIONS},
        },
        "completeness": {"integrated_gradients": {"mean": 0.0002, "max": 0.004}},
        "permutation": {"permutations": 100, "median_change": describe(changes), "bins": bins},
        "adversarial_attention": {
            "adversaries": 5,
            "steps": 500,
            "epsilon": 0.05,
            "max_jsd": describe(divergences),
            "share_above": {"0.4": 0.61, "0.6": 0.125},
        },
        "uniform_attention": {"accuracy": 0.79, "auc": 0.87, "loss": 0.46, "examples": 1821},
    }
    if pair_task:
        analysis["query_agreement"] = {
            "gradient~leave_one_out": pair_summary(examples, pairs[2], labels)
        }
    return analysis


def fabricated_results(examples, labels, pair_task=False):
    return {
        "config": to_dict(RunConfig()),
        "versions": {"jax": "0.10.2"},
        "devices": {"platform": "cpu", "count": 1},
        "data": {"words": 4621},
        "best": {"step": 7},
        "test": {"accuracy": 0.81, "auc": 0.89, "loss": 0.42, "examples": 1821},
        "timing": {
            "train_examples_per_s": 853.3,
            "compile_s": 10.0,
            "train_s": 200.0,
            "analysis_s": 30.0,
        },
        "robustness": {
            "epsilon": [0.1, 1.0, 10.0],
            "word_random": [0.81, 0.8, 0.7],
            "word_worst": [0.78, 0.4, 0.1],
            "attention_random": [0.81, 0.81, 0.8],
            "attention_worst": [0.81, 0.8, 0.7],
        },
        "analysis": fabricated_analysis(examples, labels, pair_task),
    }


def fabricated_metrics(epochs=6):
    rows = []
    for epoch in range(1, epochs + 1):
        rows += [
            {
                "step": 100 * epoch,
                "epoch": float(epoch),
                "split": split,
                "loss": 0.7 / (epoch**power),
                "accuracy": 1 - 0.5 / (epoch**power),
            }
            for split, power in (("train", 0.8), ("validation", 0.4))
        ]
    return rows


def write_files(folder, results, examples, metrics, labels=None):
    (folder / "analysis").mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results))
    for name, rows in (("analysis/examples.jsonl", examples), ("metrics.jsonl", metrics)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    if labels:
        (folder / "vocab.json").write_text(json.dumps({"tokens": [], "labels": labels}))


def write_run(folder, count=40, labels=("negative", "positive"), pair_task=False):
    """Every file the report reads; one word of the second example is hostile."""
    examples = fabricated_examples(count, list(labels), pair_task)
    examples[1]["tokens"][1] = EVIL
    examples[1]["agreement"]["attention~gradient"]["kendall"] = 0.999  # so that it is shown
    examples[1]["agreement"]["attention~leave_one_out"]["kendall"] = -0.5
    results = fabricated_results(examples, labels, pair_task)
    write_files(folder, results, examples, fabricated_metrics(), list(labels))
    return results, examples
