"""Checkpoints survive signals, damage and readers."""

import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from attnjax.checkpoint import Checkpoints
from attnjax.errors import UserError
from attnjax.stop import Stopped
from attnjax.types import TrainState

PARAMS = {"weights": jnp.arange(6.0).reshape(2, 3)}


@pytest.fixture
def folder(tmp_path):
    """Best parameters of the steps 8 and 12, those of step 12 twice as large."""
    folder = epath.Path(tmp_path / "checkpoints")
    with Checkpoints(folder) as checkpoints:
        checkpoints.save_best(PARAMS, 8, {"auc": 0.8})
        checkpoints.save_best({"weights": 2 * PARAMS["weights"]}, 12, {"auc": 0.9})
    return folder


def damage(folder, step):
    for path in pathlib.Path(folder / "best" / str(step)).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_best_come_back_with_their_step_and_scores(folder):
    with Checkpoints(folder) as checkpoints:
        best = checkpoints.restore_best(PARAMS)
    assert (best.step, best.validation) == (12, {"auc": 0.9})
    np.testing.assert_array_equal(best.params["weights"], 2 * PARAMS["weights"])


def test_damaged_ones_are_set_aside_and_the_step_is_that_of_what_came_back(folder):
    damage(folder, 12)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore_best(PARAMS).step == 8
        checkpoints.save_best(PARAMS, 12, {"auc": 0.9})
    damage(folder, 12)  # the second time at the same step
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore_best(PARAMS).step == 8
    assert len(list(folder.glob("damaged_best_12_*"))) == 2
    damage(folder, 8)
    with Checkpoints(folder) as checkpoints, pytest.raises(UserError, match="is damaged; delete"):
        checkpoints.restore_best(PARAMS)


def test_a_reader_leaves_everything_as_it_is(folder):
    damage(folder, 12)
    (folder / "best" / "16.orbax-checkpoint-tmp").mkdir()  # what another process is writing
    before = sorted(str(path) for path in pathlib.Path(folder).rglob("*"))
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert checkpoints.restore_best(PARAMS).step == 8
    assert sorted(str(path) for path in pathlib.Path(folder).rglob("*")) == before


def test_a_reader_with_another_model_is_not_told_to_delete_the_run(folder):
    like = {"weights": jnp.zeros((3, 3))}
    wrong = pytest.raises(UserError, match="not what it was trained with")
    with Checkpoints(folder, read_only=True) as checkpoints, wrong:
        checkpoints.restore_best(like)


def test_all_that_are_kept_come_with_their_parameters_alone(folder, caplog):
    state = TrainState(*[jnp.zeros(2)] * len(TrainState._fields))
    thrice = {"weights": 3 * PARAMS["weights"]}
    with Checkpoints(folder) as checkpoints:
        for step in (12, 15):
            progress = {"step": step, "evaluated": step}
            checkpoints.save(state._replace(params=thrice), progress)
    with Checkpoints(folder, read_only=True) as checkpoints:
        found = checkpoints.kept(PARAMS)
    assert sorted(found) == [8, 12, 15]
    for step, times in ((8, 1), (15, 3)):
        np.testing.assert_array_equal(found[step]["weights"], times * PARAMS["weights"])
    damage(folder, 8)
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert sorted(checkpoints.kept(PARAMS)) == [12, 15]
    assert "best/8 is damaged" in caplog.text
    with Checkpoints(folder / "nowhere", read_only=True) as checkpoints:
        assert checkpoints.kept(PARAMS) == {}


def test_a_signal_while_reading_is_no_damage(folder, monkeypatch):
    with Checkpoints(folder) as checkpoints:
        manager = checkpoints._manager("best")

        def interrupted(*_, **__):
            raise Stopped

        monkeypatch.setattr(manager, "restore", interrupted)
        with pytest.raises(Stopped):
            checkpoints.restore_best(PARAMS)
    assert sorted(path.name for path in (folder / "best").iterdir()) == ["12", "8"]


def test_a_validation_after_resuming_is_saved(tmp_path):
    state = TrainState(*[jnp.zeros(2)] * len(TrainState._fields))
    folder = epath.Path(tmp_path / "checkpoints")
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(state, {"step": 10, "evaluated": 5})
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(state)[1] == {"step": 10, "evaluated": 5}
        checkpoints.save(state, {"step": 10, "evaluated": 10})
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(state)[1] == {"step": 10, "evaluated": 10}


RECORD = {"config": {"seed": 3}, "vocabulary": "1a2b"}


def test_checkpoints_say_what_run_they_are_of(tmp_path):
    folder = epath.Path(tmp_path / "checkpoints")
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert checkpoints.recorded() is None
    with Checkpoints(folder, RECORD) as checkpoints:
        checkpoints.save_best(PARAMS, 8, {"auc": 0.8})
        checkpoints.save_best(PARAMS, 12, {"auc": 0.9})
    (folder / "best" / "12" / "run" / "metadata").write_text("[")
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert checkpoints.recorded() == RECORD, "of the newest that can be read"
        assert checkpoints.restore_best(PARAMS).step == 12
    (folder / "best" / "8" / "run" / "metadata").write_text('{"config": {}}')
    with (
        Checkpoints(folder, read_only=True) as checkpoints,
        pytest.raises(UserError, match=r"best/12/run/metadata is damaged"),
    ):
        checkpoints.recorded()


def test_checkpoints_of_earlier_versions_say_nothing_and_are_read(folder):
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert checkpoints.recorded() == {}
        assert checkpoints.restore_best(PARAMS).step == 12


@pytest.mark.parametrize("metadata", ["[]", '{"auc": "high"}', "[" * 100_000])
def test_scores_of_another_shape_are_damage(folder, metadata, caplog):
    (folder / "best" / "12" / "meta" / "metadata").write_text(metadata)
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert checkpoints.restore_best(PARAMS).step == 8
    assert "best/12 is damaged" in caplog.text


def test_a_save_that_fails_is_one_line_and_is_not_waited_for(tmp_path, monkeypatch):
    checkpoints = Checkpoints(epath.Path(tmp_path / "checkpoints"))
    manager = checkpoints._manager("best")

    def full(*_, **__):
        told = "Error writing 'x': No space left on device [os_error_code='28']\nmore"
        raise ValueError(f"RESOURCE_EXHAUSTED: {told}")

    def forever():
        raise AssertionError("would wait for threads that never end")

    monkeypatch.setattr(manager, "save", full)
    monkeypatch.setattr(manager, "close", forever)
    with checkpoints, pytest.raises(UserError, match=r"saved in .* \(No space left on device\);"):
        checkpoints.save_best(PARAMS, 8, {"auc": 0.8})


def test_damaged_metadata_of_orbax_is_named(folder):
    (folder / "best" / "12" / "_CHECKPOINT_METADATA").write_text("[]")
    with (
        Checkpoints(folder, read_only=True) as checkpoints,
        pytest.raises(UserError, match=r"metadata of a checkpoint under .*best is damaged"),
    ):
        checkpoints.restore_best(PARAMS)


def test_the_best_of_an_earlier_step_takes_the_place_of_a_later_one(folder):
    """Of a run that goes on from before the best that an earlier one has left."""
    with Checkpoints(folder) as checkpoints:
        checkpoints.save_best({"weights": 3 * PARAMS["weights"]}, 10, {"auc": 0.7})
    with Checkpoints(folder) as checkpoints:
        found = checkpoints.restore_best(PARAMS)
    assert found.step == 10
    np.testing.assert_array_equal(found.params["weights"], 3 * PARAMS["weights"])


def test_what_was_just_restored_is_not_saved_again(folder):
    with Checkpoints(folder) as checkpoints:
        checkpoints.restore_best(PARAMS)
        kept = (folder / "best" / "12").stat().mtime
        checkpoints.save_best(PARAMS, 12, {"auc": 0.1})
        checkpoints.wait()
        assert (folder / "best" / "12").stat().mtime == kept
        assert checkpoints.restore_best(PARAMS).validation == {"auc": 0.9}


def test_a_pipe_in_a_checkpoint_is_not_waited_for(folder):
    for path in pathlib.Path(folder / "best" / "12").rglob("manifest.ocdbt"):
        path.unlink()
        os.mkfifo(path)
    with (
        Checkpoints(folder, read_only=True) as checkpoints,
        pytest.raises(UserError, match=r"manifest.ocdbt is a pipe or a device, not a file"),
    ):
        checkpoints.restore_best(PARAMS)


@pytest.mark.parametrize("place", ["best", "."])
def test_a_file_in_the_place_of_checkpoints_is_named(place, tmp_path):
    folder = tmp_path / "checkpoints"
    if place != ".":
        folder.mkdir()
    (folder / place).write_text("") if place != "." else folder.write_text("")
    with Checkpoints(epath.Path(folder), read_only=True) as checkpoints:
        assert checkpoints.recorded() is None
        with pytest.raises(UserError, match=f"{(folder / place).name} is no folder"):
            checkpoints.restore_best(PARAMS)
