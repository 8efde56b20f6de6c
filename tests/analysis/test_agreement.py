"""Agreement measures against scipy on random ragged rows full of ties, and where undefined."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit
from scipy import stats
from scipy.spatial import distance

from attnjax.analysis.agreement import (
    jensen_shannon,
    kendall_p_value,
    kendall_tau,
    measures,
    pearson,
    spearman,
    top_k_kendall,
    top_k_overlap,
)

ORACLES = {
    kendall_tau: lambda a, b: stats.kendalltau(a, b).statistic,
    pearson: lambda a, b: stats.pearsonr(a, b).statistic,
    spearman: lambda a, b: stats.spearmanr(a, b).statistic,
}
ALL = {
    name: quick_jit(measure)
    for name, measure in (measures(top_k=4) | {"kendall_p_value": kendall_p_value}).items()
}
POSITIVE = ("jensen_shannon",)  # measures of distributions, not of any values


def ragged(rows, length, seed, ties):
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, rows, length)).astype(np.float32)
    if ties:
        a, b = np.round(a * 1.5), np.round(b * 1.5)
    mask = random.random((rows, length)) < random.random((rows, 1))
    return a, b, mask


def suited(name, a, b, mask):
    """The rows as values that the measure takes."""
    return (np.abs(a), np.abs(b), mask) if name in POSITIVE else (a, b, mask)


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


def nearly_sorted(rows, length, seed):
    """Rows without ties whose order differs by nothing, one swap of neighbours, or a few."""
    random = np.random.default_rng(seed)
    a = np.sort(random.normal(size=(rows, length)), axis=1)
    b = a.copy()
    for row in range(rows):
        for _ in range(row % 4):
            place = random.integers(length - 1)
            b[row, [place, place + 1]] = b[row, [place + 1, place]]
    b[::2] *= -1
    return a.astype(np.float32), b.astype(np.float32), np.ones((rows, length), bool)


def rows_for_p_values():
    """Short and long rows, with ties and without, and rows so orderly that scipy is exact."""
    yield from (ragged(1000, length, length, ties) for length in (8, 60) for ties in (False, True))
    #  33 and 34 stand on both sides of scipy's limit, 171 is beyond its factorials
    yield from (nearly_sorted(8, length, 7) for length in (2, 33, 34, 60, 171, 172, 173))
    longer = ragged(20, 33, 3, False), ragged(20, 34, 4, False)
    yield from ((a, b, np.ones_like(mask)) for a, b, mask in longer)


@pytest.fixture(scope="module")
def p_values():
    """[(rows, scipy's p-values, NaN where undefined)]."""
    cases = []
    for a, b, mask in rows_for_p_values():
        expected = np.full(len(a), np.nan)
        for row in range(len(a)):
            x, y = a[row][mask[row]].astype(np.float64), b[row][mask[row]].astype(np.float64)
            if len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0:
                expected[row] = stats.kendalltau(x, y).pvalue
        cases.append(((a, b, mask), expected))
    return cases


def test_p_values_equal_scipy(p_values, double_precision):
    defined = 0
    for (a, b, mask), expected in p_values:
        found = jax.jit(kendall_p_value)(a.astype(np.float64), b.astype(np.float64), mask)
        # XLA flushes the smallest of floats, below 2.2e-308, to 0
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=3e-308)
        defined += np.isfinite(expected).sum()
    assert defined > 3000


def test_p_values_equal_scipy_in_single_precision(p_values):
    # A p-value far out in the tail, exp(-z^2 / 2), multiplies the error of z by z^2: 1e-4 at 1e-30.
    for (a, b, mask), expected in p_values:
        found = jax.jit(kendall_p_value)(a, b, mask)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-38)


def literal_top_k_kendall(a, b, k):
    """papers 3.3, with loops, on plain lists."""
    k = min(k, len(a))
    first = sorted(range(len(a)), key=lambda i: -a[i])[:k]  # a stable sort: the earlier wins
    second = sorted(range(len(b)), key=lambda i: -b[i])[:k]
    shared = [i for i in first if i in second]
    tau = math.nan
    if len(shared) > 1:
        x, y = [a[i] for i in shared], [b[i] for i in shared]
        if min(x) < max(x) and min(y) < max(y):
            tau = stats.kendalltau(x, y).statistic
    total = 0.0 if math.isnan(tau) else (1 - (tau + 1) / 2) * len(shared) ** 2
    total += sum(a[i] < a[j] for i in shared for j in first if j not in shared)
    total += sum(b[i] < b[j] for i in shared for j in second if j not in shared)
    total += 2 * 0.5 * math.comb(k - len(shared), 2)
    return total / (len(set(first) | set(second)) ** 2), len(shared) / k


@pytest.mark.parametrize("ties", [False, True])
def test_top_k_measures_equal_the_literal_version(ties):
    a, b, mask = ragged(500, 14, 5, ties)
    distances = jax.jit(lambda *rows: top_k_kendall(*rows, k=6))(a, b, mask)
    shares = jax.jit(lambda *rows: top_k_overlap(*rows, k=6))(a, b, mask)
    seen = set()
    for row in range(len(a)):
        x, y = a[row][mask[row]].tolist(), b[row][mask[row]].tolist()
        if not x:
            assert np.isnan(distances[row])
            assert np.isnan(shares[row])
            continue
        expected = literal_top_k_kendall(x, y, 6)
        assert distances[row] == pytest.approx(expected[0], abs=1e-6)
        assert shares[row] == pytest.approx(expected[1], abs=1e-6)
        seen.add(min(len(x), 7))
    assert seen == set(range(1, 8))  # shorter than k, as long, and longer


def test_top_k_measures_at_their_ends():
    up = jnp.arange(40.0)[None]
    everywhere = jnp.ones((1, 40), bool)
    rows = jnp.concatenate([up, up]), jnp.concatenate([up, -up]), everywhere.repeat(2, axis=0)
    apart = jax.jit(top_k_kendall)(*rows), jax.jit(top_k_overlap)(*rows)  # the same, disjoint
    np.testing.assert_allclose(apart, [[0, 9 / 80], [1, 0]], rtol=1e-6)
    reversed_words = jax.jit(lambda *rows: top_k_kendall(*rows, k=40))(*rows)
    np.testing.assert_allclose(reversed_words, [0, 1], rtol=1e-6)


@pytest.mark.parametrize("ties", [False, True])  # rounded values are often 0
def test_jensen_shannon_equals_scipy(ties):
    a, b, mask = ragged(1000, 12, 6, ties)
    a, b = np.abs(a), np.abs(b)
    found = np.asarray(jax.jit(jensen_shannon)(a, b, mask))
    undefined = 0
    for row in range(len(a)):
        x, y = a[row][mask[row]].astype(np.float64), b[row][mask[row]].astype(np.float64)
        if x.sum() == 0 or y.sum() == 0:
            assert np.isnan(found[row])
            undefined += 1
            continue
        assert found[row] == pytest.approx(distance.jensenshannon(x, y) ** 2, abs=5e-7)
    assert 0 < undefined < 500


def test_jensen_shannon_at_its_ends():
    a = jnp.array([[0.0, 2.0, 0.0], [1.0, 2.0, 3.0], [1.0, -1.0, 3.0], [1e-30, 0.0, 0.0]])
    b = jnp.array([[1.0, 0.0, 0.0], [2.0, 4.0, 6.0], [1.0, 2.0, 3.0], [0.0, 1e-30, 1e-30]])
    found = jensen_shannon(a, b, jnp.ones((4, 3), bool))
    np.testing.assert_allclose(found, [math.log(2), 0, np.nan, math.log(2)], atol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_whatever_stands_off_the_mask_is_ignored(name):
    a, b, mask = suited(name, *ragged(50, 12, 1, ties=True))
    expected = ALL[name](a, b, mask)
    assert np.isfinite(expected).sum() > 25
    for wild in (np.float32(1e9), np.float32(-1e9), np.float32(np.nan)):
        found = ALL[name](np.where(mask, a, wild), np.where(mask, b, -wild), mask)
        np.testing.assert_array_equal(found, expected)
    wide = [np.pad(each, ((0, 0), (0, 9))) for each in (a, b, mask)]
    np.testing.assert_allclose(ALL[name](*wide), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_a_row_depends_on_itself_alone(name):
    a, b, mask = suited(name, *ragged(30, 12, 8, ties=True))
    whole = ALL[name](a, b, mask)
    part = ALL[name](a[20:5:-3], b[20:5:-3], mask[20:5:-3])
    np.testing.assert_allclose(part, whole[20:5:-3], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_missing_values_and_rows_without_words_are_undefined(name):
    a, b, mask = suited(name, *ragged(6, 12, 9, ties=False))
    mask[:] = True
    mask[0] = False
    a[1, 3] = b[2, 4] = np.nan
    found = np.asarray(ALL[name](a, b, mask))
    np.testing.assert_array_equal(np.isnan(found), [True] * 3 + [False] * 3)


@pytest.mark.parametrize("name", ALL)
def test_rows_without_any_place_are_undefined(name):
    none = np.zeros((2, 0), np.float32)
    assert np.isnan(ALL[name](none, none, none.astype(bool))).tolist() == [True, True]


@pytest.mark.parametrize("name", ALL)
def test_is_symmetric_and_vmappable(name):
    a, b, mask = suited(name, *ragged(20, 12, 2, ties=False))
    mask[:, :2] = True
    found = ALL[name](a, b, mask)
    np.testing.assert_allclose(ALL[name](b, a, mask), found, rtol=1e-6, atol=1e-7)
    stacked = [jnp.stack([each, each]) for each in (a, b, mask)]
    np.testing.assert_allclose(jax.vmap(ALL[name])(*stacked)[1], found, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("measure", ORACLES, ids=lambda measure: measure.__name__)
def test_correlations_are_scale_free(measure):
    a, b, mask = ragged(20, 12, 2, ties=False)
    mask[:, :2] = True
    found = measure(a, b, mask)
    # gradients can be tiny: the scale must not push squares below the smallest float
    np.testing.assert_allclose(measure(a * np.float32(1e-25), b, mask), found, rtol=1e-4)
    np.testing.assert_allclose(measure(-a, b, mask), -found, rtol=1e-6)


def test_worked_example():
    a, b = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[1.0, 3.0, 2.0]])
    mask = jnp.ones((1, 3), bool)
    np.testing.assert_allclose(kendall_tau(a, b, mask), [1 / 3], rtol=1e-6)
    np.testing.assert_allclose(spearman(a, b, mask), [0.5], rtol=1e-6)
    np.testing.assert_allclose(kendall_p_value(a, b, mask), [1], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, np.int8) for name in ALL]  # all convert by one function, which sees every kind here
    + [("pearson", kind) for kind in (bool, np.uint8, np.int32, np.float16)],
)
def test_any_kind_of_number_is_as_good_as_float32(name, kind):
    """Human rationales are 0 and 1; counts of a long text do not fit a small type."""
    _, b, mask = suited(name, *ragged(10, 300, 3, ties=False))
    a = np.random.default_rng(4).integers(2, size=b.shape).astype(kind)
    mask[:] = True
    expected = ALL[name](a.astype(np.float32), b, mask)
    np.testing.assert_array_equal(ALL[name](a, b, mask), expected)
    # Of another type of mask another program is compiled, which may sum in another order.
    found = ALL[name](a, b, mask.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    swapped = ALL[name](b, a.astype(np.float32), mask)
    np.testing.assert_array_equal(ALL[name](b, a, mask), swapped)


def test_docstrings_example_takes_lists():
    rows = [[1, 2, 3]], [[1, 3, 2]], [[True] * 3]
    np.testing.assert_allclose(kendall_tau(*map(np.array, rows)), [1 / 3], rtol=1e-6)
