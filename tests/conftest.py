"""Strictness for every test: eight fake devices, strict dtypes, no silent broadcasting of ranks."""

import os
import pathlib

import jax
import pytest

from attnjax.runtime import set_compiler

set_compiler()  # as every command does
# Another platform is for trying single tests on an accelerator: many need the eight devices.
jax.config.update("jax_platforms", os.environ.get("ATTNJAX_TEST_PLATFORM", "cpu"))
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real data sets: $ATTNJAX_DATA, or shared/data beside the repository."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("ATTNJAX_DATA", beside))
    if not (folder / "sst2").is_dir():
        pytest.skip(f"no real data at {folder}; set ATTNJAX_DATA")
    return folder


@pytest.fixture
def double_precision():
    """float64 for the duration of one test."""
    with jax.enable_x64(True):
        yield
