"""Time of one whole training step over 1 to 8 devices, by jit and by pmap.

python benchmarks/scaling.py --out=benchmarks/results/scaling.json

Strong: the same global batch on more devices. Weak: the same rows on every device. On a CPU the
devices are fake ones that share its cores: their times show what a path costs, not what devices
gain. Each (path, way) is a process of its own; rounds alternate between the processes of one
device count, and ratios are medians of ratios within rounds. Counts of real devices that are not
there are skipped with a reason.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from benchmarks.record import command_line, machine
from benchmarks.worker import Worker

STEP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "step_throughput.py")
PATHS = ("jit", "pmap")


def backend() -> tuple[str, int]:
    """Platform and number of devices of this machine, asked in a process that then lets go."""
    code = "import jax; print(jax.default_backend(), jax.device_count())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    name, count = found.stdout.split()
    return name, int(count)


def measure(options: argparse.Namespace, devices: int, fake: bool) -> list[dict[str, Any]]:
    """Rows for one device count: every path, strong and weak."""
    environment = dict(os.environ)
    if fake:
        environment["JAX_NUM_CPU_DEVICES"] = str(devices)
    batches = {"strong": options.batch, "weak": options.rows * devices}
    found, workers = [], []
    for way, batch in batches.items():
        for path in PATHS:
            found.append({"devices": devices, "way": way, "parallel": path, "batch": batch})
            command = [sys.executable, STEP, "--serve=jax", f"--technique={options.technique}"]
            command += [f"--length={options.length}", "--heap=kept", f"--steps={options.steps}"]
            command += [f"--batch={batch}", f"--devices={devices}", f"--parallel={path}"]
            workers.append(Worker(command, environment))
    times: list[list[float]] = [[] for _ in workers]
    for number in range(options.rounds):
        places = list(range(len(workers)))
        for place in places if number % 2 else places[::-1]:  # who goes first has no advantage
            times[place].append(workers[place].round() / options.steps)
    for row, worker, seconds in zip(found, workers, times, strict=True):
        row["step_ms"] = 1000 * statistics.median(seconds)
        row["fastest_step_ms"] = 1000 * min(seconds)
        row["examples_per_s"] = row["batch"] / statistics.median(seconds)
        row["first_round_s"] = worker.ready["first_round_s"]
        row["device"], row["versions"] = worker.ready["device"], worker.ready["versions"]
        partner = next(
            other
            for each, other in zip(found, times, strict=True)
            if each["way"] == row["way"] and each["parallel"] == "jit"
        )
        row["ratio_to_jit"] = statistics.median(
            a / b for a, b in zip(seconds, partner, strict=True)
        )
        worker.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--devices", type=int, action="append", help="repeatable; 1, 2, 4, 8")
    parser.add_argument("--batch", type=int, default=64, help="strong: rows of the whole batch")
    parser.add_argument("--rows", type=int, default=8, help="weak: rows of each device")
    parser.add_argument("--technique", default="none")
    parser.add_argument("--length", default="sst", help="sst or a number")
    parser.add_argument("--steps", type=int, default=8, help="steps of one round")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", help="file for the JSON")
    options = parser.parse_args()
    name, available = backend()
    found: list[dict[str, Any]] = []
    skipped = []
    print(f"{'devices':>7} {'way':7}{'path':5}{'batch':>6}{'ms':>9}{'best':>9}{'to jit':>8}")
    for devices in options.devices or [1, 2, 4, 8]:
        if name != "cpu" and devices > available:
            skipped.append(f"{devices} devices: there are {available} {name} devices here")
            print(f"skipped: {skipped[-1]}")
            continue
        rows = measure(options, devices, fake=name == "cpu")
        found += rows
        for row in rows:
            print(
                f"{devices:7} {row['way']:7}{row['parallel']:5}{row['batch']:6}"
                f"{row['step_ms']:9.2f}{row['fastest_step_ms']:9.2f}{row['ratio_to_jit']:8.3f}",
                flush=True,
            )
    if options.out:
        report = {
            "command": command_line(),
            "machine": machine(),
            "devices": f"{name}, fake" if name == "cpu" else name,
            "options": {key: value for key, value in vars(options).items() if key != "out"},
            "variants": found,
            "skipped": skipped,
        }
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
