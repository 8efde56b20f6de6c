"""The processes (hosts) of one run: how they meet, agree on what they do, and part."""

import importlib.util
import json
import os
import socket
import sys
import threading
from typing import Any, NamedTuple

from attnjax.errors import UserError

LEAVING_S = 15  # how long a process that gives up waits for the others to do the same


class Hosts(NamedTuple):
    """The processes of one run, and which of them this is; None leaves it to JAX to find out.

    coordinator  "host:port" of process 0; timeout  seconds until all processes must have met
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    timeout: int = 300


def join_hosts(hosts: Hosts) -> None:
    """Meets the other processes; to be called before anything else asks JAX for a device.

    Ends the process with status 2 and one line where they do not meet in time: JAX's own time-out
    would abort it with a stack trace. Raises UserError where JAX does not know what to wait for.
    """
    import jax

    if hosts.process == 0 and hosts.coordinator is not None:
        _require_free_port(int(hosts.coordinator.rpartition(":")[2]))

    def give_up() -> None:
        address = hosts.coordinator or "the coordinator"
        if hosts.process == 0:
            problem = f"not all of the {hosts.processes} processes came to {address}"
        else:
            problem = f"{address} did not answer"
        print(
            f"attnjax: error: {problem} within {hosts.timeout} s; check that every process was "
            "started with the same coordinator and that its port is open, or raise "
            "--coordinator_timeout",
            file=sys.stderr,
            flush=True,
        )
        os._exit(2)

    waiting = threading.Timer(hosts.timeout, give_up)
    waiting.daemon = True
    waiting.start()
    try:
        jax.distributed.initialize(
            coordinator_address=hosts.coordinator,
            num_processes=hosts.processes,
            process_id=hosts.process,
            initialization_timeout=hosts.timeout + 60,
        )
    except (ValueError, TypeError) as error:
        raise UserError(
            "--distributed finds no cluster here; say which processes belong together with "
            "--coordinator=HOST:PORT --processes=N --process=I"
        ) from error
    finally:
        waiting.cancel()


def _require_free_port(port: int) -> None:
    """Raises UserError if something listens there: JAX's own attempt may crash the process."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"process 0 cannot listen at port {port} ({error}); choose another in --coordinator"
            ) from error


def leave_hosts(status: int) -> None:
    """Ends a process that failed, so that the others do not wait for it for minutes.

    Returns once all others are leaving as well; else ends the process after some seconds, and
    the others see its connections close. Does nothing where there are no others.
    """
    if not several_processes():
        return
    import jax

    sys.stdout.flush()
    alone = threading.Timer(LEAVING_S, lambda: os._exit(status))
    alone.daemon = True
    alone.start()
    jax.distributed.shutdown()
    alone.cancel()


def require_same(what: str, values: dict[str, Any]) -> None:
    """Raises UserError, in every process, unless all have the same values; JSON can hold them.

    what  they belong to, for the message: it names the first that differs, and the process. Each
    process would else train on batches, or wait for exchanges, that the others do not have.
    """
    if not several_processes():
        return
    import jax

    texts = _gathered(json.dumps(values, sort_keys=True))
    first = json.loads(texts[0])
    for number, text in enumerate(texts):
        other = json.loads(text)
        for name in sorted({*first, *other}):
            if first.get(name) != other.get(name):
                raise UserError(
                    f"{what} of process {number} is another than that of process 0: {name} is "
                    f"{other.get(name)!r:.80} and {first.get(name)!r:.80} (this is process "
                    f"{jax.process_index()}); start all with the same command"
                )


def _gathered(text: str) -> list[str]:
    """What each process called this with, in their order."""
    import numpy as np
    from jax.experimental import multihost_utils

    own = np.frombuffer(text.encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(own)))).reshape(-1)
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(own)] = own
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]


def several_processes() -> bool:
    """Whether `join_hosts` was called; loads no JAX, which commands that compute nothing lack."""
    if "jax" not in sys.modules:
        return False
    import jax

    return jax.distributed.is_initialized()


def is_first_process() -> bool:
    """Whether this process is the one that writes logs, results and reports."""
    if not several_processes():
        return True
    import jax

    return jax.process_index() == 0


def on_tpu_pod() -> bool:
    """Whether the environment says that this host is one of several of a Cloud TPU.

    Asks what `jax.distributed` asks, without starting a backend: variables that Kubernetes sets,
    and the machine's metadata server where libtpu is installed and has chips.
    """
    import urllib.request  # imported late, as NumPy is: signals wait for what `stop` imports

    import jax  # noqa: F401 - sets TPU_SKIP_MDS_QUERY on a machine without chips

    wanted = os.environ.get("JAX_PLATFORMS", "")
    if importlib.util.find_spec("libtpu") is None or (wanted and "tpu" not in wanted):
        return False
    if int(os.environ.get("MEGASCALE_NUM_SLICES") or 1) > 1:
        return True
    workers = os.environ.get("TPU_PROCESS_ADDRESSES") or os.environ.get("TPU_WORKER_HOSTNAMES")
    if workers is None and "TPU_SKIP_MDS_QUERY" not in os.environ:
        server = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
        path = "computeMetadata/v1/instance/attributes/worker-network-endpoints"
        request = urllib.request.Request(
            f"http://{server}/{path}", headers={"Metadata-Flavor": "Google"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                workers = answer.read().decode()
        except OSError:  # not on Google Cloud, or not a TPU
            return False
    return "," in (workers or "")
