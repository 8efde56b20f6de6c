"""What the simulator teaches holds on the real files."""

import gzip
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import attnjax

ROOT = pathlib.Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def test_a_model_of_simulated_task_1_answers_the_real_test_file(real_data, tmp_path):
    arguments = [
        "--config=configs/babi.py",
        f"--workdir={tmp_path}",
        "--config.train.epochs=8",
        "--config.train.devices=1",
        "--config.analysis.examples=0",
        "--config.train.keep_heap=False",
    ]
    # In a process of its own: training is long enough to be compiled as commands compile.
    command = [sys.executable, "-m", "attnjax.main", *arguments]
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["test"]["accuracy"] >= 0.98
    with gzip.open(real_data / "babi" / "en-10k" / "qa1" / "test.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    found = attnjax.load_run(str(tmp_path)).predict([(r["story"], r["question"]) for r in rows])
    right = np.mean([label == r["answer"] for label, r in zip(found.labels, rows, strict=True)])
    assert right >= 0.95
