"""What each importance method takes for an example, beside the gradient, in alternation.

python benchmarks/methods_throughput.py [--encoder=bilstm] [--methods=gradient,lrp] [--rounds=5]

A model with random parameters of SST's sizes, and texts of SST's lengths; every method is one
compiled program. A round runs each once, after `gradient` itself; times are medians over rounds of
what a batch takes, ratios medians of the quotients within a round. `mask` is also run text by text.
JSON with --out=FILE.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from attnjax.analysis.cost import passes_of
from attnjax.analysis.importance import METHODS, method_named
from attnjax.config import AnalysisConfig, ModelConfig
from attnjax.model.layers import ENCODERS
from attnjax.model.stages import build_stages
from attnjax.runtime import quick_compile, set_compiler
from attnjax.types import EOS, PAD, SOS, Batch
from benchmarks.record import command_line, machine

WORDS, MEAN_LENGTH, LONGEST = 16_000, 19, 50  # of SST
ALONE = 8  # texts that are masked one by one
MOST = {  # times the gradient
    "lrp": 1.2,
    "guided_backprop": 1.5,
    "deconvolution": 1.5,
    "grad_cam": 1.5,
    "smoothgrad": float(AnalysisConfig().smoothgrad_samples),
}
MOST_ALONE = 20.0  # at least so many times as fast as text by text


def texts(count: int, seed: int = 0) -> Batch:
    """Sentences whose lengths are about those of SST, in one batch."""
    random = np.random.default_rng(seed)
    lengths = np.clip(random.normal(MEAN_LENGTH, 9, count).round().astype(int), 3, LONGEST)
    tokens = np.full((count, lengths.max() + 2), PAD, np.int32)
    for row, length in enumerate(lengths):
        words = random.integers(EOS + 1, WORDS, length)
        tokens[row, : length + 2] = [SOS, *words, EOS]
    rows = np.arange(count, dtype=np.int32)
    return jax.device_put(Batch(tokens, None, rows % 2, np.ones(count, np.float32), None, rows))


def compiled(name: str, stages: Any, config: AnalysisConfig) -> Callable[..., Any]:
    """(params, batch) -> what the method finds, as one program."""
    method = method_named(name).under(config)
    own = method.stages(stages, config.detach_attention)

    def call(params: Any, batch: Batch) -> Any:
        return method(own, params, batch, jax.random.key(0))

    return jax.jit(call, compiler_options=quick_compile())


def seconds(call: Callable[..., Any], *arguments: Any) -> float:
    started = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    return time.perf_counter() - started


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The record: of each method its time, its passes, and how it stands to the gradient."""
    config = AnalysisConfig()
    model = ModelConfig(encoder=options.encoder, attention="additive", embed_dim=300)
    stages = build_stages(model, words=WORDS, classes=2, pair=False)
    params = jax.jit(stages.init)(jax.random.key(0))
    batch = texts(options.texts)
    names = [
        name
        for name in options.methods or METHODS
        if method_named(name).fit is None
        and (not method_named(name).encoders or options.encoder in method_named(name).encoders)
    ]
    programs = {name: compiled(name, stages, config) for name in ["gradient", *names]}
    took: dict[str, list[float]] = {name: [] for name in names}
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for name, call in programs.items():
        print(f"{name}: {seconds(call, params, batch):.1f} s with compilation", flush=True)
    for _ in range(options.rounds):
        for name in names:
            base = seconds(programs["gradient"], params, batch)
            took[name].append(seconds(programs[name], params, batch))
            ratios[name].append(took[name][-1] / base)
    words = float(np.mean(np.asarray(batch.words.sum(axis=1))))
    found = {}
    for name in names:
        found[name] = {
            "ms_per_example": 1000 * statistics.median(took[name]) / options.texts,
            "times_gradient": statistics.median(ratios[name]),
            "at_most": MOST.get(name),
            "passes": passes_of(method_named(name), config, words, 0.0),
        }
    answer: dict[str, Any] = {"methods": found}
    if "mask" in names:
        answer["mask_alone"] = _alone(programs["mask"], params, batch, found["mask"])
    return answer


def _alone(call: Any, params: Any, batch: Batch, together: dict[str, Any]) -> dict[str, float]:
    """What a mask takes where each text is optimised by itself."""
    rows = [jax.tree.map(lambda a, k=k: jnp.asarray(a[k : k + 1]), batch) for k in range(ALONE)]
    seconds(call, params, rows[0])
    spent = sum(seconds(call, params, row) for row in rows)
    alone = 1000 * spent / ALONE
    return {
        "ms_per_example": alone,
        "times_together": alone / together["ms_per_example"],
        "at_least": MOST_ALONE,
    }


def main() -> None:
    set_compiler()  # before anything is computed
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="bilstm", choices=tuple(ENCODERS))
    parser.add_argument("--methods", default=None, type=lambda text: text.split(","))
    parser.add_argument("--texts", default=128, type=int)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--out", default=None, type=pathlib.Path)
    options = parser.parse_args()
    found = {
        "command": command_line(),
        "machine": machine(),
        "jax": jax.__version__,
        "encoder": options.encoder,
        "texts": options.texts,
        "rounds": options.rounds,
        **measure(options),
    }
    for name, each in found["methods"].items():
        limit = f" (at most {each['at_most']:g})" if each["at_most"] else ""
        print(
            f"{name:28s} {each['ms_per_example']:9.3f} ms, "
            f"{each['times_gradient']:7.2f} x gradient{limit}"
        )
    if alone := found.get("mask_alone"):
        print(
            f"mask, one at a time          {alone['ms_per_example']:9.3f} ms, "
            f"{alone['times_together']:7.2f} x together (at least {alone['at_least']:g})"
        )
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
