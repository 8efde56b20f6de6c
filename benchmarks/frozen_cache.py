"""Training beside a frozen pretrained encoder: states read once, or made anew at every step.

python benchmarks/frozen_cache.py --path=DIR --data=DIR [--epochs=8] [--steps=30] [--out=FILE]

--path is a BERT in Hugging Face's layout, --data SST's folder. The encoder reads train and
validation once, then `epochs` epochs are trained on its states. The first `steps` steps are taken
both ways, with and without these states: their losses must be the same. After that the whole model
is fine-tuned for as many steps: the loss of their first and last five.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np
from etils import epath

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from attnjax.config import RunConfig, from_config_dict
from attnjax.data.dataset import Dataset, load_dataset
from attnjax.pipeline import model_of
from attnjax.runtime import keep_heap, set_compiler, use_compile_cache
from attnjax.stop import Stop
from attnjax.training.encodings import GIB, size_of, with_encodings
from attnjax.training.loop import batch_shape, train
from attnjax.training.parallel import make_parallel
from attnjax.training.setup import hparams_of, starting_state, step_of, training_batches
from attnjax.types import Stages
from benchmarks.record import command_line, machine

FINE = {"optimizer": "adamw", "learning_rate": 1e-4, "warmup_steps": 3, "layer_decay": 0.9}
SAME = 1e-5  # relative difference of the losses of a step


def config_of(options: Any, frozen: bool, **train: Any) -> RunConfig:
    """SST, with the model of the folder."""
    return from_config_dict(
        {
            "task": "classification",
            "data": {"source": "files", "name": "sst", "path": options.data},
            "model": {"encoder": "bert", "pretrained": options.path, "freeze_encoder": frozen},
            "train": {"epochs": options.epochs, **train},
        }
    )


def whole_run(config: RunConfig, dataset: Dataset, stages: Stages) -> dict[str, Any]:
    """Seconds of all epochs and their validations, and the last one's scores."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        workdir = epath.Path(folder)
        train(config, dataset, stages, make_parallel(config.train), workdir, Stop())
        rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
        *_, last = (row for row in rows if row["split"] == "validation")
    return {
        "epochs": config.train.epochs,
        "seconds": time.perf_counter() - started,
        "validation": {name: last[name] for name in ("loss", "accuracy", "auc")},
    }


def first_steps(
    config: RunConfig, dataset: Dataset, stages: Stages, count: int
) -> tuple[list[float], float]:
    """The loss of each step, and milliseconds of a step that is compiled."""
    parallel = make_parallel(config.train)
    step = parallel.compile_step(step_of(config, dataset, stages, parallel.axis))
    state = parallel.replicate(starting_state(config, dataset, stages))
    batches, hparams = training_batches(config, dataset), parallel.replicate(hparams_of(config))
    losses, took, shapes = [], [], set()
    for _ in range(count):
        batch = next(batches)
        started = time.perf_counter()
        state, sums = step(state, parallel.place(batch), hparams)
        losses.append(float(sums["loss"]) / float(sums["examples"]))
        if batch_shape(batch) in shapes:
            took.append(time.perf_counter() - started)
        shapes.add(batch_shape(batch))
    return losses, 1000 * float(np.median(took))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--path", required=True, help="of the model")
    parser.add_argument("--data", required=True, help="SST's folder")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30, help="of each of the three comparisons")
    parser.add_argument("--out", help="JSON file for the record")
    options = parser.parse_args()
    set_compiler()
    keep_heap()
    use_compile_cache("auto")
    config, fine = config_of(options, True), config_of(options, False, **FINE)
    dataset = load_dataset(config)
    stages, parallel = model_of(config, dataset), make_parallel(config.train)
    params = parallel.replicate(starting_state(config, dataset, stages).params)
    anew, anew_ms = first_steps(config, dataset, stages, options.steps)
    tuned, tuned_ms = first_steps(fine, dataset, model_of(fine, dataset), options.steps)
    started = time.perf_counter()
    read = with_encodings(config, dataset, stages, parallel, params)
    seconds = time.perf_counter() - started
    once, once_ms = first_steps(config, read, stages, options.steps)
    far = float(np.abs(np.array(once) / np.array(anew) - 1).max())
    record = {
        "command": command_line(),
        "machine": machine(),
        "jax": jax.__version__,
        "texts": sum(len(read.splits[name]) for name in ("train", "validation")),
        "gib": size_of(dataset, params["embed"]["table"].shape[1]) / GIB,
        "seconds_of_encoding": seconds,
        "read_once": whole_run(config, read, stages),
        "ms_a_step": {"read once": once_ms, "at every step": anew_ms, "fine-tuning": tuned_ms},
        "largest_difference_of_losses": far,
        "fine_tuning": {
            **FINE,
            "steps": options.steps,
            "loss of the first five": float(np.mean(tuned[:5])),
            "loss of the last five": float(np.mean(tuned[-5:])),
        },
    }
    print(json.dumps(record, indent=1))
    if far > SAME:
        raise SystemExit(f"the losses differ by {far:.2g}")
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
