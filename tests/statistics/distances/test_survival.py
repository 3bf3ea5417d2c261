"""Tests survival curves: Kaplan–Meier against statsmodels, a band over the whole curve, exact median intervals."""

import math

import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from purebench.statistics import (
    clopper_pearson,
    kaplan_meier,
    median_distance,
    median_with_ends,
    security_curve,
    survival_band,
)


def censored(distances, limits):
    return [
        float(d) if d <= limit else None
        for d, limit in zip(distances, np.broadcast_to(limits, len(distances)), strict=True)
    ]


def test_kaplan_meier_agrees_with_statsmodels():
    rng = np.random.default_rng(0)
    limits = rng.uniform(0.5, 2, 80)
    distances = np.round(rng.exponential(1, 80), 1)  # ties
    known = censored(distances, limits)
    theirs = SurvfuncRight(np.minimum(distances, limits), [d is not None for d in known])
    ours = kaplan_meier(known, theirs.surv_times, limits, 0.9)
    np.testing.assert_allclose([point.value for point in ours], theirs.surv_prob, atol=1e-12)
    inner = (theirs.surv_prob > 0) & (theirs.surv_prob < 1)
    # the standard error of log(-log S) is Greenwood's error over |S log S|
    spread = 1.6448536 * theirs.surv_prob_se[inner] / np.abs(theirs.surv_prob[inner] * np.log(theirs.surv_prob[inner]))
    low = theirs.surv_prob[inner] ** np.exp(spread)
    high = theirs.surv_prob[inner] ** np.exp(-spread)
    np.testing.assert_allclose([p.low for p, keep in zip(ours, inner, strict=True) if keep], low, atol=1e-6)
    np.testing.assert_allclose([p.high for p, keep in zip(ours, inner, strict=True) if keep], high, atol=1e-6)


def test_kaplan_meier_with_equal_limits_is_the_security_curve():
    known = censored(np.random.default_rng(1).exponential(1, 50), 1.5)
    radii = [0.0, 0.3, 0.9, 1.5]
    exact = [point.value for point in security_curve(known, radii)]
    assert [point.value for point in kaplan_meier(known, radii, 1.5)] == pytest.approx(exact)
    assert [point.value for point in survival_band(known, radii, 1.5)] == pytest.approx(exact)


def test_the_band_agrees_with_values_computed_by_hand():
    band = survival_band([0.1] * 50 + [None] * 50, [0.0, 0.1], 1.0)
    half = math.sqrt(math.log(40) / 200)
    assert [(p.low, p.value, p.high) for p in band] == [
        pytest.approx((1 - half, 1.0, 1.0)),
        pytest.approx((0.5 - half, 0.5, 0.5 + half)),
    ]


def test_738_images_are_needed_for_a_band_of_5_percentage_points():
    half_widths = []
    for n in (737, 738):
        (point,) = survival_band([None] * n, [0.0], 1.0)
        half_widths.append(point.value - point.low)
    assert half_widths[1] <= 0.05 < half_widths[0]


def test_kaplan_meier_is_exact_where_no_or_every_image_is_broken():
    for broken, right in ((None, 5), (0.5, 0)):
        (point,) = kaplan_meier([broken] * 5, [0.7], 1.0)
        exact = clopper_pearson(right, 5)
        assert (point.low, point.value, point.high) == (exact.low, right / 5, exact.high)
    (point,) = kaplan_meier([None] * 5, [0.7], [1.0, 1.0, 0.5, 0.5, 0.5])  # three images are not known at 0.7
    assert (point.low, point.value) == (clopper_pearson(2, 2).low, 1)


def test_the_band_covers_the_whole_curve_more_often_than_pointwise_intervals():
    rng, radii = np.random.default_rng(2), np.linspace(0, 2, 40)
    exact, held, by_points = np.exp(-radii), 0, 0
    for _ in range(200):
        known = censored(rng.exponential(1, 60), 2.0)
        band, points = survival_band(known, radii, 2.0), security_curve(known, radii)
        held += all(p.low <= s <= p.high for p, s in zip(band, exact, strict=True))
        by_points += all(p.low <= s <= p.high for p, s in zip(points, exact, strict=True))
    assert held >= 200 * (0.95 - 3 * math.sqrt(0.95 * 0.05 / 200))
    assert by_points < held


@pytest.mark.parametrize("n", [9, 30])
def test_the_interval_of_the_median_covers_it(n):
    rng, held = np.random.default_rng([3, n]), 0
    for _ in range(400):
        found = median_with_ends(censored(rng.exponential(1, n), 1.2))
        low = math.inf if found.low is None else found.low
        high = math.inf if found.high is None else found.high
        held += low <= math.log(2) <= high
    assert held >= 400 * (0.95 - 3 * math.sqrt(0.95 * 0.05 / 400))


def test_medians_agree_with_values_computed_by_hand():
    ten = [float(k) for k in range(1, 11)]
    # P(binomial(10, 1/2) < 2) = 11/1024 = 1.1 %, P(< 3) = 5.5 %: the second value from each side
    found = median_with_ends(ten)
    assert (found.value, found.low, found.high) == (median_distance(ten), 2.0, 9.0)
    found = median_with_ends([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, None, None, None, None])
    assert (found.value, found.low, found.high) == (5.5, 2.0, None)
    assert (median_with_ends([None] * 10).value, median_with_ends([None] * 10).low) == (None, None)
    assert (median_with_ends([0.3]).low, median_with_ends([0.3]).high) == (0.0, None)


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match="all between 0 and the searched radius"):
        kaplan_meier([0.5], [0.1], 0.4)
    with pytest.raises(ValueError, match=r"radii in \[0, 1.0\]"):
        survival_band([0.5], [1.1], 1.0)
    with pytest.raises(ValueError, match="at least one distance"):
        survival_band([], [0.1], 1.0)
