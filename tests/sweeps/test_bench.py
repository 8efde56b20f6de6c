"""The folders of a sweep's runs."""

import os

import pytest
from etils import epath

from attnjax.sweeps.bench import clear


@pytest.mark.parametrize("left", ["folder", "file", "pipe", "nothing"])
def test_a_runs_folder_is_new_whatever_was_left_there(left, tmp_path):
    folder = tmp_path / "point_0000"
    if left == "folder":
        (folder / "checkpoints").mkdir(parents=True)
    elif left == "file":
        folder.write_text("")
    elif left == "pipe":
        os.mkfifo(folder)
    clear(epath.Path(folder))
    assert folder.is_dir()
    assert not list(folder.iterdir())
