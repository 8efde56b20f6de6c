"""Time of the whole analysis of a test split, beside an eager PyTorch version of it.

python benchmarks/analysis_throughput.py --peer=torch --data=DIR --out=FILE
python benchmarks/analysis_throughput.py --peer=torch --data=DIR --data-name=imdb --examples=400

DIR holds the data set's files, as the configuration of that name reads them. The model is the
configuration's with random parameters (and word vectors of standard deviation 1), or a trained
run's with --workdir. Each measurement is a process of its own: PyTorch; attnjax with an empty
compile cache, and with that cache filled, as a run does it (with the floor of every agreement,
which the peer leaves out); and once more primitive by primitive ("parts"). They
alternate; medians over rounds are compared. Seconds hold everything from loaded texts to results,
compilation too, but not imports; "again" is a second time in the process with the warm cache.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from benchmarks.record import machine

SIDES = ("torch", "cold", "warm", "parts_cold", "parts_warm")
EXACT = ("attention", "gradient", "leave_one_out")  # equal on both sides, up to rounding
PAIRS = (("attention", "gradient"), ("attention", "leave_one_out"), ("gradient", "leave_one_out"))
TOLERANCE = 1e-3  # of the largest value: float32 through LSTMs of hundreds of steps

Found = dict[str, list[np.ndarray]]


def prepare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Writes the model's parameters and the texts' ids into the folder; returns their sizes."""
    import jax

    from attnjax import load_run
    from attnjax.config import flatten, from_config_dict
    from attnjax.data.batches import sample
    from attnjax.data.dataset import load_dataset
    from attnjax.model.stages import build_stages, word_vectors

    if options.workdir:
        run = load_run(options.workdir)
        config, stages, params = run.config, run.stages, run.params
        if options.data:
            moved = dataclasses.replace(config.data, path=options.data)
            config = dataclasses.replace(config, data=moved)
        dataset = load_dataset(config)
        if dataset.vocabulary.tokens != run.vocab.tokens:
            raise SystemExit(f"{config.data.path} is not what {options.workdir} was trained on")
    else:
        raw = importlib.import_module(f"configs.{options.data_name}").get_config()
        raw.data.source, raw.data.path, raw.model.embed_scale = "files", options.data, 1.0
        config = from_config_dict(raw)
        dataset = load_dataset(config)
        words = len(dataset.vocabulary)
        stages = build_stages(
            config.model, words=words, classes=len(dataset.labels), pair=dataset.pair
        )
        params = stages.init(jax.random.key(0))
    model = (config.model.encoder, config.model.attention, len(dataset.labels), dataset.pair)
    if model != ("bilstm", "additive", 2, False):
        raise SystemExit("the peer is a BiLSTM with additive attention for two classes")
    test = dataset.splits["test"]
    texts = test.take(sample(len(test), options.examples, config.data.seed)).tokens
    vectors = word_vectors(stages, params, len(dataset.vocabulary))  # normalised, where it is
    params = flatten({**jax.device_get(params), "embed": {"table": np.asarray(vectors)}})
    lengths = np.array([len(each) for each in texts])
    np.savez(folder / "inputs.npz", ids=np.concatenate(texts), lengths=lengths, **params)
    return {
        "texts": len(texts),
        "words": len(dataset.vocabulary),
        "mean_length": float(lengths.mean()),
        "longest": int(lengths.max()),
    }


def read_inputs(folder: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    """(texts, parameters as nested dicts), as `prepare` wrote them."""
    stored = dict(np.load(folder / "inputs.npz"))
    ids, lengths = stored.pop("ids"), stored.pop("lengths")
    params: dict[str, Any] = {}
    for name, value in stored.items():
        *groups, last = name.split(".")
        group = params
        for each in groups:
            group = group.setdefault(each, {})
        group[last] = value
    return np.split(ids, np.cumsum(lengths)[:-1]), params


def run_torch(
    texts: list[np.ndarray], params: dict[str, Any], options: argparse.Namespace
) -> tuple[Found, dict[str, float], dict[str, Any]]:
    """The peer's results, seconds by primitive, and versions."""
    import torch

    from attnjax.config import AnalysisConfig
    from benchmarks.peers import torch_analysis as peer

    torch.set_num_threads(options.threads)
    clock = Clock()
    model = peer.Classifier(params)
    found: Found = {}
    for name in EXACT:
        found[name] = clock(name, lambda name=name: getattr(peer, name)(model, texts))
    found["permutation"] = clock(
        "permutation", lambda: peer.permutation(model, texts, options.permutations)
    )
    found["adversarial_attention"] = clock(
        "adversarial_attention",
        lambda: peer.adversarial(model, texts, options.adversaries, options.adversary_steps),
    )
    found["agreement"] = clock(
        "agreement",
        lambda: [peer.agreement(found[a], found[b], AnalysisConfig().top_k) for a, b in PAIRS],
    )
    return found, clock.seconds, {"torch": torch.__version__, "threads": torch.get_num_threads()}


def run_jax(
    texts: list[np.ndarray], params: dict[str, Any], options: argparse.Namespace
) -> tuple[Found, dict[str, float], dict[str, Any]]:
    """attnjax's results, seconds by primitive or in all, and versions."""
    from attnjax.config import ModelConfig, TrainConfig
    from attnjax.data.batches import EncodedSplit
    from attnjax.model.stages import build_stages
    from attnjax.runs.analysed import engine_on
    from attnjax.runtime import (
        collect_garbage_rarely,
        device_summary,
        one_device_per_core,
        set_compiler,
        use_compile_cache,
        versions,
    )
    from attnjax.training.parallel import make_row_parallel

    set_compiler()
    collect_garbage_rarely()
    one_device_per_core()
    use_compile_cache(options.cache)
    clock = Clock()
    words, embed = params["embed"]["table"].shape
    hidden = params["encode"]["text"]["recurrent"].shape[1]
    sizes = ModelConfig(embed_dim=embed, hidden_dim=hidden)
    stages = build_stages(sizes, words=words, classes=2, pair=False)
    split = EncodedSplit(texts, None, np.zeros(len(texts), np.int32), None)
    parallel = make_row_parallel(TrainConfig())
    engine = engine_on(parallel, parallel.replicate(params))
    measure = parts if options.side.startswith("parts") else whole
    found = measure(stages, split, engine, clock, options)
    return found, clock.seconds, {**versions(), "device": device_summary()}


def whole(stages: Any, split: Any, engine: Any, clock: "Clock", options: Any) -> Found:
    """All of it as a run does it: shared work done once, all measures of agreement, their floor."""
    from attnjax.analysis.study import study
    from attnjax.config import AnalysisConfig

    config = AnalysisConfig(
        chunk_size=options.chunk,
        permutations=options.permutations,
        adversaries=options.adversaries,
        adversary_steps=options.adversary_steps,
        robustness=(),
        pairs=("all",),
    )
    for name in ("all", "all again"):
        (done,) = clock(name, lambda: study(config, stages, split, 0, engine))
    found: Found = {name: done.explanations["text"][name] for name in EXACT}
    answers = done.found
    found["permutation"] = list(answers["permutation"]["permutation"]["median_change"])
    adversarial = answers["adversarial_attention"]["adversarial"]
    found["adversarial_attention"] = list(adversarial["max_jsd"])
    agreement = answers["agreement"]["agreement"]
    found["agreement"] = [np.stack(list(agreement[f"{a}~{b}"].values()), axis=1) for a, b in PAIRS]
    return found


def parts(stages: Any, split: Any, engine: Any, clock: "Clock", options: Any) -> Found:
    """Primitive by primitive, each a program of its own."""
    import jax

    from attnjax.analysis.importance import METHODS
    from attnjax.analysis.questions.adversary import Adversary, adversarial
    from attnjax.analysis.questions.agreement import agree
    from attnjax.analysis.questions.counterfactual import permutation
    from attnjax.analysis.rows import in_chunks
    from attnjax.config import AnalysisConfig
    from attnjax.model.attention import forward
    from attnjax.model.rules import HELD
    from attnjax.types import EOS, UNK

    held = stages.under(HELD)
    key = jax.random.key(0)
    settings = Adversary(adversaries=options.adversaries, steps=options.adversary_steps)
    primitives: dict[str, Callable[..., Any]] = {
        "attention": lambda params, batch: forward(stages, params, batch).weights,
        "gradient": lambda params, batch: METHODS["gradient"](held, params, batch, key),
        "leave_one_out": lambda params, batch: METHODS["leave_one_out"](stages, params, batch, key),
        "permutation": lambda params, batch: permutation(
            stages, params, batch, forward(stages, params, batch), key, options.permutations
        )["median_change"],
        "adversarial_attention": lambda params, batch: adversarial(
            stages, params, batch, forward(stages, params, batch), key, settings
        )["max_jsd"],
    }
    masks = [(ids == UNK) | (ids > EOS) for ids in split.tokens]  # as `Batch.words`
    found: Found = {}
    for name, primitive in primitives.items():
        compiled = engine.compile(rows_of, (primitive,), None)

        def call(batch: Any, compiled: Any = compiled) -> Any:
            return engine.collect(compiled(engine.place(batch), ()))[0]

        def run(call: Any = call) -> Any:
            return in_chunks(call, split, options.chunk, engine.devices, lambda: None)

        for label in (name, f"{name} again"):
            found[name] = clock(label, run)
        if name in EXACT:
            rows = zip(found[name], masks, strict=True)
            found[name] = [row[: len(mask)][mask] for row, mask in rows]
    pairs = {f"{a}~{b}": (found[a], found[b]) for a, b in PAIRS}
    top_k = AnalysisConfig().top_k
    for label in ("agreement", "agreement again"):
        agreement = clock(label, lambda: agree(pairs, top_k))
    found["agreement"] = [np.stack(list(each.values()), axis=1) for each in agreement.values()]
    return found


def rows_of(primitive: Callable[..., Any]) -> Callable[..., Any]:
    """A primitive as a row function, which is given nothing from before."""
    return lambda params, batch, given: primitive(params, batch)


class Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, run: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        found = run()
        self.seconds[name] = time.perf_counter() - started
        return found


def peak_megabytes() -> float:
    """The process's largest resident memory so far.

    Linux's VmHWM, since ru_maxrss of a child counts what its parent held when it started it.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("/proc/self/status has no VmHWM; this benchmark needs Linux")


def serve(options: argparse.Namespace) -> None:
    """One measurement: prints its JSON, leaves its results beside the inputs."""
    if options.heap == "kept":
        from attnjax.runtime import keep_heap

        keep_heap()
    folder = Path(options.folder)
    texts, params = read_inputs(folder)
    run = run_torch if options.side == "torch" else run_jax
    found, seconds, about = run(texts, params, options)
    flat = {name: np.concatenate([np.ravel(each) for each in rows]) for name, rows in found.items()}
    np.savez(folder / f"{options.side}.npz", **flat)  # pyright: ignore
    print(json.dumps({"seconds": seconds, "peak_mb": peak_megabytes(), "about": about}))


def measure(side: str, folder: Path, cache: str, options: argparse.Namespace) -> dict[str, Any]:
    """Starts a process for one measurement and returns what it printed."""
    command = [sys.executable, __file__, f"--side={side}", f"--folder={folder}", f"--cache={cache}"]
    passed = ("chunk", "permutations", "adversaries", "adversary_steps", "threads")
    command += [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in passed]
    started = time.perf_counter()
    load = os.getloadavg()[0]
    done = subprocess.run(
        [*command, f"--heap={options.heap}"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the {side} process ended with status {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    if "all" not in found["seconds"]:
        found["seconds"]["all"] = sum(found["seconds"].values())
    found["process_s"] = time.perf_counter() - started
    found["load_before"] = load
    return found


def compare(folder: Path) -> dict[str, Any]:
    """How far attnjax's results are from the peer's: they must be the same analysis."""
    torch, jax = (dict(np.load(folder / f"{side}.npz")) for side in ("torch", "warm"))
    apart = {name: float(np.abs(torch[name] - jax[name]).max()) for name in EXACT}
    relative = {name: apart[name] / float(np.abs(torch[name]).max()) for name in EXACT}

    def means(results: dict[str, np.ndarray]) -> dict[str, float]:
        taus = results["agreement"].reshape(len(PAIRS), len(results["permutation"]), -1)[..., 0]
        found = {
            f"tau {a}~{b}": float(np.nanmean(t)) for (a, b), t in zip(PAIRS, taus, strict=True)
        }
        random = ("permutation", "adversarial_attention")  # other random numbers on each side
        return found | {name: float(results[name].mean()) for name in random}

    return {
        "largest_difference": relative,
        "means": {"torch": means(torch), "attnjax": means(jax)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--peer", choices=["torch"], default="torch")
    parser.add_argument("--data", help="folder of the data set's files")
    parser.add_argument("--data-name", default="sst", help="a configuration: sst, imdb, ...")
    parser.add_argument(
        "--examples", type=int, default=-1, help="test texts at random; -1 takes all"
    )
    parser.add_argument("--workdir", help="analyse this trained run's model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=128, help="texts of one compiled call")
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--adversaries", type=int, default=5)
    parser.add_argument("--adversary-steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    parser.add_argument("--heap", choices=["kept", "default"], default="kept")
    parser.add_argument("--out", help="file for the JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        serve(options)
        return
    if importlib.util.find_spec("torch") is None:
        raise SystemExit("skipped: --peer=torch needs pip install 'attnjax[bench]'")
    if not (options.data or options.workdir):
        raise SystemExit("--data=DIR names the data set's folder (or --workdir a trained run)")

    from attnjax.errors import UserError

    measured: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            data = prepare(options, folder)
        except UserError as error:
            raise SystemExit(str(error)) from None
        for number in range(options.rounds):
            for side in SIDES:  # the cold process fills the cache that the warm one finds
                cache = str(folder / f"cache_{number}{side.startswith('parts')}")
                measured[side].append(measure(side, folder, cache, options))
        same = compare(folder)

    def seconds_of(state: str, primitive: str) -> list[float]:
        if state == "torch":
            return [each["seconds"][primitive] for each in measured["torch"]]
        name = f"{primitive} again" if state == "again" else primitive
        side = "cold" if state == "cold" else "warm"
        rows = measured[side if primitive == "all" else f"parts_{side}"]
        return [each["seconds"][name] for each in rows]

    def median(state: str, primitive: str) -> float:
        return statistics.median(seconds_of(state, primitive))

    def ratio(state: str, primitive: str) -> float:
        pairs = zip(seconds_of("torch", primitive), seconds_of(state, primitive), strict=True)
        return statistics.median(a / b for a, b in pairs)  # slow phases of a machine pass

    states = ("torch", "cold", "warm", "again")
    table = {
        primitive: {f"{state}_s": median(state, primitive) for state in states}
        | {f"{state}_ratio": ratio(state, primitive) for state in states[1:]}
        for primitive in measured["torch"][0]["seconds"]
    }
    print(f"{data['texts']} texts, {data['mean_length']:.1f} tokens on average")
    heads = [f"{state} s" for state in states] + [f"{state} x" for state in states[1:]]
    print(f"{'':24}" + "".join(f"{head:>10}" for head in heads))
    for primitive, row in table.items():
        seconds = "".join(f"{row[f'{state}_s']:10.3f}" for state in states)
        ratios = "".join(f"{row[f'{state}_ratio']:10.2f}" for state in states[1:])
        print(f"{primitive:24}{seconds}{ratios}")
    load = max(each["load_before"] for rows in measured.values() for each in rows)
    if load > options.threads + 1:  # a round leaves its own threads in the average
        print(f"load {load:.1f}: other programs ran, and PyTorch's threads wait for each other")
    peaks = {side: max(each["peak_mb"] for each in measured[side]) for side in SIDES}
    print(f"{'peak memory MB':24}" + "".join(f"{peaks[state]:10.0f}" for state in states[:3]))
    print(json.dumps(same, indent=2))
    if options.out:
        hidden = (
            "peer",
            "side",
            "folder",
            "cache",
            "out",
            "data",
            "workdir",
        )  # paths mean nothing there
        shown = {k: v for k, v in vars(options).items() if k not in hidden}
        report = {
            "command": "python benchmarks/analysis_throughput.py --peer=torch --data=DIR "
            + " ".join(f"--{name.replace('_', '-')}={shown[name]}" for name in shown),
            "machine": machine(),
            "options": shown,
            "trained": bool(options.workdir),
            "data": data,
            "primitives": table,
            "peak_mb": peaks,
            "same": same,
            "rounds": measured,
        }
        Path(options.out).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    wrong = [name for name, apart in same["largest_difference"].items() if apart > TOLERANCE]
    if wrong:
        raise SystemExit(f"the two sides disagree on {' and '.join(wrong)}: no comparison")


if __name__ == "__main__":
    main()
