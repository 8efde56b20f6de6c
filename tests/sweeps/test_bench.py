"""A whole sweep, without its training."""

import logging

import pytest
from small_runs import write_small_data

from attnjax.config import from_config_dict
from attnjax.stop import Stop
from attnjax.sweeps import bench
from attnjax.sweeps.points import SweepSettings


@pytest.mark.parametrize("share", [None, (1, 2)])
def test_what_is_odd_about_the_data_is_told_once(tmp_path, monkeypatch, caplog, share):
    write_small_data(tmp_path / "data")
    (tmp_path / "data" / "more.csv").write_text("text,label\n")
    config = from_config_dict(
        {
            "task": "classification",
            "data": {"source": "files", "path": str(tmp_path / "data")},
            "model": {"encoder": "average", "embed_dim": 2, "hidden_dim": 2},
            "train": {"keep_heap": False},
        }
    )
    nothing = {"keep_to_share": None, "one_device_per_core": False, "way_on_a_core": "turn"}
    for name, value in {**nothing, "row_of": {"failed": False}, "write_sweep": None}.items():
        monkeypatch.setattr(bench, name, lambda *_, value=value: value)
    monkeypatch.setattr(bench.Bench, "train_all", lambda *_: iter(()))
    asked = SweepSettings({"seeds": "2"}, "turn", "grid", 10**9, share)
    logger = logging.getLogger("attnjax.data")
    try:
        bench.run_sweep(config, str(tmp_path / "out"), asked, ["attnjax"], Stop())
    finally:
        logger.setLevel(logging.NOTSET)
    assert ("not read: more.csv" in caplog.text) == (share is None)
