"""Agreement measures against scipy on random ragged rows full of ties, and where undefined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from attnjax.analysis.agreement import kendall_tau, pearson, spearman

ORACLES = {
    kendall_tau: lambda a, b: stats.kendalltau(a, b).statistic,
    pearson: lambda a, b: stats.pearsonr(a, b).statistic,
    spearman: lambda a, b: stats.spearmanr(a, b).statistic,
}


def ragged(rows, length, seed, ties):
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, rows, length)).astype(np.float32)
    if ties:
        a, b = np.round(a * 1.5), np.round(b * 1.5)
    mask = random.random((rows, length)) < random.random((rows, 1))
    return a, b, mask


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("measure", ORACLES, ids=lambda measure: measure.__name__)
def test_equals_scipy(measure, ties):
    a, b, mask = ragged(1500, 24, 0, ties)
    found = np.asarray(jax.jit(measure)(a, b, mask))
    defined = 0
    for row in range(len(a)):
        x, y = a[row][mask[row]].astype(np.float64), b[row][mask[row]].astype(np.float64)
        if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
            assert np.isnan(found[row])
            continue
        defined += 1
        assert found[row] == pytest.approx(ORACLES[measure](x, y), abs=2e-6)
    assert 1000 < defined < 1500


@pytest.mark.parametrize("measure", ORACLES, ids=lambda measure: measure.__name__)
def test_whatever_stands_off_the_mask_is_ignored(measure):
    a, b, mask = ragged(50, 12, 1, ties=True)
    wild = np.where(mask, a, np.float32(1e9)), np.where(mask, b, np.float32(-1e9))
    np.testing.assert_array_equal(measure(*wild, mask), measure(a, b, mask))
    wide = [np.pad(each, ((0, 0), (0, 9))) for each in (a, b, mask)]
    np.testing.assert_allclose(measure(*wide), measure(a, b, mask), rtol=1e-6)


@pytest.mark.parametrize("measure", ORACLES, ids=lambda measure: measure.__name__)
def test_is_symmetric_scale_free_and_vmappable(measure):
    a, b, mask = ragged(20, 12, 2, ties=False)
    mask[:, :2] = True
    found = measure(a, b, mask)
    np.testing.assert_allclose(measure(b, a, mask), found, rtol=1e-6)
    # gradients can be tiny: the scale must not push squares below the smallest float
    np.testing.assert_allclose(measure(a * np.float32(1e-25), b, mask), found, rtol=1e-4)
    np.testing.assert_allclose(measure(-a, b, mask), -found, rtol=1e-6)
    stacked = [jnp.stack([each, each]) for each in (a, b, mask)]
    np.testing.assert_allclose(jax.vmap(measure)(*stacked)[1], found, rtol=1e-6)


def test_worked_example():
    a, b = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[1.0, 3.0, 2.0]])
    mask = jnp.ones((1, 3), bool)
    np.testing.assert_allclose(kendall_tau(a, b, mask), [1 / 3], rtol=1e-6)
    np.testing.assert_allclose(spearman(a, b, mask), [0.5], rtol=1e-6)
