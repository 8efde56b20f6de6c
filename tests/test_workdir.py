"""The folder of a run, on disk and on gs:// (a stand-in for the bucket; no network)."""

import importlib.util
import json
import os

import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem

from attnjax.errors import UserError
from attnjax.main import main
from attnjax.shapes import METRICS_SHAPE, RESULTS_SHAPE, VOCABULARY_SHAPE, misfit
from attnjax.training.log import Log
from attnjax.workdir import (
    FOLDERS,
    METRICS,
    absolute,
    append_text,
    held,
    open_workdir,
    read_examples,
    read_json,
    read_json_lines,
    write_json,
    write_json_lines,
    write_text,
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


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("kind", ["file", "link", "loop"])
def test_nothing_is_written_through_what_lies_in_a_folder_from_elsewhere(name, kind, tmp_path):
    inside, elsewhere = tmp_path / "run" / name, tmp_path / "elsewhere"
    inside.parent.mkdir(parents=True)
    elsewhere.mkdir()
    if kind == "file":
        inside.write_text("")
    else:
        inside.symlink_to(elsewhere if kind == "link" else inside)
    with pytest.raises(UserError, match=f"{name} is a (file|symbolic link), and a run's own"):
        open_workdir(str(tmp_path / "run"))
    assert not list(elsewhere.iterdir())


def test_a_folder_may_itself_be_reached_through_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "there")
    write_json(open_workdir(str(tmp_path / "run")) / "config.json", {})
    assert (tmp_path / "there" / "config.json").exists()


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("results.json", "results.json.partial"):
        (tmp_path / name).symlink_to(precious)
    write_text(epath.Path(tmp_path / "results.json"), "new")
    assert precious.read_text() == "mine"
    assert (tmp_path / "results.json").read_text() == "new"
    assert not (tmp_path / "results.json").is_symlink()


def test_nothing_is_added_through_a_link(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "metrics.jsonl").symlink_to(precious)
    with pytest.raises(UserError, match=r"metrics\.jsonl is a symbolic link; move it away"):
        append_text(epath.Path(tmp_path / "metrics.jsonl"), "row\n")
    assert precious.read_text() == "mine"


def test_a_failed_write_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path, monkeypatch):
    path = epath.Path(tmp_path / "results.json")
    write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"]


def test_what_killed_commands_had_half_written_is_deleted(tmp_path):
    left = f".results.json.{'0f' * 16}.partial"
    own = (".notes.partial", "results.json.partial", f"results.json.{'0f' * 16}.partial")
    for name in (left, *own, f"tables/{left}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    with held(epath.Path(tmp_path)):
        assert {each.name for each in tmp_path.rglob("*")} == {*own, "tables"}


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b'{"tokens": [', "Expecting value"),
        (b"\xff\xfe{}", "can't decode byte"),
        (DEEP.encode(), "nested too deeply"),
        (b'{"a": ' * 300 + b"1" + b"}" * 300, "nested too deeply"),  # Python itself would read it
        (b'{"tokens": ' + b"9" * 5000 + b"}", "4300 digits"),
        (b"null", "it is no dict"),
        (b'{"tokens": [], "labels": []}', "it has no 'frequencies'"),
        (b'{"tokens": [1], "labels": [], "frequencies": []}', "'tokens.0' is no str"),
        (b'{"tokens": [], "labels": [], "frequencies": [true]}', "'frequencies.0' is no number"),
        (b'{"tokens": [], "labels": [], "frequencies": [NaN]}', "'frequencies.0' is no number"),
        (b'{"tokens": [], "labels": {}, "frequencies": []}', "'labels' is no list"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(content, message, tmp_path):
    path = epath.Path(tmp_path / "vocab.json")
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"vocab.json is damaged \(.*{message}.*\); restore it"):
        read_json(path, VOCABULARY_SHAPE)


def test_a_damaged_line_is_named_and_only_the_last_may_be_cut_short(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    row = '{"step": 1, "epoch": 0.5, "split": "train", "loss": null}'
    path.write_text(f"{row}\n{row[:20]}")
    assert len(read_json_lines(path, METRICS_SHAPE)) == 1
    for damaged in (row[:20], "3", '{"step": 1.5, "epoch": 0.5, "split": "train"}', DEEP):
        path.write_text(f"{row}\n{damaged}\n{row}\n")
        with pytest.raises(UserError, match=r"line 2 of .*metrics.jsonl is damaged"):
            read_json_lines(path, METRICS_SHAPE)


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({"config": {}, "test": {"f1": 0.5, "auc": None}, "analysis": {}, "further": 1}, ""),
        ({"config": {}, "test": None, "analysis": {}, "best": {"step": 3, "validation": {}}}, ""),
        (
            {
                **{"config": {}, "test": {}, "analysis": {}},
                "cost": {"lime": {"seconds_per_example": 0.1, "passes": {"forward": 9.0}}},
            },
            "",
        ),
        ({"config": {}, "test": {"f1": "good"}, "analysis": {}}, "'test.f1' is no number"),
        ({"config": {}, "test": {}, "analysis": []}, "'analysis' is no dict"),
        ({"config": {}, "test": {}, "analysis": {}, "best": {}}, "it has no 'best.step'"),
        ({"config": {}, "test": {}, "analysis": {}, "failed": 0}, "'failed' is no bool"),
    ],
)
def test_shapes(value, wrong):
    assert misfit(value, RESULTS_SHAPE) == wrong


@pytest.mark.parametrize("path", [3, None, b"run", ["run"], "a\0b"])
def test_what_names_no_folder(path):
    wanted = "a folder is named by a text or a path, not by|is no UTF-8; choose another"
    with pytest.raises(UserError, match=wanted):
        absolute(path)


def test_a_list_may_hold_nulls_where_the_shape_says_so():
    assert misfit({"a": [None, 1.0]}, {"a": [(float, None)]}) == ""
    assert misfit({"a": [None, "x"]}, {"a": [(float, None)]}) == "'a.1' is no number"
    assert misfit({"a": [None, 1.0]}, {"a": [float]}) == "'a.0' is no number"


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for read in (read_json, read_json_lines):
        with pytest.raises(UserError, match=r"pipe.json is a pipe or a device, not a file"):
            read(epath.Path(tmp_path) / "pipe.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"attention": [0.5]}, "'attention' has 1 values for 2 tokens"),
        ({"importance": {"gradient": [1.0, None, 2.0]}}, "'gradient' has 3 values for 2 tokens"),
        ({"importance": {"lime": [1.0, 2.0]}}, "it has other explanations than line 1"),
        ({"query_importance": {"gradient": []}}, "'gradient' has 0 values for 1 query tokens"),
        ({"query_importance": None}, "it has other explanations of the query than line 1"),
        ({"attention": [0.5, "x"]}, "'attention.1' is no number"),
        ({"query": 3}, "'query' is no list"),
    ],
)
def test_explanations_of_analysed_examples_fit_their_tokens(changes, message, tmp_path):
    row = {
        **{"id": 0, "tokens": ["a", "b"], "query": ["c"], "label": "no", "prediction": "no"},
        **{"probabilities": [1.0], "attention": [0.5, 0.5], "importance": {"gradient": [1.0, 2.0]}},
        "query_importance": {"gradient": [1.0]},
    }
    folder = epath.Path(tmp_path)
    assert read_examples(folder) == []
    write_json_lines(folder / "analysis" / "examples.jsonl", [row, {**row, **changes}])
    if not message:
        assert read_examples(folder) == [row, row]
        return
    with pytest.raises(UserError, match=rf"line 2 of .*examples.jsonl is damaged \({message}\);"):
        read_examples(folder)


def test_examples_of_another_analysis_than_results_tell_of_are_refused(tmp_path):
    folder, row = (
        epath.Path(tmp_path),
        {
            **{"id": 0, "tokens": ["a"], "query": None, "label": "no", "prediction": "no"},
            **{"probabilities": [1.0], "attention": [1.0], "importance": {}},
        },
    )
    summed = write_json_lines(folder / "analysis" / "examples.jsonl", [row, row])
    results = {"config": {}, "test": {}, "analysis": {"examples_sha256": summed}}
    (folder / "results.json").write_text(json.dumps(results))
    assert read_examples(folder) == [row, row]
    path = folder / "analysis" / "examples.jsonl"
    path.write_text(path.read_text()[: len(path.read_text()) // 2 + 5])  # cut within a line
    with pytest.raises(UserError, match=r"examples.jsonl is not of the analysis that results.json"):
        read_examples(folder)
    results["analysis"] = {}  # as an earlier version wrote it: a line that was cut is left out
    (folder / "results.json").write_text(json.dumps(results))
    assert read_examples(folder) == [row]
