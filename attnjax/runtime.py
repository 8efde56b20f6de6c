"""Settings of the process: compile cache, heap, and what machine this is."""

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import sys
from typing import Any

PACKAGES = ("attnjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def use_compile_cache(setting: str) -> str | None:
    """Turns on JAX's persistent compile cache and returns its folder, None where it is off.

    setting  a folder, "auto" (JAX_COMPILATION_CACHE_DIR, else the user's cache folder) or "off".
    Compiled programs are code: the folder is made readable by its owner alone.
    """
    import jax

    if setting == "off":
        return None
    folder = setting
    if setting == "auto":
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or os.path.join(home, "attnjax", "xla")
    if "://" not in folder:
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError:  # a read-only home is no reason not to train
            return None
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def keep_heap() -> bool:
    """Makes glibc keep freed memory, so that XLA's buffers are not page-faulted in at every step.

    Linux with glibc only; returns whether it took effect. It changes the allocator of the whole
    process (which then keeps its peak heap), so entry points call it, never an import.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return False
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8
    settings = {mmap_max: 0, trim_threshold: 2**31 - 1, top_pad: 64 << 20, arena_max: 1}
    return all(libc.mallopt(name, value) == 1 for name, value in settings.items())


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def device_summary() -> dict[str, Any]:
    """The devices in use: platform, kind and number."""
    import jax

    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "cores": os.cpu_count(),
    }


def one_device_per_core(most: int) -> None:
    """Lets JAX see each core of the CPU as a device, at most `most`, so that runs share them out.

    No effect where there is another platform, where the user has said how many, or once JAX runs.
    """
    import jax

    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not chosen and jax.config.values["jax_num_cpu_devices"] < 0:
        with contextlib.suppress(RuntimeError):  # JAX runs already: its devices stay as they are
            jax.config.update("jax_num_cpu_devices", max(1, min(os.cpu_count() or 1, most)))
