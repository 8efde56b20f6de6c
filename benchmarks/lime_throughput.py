"""LIME of a batch in one program, beside the lime package and a PyTorch model of the same size.

python benchmarks/lime_throughput.py --python=PYTHON [--samples=1000] [--rounds=3]

PYTHON has the extra `bench`. Both sides explain the same texts of SST's lengths by the same model,
with as many samples, deleted words and a ridge over all words. Each is a process or program of its
own that is ready when the rounds begin; they alternate. JSON with --out=FILE.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
from typing import Any

import jax
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from attnjax.config import AnalysisConfig, ModelConfig
from attnjax.model.stages import build_stages
from attnjax.runtime import set_compiler
from attnjax.types import Batch
from benchmarks.methods_throughput import WORDS, compiled, seconds, texts
from benchmarks.record import command_line, machine
from benchmarks.worker import Worker, by_path

ROOT = pathlib.Path(__file__).resolve().parents[1]
AT_LEAST = 10.0  # times as fast
GROUPS = 4


def by_length(batch: Batch) -> list[Batch]:
    """The texts in `GROUPS` batches of like length, as the analysis takes them."""
    lengths = np.asarray(batch.mask.sum(axis=1))
    found = []
    for rows in np.array_split(np.argsort(lengths, kind="stable"), GROUPS):
        some = jax.tree.map(lambda leaf, rows=rows: leaf[rows], batch)
        found.append(some._replace(tokens=some.tokens[:, : lengths[rows].max()]))
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a text on both sides, and the median ratio of the rounds."""
    model = ModelConfig(encoder="bilstm", attention="additive", embed_dim=300)
    stages = build_stages(model, words=WORDS, classes=2, pair=False)
    params = jax.jit(stages.init)(jax.random.key(0))
    call = compiled("lime", stages, AnalysisConfig(lime_samples=options.samples))
    groups = by_length(texts(options.texts))
    arrays = by_path(params)
    few = texts(options.peer_texts)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "model.npz")
        np.savez(file, tokens=np.asarray(few.tokens), **arrays)
        command = [options.python, "-m", "benchmarks.peers.torch_lime", file, str(options.samples)]
        peer = Worker(command, {**os.environ, "PYTHONPATH": str(ROOT)})

    def together() -> float:
        return sum(seconds(call, params, each) for each in groups)

    together()  # compiles
    ours, theirs, ratios = [], [], []
    for _ in range(options.rounds):
        theirs.append(1000 * peer.round() / options.peer_texts)
        together()  # as the peer's round, of which the second counts
        ours.append(1000 * together() / options.texts)
        ratios.append(theirs[-1] / ours[-1])
    peer.close()
    return {
        "ms_per_text": statistics.median(ours),
        "lime_ms_per_text": statistics.median(theirs),
        "times_as_fast": statistics.median(ratios),
        "at_least": AT_LEAST,
    }


def main() -> None:
    set_compiler()  # before anything is computed
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="with torch and lime")
    parser.add_argument("--texts", default=128, type=int)
    parser.add_argument("--peer-texts", default=4, type=int)
    parser.add_argument("--samples", default=1000, type=int)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--out", default=None, type=pathlib.Path)
    options = parser.parse_args()
    found = {
        "command": command_line().replace(options.python, "PYTHON"),
        "machine": machine(),
        "jax": jax.__version__,
        "samples": options.samples,
        "texts": options.texts,
        "rounds": options.rounds,
        **measure(options),
    }
    print(
        f"lime: {found['ms_per_text']:.1f} ms a text, the package {found['lime_ms_per_text']:.1f}: "
        f"{found['times_as_fast']:.1f} times as fast (at least {AT_LEAST:g})"
    )
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
