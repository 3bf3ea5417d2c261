"""Tests intervals of a proportion against statsmodels, scipy's root search, closed forms and exact coverage."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from statsmodels.stats.proportion import proportion_confint

from purebench.statistics import (
    APPROXIMATE,
    METHODS,
    agresti_coull,
    clopper_pearson,
    interval,
    jeffreys,
    least_coverage,
    wilson,
    wilson_corrected,
)

CASES = [(0, 1), (1, 1), (0, 20), (20, 20), (1, 20), (7, 20), (499, 500), (613, 1000), (31_415, 100_000)]


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("successes", "n"), CASES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (clopper_pearson, "beta"),
        (partial(wilson, calibrated=False), "wilson"),
        (partial(agresti_coull, calibrated=False), "agresti_coull"),
    ],
)
def test_intervals_agree_with_statsmodels(ours, theirs, successes, n, confidence):
    estimate = ours(successes, n, confidence)
    low, high = proportion_confint(successes, n, alpha=1 - confidence, method=theirs)
    assert (estimate.low, estimate.high) == pytest.approx((max(low, 0), min(high, 1)), abs=1e-9)
    assert (estimate.value, estimate.n, estimate.confidence) == (successes / n, n, confidence)


@pytest.mark.parametrize(("successes", "n"), CASES)
def test_clopper_pearson_inverts_the_exact_binomial_test(successes, n):
    estimate = clopper_pearson(successes, n)
    by_search = binomtest(successes, n).proportion_ci(0.95, method="exact")
    assert (estimate.low, estimate.high) == pytest.approx((by_search.low, by_search.high), abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), CASES)
def test_the_corrected_wilson_interval_inverts_the_corrected_score_test(successes, n):
    """At both ends the number of successes, corrected by 1/2, is z standard deviations from n p."""
    estimate = wilson_corrected(successes, n, 0.9)
    for end, moved in ((estimate.low, successes - 0.5), (estimate.high, successes + 0.5)):
        if end in (0.0, 1.0):
            assert successes in (0, n)
        else:
            assert abs(moved - n * end) == pytest.approx(1.6448536 * np.sqrt(n * end * (1 - end)), rel=1e-6)


@pytest.mark.parametrize(("successes", "n"), CASES)
def test_jeffreys_ends_are_quantiles_of_the_posterior(successes, n):
    """Integrates the density of the posterior numerically, without a beta quantile."""
    estimate = jeffreys(successes, n, 0.9, calibrated=False)
    middle, spread = (successes + 0.5) / (n + 1), np.sqrt(0.25 / n)
    p = np.linspace(max(1e-12, middle - 12 * spread), min(1 - 1e-12, middle + 12 * spread), 400_001)
    logs = (successes - 0.5) * np.log(p) + (n - successes - 0.5) * np.log1p(-p)
    density = np.exp(logs - logs.max())
    below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    low, high = np.interp([0.05, 0.95], below / below[-1], p)
    # if no or every answer is right, the density has a pole at 0 or 1, and that end is 0 or 1
    if 0 < successes < n:
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=2e-5)
    else:
        assert (estimate.low == 0.0) == (successes == 0)
        assert (estimate.high == 1.0) == (successes == n)


def test_intervals_agree_with_closed_forms():
    # No success: (1-p)^n = 2.5 % is solved by hand; Wilson: p = z²/(n+z²) with z = 1.959964.
    assert clopper_pearson(0, 10).high == pytest.approx(1 - 0.025**0.1, abs=1e-12)
    assert clopper_pearson(0, 10).low == 0.0
    assert clopper_pearson(1, 1).low == pytest.approx(0.025, abs=1e-12)
    assert wilson(0, 10, calibrated=False).high == pytest.approx(1.959964**2 / (10 + 1.959964**2), abs=1e-6)


def coverage(method, n, p):
    """Returns the exact probability that the interval covers p: a sum over every possible number of successes."""
    estimates = [method(k, n) for k in range(n + 1)]
    holds = np.array([[e.low <= q <= e.high for e in estimates] for q in p])
    return (binom.pmf(np.arange(n + 1), n, np.asarray(p)[:, None]) * holds).sum(axis=1)


@pytest.mark.parametrize("n", [20, 57, 128, 500])
def test_clopper_pearson_covers_at_least_its_confidence(n):
    p = np.concatenate([np.linspace(0.02, 0.98, 49), [0.001, 0.999]])
    assert coverage(clopper_pearson, n, p).min() >= 0.95 - 1e-9


@pytest.mark.parametrize("n", [20, 128, 500])
def test_wilson_has_its_confidence_on_average_but_not_for_every_p(n):
    exact = coverage(partial(wilson, calibrated=False), n, np.linspace(0.02, 0.98, 193))
    assert exact.mean() == pytest.approx(0.95, abs=0.01)
    assert exact.min() < 0.95


CALIBRATED = [wilson, wilson_corrected, jeffreys, agresti_coull]


@pytest.mark.parametrize("n", [20, 21, 57, 128, 333])
@pytest.mark.parametrize("method", CALIBRATED)
def test_calibrated_intervals_cover_at_least_their_confidence_between_2_and_98_percent(method, n):
    assert coverage(method, n, np.linspace(0.02, 0.98, 97)).min() >= 0.95 - 1e-9


@pytest.mark.parametrize("method", [wilson, jeffreys, agresti_coull])
def test_calibrated_intervals_are_only_as_wide_as_needed(method):
    """The least coverage, computed without a grid, agrees with a fine grid, and the interval is not much wider."""
    n = 60
    for changes in ({}, {"calibrated": False}):
        estimates = [method(k, n, **changes) for k in range(n + 1)]
        least = least_coverage(np.array([e.low for e in estimates]), np.array([e.high for e in estimates]))
        on_grid = coverage(partial(method, **changes), n, np.linspace(0.02, 0.98, 9601)).min()
        assert least <= on_grid + 1e-12
        assert on_grid == pytest.approx(least, abs=2e-3)
        assert (least >= 0.95) == (not changes)
    from_longer, plain = method(30, n), method(30, n, calibrated=False)
    assert plain.half_width < from_longer.half_width < 1.25 * plain.half_width


@given(n=st.integers(1, 300), data=st.data())
@settings(max_examples=60, deadline=None)
def test_intervals_are_bounded_monotone_and_symmetric(n, data):
    successes = data.draw(st.integers(0, n))
    for method in (clopper_pearson, *CALIBRATED):
        estimate, mirrored = method(successes, n), method(n - successes, n)
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
        assert (estimate.low, estimate.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-9)
        if successes < n:
            more = method(successes + 1, n)
            assert more.low > estimate.low or estimate.low == more.low == 0
            assert more.high > estimate.high or estimate.high == more.high == 1


@pytest.mark.parametrize("method", [clopper_pearson, *CALIBRATED])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1, 10), ValueError, "expected 0 <= successes <= n, but got successes=-1 and n=10"),
        ((11, 10), ValueError, "count right answers by image"),
        ((0, 0), ValueError, "at least 1 image"),
        ((1, 10, 95), ValueError, "95 % confidence is written 0.95"),
        ((0.5, 10), TypeError, "float"),
    ],
)
def test_invalid_counts_are_rejected(method, arguments, error, message):
    with pytest.raises(error, match=message):
        method(*arguments)


@pytest.mark.parametrize("name", sorted(METHODS | APPROXIMATE))
def test_interval_knows_every_method_by_name(name):
    values = np.array([True, False, True, True])
    estimate = interval(values, name, 0.9)
    assert (estimate.value, estimate.n, estimate.confidence, estimate.method) == (0.75, 4, 0.9, name)


def test_interval_equals_the_function_of_the_method():
    values = np.repeat([1.0, 0.0], [613, 387])
    assert interval(values, "clopper-pearson") == clopper_pearson(613, 1000)
    assert interval(values, "wilson", 0.8) == wilson(613, 1000, 0.8)


def test_interval_lists_the_known_methods_for_an_unknown_one():
    with pytest.raises(ValueError, match=r"one of agresti-coull, .*, betting, .*wilson-cc, but got 'wald'"):
        interval([0.0, 1.0], "wald")


@pytest.mark.parametrize("name", ["clopper-pearson", "wilson", "wilson-cc", "jeffreys", "agresti-coull-approximate"])
def test_methods_for_proportions_reject_fractions_of_draws(name):
    with pytest.raises(ValueError, match=f"0/1 values for '{name}', but got 0.25 for image 1"):
        interval([0.0, 0.25, 1.0], name)


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"shape \[n\] with n >= 1"),
        ([[0.0, 1.0]], "each image has one value"),
        ([0.0, 61.3], "but got 61.3 for image 1"),
        ([0.0, float("nan")], "not percentages or NaN"),
    ],
)
def test_values_outside_0_and_1_are_rejected(name, values, message):
    with pytest.raises(ValueError, match=message):
        interval(values, name)
