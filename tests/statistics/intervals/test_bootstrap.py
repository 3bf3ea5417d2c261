"""Tests the BCa interval against scipy, against its binomial limit, and its coverage."""

import math

import numpy as np
import pytest
from scipy.stats import binom, bootstrap

from purebench.statistics import bca, interval, least_coverage
from purebench.statistics.intervals.bootstrap import binary_ends, resampled_means
from purebench.statistics.intervals.calibration import calibrated


@pytest.mark.parametrize("n", [40, 300])
def test_uncalibrated_bca_agrees_with_scipy(n):
    values = np.random.default_rng([1, n]).beta(4, 1, n)
    ours = bca(values, 0.9, calibrate=False, seed=3)
    theirs = bootstrap((values,), np.mean, confidence_level=0.9, method="BCa", rng=4).confidence_interval
    spread = values.std() / math.sqrt(n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.08 * spread)
    assert ours.method == "bca-approximate"


def test_resampled_means_of_binary_values_are_binomial():
    means = resampled_means(np.repeat([0.0, 1.0], [30, 70]), 20_000, np.random.default_rng(0))
    for k in (60, 66, 70, 75):
        share = binom.cdf(k, 100, 0.7)
        assert (means <= k / 100 + 1e-9).mean() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 20_000))


@pytest.mark.parametrize("successes", [0, 1, 20, 99, 100])
def test_bca_of_binary_values_agrees_with_the_binomial_limit(successes):
    z = calibrated(binary_ends, 100, 0.95)
    low, high = binary_ends(np.array([successes]), 100, z)
    found = bca(np.repeat([1.0, 0.0], [successes, 100 - successes]))
    # at most one resampled mean apart
    assert (found.low, found.high) == pytest.approx((low[0], high[0]), abs=1.01 / 101)
    assert found.low < found.high


@pytest.mark.parametrize("n", [20, 35, 150])
def test_the_binomial_limit_covers_at_least_its_confidence(n):
    z = calibrated(binary_ends, n, 0.95)
    low, high = binary_ends(np.arange(n + 1), n, z)
    p = np.linspace(0.02, 0.98, 193)
    holds = (low <= p[:, None]) & (p[:, None] <= high)
    by_sum = (binom.pmf(np.arange(n + 1), n, p[:, None]) * holds).sum(axis=1)
    assert by_sum.min() >= least_coverage(low, high) - 1e-12 >= 0.95 - 1e-9


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.2), (9, 1), (0.3, 6)])
def test_bca_covers_the_mean_of_fractions_of_draws(a, b):
    rng, repeats, held = np.random.default_rng([2, int(10 * a)]), 300, 0
    for repeat in range(repeats):
        found = bca(rng.binomial(16, rng.beta(a, b, 30)) / 16, seed=repeat, resamples=1_999)
        held += found.low <= a / (a + b) <= found.high
    assert held >= repeats * (0.945 - 3 * math.sqrt(0.95 * 0.05 / repeats))


def test_the_seed_decides_bca_and_equal_values_give_an_interval_with_a_width():
    values = np.random.default_rng(5).random(50)
    assert bca(values, seed=1) == bca(values, seed=1) != bca(values, seed=2)
    same = interval(np.full(50, 0.5), "bca")
    assert same.low < 0.5 < same.high
    assert interval(np.full(50, 0.5), "bca-approximate").half_width == 0
    with pytest.raises(ValueError, match="at least 100 resamples, but got 5"):
        bca(values, resamples=5)
