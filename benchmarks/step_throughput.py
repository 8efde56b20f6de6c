"""Time of one whole training step, technique beside technique and beside PyTorch.

python benchmarks/step_throughput.py --peer=torch --length=sst --length=200
python benchmarks/step_throughput.py --technique=all --peer=naive
python benchmarks/step_throughput.py --technique=none --older=CHECKOUT    another version beside it

Every variant runs in a process of its own on the same batches; rounds alternate between the
variants, and medians over rounds are compared, since two runs minutes apart differ by more than
the variants do. A round goes over the batches twice, and the second time counts. Compilation is
timed apart. Prints a table and writes JSON with --out.
"""

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from benchmarks.record import command_line, machine
from benchmarks.worker import Worker, serve

WORDS, EMBED, HIDDEN = 13_826, 300, 128  # as the SST model of the references


def make_rows(length: str, count: int) -> list[np.ndarray]:
    """Random sentences: of SST's lengths, or all of one length; <sos> and <eos> included."""
    random = np.random.default_rng(0)
    if length == "sst":
        lengths = np.clip(np.round(random.normal(19.3, 9.3, count)), 3, 56).astype(int) + 2
    else:
        lengths = np.full(count, int(length))
    return [np.array([2, *random.integers(4, WORDS, size - 2), 3], np.int32) for size in lengths]


def run_torch(options: argparse.Namespace) -> None:
    """Serves rounds of the PyTorch peer."""
    import torch

    from benchmarks.peers.torch_step import make_step

    if options.heap == "kept":
        from attnjax.runtime import keep_heap

        keep_heap()
    device = torch.device("cuda" if on_gpu() else "cpu")
    torch.backends.cudnn.allow_tf32 = False  # as attnjax multiplies: with all digits
    batches = []
    for batch in jax_batches(options):
        lengths = (batch.tokens != 0).sum(axis=1)
        batches.append(
            (
                torch.from_numpy(batch.tokens[:, : lengths.max()].astype(np.int64)),
                torch.from_numpy(lengths),
                torch.from_numpy(batch.labels.astype(np.float32)),
            )
        )
    step = make_step(WORDS, EMBED, HIDDEN, device)

    def run() -> None:
        loss = None
        for batch in batches:
            loss = step(*(each.to(device) for each in batch))
        assert loss is not None
        loss.item()

    run()
    serve(
        run,
        {
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if on_gpu() else "cpu",
        },
    )


def on_gpu() -> bool:
    """Whether JAX computes on a GPU here, which PyTorch then does too."""
    import jax

    return jax.default_backend() == "gpu"


def jax_batches(options: argparse.Namespace) -> list[Any]:
    """The batches of one round: the package's own order and shapes."""
    import itertools

    from attnjax.data.batches import EncodedSplit, choose_shapes, train_batches

    rows = make_rows(options.length, options.steps * options.batch)
    labels = np.random.default_rng(1).integers(0, 2, len(rows))
    split = EncodedSplit(rows, None, labels, None)
    shapes = choose_shapes([split], options.buckets)
    return list(itertools.islice(train_batches(split, shapes, options.batch, 0, 0), options.steps))


def run_jax(options: argparse.Namespace) -> None:
    """Serves rounds of one technique of the package."""
    import jax

    from attnjax.config import from_config_dict
    from attnjax.losses import make_gradients, reads_whole_table
    from attnjax.model.stages import build_stages
    from attnjax.runtime import device_summary, keep_heap, set_compiler, use_compile_cache, versions
    from attnjax.training.optimizer import make_optimizer, make_schedule
    from attnjax.training.parallel import make_parallel
    from attnjax.training.setup import hparams_of
    from attnjax.training.step import init_state, make_train_step
    from benchmarks.peers.naive import make_naive_gradients

    if options.heap == "kept":
        keep_heap()
    set_compiler()
    use_compile_cache("auto")
    relevance = options.technique == "relevance"
    config = from_config_dict(
        {
            "task": "classification",
            "data": {"source": "files", "path": "unused"},
            "model": {"encoder": options.encoder},
            "train": {
                "batch_size": options.batch,
                "devices": options.devices,
                "parallel": options.parallel,
            },
            "adversary": {"technique": "none" if relevance else options.technique},
            "relevance": {"weight": 0.1 if relevance else 0.0},
        }
    )
    stages = build_stages(config.model, words=WORDS, classes=2, pair=False)
    make = make_naive_gradients if options.naive else make_gradients
    parallel = make_parallel(config.train)
    optimizer = make_optimizer(config.train)
    step = parallel.compile_step(
        make_train_step(
            make(config, stages),
            optimizer,
            make_schedule(config.train, 1000),
            parallel.axis,
            whole_table=reads_whole_table(config),
        )
    )
    state = init_state(stages, optimizer, 0)
    if options.technique in ("word_iat", "word_ivat"):  # any ten words: the time is the same
        ids = np.random.default_rng(2).integers(4, WORDS, (WORDS, 10))
        state = state._replace(neighbours=jax.numpy.asarray(ids, np.int32))
    state = parallel.replicate(state)
    hparams = parallel.replicate(hparams_of(config))
    batches = jax_batches(options)

    def run() -> None:
        nonlocal state
        sums = None
        for batch in batches:
            state, sums = step(state, parallel.place(batch), hparams)
        jax.block_until_ready(sums)

    started = time.perf_counter()
    run()
    serve(
        run,
        {
            "first_round_s": time.perf_counter() - started,
            "versions": versions(),
            "device": device_summary(),
        },
    )


def variants(options: argparse.Namespace) -> list[dict[str, str]]:
    """The processes to alternate between."""
    from attnjax.model.layers import ENCODERS  # noqa: F401 - which names them
    from attnjax.model_checks import attends
    from attnjax.perturb.techniques import TECHNIQUES

    inner = attends(options.encoder)
    able = [name for name, each in TECHNIQUES.items() if inner or each.level != "inner"]
    every = ["none", *able, "relevance"]
    techniques = every if options.technique == ["all"] else options.technique
    found = []
    for length in options.length:
        for heap in options.heap:
            found += [
                {"side": "jax", "technique": each, "length": length, "heap": heap}
                for each in techniques
            ]
            if options.peer == "naive":
                found += [
                    {"side": "naive", "technique": each, "length": length, "heap": heap}
                    for each in techniques
                    if each not in ("none", "relevance")
                ]
            if options.older:
                found += [
                    {"side": "older", "technique": each, "length": length, "heap": heap}
                    for each in techniques
                ]
            if options.peer == "torch":
                found.append({"side": "torch", "technique": "none", "length": length, "heap": heap})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "--technique", action="append", help="a technique, relevance, or all; repeatable"
    )
    parser.add_argument("--encoder", default="bilstm")
    parser.add_argument("--length", action="append", help="sst or a number; repeatable")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30, help="steps of one round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--buckets", type=int, default=6, help="padded lengths of the batches")
    parser.add_argument("--devices", type=int, default=0)
    parser.add_argument("--parallel", default="jit", choices=["jit", "pmap"])
    parser.add_argument("--heap", action="append", choices=["kept", "default"])
    parser.add_argument("--peer", choices=["torch", "naive"])
    parser.add_argument("--older", help="a checkout of another version of the package")
    parser.add_argument("--out", help="file for the JSON")
    parser.add_argument("--serve", choices=["jax", "torch", "naive"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.technique = options.technique or ["none"]
    options.length = options.length or ["sst"]
    options.heap = options.heap or ["kept"]
    if options.serve:
        options.technique, options.length = options.technique[0], options.length[0]
        options.heap = options.heap[0]
        options.naive = options.serve == "naive"
        run_torch(options) if options.serve == "torch" else run_jax(options)
        return
    if options.peer == "torch":
        try:
            import torch  # noqa: F401
        except ImportError:
            raise SystemExit("skipped: --peer=torch needs pip install 'attnjax[bench]'") from None
    found = variants(options)
    workers = []
    for each in found:
        script, serve, environment = __file__, each["side"], dict(os.environ)
        if serve == "older":
            script, serve = f"{options.older}/benchmarks/step_throughput.py", "jax"
            environment["PYTHONPATH"] = options.older
        command = [sys.executable, script, f"--serve={serve}"]
        command += [f"--{name}={each[name]}" for name in ("technique", "length", "heap")]
        command += [
            f"--{name}={getattr(options, name)}"
            for name in ("encoder", "batch", "steps", "buckets", "devices", "parallel")
        ]
        workers.append(Worker(command, environment))
    seconds: list[list[float]] = [[] for _ in found]
    for _ in range(options.rounds):
        for place, worker in enumerate(workers):
            seconds[place].append(worker.round() / options.steps)
    for each, worker, times in zip(found, workers, seconds, strict=True):
        each["step_ms"] = 1000 * statistics.median(times)  # pyright: ignore
        each["fastest_step_ms"] = 1000 * min(times)  # pyright: ignore
        each["ready"] = worker.ready  # pyright: ignore
        worker.close()

    def rounds_of(**wanted: str) -> list[float] | None:
        for each, times in zip(found, seconds, strict=True):
            if all(each[name] == value for name, value in wanted.items()):
                return times
        return None

    print(f"{'side':6}{'technique':16}{'length':>7} {'heap':8}{'ms':>8}{'best':>8}{'ratio':>7}")
    for each, times in zip(found, seconds, strict=True):
        vanilla = rounds_of(side="jax", technique="none", length=each["length"], heap=each["heap"])
        ratio = float("nan")
        newer = rounds_of(side="jax", **{k: each[k] for k in ("technique", "length", "heap")})
        if each["side"] == "older" and newer is not None:  # the newer's time, in its own
            vanilla, times = times, newer
        if vanilla is not None:  # paired within rounds: the machine's slow phases cancel
            ratio = statistics.median(a / b for a, b in zip(times, vanilla, strict=True))
        each["ratio_to_vanilla_jax"] = ratio  # pyright: ignore
        print(
            f"{each['side']:6}{each['technique']:16}{each['length']:>7} {each['heap']:8}"
            f"{each['step_ms']:8.2f}{each['fastest_step_ms']:8.2f}{ratio:7.2f}"
        )
    if options.out:
        report = {
            "command": command_line(),
            "machine": machine(),
            "options": {
                k: v for k, v in vars(options).items() if k not in ("serve", "out", "older")
            },
            "variants": found,
        }
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
