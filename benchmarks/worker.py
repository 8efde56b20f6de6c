"""One side of a benchmark in a process of its own: it compiles, then runs a round when told to.

The parent writes a line to start a round and reads the seconds it took, so that the sides can
alternate while the idle ones use no core. Each round is run twice and the second time counts: the
first finds the caches full of another side's data, and that side's threads still waiting for work.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(run: Callable[[], None], ready: dict[str, Any]) -> None:
    """Tells the parent it is ready, then runs twice for every line and times the second run."""
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        run()
        started = time.perf_counter()
        run()
        print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)


def by_path(params: Any) -> dict[str, Any]:
    """{"a/b": array} of a model's parameters {"a": {"b": array}}, as a peer reads them."""
    import jax  # a peer's environment has none

    flat, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(params))
    return {"/".join(each.key for each in path): leaf for path, leaf in flat}


class Worker:
    """A serving process, from the parent's side."""

    def __init__(self, command: list[str], environment: dict[str, str]):
        # On a GPU each process would take most of its memory at its start.
        environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **environment}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.ready = self._read()

    def round(self) -> float:
        """Seconds of one round."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._read()["seconds"])

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a benchmark process ended early: {self._process.args}")
        return json.loads(line)
