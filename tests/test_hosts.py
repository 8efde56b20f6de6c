"""Which hosts belong together, by what the environment says, and what all of them must share."""

import http.server
import importlib.util
import threading

import pytest

from attnjax import hosts
from attnjax.errors import UserError

VARIABLES = (
    "JAX_PLATFORMS",
    "MEGASCALE_NUM_SLICES",
    "TPU_PROCESS_ADDRESSES",
    "TPU_WORKER_HOSTNAMES",
    "TPU_SKIP_MDS_QUERY",
)


@pytest.fixture
def tpu(monkeypatch):
    """A host with libtpu and chips, as far as `on_tpu_pod` can tell."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: name if name == "libtpu" else find(name)
    )
    monkeypatch.setenv("GCE_METADATA_IP", "localhost:9")  # nobody listens
    return monkeypatch


@pytest.fixture
def metadata(tpu):
    """Serves the workers of a Cloud TPU as Google's metadata server does."""
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        workers = ""

        def do_GET(self):
            asked.append((self.path, self.headers["Metadata-Flavor"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(Answer.workers.encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("localhost", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        tpu.setenv("GCE_METADATA_IP", f"localhost:{server.server_address[1]}")
        yield Answer, asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("variables", "pod"),
    [
        ({}, False),
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "host-0"}, False),
        ({"TPU_PROCESS_ADDRESSES": "a:8471,b:8471"}, True),
        ({"TPU_WORKER_HOSTNAMES": "host-0", "MEGASCALE_NUM_SLICES": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1", "JAX_PLATFORMS": "cpu"}, False),
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1", "JAX_PLATFORMS": "tpu,cpu"}, True),
    ],
)
def test_pods_by_their_variables(tpu, variables, pod):
    for name, value in variables.items():
        tpu.setenv(name, value)
    assert hosts.on_tpu_pod() is pod


@pytest.mark.parametrize(
    ("workers", "pod"),
    [("unknown:unknown:10.0.0.2,unknown:unknown:10.0.0.3", True), ("a:b:10.0.0.2", False)],
)
def test_pods_by_the_metadata_server(metadata, workers, pod):
    answer, asked = metadata
    answer.workers = workers
    assert hosts.on_tpu_pod() is pod
    assert asked == [("/computeMetadata/v1/instance/attributes/worker-network-endpoints", "Google")]


def test_no_pod_without_chips_or_libtpu(metadata, tpu):
    metadata[0].workers = "a:b:10.0.0.2,a:b:10.0.0.3"
    tpu.setenv("TPU_SKIP_MDS_QUERY", "1")  # JAX sets it on a machine without chips
    assert not hosts.on_tpu_pod()
    tpu.delenv("TPU_SKIP_MDS_QUERY")
    tpu.setattr(importlib.util, "find_spec", lambda name: None)
    assert not hosts.on_tpu_pod()
    assert metadata[1] == []


def test_what_processes_do_must_be_the_same(monkeypatch):
    hosts.require_same("the configuration", {"seed": 0})  # there is only one
    monkeypatch.setattr(hosts, "several_processes", lambda: True)
    monkeypatch.setattr(hosts, "_gathered", lambda text: [text, text])
    hosts.require_same("the configuration", {"seed": 0, "train.epochs": 2})
    monkeypatch.setattr(hosts, "_gathered", lambda text: [text, '{"seed": 1, "a": 2}'])
    with pytest.raises(UserError, match=r"configuration of process 1 .* a is 2 and None"):
        hosts.require_same("the configuration", {"seed": 0})
    with pytest.raises(UserError, match=r"of process 1 .* seed is 1 and 0"):
        hosts.require_same("the configuration", {"seed": 0, "a": 2})
