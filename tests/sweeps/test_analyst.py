"""Runs that are analysed in one program get what each gets alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import small_dataset, small_stages

from attnjax.analysis.importance import METHODS
from attnjax.analysis.importance.method import Method
from attnjax.analysis.summary import nothing
from attnjax.config import TrainConfig
from attnjax.model import segments
from attnjax.stop import Stop
from attnjax.sweeps.analyst import Analyst
from attnjax.training.parallel import make_row_parallel, place_runs
from attnjax.training.setup import starting_state

METHODS_ASKED = ("gradient", "far", "host")


def mean_vector(stages, params, batches, key):
    vectors = [stages.embed(params, each).text for each in batches]
    flat = [np.asarray(each).reshape(-1, each.shape[-1]) for each in vectors]
    return jnp.asarray(np.concatenate(flat).mean(axis=0))


def far(stages, params, batch, key, fitted):
    """Signed distance from the mean training vector along its own direction."""
    products = stages.embed(params, batch).text @ fitted - fitted @ fitted
    return jnp.where(segments.words(batch, "text"), products, 0)


def host(stages, params, batch, key):
    table = np.asarray(params["embed"]["table"])
    return np.where(batch.words, np.abs(table[np.asarray(batch.tokens)]).sum(axis=-1), 0)


@pytest.mark.parametrize("devices", [1, 2])
def test_each_run_gets_what_it_gets_alone(monkeypatch, devices):
    """With methods that are fitted to each, or run on the host; and where a run has failed."""
    monkeypatch.setitem(METHODS, "far", Method(far, signed=True, fit=mean_vector))
    monkeypatch.setitem(METHODS, "host", Method(host, on_host=True))
    config, dataset = small_dataset()
    analysis = dataclasses.replace(
        config.analysis,
        methods=METHODS_ASKED,
        questions=("agreement", "randomisation", "continuity"),
        continuity_draws=1,
        chunk_size=8,
    )
    config = dataclasses.replace(config, analysis=analysis)
    stages = small_stages(config, dataset)
    params = jax.device_get(starting_state(config, dataset, stages).params)
    several = [jax.tree.map(lambda a, k=k: a * (2 + k), params) for k in range(3)]
    analyst = Analyst(dataset, stages, make_row_parallel(TrainConfig(devices=1)), Stop())
    failed = [*several[:2], None, several[2]]
    together = analyst.analyse([config] * 4, failed, place_runs(devices))
    assert together[2] == nothing()
    del together[2]
    for place, own in enumerate(several):
        (alone,) = analyst.analyse([config], [own], place_runs(1))
        for path, value in jax.tree_util.tree_leaves_with_path(alone):
            found = together[place]
            for each in path:
                found = found[getattr(each, "key", getattr(each, "idx", None))]
            assert found == pytest.approx(value, rel=1e-4, abs=1e-4), path
    taus = {each["analysis"]["agreement"]["attention~far"]["kendall"]["mean"] for each in together}
    assert len(taus) == 3
