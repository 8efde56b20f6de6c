"""Compiled functions of stacked runs: ways, memory, and nothing compiled twice."""

import dataclasses

import jax
import numpy as np
import pytest
from small_runs import small_dataset, small_stages

from attnjax.config import RunConfig
from attnjax.errors import UserError
from attnjax.stop import Stop
from attnjax.sweeps.chunk import train_chunk
from attnjax.sweeps.points import parse_sweep, points_of
from attnjax.sweeps.programs import (
    WAYS,
    across,
    choose,
    fitting,
    make_programs,
    structure,
    way_on_a_core,
)
from attnjax.training.parallel import place_runs
from attnjax.training.setup import starting_state


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("devices", [1, 4])
def test_runs_keep_apart_on_every_way(way, devices):
    def function(state, shared, number):
        return {"sum": (state["a"] * shared).sum() + number, "a": state["a"] + 1}

    count = devices if way == "turn" else 2 * devices
    states = {"a": np.arange(3 * count, dtype=np.float32).reshape(count, 3), "none": None}
    numbers = np.arange(count, dtype=np.float32)
    stacked = (True, False, True)
    runs = place_runs(devices)
    compiled = runs.compile(across(way, function, stacked), stacked)
    shared = np.float32([1, 2, 3])
    found = compiled(runs.split(states), runs.whole(shared), runs.split(numbers))
    np.testing.assert_allclose(found["sum"], states["a"] @ shared + numbers)
    np.testing.assert_array_equal(found["a"], states["a"] + 1)


def test_the_structure_is_all_but_what_a_sweep_varies():
    flags = ["", "--sweep.epsilon=1,2", "--sweep.weight=1,2", "--sweep.seeds=2"]
    flags += ["--sweep.learning_rate=0.1,0.2", "--sweep.relevance=0,0.1,1"]
    asked, _ = parse_sweep([*flags, "--sweep.technique=attention_at,word_at"])
    points = points_of(RunConfig(), asked)
    groups = {}
    for each in points:
        groups.setdefault(structure(each.config), []).append(each.varied)
    assert len(points) == 2 * 2 * 2 * 2 * 2 * 3
    # without a relevance loss the program is another one
    assert sorted(len(each) for each in groups.values()) == [16, 16, 32, 32]
    assert all(len({v["technique"] for v in each}) == 1 for each in groups.values())


def test_memory_bounds_the_runs_of_a_chunk():
    config, dataset = small_dataset()
    stages = small_stages(config, dataset)
    runs = place_runs(2)
    small = fitting(config, dataset, stages, runs, 20_000_000)
    large = fitting(config, dataset, stages, runs, 80_000_000)
    assert small["map"] > small["vmap"] >= 1  # under map a step's memory is there once
    assert large["vmap"] == pytest.approx(4 * small["vmap"], rel=0.1)
    states = sum(leaf.nbytes for leaf in jax.tree.leaves(make_state(config, dataset, stages)))
    assert small["vmap"] * states < 10_000_000  # a device's half
    with pytest.raises(UserError, match=r"one run on each of 2 devices needs .* raise --sweep.mem"):
        fitting(config, dataset, stages, runs, 1000)
    programs, took = choose(config, dataset, stages, runs, 1000, "vmap", 20_000_000)
    assert (programs.way, programs.together, took) == ("vmap", min(128, small["vmap"]), {})


def make_state(config, dataset, stages):
    return starting_state(config, dataset, stages)


@pytest.mark.slow
def test_auto_takes_the_fastest_of_what_it_measured():
    config, dataset = small_dataset()
    stages = small_stages(config, dataset)
    programs, took = choose(config, dataset, stages, place_runs(2), 6, "auto", None)
    assert set(took) == {"vmap x 3", "map x 3", "turn x 1"}
    assert min(took, key=took.get) == f"{programs.way} x {programs.together}"
    alone, took = choose(config, dataset, stages, place_runs(2), 2, "auto", None)
    assert (alone.way, alone.chunk, took) == ("turn", 2, {})


@pytest.mark.slow
def test_one_compilation_for_all_points():
    config, dataset = small_dataset()
    stages = small_stages(config, dataset)
    programs = make_programs(config, dataset, stages, place_runs(1), "turn", 1)
    sizes = []
    for epsilon in (0.1, 1.0, 7.0):
        each = dataclasses.replace(
            config, adversary=dataclasses.replace(config.adversary, epsilon=epsilon)
        )
        train_chunk([each], dataset, stages, programs, Stop())
        sizes.append([each._cache_size() for each in (programs.step[False], programs.evaluate)])
    assert sizes[0] == sizes[1] == sizes[2]
    assert programs.step[True]._cache_size() == 0  # all have one seed, so one batch


def test_large_states_are_not_copied_at_every_step():
    config, dataset = small_dataset()
    assert way_on_a_core(config, dataset, small_stages(config, dataset)) == "map"
    model = dataclasses.replace(config.model, embed_dim=20_000)  # 22 words, four arrays: 7 MB
    config = dataclasses.replace(config, model=model)
    assert way_on_a_core(config, dataset, small_stages(config, dataset)) == "turn"
