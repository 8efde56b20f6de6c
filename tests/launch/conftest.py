"""A fake gcloud on PATH that replays a scenario, and a clock that tests move."""

import json
import os
import pathlib
import shlex
import sys

import gcloud
import pytest
import tpu

FAKE = pathlib.Path(__file__).parent / "fake_gcloud.py"


class Cloud:
    """What the fake gcloud was asked, and how long the launcher paused."""

    def __init__(self, folder):
        self.folder = folder
        self.pauses = []
        self.interrupt_after = None

    def scenario(self, **answers):
        (self.folder / "scenario.json").write_text(json.dumps(answers))

    @property
    def calls(self):
        path = self.folder / "calls.txt"
        return path.read_text().split() if path.exists() else []

    @property
    def words(self):
        return [json.loads(line) for line in (self.folder / "words.jsonl").read_text().splitlines()]

    def sleep(self, seconds):
        self.pauses.append(seconds)
        if len(self.pauses) == self.interrupt_after:
            raise KeyboardInterrupt
        assert len(self.pauses) < 100, "the launcher never ends"

    def launch(self, action, *more, backend="queued"):
        basics = ["--name=sst", "--project=p", "--zone=z", "--preset=v6e-8", "--poll_s=60"]
        basics += [f"--backend={backend}", "--workdir=gs://bucket/sst"]
        return tpu.main([action, *basics, *more], sleep=self.sleep, clock=lambda: sum(self.pauses))


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    script = tmp_path / "bin" / "gcloud"
    script.parent.mkdir()
    words = [sys.executable, str(FAKE), str(tmp_path)]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    for module in (gcloud, tpu):
        monkeypatch.setattr(module, "ARCHIVE", str(tmp_path / "dist" / "attnjax-launch.tar.gz"))
    for name in ("CLOUDSDK_CORE_PROJECT", "CLOUDSDK_COMPUTE_ZONE"):
        monkeypatch.delenv(name, raising=False)
    return Cloud(tmp_path)
