"""Strictness for every test: eight fake devices, strict dtypes, no silent broadcasting of ranks."""

import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable

import jax
import pytest

from attnjax.runtime import set_compiler, use_compile_cache

ROOT = pathlib.Path(__file__).resolve().parents[1]

set_compiler()  # as every command does
# But tests run small programs a few times: optimised code would cost more than it saves, and the
# emitters of before compile in half the time. They cannot write several arrays in one pass, so that
# another option of that kind takes the place of the one that asks for it.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=4 "
    "--xla_backend_extra_options=xla_cpu_disable_loop_unrolling=true"
)
# Most of the time of a test is compilation: workers, processes that tests start and later runs
# share what is compiled. Commands take the folder from the environment (train.compile_cache=auto).
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "xla"))
use_compile_cache("auto")
# Another platform is for trying single tests on an accelerator: many need the eight devices.
jax.config.update("jax_platforms", os.environ.get("ATTNJAX_TEST_PLATFORM", "cpu"))
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real data sets: $ATTNJAX_DATA, or shared/data beside the repository."""
    beside = ROOT.parent / "shared" / "data"
    folder = pathlib.Path(os.environ.get("ATTNJAX_DATA", beside))
    if not (folder / "sst2").is_dir():
        pytest.skip(f"no real data at {folder}; set ATTNJAX_DATA")
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[pathlib.Path], None]], pathlib.Path]:
    """(name, make) -> the folder that `make` has filled, once for all workers of this session.

    Workers read it at the same time: a test that writes takes a copy.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def made(name, make):
        folder = root / name
        with (root / f"{name}.made").open("a+") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX)
            if not os.fstat(mark.fileno()).st_size:  # now, not when it was opened
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                make(folder)
                mark.write("whole")
        return folder

    return made


@pytest.fixture(scope="session")
def trained(once) -> pathlib.Path:
    """A folder with small data, and two seeds of one whole run on it: seed_0 and seed_1."""
    from helpers import arguments, write_data  # which imports what `set_compiler` must precede

    from attnjax.main import main

    more = ("permutations=10", "adversaries=2", "adversary_steps=3", "robustness=1.0")
    more = [f"--config.analysis.{each}" for each in more]

    def make(folder):
        data = write_data(folder / "data")
        for seed in (0, 1):
            line = arguments(data, folder / f"seed_{seed}", f"--config.seed={seed}", *more)
            assert main(["attnjax", *line]) == 0

    return once("trained", make)


@pytest.fixture
def double_precision():
    """float64 for the duration of one test."""
    with jax.enable_x64(True):
        yield
