"""A whole run compiled as users' runs are: the other tests turn most of the compiler off."""

import json
import os
import subprocess
import sys

import pytest
from helpers import arguments, write_data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "methods", "questions"),
    [
        (
            "bilstm",
            "gradient,lrp,leave_one_out_signed",
            "agreement,faithfulness,continuity,information,flips",
        ),
        ("cnn", "gradient_x_input,leave_one_out_signed,grad_cam,guided_backprop", "agreement"),
    ],
)
def test_a_run_and_its_questions_compile_with_all_passes(encoder, methods, questions, tmp_path):
    """An abort of the compiler ends the process, and no test that turns its passes off sees it."""
    wanted = (f"questions={questions}", f"methods={methods}", "examples=20")
    data = write_data(tmp_path / "data")
    more = [*(f"--config.analysis.{each}" for each in wanted), "--config.train.epochs=1"]
    more.append(f"--config.model.encoder={encoder}")
    command = arguments(data, tmp_path / "run", *more)
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    ended = subprocess.run(
        [sys.executable, "-m", "attnjax.main", *command],
        env=environment | cache,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads((tmp_path / "run" / "results.json").read_text())["analysis"]
    assert all(found[each] for each in questions.split(","))
