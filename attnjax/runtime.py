"""Settings of the process: compile cache, compiler, heap, and what machine this is."""

import contextlib
import ctypes
import gc
import importlib.metadata
import importlib.util
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from typing import Any

from attnjax.errors import UserError
from attnjax.hosts import several_processes

PACKAGES = ("attnjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


FUSE_OUTPUTS = "xla_cpu_use_multi_output_fusion=true"
FULL_PRECISION = "highest"
FUSING_ON = f"--xla_backend_extra_options={FUSE_OUTPUTS}"
AUTOTUNING_OFF = "--xla_gpu_autotune_level=0"
_cores_are_devices = False  # set once a process, before JAX starts

MOST_CORES = 8  # that become devices: with more, each has too few rows of a chunk


def process_age_s() -> float | None:
    """Seconds since the operating system started this process; None where it does not tell."""
    try:
        with open("/proc/self/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def use_compile_cache(setting: str) -> str | None:
    """Turns on JAX's persistent compile cache and returns its folder, None where it is off.

    setting  a folder, "auto" (JAX_COMPILATION_CACHE_DIR, else the user's cache folder) or "off".
    Compiled programs are code: the folder is made readable by its owner alone.
    """
    import jax

    if setting == "off":
        jax.config.update("jax_compilation_cache_dir", None)  # which JAX takes from the variable
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


def quick_compile() -> dict[str, str]:
    """Compiler options for a program that runs a few dozen times.

    On a CPU the lower level takes half as long to compile the analysis, which then runs as fast.
    """
    import jax

    return {"xla_backend_optimization_level": "1"} if jax.default_backend() == "cpu" else {}


def peak_memory() -> float | None:
    """Bytes that this process has held at most so far, on its devices where they have their own.

    None where the system does not tell. `keep_heap` makes it that of the whole process.
    """
    import jax

    told = [each.memory_stats() for each in jax.local_devices()]
    if all(told):
        return float(sum(each["peak_bytes_in_use"] for each in told))
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


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


def collect_garbage_rarely() -> None:
    """Has Python look for unreachable objects less often: it took a twentieth of a short run.

    Python looks after every few hundred new objects, and now and then through all there are. JAX's
    tracing makes millions that live on, and they are looked through again and again.
    """
    gc.set_threshold(50_000, 10, 10)


def set_compiler() -> None:
    """How every command has XLA compile; call before JAX starts. What the user has set stays.

    Raises UserError for flags that XLA does not know.
    """
    refuse_unknown_flags()
    compile_quickly_on_gpus()
    fuse_outputs()
    multiply_in_full()


def refuse_unknown_flags() -> None:
    """Raises UserError where XLA would abort the process for what is in XLA_FLAGS.

    Only XLA knows its flags: another process tries those that the user has set, which takes it as
    long as JAX takes to start.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if set(flags.split()) <= {AUTOTUNING_OFF, FUSING_ON}:
        return
    if told := _tried(flags):
        raise UserError(f"JAX cannot start with XLA_FLAGS={flags!r} ({told}); unset or correct it")


@cache
def _tried(flags: str) -> str:
    """What XLA says against these flags, which the environment has; "" where it takes them."""
    start = "import jax; jax.config.update('jax_platforms', 'cpu'); jax.devices()"
    tried = subprocess.run(
        [sys.executable, "-c", start],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags},
    )
    if not tried.returncode:
        return ""
    lines = tried.stderr.strip().splitlines() or [f"status {tried.returncode}"]
    wrong = ("Unknown flag", "Couldn't interpret", "Could not open")
    told = [line.partition("] ")[2] or line for line in lines if any(w in line for w in wrong)]
    return (told or lines[-1:])[0][:200]


def fuse_outputs() -> None:
    """Lets XLA compute several arrays in one pass over memory on a CPU; call before JAX starts.

    A parameter and its three moments are then read and written once: the optimizer takes half the
    time. XLA has it off by default on a CPU and ignores it elsewhere. Options of this kind that
    the user has set stay as they are.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_extra_options" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FUSING_ON}".strip()


def multiply_in_full() -> None:
    """Lets matrix products keep all digits of float32; call before anything is compiled.

    JAX's default rounds their inputs to 10 bits on a GPU and to 7 on a TPU, so that a word's
    importance moves with the batch it is in (so its documentation says; not measured here). A
    precision that the user has set, in JAX or by JAX_DEFAULT_MATMUL_PRECISION, stays.
    """
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", FULL_PRECISION)
    if "jax" in sys.modules:  # which read the variable when it was imported
        import jax

        if jax.config.values["jax_default_matmul_precision"] is None:
            jax.config.update("jax_default_matmul_precision", FULL_PRECISION)


def compile_quickly_on_gpus() -> None:
    """Lets XLA take its first choice of a matrix product on a GPU; call before JAX starts.

    By default it builds and times many kernels for every product, and what it picks, and with it
    the last digits of a result, may change from start to start. On an H100 the four training
    programs of bAbI 1 had not compiled after 100 s (seen once, not recorded); like this, and with
    one scan for both directions of the LSTM, they took 45 s. A setting of the user's stays.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_autotune_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {AUTOTUNING_OFF}".strip()


def outputs_are_fused() -> bool:
    """Whether programs compiled now merge all passes that read the same arrays into one.

    On a CPU with `fuse_outputs` in force, and JAX 0.10: later versions leave some apart, and where
    passes stay apart, arrays that are updated in place are copied first.
    """
    import jax

    wanted = FUSE_OUTPUTS in os.environ.get("XLA_FLAGS", "")
    return wanted and jax.default_backend() == "cpu" and jax.__version_info__ < (0, 11)


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
        "processes": jax.process_count(),
        "cores": os.cpu_count(),
    }


def keep_to_share(number: int, count: int) -> None:
    """Keeps this process to its share of the cores, and ends it with the one that started it.

    Call it before JAX starts, with a pipe from the other process as stdin.
    """

    def end() -> None:
        os.read(0, 1)  # returns once nobody can write to the pipe any more
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number::count] or cores)


def platform_of_devices() -> str:
    """What they are, such as "cpu"; raises UserError where JAX cannot start what it is to use."""
    import jax

    try:
        return jax.default_backend()
    except (RuntimeError, AssertionError) as error:  # the latter where CUDA is asked for and absent
        reason = (str(error).strip() or "it is not there").splitlines()[0]
        raise UserError(
            f"JAX cannot start JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r} ({reason}); "
            "unset it, or name what this machine has, such as cpu"
        ) from error


def one_device_per_core(most: int = MOST_CORES) -> bool:
    """Lets JAX see each core of the CPU as a device, at most `most`; returns whether it now does.

    For work without exchange, such as whole runs or the rows of an analysis. No effect where there
    is another platform, several processes, a number that the user has set, or once JAX runs.
    """
    import jax

    global _cores_are_devices
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    chosen = chosen or jax.config.values["jax_num_cpu_devices"] >= 0
    if not (_cores_are_devices or chosen or several_processes()):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with contextlib.suppress(RuntimeError):  # JAX runs already: its devices stay as they are
            jax.config.update("jax_num_cpu_devices", max(1, min(cores or 1, most)))
            _cores_are_devices = platform_of_devices() == "cpu"
    return _cores_are_devices
