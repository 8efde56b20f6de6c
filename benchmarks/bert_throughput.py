"""Forward pass and fine-tuning step of a pretrained BERT here and in PyTorch, in alternation.

python benchmarks/bert_throughput.py --path=DIR --python=PYTHON [--length=32] [--length=128]
    [--batch=32] [--rounds=5] [--technique=none] [--out=FILE]

--path is a BERT in Hugging Face's layout; PYTHON has torch and transformers, whose BertModel, with
scaled_dot_product_attention, has the same head put on. Every text has as many pieces, each word
one. Forward: the states of the last layer. Step: AdamW over all parameters, without dropout. Each
side has a process of its own; rounds alternate, medians are compared. More techniques, such as
inner_at, are timed as further sides of our own, step alone.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from attnjax.config import RunConfig, from_config_dict
from attnjax.data.dataset import load_dataset
from attnjax.pipeline import model_of
from attnjax.runtime import keep_heap, set_compiler, use_compile_cache
from attnjax.training.parallel import make_parallel
from attnjax.training.setup import hparams_of, starting_state, step_of, training_batches
from benchmarks.record import command_line, machine
from benchmarks.worker import Worker, serve

ROOT = pathlib.Path(__file__).resolve().parents[1]
KINDS = ("forward", "step")
BATCHES = {32: 4, 128: 2}  # of a round, by length


def write_texts(folder: pathlib.Path, model: str, length: int, count: int) -> None:
    """SST-like files of random words of one piece each, `length` pieces with the two ends."""
    tokenizer = json.loads(pathlib.Path(model, "tokenizer.json").read_text())
    words = [
        word for word in tokenizer["model"]["vocab"] if word.isascii() and word.isalpha()
    ]  # "##ing" is none
    random = np.random.default_rng(0)
    rows = [([str(w) for w in random.choice(words, length - 2)], n % 2) for n in range(count)]
    (folder / "texts.json").write_text(json.dumps(rows))
    lines = [json.dumps({"text": " ".join(text), "label": label}) for text, label in rows]
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def config_of(options: argparse.Namespace) -> RunConfig:
    """Fine-tuning of the model on these texts."""
    return from_config_dict(
        {
            "task": "classification",
            "data": {"source": "files", "path": options.texts},
            "model": {"encoder": "bert", "pretrained": options.path},
            "train": {
                "epochs": 1000,
                "batch_size": options.batch,
                "optimizer": "adamw",
                "learning_rate": 1e-5,
                "devices": 1,
            },
            "adversary": {"technique": options.technique[0]},
        }
    )


def run_side(options: argparse.Namespace) -> None:
    """Serves rounds of our own forward pass or step."""
    set_compiler()
    keep_heap()
    use_compile_cache("auto")
    config = config_of(options)
    dataset = load_dataset(config)
    stages, parallel = model_of(config, dataset), make_parallel(config.train)
    state = parallel.replicate(starting_state(config, dataset, stages))
    count = len(dataset.splits["train"]) // options.batch
    stream = training_batches(config, dataset)
    batches = [parallel.place(next(stream)) for _ in range(count)]
    step = parallel.compile_step(step_of(config, dataset, stages, parallel.axis))
    hparams = parallel.replicate(hparams_of(config))
    read = jax.jit(lambda params, batch: stages.encode(params, stages.embed(params, batch), batch))

    def forward() -> None:
        for batch in batches:
            found = read(state.params, batch)
        jax.block_until_ready(found)

    def steps() -> None:
        nonlocal state
        for batch in batches:
            state, sums = step(state, batch, hparams)
        jax.block_until_ready(sums)

    run = forward if options.kind == "forward" else steps
    started = time.perf_counter()
    run()
    serve(run, {"first_round_s": time.perf_counter() - started, "jax": jax.__version__})


def compared(options: argparse.Namespace, length: int, kind: str) -> dict[str, Any]:
    """Median milliseconds of a batch on every side, and each side's times ours without a rival."""
    batches = BATCHES.get(length, 2)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    techniques = options.technique if kind == "step" else ["none"]
    with tempfile.TemporaryDirectory() as folder:
        write_texts(pathlib.Path(folder), options.path, length, batches * options.batch)
        common = [f"--path={options.path}", f"--batch={options.batch}", f"--texts={folder}"]
        sides = {
            name: Worker(
                [sys.executable, __file__, *common, f"--kind={kind}", f"--technique={name}"],
                environment,
            )
            for name in techniques
        }
        if options.python:
            peer = [options.python, "-m", "benchmarks.peers.torch_bert_step", options.path]
            peer += [f"{folder}/texts.json", kind, str(options.batch)]
            sides["pytorch"] = Worker(peer, environment)
            if sides["pytorch"].ready["pieces"] != length:
                raise SystemExit(f"{sides['pytorch'].ready['pieces']} pieces, not {length}")
        rounds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, side in sides.items():
                rounds[name].append(1000 * side.round() / batches)
        ready = {name: side.ready for name, side in sides.items()}
        for side in sides.values():
            side.close()
    first = rounds[techniques[0]]
    return {
        "length": length,
        "kind": kind,
        "ms_a_batch": {name: statistics.median(each) for name, each in rounds.items()},
        "times_ours": {
            name: statistics.median(np.divide(each, first).tolist())
            for name, each in rounds.items()
        },
        "sides": ready,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--path", required=True, help="of the model")
    parser.add_argument("--python", help="with torch and transformers; without it no peer")
    parser.add_argument("--length", type=int, action="append", help="pieces of every text")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--technique", action="append", help="default: none")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--texts", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.technique = options.technique or ["none"]
    if options.texts:
        run_side(options)
        return
    record = {
        "command": command_line().replace(str(options.python), "PYTHON"),
        "machine": machine(),
        "batch": options.batch,
        "measured": [
            compared(options, length, kind)
            for length in options.length or [32, 128]
            for kind in KINDS
        ],
    }
    print(json.dumps(record, indent=1))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
