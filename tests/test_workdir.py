"""The folder of a run, on disk and on gs:// (a stand-in for the bucket; no network)."""

import importlib.util

import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem

from attnjax.errors import UserError
from attnjax.main import main
from attnjax.train.log import Log
from attnjax.workdir import (
    METRICS,
    append_text,
    open_workdir,
    read_json,
    read_json_lines,
    write_json,
    write_json_lines,
)


class Bucket(MemoryFileSystem):
    """Objects in memory under gs://; no append, as on Google Cloud Storage."""

    store = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    refusal = None

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("gs:/"))

    def _open(self, path, mode="rb", **options):
        if "w" in mode and self.refusal:
            raise self.refusal
        assert "a" not in mode, "gcsfs would overwrite the object"
        return super()._open(path, mode, **options)


@pytest.fixture
def bucket(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: True if name == "gcsfs" else found(name)
    )
    made = Bucket(skip_instance_cache=True)
    made.store.clear()
    monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: made)
    return made


@pytest.mark.parametrize("package", ["gcsfs", "fsspec"])
def test_a_missing_package_is_named_before_anything_is_done(package, monkeypatch, capsys):
    found = importlib.util.find_spec
    hidden = {package, "tensorflow"}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in hidden else True if name == "gcsfs" else found(name),
    )
    message = rf"gs://b/sst needs the package {package}: pip install 'attnjax\[gcp\]'"
    with pytest.raises(UserError, match=message):
        open_workdir("gs://b/sst")
    assert main(["attnjax", "--workdir=gs://b/sst"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("attnjax: error: workdir gs://b/sst needs")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        (OSError("Forbidden, 403: no storage.objects.create"), "roles/storage.objectAdmin"),
        (PermissionError("denied"), "roles/storage.objectAdmin"),
        (OSError("Anonymous caller does not have access, 401"), "application-default login"),
        (FileNotFoundError("b/sst"), "gcloud storage buckets create"),
        (OSError("Cannot connect to host"), "check the network"),
        (ValueError("something else"), "--workdir=DIR"),
    ],
)
def test_a_failing_probe_says_what_to_do(refusal, advice, bucket, capsys):
    bucket.refusal = refusal
    with pytest.raises(UserError, match=r"workdir gs://b/sst is not writable") as caught:
        open_workdir("gs://b/sst")
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)
    assert main(["attnjax", "--workdir=gs://b/sst"]) == 2
    assert bucket.store == {}


@pytest.mark.parametrize("path", ["gs://", "gs://b", "gs://b/", "s3://b/sst", "gs:///sst"])
def test_a_remote_workdir_is_a_bucket_and_a_name(path):
    with pytest.raises(UserError, match="must be a local folder, or gs://BUCKET/RUN"):
        open_workdir(path)


def test_files_of_a_run_on_gs_are_read_as_they_were_written(bucket):
    folder = open_workdir("gs://b/sst")
    assert str(folder) == "gs://b/sst"
    write_json(folder / "config.json", {"a": 1})
    write_json(folder / "config.json", {"a": 2})
    assert read_json(folder / "config.json") == {"a": 2}
    assert list(bucket.store) == ["/b/sst/config.json"]


def test_metrics_on_gs_keep_every_row(bucket):
    folder = open_workdir("gs://b/sst")
    log = Log(folder, total_steps=4, step=0, tensorboard=False)
    for step in (1, 2, 3):
        log.write({"step": step, "epoch": step / 4, "split": "train", "loss": 0.5})
    assert [row["step"] for row in read_json_lines(folder / METRICS)] == [1, 2, 3]
    Log(folder, total_steps=4, step=2, tensorboard=False)
    assert [row["step"] for row in read_json_lines(folder / METRICS)] == [1, 2]


def test_a_local_workdir_is_made_probed_and_left_empty(tmp_path):
    folder = open_workdir(str(tmp_path / "a" / "b"))
    assert list((tmp_path / "a" / "b").iterdir()) == []
    append_text(folder / "x", "one\n")
    append_text(folder / "x", "two\n")
    assert (tmp_path / "a" / "b" / "x").read_text() == "one\ntwo\n"


def test_the_home_folder_is_where_it_is_for_the_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(open_workdir("~/runs/a")) == str(tmp_path / "runs" / "a")


def test_lines_end_at_line_feeds_alone(tmp_path):
    path = epath.Path(tmp_path / "rows.jsonl")
    rows = [{"label": "a\u2028b"}, {"label": "c\x85d"}]
    write_json_lines(path, rows)
    assert read_json_lines(path) == rows


def test_an_unwritable_local_workdir_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another with --workdir=DIR"):
        open_workdir(str(tmp_path / "file" / "run"))
