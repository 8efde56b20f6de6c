"""A headless Chromium spoken to in the WebDriver protocol, with the standard library alone."""

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import time

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name the standard gives to references
STARTUP = 60  # seconds


def missing():
    """What is not installed, or "" where there is a browser to drive."""
    if not any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        return "no Chromium: install the package chromium"
    if not shutil.which("chromedriver"):
        return "no chromedriver: install the package chromium-driver"
    return ""


class Browser:
    """One session; `logs` are read and emptied."""

    def __init__(self, profile):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        driver = shutil.which("chromedriver")
        assert driver, missing()
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([driver, f"--port={self.port}"], stdout=quiet, stderr=quiet)
        self.session = ""
        try:
            self._wait()
            options = {"args": [*FLAGS, f"--user-data-dir={profile}/profile"]}
            wanted = {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
            found = self._request("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self.session = f"/session/{found['sessionId']}"
        except BaseException:
            self.close()
            raise

    def _wait(self):
        end = time.monotonic() + STARTUP
        while True:
            with contextlib.suppress(OSError):
                if self._request("GET", "/status")["ready"]:
                    return
            assert self.process.poll() is None, "chromedriver ended"
            assert time.monotonic() < end, "chromedriver does not answer"
            time.sleep(0.05)

    def _request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(f"{value['error']}: {value['message']}")
        return value

    def _post(self, path, **body):
        return self._request("POST", self.session + path, body)

    def open(self, path):
        self._post("/url", url=path.as_uri())

    def run(self, script, *arguments):
        """The value of a function body in the page."""
        return self._post("/execute/sync", script=script, args=list(arguments))

    def devtools(self, command, **parameters):
        return self._post("/goog/cdp/execute", cmd=command, params=parameters)

    def find(self, selector):
        return self._post("/element", using="css selector", value=selector)[ELEMENT]

    def type(self, selector, text):
        self._post(f"/element/{self.find(selector)}/value", text=text)

    def point_at(self, selector):
        """Moves a real pointer over the element."""
        place = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0}
        place["origin"] = {ELEMENT: self.find(selector)}
        pointer = {"type": "pointer", "id": "mouse", "actions": [place]}
        self._post("/actions", actions=[pointer])

    def press(self, *keys):
        actions = [{"type": kind, "value": k} for k in keys for kind in ("keyDown", "keyUp")]
        self._post("/actions", actions=[{"type": "key", "id": "keys", "actions": actions}])

    def logs(self, kind):
        return self._post("/se/log", type=kind)

    def resize(self, width, height):
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def scheme(self, name):
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def close(self):
        try:
            if self.session:
                with contextlib.suppress(OSError, RuntimeError):
                    self._request("DELETE", self.session)
        finally:
            self.process.terminate()
            self.process.wait(timeout=30)
