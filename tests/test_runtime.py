"""What the environment says: the age of the process, 64 bit, compile cache, compiler."""

import json
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest
from test_main import ROOT, arguments, write_data

from attnjax import runtime
from attnjax.errors import UserError


@pytest.mark.slow
def test_age_of_the_process():
    code = (
        "import time; time.sleep(0.5); from attnjax.runtime import process_age_s; "
        "print(process_age_s())"
    )
    before = time.perf_counter()
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert 0.5 <= float(shown.stdout) <= time.perf_counter() - before + 0.02


@pytest.mark.slow
def test_platform_and_64_bit_from_the_environment(tmp_path):
    data = write_data(tmp_path / "data", rows=32)
    more = [
        "--config.train.epochs=1",
        "--config.train.profile_steps=2,3",
        "--config.data.buckets=1",
    ]
    more += ["--config.analysis.examples=4", "--config.analysis.robustness=1.0"]
    command = [sys.executable, "-m", "attnjax.main", *arguments(data, tmp_path / "run", *more)]
    found = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert "cpu x 1" in found.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["devices"]["platform"] == "cpu"
    assert results["test"]["examples"] == 40
    assert 0 < results["timing"]["start_s"] < 600
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


def test_flags_of_these_commands_alone_are_not_tried(monkeypatch):
    monkeypatch.setattr(runtime.subprocess, "run", None)  # which starts no process
    monkeypatch.delenv("XLA_FLAGS")
    for _ in range(2):
        runtime.set_compiler()


@pytest.mark.slow
def test_flags_that_xla_does_not_know_are_named(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--nonsense=1")
    with pytest.raises(UserError, match=r"XLA_FLAGS='--nonsense=1' \(Unknown flag.*correct it"):
        runtime.refuse_unknown_flags()
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    runtime.refuse_unknown_flags()


@pytest.mark.slow
def test_a_compile_cache_that_is_off_is_off(tmp_path):
    code = (
        "import jax; from attnjax.runtime import use_compile_cache; use_compile_cache('{}'); "
        "jax.jit(lambda a: a + 1)(1)"
    )
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs")}
    for setting, used in (("off", False), ("auto", True)):
        command = [sys.executable, "-c", code.format(setting)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        assert (tmp_path / "programs").exists() == used


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["nonsense", "cuda"])
def test_a_platform_that_is_not_there_ends_in_one_line(wanted, tmp_path):
    if wanted == "cuda" and jax.default_backend() != "cpu":
        pytest.skip("there is a GPU")
    found = subprocess.run(
        [sys.executable, "-m", "attnjax.main", f"--workdir={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": wanted},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2, found.stderr
    assert f"JAX cannot start JAX_PLATFORMS='{wanted}'" in found.stderr.splitlines()[-1]


CORES = """
import os
from attnjax.config import default_config, from_config_dict
from attnjax.runs.analysed import meet_devices
from attnjax.runtime import one_device_per_core
{before}
config = from_config_dict(default_config().copy_and_resolve_references())
training, rows = meet_devices(config)
again = meet_devices(config)
assert (again[0].devices, again[1].devices) == (training.devices, rows.devices)
print(one_device_per_core(), training.devices, rows.devices)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "before", "expected"),
    [
        ("", "", "True 1 {cores}"),
        ("--xla_force_host_platform_device_count=4", "", "False 4 4"),
        ("", "import jax; jax.config.update('jax_num_cpu_devices', 4)", "False 4 4"),
        ("", "import jax; jax.devices()", "False 1 1"),
    ],
)
def test_cores_become_devices_of_the_analysis_unless_the_user_has_said(flags, before, expected):
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    cores = min(len(os.sched_getaffinity(0)), runtime.MOST_CORES)
    done = subprocess.run(
        [sys.executable, "-c", CORES.format(before=before)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split("\n")[0] == expected.format(cores=cores), done.stderr


@pytest.mark.skipif(jax.__version_info__ >= (0, 11), reason="JAX 0.11 and later merge less")
def test_a_pass_over_memory_updates_a_parameter_and_its_moments():
    """In a process of its own: tests themselves compile otherwise."""
    program = """
from attnjax.runtime import set_compiler
set_compiler()
import jax, jax.numpy as jnp
from attnjax.training.optimizer import scale_by_amsgrad
optimizer, table = scale_by_amsgrad(), jnp.ones((64, 64))

def step(gradient, state):
    updates, state = optimizer.update(gradient, state)
    return table - updates, (state.first, state.second, state.largest)

print(jax.jit(step).lower(table, optimizer.init(table)).compile().as_text())
"""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    passes = [line for line in told.stdout.split("ENTRY")[1].splitlines() if " fusion(" in line]
    assert len([line for line in passes if "f32[64,64]" in line.split(" fusion(")[0]]) == 1


def test_matrix_products_keep_all_digits_unless_the_user_says_otherwise(monkeypatch):
    name = "JAX_DEFAULT_MATMUL_PRECISION"
    product = jax.jit(lambda a: a @ a)

    def precision():
        return product.lower(jnp.ones((2, 2))).as_text()

    try:
        for users, expected in ((None, "highest"), ("tensorfloat32", "tensorfloat32")):
            monkeypatch.delenv(name, raising=False)
            jax.config.update("jax_default_matmul_precision", users)
            assert "HIGHEST" not in precision()
            runtime.multiply_in_full()
            assert jax.config.jax_default_matmul_precision == expected
            assert ("HIGHEST" in precision()) == (users is None)
            assert os.environ[name] == "highest"  # for processes that are started from here
    finally:
        jax.config.update("jax_default_matmul_precision", "highest")


def test_gpus_take_the_first_choice_of_a_product_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_autotune_level=2")
    runtime.compile_quickly_on_gpus()
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_autotune_level=2"
    monkeypatch.setenv("XLA_FLAGS", "--other=1")
    runtime.compile_quickly_on_gpus()
    runtime.compile_quickly_on_gpus()
    assert os.environ["XLA_FLAGS"] == "--other=1 --xla_gpu_autotune_level=0"


def test_fusing_outputs_keeps_what_the_user_has_set(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_extra_options=other=1")
    runtime.fuse_outputs()
    assert os.environ["XLA_FLAGS"] == "--xla_backend_extra_options=other=1"
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    runtime.fuse_outputs()
    runtime.fuse_outputs()
    assert os.environ["XLA_FLAGS"].split() == [
        "--xla_cpu_enable_fast_math=false",
        "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true",
    ]
