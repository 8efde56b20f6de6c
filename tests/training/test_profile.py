"""A trace of chosen steps appears on disk, and nothing else is traced."""

import jax.numpy as jnp
import pytest
from etils import epath

from attnjax.config import from_config_dict
from attnjax.errors import UserError
from attnjax.training.profile import Profile


def steps_traced(steps, last, tmp_path):
    profile = Profile(steps, epath.Path(tmp_path / "profile"))
    drained = []
    for step in range(1, last + 1):
        profile.before(step, lambda step=step: drained.append(("before", step)))
        jnp.arange(3.0).sum().block_until_ready()
        profile.after(step, lambda step=step: drained.append(("after", step)))
    profile.close()
    return drained


def test_chosen_steps_are_traced(tmp_path):
    assert steps_traced((2, 3), 5, tmp_path) == [("before", 2), ("after", 3)]
    files = [path.name for path in (tmp_path / "profile").rglob("*") if path.is_file()]
    assert any(name.endswith(".xplane.pb") for name in files)


def test_training_that_ends_first_closes_the_trace(tmp_path):
    assert steps_traced((2, 9), 3, tmp_path) == [("before", 2)]
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_no_steps_no_trace(tmp_path):
    assert steps_traced((), 3, tmp_path) == []
    assert not (tmp_path / "profile").exists()


@pytest.mark.parametrize("steps", [(3,), (3, 2), (0, 2), (1, 2, 3)])
def test_steps_that_make_no_range(steps):
    with pytest.raises(UserError, match="first and the last step to trace"):
        from_config_dict({"train": {"profile_steps": steps}})
