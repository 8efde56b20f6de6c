"""How agreement moves with the scale of the word vectors, with detaching, and with dropout left on.

python benchmarks/agreement.py --data=DIR [--seeds=3] [--workdirs=runs/agreement]

Trains SST as the reference code does (random 300-d vectors, 8 epochs, sentences of at least 6
words) at several scales of the initial word vectors, and once with dropout of their entries, and
analyses every run with attention held constant in the gradient, with the gradient through
attention, and in training mode, which is to say with one dropout mask per example left on, as an
analysis does that forgets to switch it off. JSON: benchmarks/results/runs/sst_agreement/.
Finished trainings in --workdirs are analysed again, not repeated.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from benchmarks.scores import ROOT, RUNS, spread, write

NAME = "sst_agreement"
SCALES = (0.1, 0.3, 1.0)
DROPOUT = 0.3


def conditions() -> dict[str, list[str]]:
    """Name of each training -> its overrides."""
    found = {f"scale_{scale}": [f"--config.model.embed_scale={scale}"] for scale in SCALES}
    found["dropout"] = [
        "--config.model.embed_scale=1.0",
        f"--config.train.embed_dropout={DROPOUT}",
    ]
    return found


def call(module: str, arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=True)


def measure(name: str, overrides: list[str], seed: int, data: str, workdirs: pathlib.Path) -> None:
    workdir = workdirs / f"{name}_seed_{seed}"
    arguments = [
        "--config=configs/sst.py",
        f"--config.seed={seed}",
        "--config.data.min_length=6",
        "--config.train.epochs=8",
        "--config.analysis.robustness=",
        *overrides,
    ]
    call("attnjax.main", [*arguments, f"--config.data.path={data}", f"--workdir={workdir}"])
    command = " ".join(["python -m attnjax.main", *arguments, "--config.data.path=DIR"])
    keep(workdir, name, seed, command)
    through = "--config.analysis.detach_attention=False"
    call(
        "attnjax.analyze",
        [f"--workdir={workdir}", through, "--config.analysis.adversaries=0"],
    )
    keep(workdir, f"{name}_through", seed, f"{command}; python -m attnjax.analyze {through}")
    if name == "dropout":
        results = json.loads((workdir / "results.json").read_text())
        results["analysis"] = in_training_mode(workdir, data)
        finish(results, f"{name}_left_on", seed, f"{command}; benchmarks/agreement.py")


def keep(workdir: pathlib.Path, name: str, seed: int, command: str) -> None:
    finish(json.loads((workdir / "results.json").read_text()), name, seed, command)


def finish(results: dict[str, Any], name: str, seed: int, command: str) -> None:
    results["config"]["data"]["path"] = "DIR"
    results["command"] = command
    write(RUNS / NAME / name / f"seed_{seed}.json", results)


def in_training_mode(workdir: pathlib.Path, data: str) -> dict[str, Any]:
    """The analysis of a run with dropout left on: one mask per example, kept over all passes."""
    import dataclasses
    import functools

    import jax

    import attnjax
    from attnjax.analysis.rows import engine_for
    from attnjax.analysis.study import study
    from attnjax.analysis.summary import summarise
    from attnjax.data.dataset import load_dataset
    from attnjax.model.rules import PLAIN

    run = attnjax.load_run(str(workdir))
    config = dataclasses.replace(run.config, data=dataclasses.replace(run.config.data, path=data))
    dataset = load_dataset(config)

    def embed(params, batch):
        embedded = run.stages.embed(params, batch)

        def mask(row, vectors):
            key = jax.random.fold_in(jax.random.key(0), row)
            kept = jax.random.bernoulli(key, 1 - DROPOUT, vectors.shape)
            return vectors * kept.astype(vectors.dtype) / (1 - DROPOUT)

        return embedded._replace(text=jax.vmap(mask)(batch.rows, embedded.text))

    @functools.cache
    def under(rules):
        return run.stages.under(rules)._replace(embed=embed, under=under)

    settings = dataclasses.replace(config.analysis, adversaries=0, detach_attention=True)
    test, engine = dataset.splits["test"], engine_for(run.params, run.compile)
    (found,) = study(settings, under(PLAIN), test, config.seed, engine)
    return summarise(found, settings, run.labels, test.labels)["analysis"]


def table() -> None:
    """Prints one Markdown row for each training and way of analysing it."""
    names = ("accuracy", "attention~gradient", "attention~leave_one_out", "gradient~leave_one_out")
    print("| run | seeds | " + " | ".join((*names, "permutation", "max JSD")) + " |")
    print("|---" * 8 + "|")
    for folder in sorted((RUNS / NAME).iterdir()):
        rows = [json.loads(each.read_text()) for each in sorted(folder.glob("seed_*.json"))]
        analyses = [each["analysis"] for each in rows]

        def taus(pair: str, analyses: list[dict[str, Any]] = analyses) -> list[float]:
            return [a["agreement"][pair]["kendall"]["mean"] for a in analyses]

        permutation = [a["permutation"]["median_change"]["mean"] for a in analyses]
        adversarial = [
            a["adversarial_attention"]["max_jsd"]["mean"]
            if a.get("adversarial_attention")
            else None
            for a in analyses
        ]
        columns = [
            [each["test"]["accuracy"] for each in rows],
            *(taus(pair) for pair in names[1:]),
            permutation,
            adversarial,
        ]
        print(f"| {folder.name} | {len(rows)} | " + " | ".join(map(spread, columns)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", help="folder of SST")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workdirs", default="runs/agreement", type=pathlib.Path)
    parser.add_argument("--table", action="store_true", help="print the stored figures only")
    options = parser.parse_args()
    if not options.table:
        if options.data is None:
            parser.error("give --data=DIR, or --table")
        for name, overrides in conditions().items():
            for seed in range(options.seeds):
                workdirs = options.workdirs.resolve()
                measure(name, overrides, seed, os.path.abspath(options.data), workdirs)
    table()


if __name__ == "__main__":
    main()
