"""The same commands under two versions of the package: are their numbers the same?

python benchmarks/same_numbers.py --data=DIR --record=OUT        runs them, files into OUT
python benchmarks/same_numbers.py --old=OUT --new=OTHER          compares what two versions left

The package is the first on PYTHONPATH, so that an older commit runs from a checkout of its own.
Three small runs (SST vanilla, SNLI with attention_iat, bAbI with word_vat) and a sweep of three
points. Numbers may differ by a millionth, predictions and everything else not at all; what has no
place in a result (times, versions, paths) is left out. DIR holds `sst2/` and `snli/`.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOLERANCE = 1e-6  # relative; absolute where a number is below 1
INCIDENTAL = (  # places that begin with one of these, and what is no number of a result
    *("timing", "versions", "devices", "cost", "config.data.path", "config.train.compile_cache"),
    *("analysis.examples_sha256", "analysis.cost"),
)

SMALL = (
    "--config.train.epochs=2",
    "--config.model.embed_dim=50",
    "--config.model.hidden_dim=32",
    "--config.analysis.examples=60",
    "--config.analysis.adversary_steps=100",
)
RUNS = {
    "sst": (
        "attnjax.main",
        "--config=configs/sst.py",
        "--config.data.path={data}/sst2",
        "--config.data.train_examples=1200",
        "--config.analysis.methods=gradient,gradient_norm,integrated_gradients,leave_one_out",
    ),
    "snli": (
        "attnjax.main",
        "--config=configs/snli.py",
        "--config.data.source=files",
        "--config.data.path={data}/snli",
        "--config.data.train_examples=1200",
        "--config.adversary.technique=attention_iat",
    ),
    "babi": (
        "attnjax.main",
        "--config=configs/babi.py",
        "--config.data.train_examples=1000",
        "--config.adversary.technique=word_vat",
    ),
    "sweep": (
        "attnjax.sweep",
        "--config=configs/sst.py",
        "--config.data.path={data}/sst2",
        "--config.data.train_examples=800",
        "--sweep.technique=attention_at",
        "--sweep.epsilon=0:2:3",
        "--sweep.mode=vmap",
    ),
}


def record(data: str, out: Path) -> None:
    """Runs every command with the package that is found first on the path."""
    for name, (module, *flags) in RUNS.items():
        if (out / name).exists():  # of an earlier call that did not come to its end
            continue
        given = [each.format(data=data) for each in flags]
        command = [sys.executable, "-m", module, *given, *SMALL, f"--workdir={out / name}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def leaves(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested dicts and lists with its dotted place."""
    if isinstance(tree, dict | list):
        parts = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for name, each in parts:
            yield from leaves(each, f"{place}.{name}" if place else str(name))
    else:
        yield place, tree


def read(folder: Path) -> dict[str, Any]:
    """Place -> value of all results and examples under the folder."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("results.json")):
        name = str(path.parent.relative_to(folder))
        found |= {f"{name}: {k}": v for k, v in leaves(json.loads(path.read_text()))}
        lines = path.parent / "analysis" / "examples.jsonl"
        if lines.exists():
            for number, line in enumerate(lines.read_text().splitlines()):
                found |= {f"{name}: example {number}.{k}": v for k, v in leaves(json.loads(line))}
    return {
        place: value
        for place, value in found.items()
        if not place.partition(": ")[2].startswith(INCIDENTAL)
    }


def same(a: Any, b: Any) -> bool:
    """Equal, or numbers that differ by less than TOLERANCE."""
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (a, b))
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) if numbers else a == b


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("ATTNJAX_DATA", ""))
    for name in ("record", "old", "new"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    if options.record:
        record(options.data, options.record)
        return 0
    old, new = read(options.old), read(options.new)
    differ = [place for place in old.keys() & new.keys() if not same(old[place], new[place])]
    gone, added = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    for title, places in (("differ", sorted(differ)), ("only old", gone), ("only new", added)):
        print(f"{title}: {len(places)}")
        for place in places[:20]:
            print(f"  {place}: {old.get(place)!r:.60} -> {new.get(place)!r:.60}")
    print(f"the same: {len(old.keys() & new.keys()) - len(differ)} values")
    return int(bool(differ or not old))


if __name__ == "__main__":
    sys.exit(main())
