"""Intervals and differences: scipy's bootstrap, literal loops, and samples with a known answer."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from attnjax.analysis import statistics
from attnjax.analysis.agreement import measures
from attnjax.analysis.intervals import (
    RANGES,
    UNBOUNDED,
    bca_quantiles,
    expansion,
    mean_quantiles,
    of_difference,
    range_of,
    within,
)
from attnjax.analysis.statistics import (
    attention_divergence,
    bootstrap,
    bootstrap_differences,
    holm,
    seed_agreement,
    seed_error,
)


def correlated(runs, examples, shift=0.0, seed=0):
    """Values of `runs` runs that share the difficulty of the examples, plus `shift`."""
    shared = np.random.default_rng(1).normal(size=examples)
    return shift + shared + 0.1 * np.random.default_rng(seed).normal(size=(runs, examples))


def expanded(count):
    """The level whose normal quantile is that of 95 %, expanded by Student's t for few values."""
    wide = stats.t.ppf(0.975, count - 1) * (count / (count - 1)) ** 0.5
    return 1 - 2 * stats.norm.sf(wide)


def test_intervals_are_those_of_scipy_up_to_the_draws():
    values = np.random.default_rng(1).normal(size=300) ** 2
    low, high = bootstrap(values[:, None])
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=20_000,
        method="BCa",
        confidence_level=expanded(300),
        rng=np.random.default_rng(2),
    ).confidence_interval
    width = found.high - found.low
    assert low[0] == pytest.approx(found.low, abs=0.1 * width)
    assert high[0] == pytest.approx(found.high, abs=0.1 * width)


@pytest.mark.parametrize("examples", [12, 150])
def test_one_run_on_each_side_is_scipys_paired_bootstrap(examples):
    a, b = correlated(1, examples, seed=2), correlated(1, examples, 0.02, seed=3)
    (ours,) = bootstrap_differences([(a, b)], 50_000)
    theirs = stats.bootstrap(
        (a[0], b[0]),
        lambda x, y, axis=-1: y.mean(axis=axis) - x.mean(axis=axis),
        paired=True,
        method="BCa",
        confidence_level=expanded(examples),
        n_resamples=50_000,
        batch=1_000,
        rng=np.random.default_rng(5),
    )
    tolerance = 0.1 * theirs.standard_error  # two quantiles' Monte Carlo error is about 0.025
    found = np.array(theirs.confidence_interval)
    if examples == 12:  # skewed to the right by chance: the long end may be farther
        assert stats.skew((b - a)[0]) > 0.3
        assert found[1] < ours.high < found[1] + 0.25 * (found[1] - found[0])
        found[1] = ours.high
    np.testing.assert_allclose((ours.low, ours.high), found, rtol=0, atol=tolerance)
    ends = np.array([ours.p / 2, 1 - ours.p / 2])  # the interval of the level 1 - p ends at 0
    found = bca_quantiles(theirs.bootstrap_distribution, (b - a)[0], stats.norm.ppf(ends))
    assert np.min(np.abs(found)) < tolerance
    assert (ours.baseline, ours.other, ours.examples) == (a.mean(), b.mean(), examples)
    assert ours.difference == pytest.approx(b.mean() - a.mean())


def test_rounding_to_float32_decides_nothing():
    """Shares of ten words: the mean of many resamples is exactly 0, or would be."""
    random = np.random.default_rng(0)
    a = random.integers(0, 11, (1, 30)) / 10
    b = np.clip(a + random.choice([-0.2, -0.1, 0, 0.1], (1, 30), p=[0.2, 0.2, 0.3, 0.3]), 0, 1)
    exact, rounded = bootstrap_differences(
        [tuple(np.round(each, 1).astype(kind) for each in (a, b)) for kind in (float, np.float32)],
        20_000,
    )
    assert 0.01 < exact.p < 0.2
    assert rounded.p == exact.p
    (found,) = bootstrap_differences([(a * 0 + np.float32(0.8), a * 0 + 0.8)], 2_000)
    assert (found.low, found.high, found.p) == (0, 0, 1)


@pytest.mark.parametrize(("first", "second"), [(2, 3), (1, 4), (5, 2)])
def test_the_seeds_part_of_an_interval_is_scipys_t_test(first, second):
    random = np.random.default_rng(4)
    seeds = random.normal(size=first), random.normal(0.3, 2, size=second)
    a, b = (np.repeat(each[:, None], 20, axis=1) for each in seeds)  # examples add nothing
    theirs = stats.ttest_ind(seeds[1], seeds[0], equal_var=first == 1)
    expected = theirs.confidence_interval()
    error, freedom = seed_error(a, b)
    assert freedom == pytest.approx(theirs.df)
    assert error * stats.t.ppf(0.975, freedom) == pytest.approx((expected.high - expected.low) / 2)
    (ours,) = bootstrap_differences([(a, b)], 50_000)
    np.testing.assert_allclose((ours.low, ours.high), expected, atol=(ours.high - ours.low) * 0.03)
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.01)


@pytest.mark.parametrize("measure", ["accuracy", "kendall", "jensen_shannon"])
@pytest.mark.parametrize("place", [0.01, 0.5, 0.97])
def test_intervals_over_seeds_keep_the_range_and_are_plain_where_seeds_hardly_differ(
    measure, place
):
    bounds = low, high = range_of(measure)
    centre = low + place * (high - low)
    for spread in (0.9, 1e-4):
        seeds = centre + np.array([-1, 1]) * min(place, 1 - place) * (high - low) * spread
        values = np.repeat(seeds[:, None], 20, axis=1)
        plain, kept = (
            bootstrap_differences([(None, values)], 20_000, ranges=each)[0]
            for each in (None, [bounds])
        )
        if spread == 0.9:
            assert plain.low < low or plain.high > high
            assert low <= kept.low < centre < kept.high <= high
        else:
            width = plain.high - plain.low
            np.testing.assert_allclose(kept[3:5], plain[3:5], rtol=0, atol=2e-3 * width)
    (difference,) = bootstrap_differences([(values, values[::-1])], 500, ranges=[bounds])
    assert of_difference(bounds)[0] <= difference.low <= difference.high <= high - low


@pytest.mark.parametrize("centre", [-0.8, 0.0, 0.3])
def test_the_scale_from_minus_one_to_one_is_fishers_z(centre):
    deviations = np.array([-3.0, -0.2, 0.0, 0.01, 2.0])
    expected = np.tanh(np.arctanh(centre) + deviations / (1 - centre**2))
    np.testing.assert_allclose(within(centre, deviations, (-1.0, 1.0)), expected, atol=1e-12)


def test_scales_of_other_ranges():
    deviations = np.array([-3.0, 0.0, 2.0, 5000.0])
    found = within(0.5, deviations, (0.0, np.inf))
    np.testing.assert_allclose(found[:3], 0.5 * np.exp(deviations[:3] / 0.5))
    np.testing.assert_array_equal(within(-0.5, -deviations, (-np.inf, 0.0)), -found)
    np.testing.assert_array_equal(within(0.5, deviations, UNBOUNDED), 0.5 + deviations)
    for end in (0.0, 1.0):
        np.testing.assert_array_equal(within(end, deviations, (0.0, 1.0)), end)
    np.testing.assert_array_equal(within(0.5, np.array([-5e3, 5e3]), (0.0, 1.0)), [0, 1])
    assert of_difference((0.0, np.inf)) == UNBOUNDED
    assert range_of("new") == UNBOUNDED
    assert range_of("plausibility_iou") == (0.0, 1.0)
    assert set(measures(5)) <= set(RANGES)


@pytest.mark.parametrize("count", [10, 20, 2000])
def test_the_expansion_is_by_students_t(count):
    expected = stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975) * (count / (count - 1)) ** 0.5
    assert expansion(count) == pytest.approx(expected, rel=1e-4)


def test_skewed_values_are_covered_better_than_by_percentiles():
    """Lognormal as output changes are: percentiles of 20 hold the mean in three of four samples."""
    random = np.random.default_rng(0)
    held = np.zeros(3)
    levels = np.array([0.025, 0.975])
    scores = stats.norm.ppf(levels)
    for _ in range(300):
        values = random.lognormal(0, 1.5, 20)
        drawn = values[random.integers(20, size=(1_000, 20))]
        means, errors = drawn.mean(axis=1), drawn.std(axis=1) / 20**0.5
        bca = bca_quantiles(means, values, scores)
        ours = mean_quantiles(means, errors, values, levels, scores)
        assert ours[0] == bca[0], "the short end stays"
        assert bca[1] <= ours[1] <= values.max()
        for place, (low, high) in enumerate((np.percentile(means, [2.5, 97.5]), bca, ours)):
            held[place] += low <= np.exp(1.5**2 / 2) <= high
    assert held[1] - held[0] > 0.05 * 300
    assert held[2] - held[1] > 0.02 * 300


def literal_bootstrap_t(values, drawn, levels):
    """Efron & Tibshirani 1993, section 12.5: centre - t_{1 - level} * error, resample by resample.

    Resamples of equal values, which have no error, count as if their mean were the sample's.
    """
    count = len(values)
    centre, error = values.mean(), values.std() / count**0.5
    t = []
    for each in drawn:
        own = each.std() / count**0.5
        t.append((each.mean() - centre) / own if own > 1e-9 else 0.0)
    return [centre - np.quantile(t, 1 - level) * error for level in levels]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_long_end_is_that_of_the_bootstrap_t_where_that_is_farther(sign):
    random = np.random.default_rng(3)
    values = sign * random.lognormal(0, 1, 25)
    drawn = values[random.integers(25, size=(2_000, 25))]
    levels = np.array([0.025, 0.2, 0.8, 0.975])
    parts = drawn.mean(axis=1), drawn.std(axis=1) / 5, values
    found = mean_quantiles(*parts, levels, stats.norm.ppf(levels))
    bca = bca_quantiles(parts[0], values, stats.norm.ppf(levels))
    expected = literal_bootstrap_t(values, drawn, levels)
    long = slice(2, 4) if sign > 0 else slice(0, 2)
    short = slice(0, 2) if sign > 0 else slice(2, 4)
    farther = np.maximum if sign > 0 else np.minimum
    np.testing.assert_array_equal(found[short], bca[short])
    np.testing.assert_allclose(found[long], farther(bca[long], expected[long]), rtol=1e-12)
    assert np.any(found[long] != bca[long])


@pytest.mark.parametrize(
    "values",
    [np.r_[np.zeros(19), 1.0], np.r_[np.zeros(19) + np.arange(19) * 1e-4, 1.0], np.ones(20)],
)
def test_few_values_that_differ_at_all_give_an_interval_among_the_values(values):
    low, high = bootstrap(values[:, None])
    assert values.min() <= low[0] <= values.mean() <= high[0] <= values.max()


def test_seeds_that_are_not_there_or_do_not_differ_add_nothing():
    a, b = correlated(1, 20, seed=2), correlated(1, 20, seed=3)
    assert seed_error(a, b) == (0, 1)
    assert seed_error(None, b) == (0, 1)
    assert seed_error(None, np.repeat(b, 3, axis=0)) == (0, 1)
    error, freedom = seed_error(None, np.array([[1.0] * 20, [2.0] * 20, [6.0] * 20]))
    assert (error, freedom) == (pytest.approx(np.std([1, 2, 6], ddof=1) / 3**0.5), 2)


@pytest.mark.parametrize("runs", [2, 3])
def test_intervals_over_few_seeds_hold_what_they_say(runs):
    """As in practice: tau differs by 0.2 between examples, and by 0.05 between seeds."""
    random = np.random.default_rng(8)
    held, trials = [], 200
    for _ in range(trials):
        examples = random.normal(size=(1, 40))
        sides = [
            0.2 * (0.8 * examples + 0.6 * random.normal(size=(runs, 40)))
            + 0.05 * random.normal(size=(runs, 1))
            for _ in range(2)
        ]
        held.append(bootstrap_differences([tuple(sides)], 400)[0])
    share = np.mean([each.low <= 0 <= each.high for each in held])
    assert 0.92 <= share <= 1, "resampled, two seeds hold the truth in 75 %, three in 85 %"
    assert np.mean([each.p <= 0.05 for each in held]) <= 0.08


def test_a_planted_difference_is_found_and_equal_runs_have_none():
    a, other = correlated(1, 200, seed=2), correlated(1, 200, seed=3)
    planted, noise, same = bootstrap_differences([(a, a + 0.05), (a, other), (a, a.copy())], 2_000)
    assert planted.p == pytest.approx(2 / 2_001)
    assert planted.low > 0
    assert noise.p > 0.05
    assert (same.p, same.low, same.high) == (1, 0, 0)


def test_the_examples_are_paired():
    """Unpaired, the examples' difficulty (deviation 1) would swamp a difference of 0.05."""
    a = correlated(1, 200, seed=2)
    (found,) = bootstrap_differences([(a, a + 0.05)], 2_000)
    assert found.high - found.low < 1e-9


@pytest.mark.parametrize("planted", [True, False])
def test_a_p_value_of_five_percent_comes_by_in_five_percent_of_equal_pairs(planted):
    random = np.random.default_rng(6)
    a = random.normal(size=(300, 1, 60))
    b = random.normal(size=(300, 1, 60)) + (1.0 if planted else 0.0)
    found = [each.p for each in bootstrap_differences(list(zip(a, b, strict=True)), 1_000)]
    share = np.mean(np.array(found) <= 0.05)
    assert share > 0.99 if planted else 0.02 < share < 0.10


def test_only_examples_that_all_runs_define_count():
    a, b = correlated(2, 40, seed=2), correlated(2, 40, 0.3, seed=3)
    holes_a, holes_b = a.copy(), b.copy()
    holes_a[0, 3] = holes_b[1, [3, 7]] = np.nan
    kept = [k for k in range(40) if k not in (3, 7)]
    found, expected = (
        bootstrap_differences([pair], 500)[0]
        for pair in ((holes_a, holes_b), (a[:, kept], b[:, kept]))
    )
    assert found == expected
    assert found.examples == 38


def test_results_do_not_depend_on_chunks_or_on_the_pairs_beside_them(monkeypatch):
    a, b, c = (correlated(1, 50, 0.05 * k, seed=k) for k in range(3))
    gap = np.where(np.arange(50) == 4, np.nan, c)
    whole = bootstrap_differences([(a, b), (a, gap), (a, c)], 400, seed=3)
    for place, other in ((0, b), (1, gap)):  # BLAS may sum in another order for another shape
        (alone,) = bootstrap_differences([(a, other)], 400, seed=3)
        np.testing.assert_allclose(whole[place], alone, rtol=1e-12)
    (drawn_otherwise,) = bootstrap_differences([(a, b)], 400, seed=4)
    assert abs(whole[0].low - drawn_otherwise.low) > 1e-6
    monkeypatch.setattr(statistics, "CELLS", 50 * 7)
    (in_chunks,) = bootstrap_differences([(a, b)], 400, seed=3)
    np.testing.assert_allclose(in_chunks, whole[0], rtol=1e-12)


def test_too_few_examples_have_means_but_neither_interval_nor_p_value():
    a, b = correlated(1, 9, seed=2), correlated(1, 9, 1.0, seed=3)
    (few,) = bootstrap_differences([(a, b)], 100)
    assert few.difference == pytest.approx(b.mean() - a.mean())
    assert np.isnan([few.low, few.high, few.p]).all()
    (none,) = bootstrap_differences([(a, np.full_like(a, np.nan))], 100)
    assert none.examples == 0
    assert np.isnan(none.difference)


def literal_holm(p_values, alpha):
    """Holm 1979: go through the p-values from the smallest, and stop at the first that fails."""
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    rejected = set()
    for k, test in enumerate(order):
        if p_values[test] > alpha / (len(p_values) - k):
            break
        rejected.add(test)
    return rejected


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_holm_rejects_what_the_literal_procedure_rejects(alpha):
    random = np.random.default_rng(7)
    sizes = set()
    for _ in range(300):
        p_values = np.round(random.beta(0.4, 2, random.integers(1, 9)), 3)
        expected = literal_holm(p_values, alpha)
        sizes.add(len(expected))
        assert set(np.flatnonzero(holm(p_values) <= alpha + 1e-12)) == expected
    assert len(sizes) > 4


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.9])), [1, np.nan, 1])
    assert holm(np.array([])).size == 0


def ragged(lengths, runs=2, seed=0):
    """(weights [runs, words], rows [words]) of sentences of these lengths."""
    random = np.random.default_rng(seed)
    parts = [random.dirichlet(np.ones(length), runs) for length in lengths if length]
    return np.concatenate(parts, axis=1), np.repeat(np.arange(len(lengths)), lengths)


def test_divergence_of_two_runs_is_scipys_and_lies_in_its_range():
    lengths = [5, 1, 0, 40, 2]
    weights, rows = ragged(lengths)
    found = attention_divergence(weights, rows, 5)
    for k, length in enumerate(lengths):
        if length:
            own = weights[:, rows == k]
            assert found[k] == pytest.approx(jensenshannon(*own) ** 2, abs=1e-12)
    assert np.isnan(found[2]), "without a word there is no attention"
    assert found[1] == 0
    apart = attention_divergence(np.eye(3), np.zeros(3, int), 1)
    assert apart[0] == pytest.approx(np.log(3)), "three runs that look at three words"
    assert attention_divergence(weights[:1], rows, 5)[0] == 0
    np.testing.assert_allclose(attention_divergence(weights * 7, rows, 5), found, atol=1e-12)


def test_agreement_of_two_seeds_is_scipys_sentence_by_sentence():
    lengths = [6, 1, 0, 23, 16, 2]
    weights, rows = ragged(lengths, seed=1)
    a, b = weights.astype(np.float32)
    found = seed_agreement(a, b, rows, len(lengths))
    literal = {"kendall": stats.kendalltau, "pearson": stats.pearsonr, "spearman": stats.spearmanr}
    assert found.keys() == literal.keys()
    for name, measure in literal.items():
        for k, length in enumerate(lengths):
            if length > 1:
                expected = measure(a[rows == k], b[rows == k]).statistic
                assert found[name][k] == pytest.approx(expected, abs=2e-6), (name, length)
            else:
                assert np.isnan(found[name][k])
