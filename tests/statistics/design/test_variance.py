"""Tests variance components against simulation and statsmodels, the cheapest allocation, and power."""

import math
from bisect import bisect_left

import numpy as np
import pandas
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.power import NormalIndPower

from purebench.statistics import (
    VarianceParts,
    advise,
    comparison_power,
    expected_half_width,
    gaffke,
    images_for_power,
    mcnemar,
    mcnemar_power,
    smallest_difference,
    variance_parts,
)


def test_two_levels_agree_with_the_mean_squares_of_statsmodels():
    values = np.random.default_rng(0).normal(size=(12, 5)) + np.random.default_rng(1).normal(size=(12, 1))
    table = pandas.DataFrame({"y": values.ravel(), "image": np.repeat(np.arange(12), 5)})
    mean_squares = anova_lm(ols("y ~ C(image)", table).fit())["mean_sq"]
    parts = variance_parts(values)
    assert parts.draws == pytest.approx(mean_squares["Residual"])
    assert parts.images == pytest.approx((mean_squares["C(image)"] - mean_squares["Residual"]) / 5)
    assert parts.restarts == 0


def test_three_levels_are_unbiased():
    rng, found = np.random.default_rng(2), []
    for _ in range(400):
        images = 2 * rng.normal(size=(30, 1, 1))
        values = images + 1.5 * rng.normal(size=(30, 4, 1)) + rng.normal(size=(30, 4, 3))
        parts = variance_parts(values)
        found.append((parts.images, parts.restarts, parts.draws))
    error = np.std(found, axis=0) / math.sqrt(400)
    assert (np.abs(np.mean(found, axis=0) - (4, 2.25, 1)) < 4 * error).all()


def test_absent_variance_components_are_zero():
    same_draws = np.repeat(np.array([0.0, 1.0, 1.0, 0.0])[:, None], 3, axis=1)
    assert variance_parts(same_draws) == VarianceParts(pytest.approx(1 / 3), 0.0, 0.0)
    # images are alike and draws disagree, so the unbiased estimate is negative and is set to 0
    assert variance_parts(np.array([[0.0, 1.0]] * 6)).images == 0.0
    with pytest.raises(ValueError, match="the variance of draws cannot be separated from that of images"):
        variance_parts(np.ones((5, 1)))


def test_the_variance_of_the_mean_agrees_with_simulation():
    parts = VarianceParts(images=0.04, restarts=0.0, draws=0.16)
    rng = np.random.default_rng(3)
    means = (rng.normal(0, 0.2, (4000, 20, 1)) + rng.normal(0, 0.4, (4000, 20, 8))).mean(axis=(1, 2))
    assert parts.of_mean(20, 8) == pytest.approx(means.var(), rel=0.1)
    assert parts.shares(8) == pytest.approx((0.04 / 0.06, 0.0, 0.02 / 0.06))


@pytest.mark.parametrize(
    ("s_image", "s_draw", "ratio"), [(0.1, 0.1, 9.0), (0.02, 0.2, 1.0), (0.2, 0.01, 4.0), (0.2, 0.0, 1)]
)
def test_advise_returns_the_cheapest_allocation(s_image, s_draw, ratio):
    parts = VarianceParts(s_image, 0.0, s_draw)
    chosen = advise(parts, 0.01, cost_image=ratio, cost_draw=1.0)
    assert chosen.half_width <= 0.01
    assert expected_half_width(parts, chosen.images, chosen.draws) == pytest.approx(chosen.half_width)
    for draws in range(1, 60):
        images = bisect_left(range(10**5), -0.01, lo=1, key=lambda n: -expected_half_width(parts, n, draws))
        # rounding to whole images costs at most one image more
        assert chosen.cost <= images * (ratio + draws) + (ratio + draws)


def test_the_optimal_number_of_draws_follows_the_square_root_rule():
    assert advise(VarianceParts(0.05, 0.0, 0.2), 0.005, cost_image=16.0, cost_draw=1.0).draws == 8
    assert advise(VarianceParts(0.05, 0.0, 0.0), 0.005).draws == 1
    assert advise(VarianceParts(0.05, 0.0, 0.0), 0.005, least_draws=2).draws == 2
    with pytest.raises(ValueError, match=r"two percentage points are 0\.02"):
        advise(VarianceParts(0.1, 0.0, 0.1), 2)


def test_the_expected_half_width_agrees_with_simulation():
    rng = np.random.default_rng(4)
    q = rng.beta(2, 1, 3000)
    answers = rng.random((3000, 8)) < q[:, None]
    expected = expected_half_width(variance_parts(answers), 3000, 8)
    assert gaffke(answers.mean(axis=1)).half_width == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("n", "q"), [(20, 1.0), (48, 0.95), (48, 0.5)])
def test_the_expected_half_width_is_right_for_few_images(n, q):
    """At small n the interval is wider than its standard error: it has a width even if all images agree."""
    rng = np.random.default_rng(5)
    found = np.mean([gaffke((rng.random(n) < q) * 1.0).half_width for _ in range(100)])
    parts = VarianceParts(q * (1 - q), 0.0, 0.0)
    assert expected_half_width(parts, n, 1) == pytest.approx(found, rel=0.12)
    assert advise(parts, 0.05).images >= math.log(40) / 2 / 0.05 - 1


def test_a_bracket_needs_more_draws_because_images_alone_do_not_narrow_it():
    parts = VarianceParts(0.05, 0.0, 0.2)
    plain, wide = advise(parts, 0.03, cost_image=4.0), advise(parts, 0.03, cost_image=4.0, picking=0.2)
    assert wide.draws > plain.draws
    assert wide.half_width <= 0.03
    # half of 0.2 / sqrt(16) remains for any number of images
    assert expected_half_width(parts, 10**9, 16, picking=0.2) == pytest.approx(0.025, abs=1e-4)
    never = advise(parts, 0.002, picking=0.2)
    assert never.draws == 1000
    assert never.half_width > 0.002
    with pytest.raises(ValueError, match="picking >= 0"):
        advise(parts, 0.03, picking=-1.0)


@pytest.mark.parametrize(("images", "discordant", "comparisons"), [(48, 0.25, 1), (100, 0.4, 10), (500, 0.25, 36)])
def test_the_smallest_difference_is_detected_with_the_stated_power(images, discordant, comparisons):
    """Simulates the forecast test; the normal approximation gave differences with a power of only 71 to 76 %."""
    d = smallest_difference(images, discordant, 0.8, comparisons=comparisons)
    moved = max(d, discordant)
    assert mcnemar_power(images, d, moved, 0.05 / comparisons) == pytest.approx(0.8, abs=1e-3)
    assert mcnemar_power(images, d - 0.01, max(d - 0.01, discordant), 0.05 / comparisons) < 0.8
    rng = np.random.default_rng(6)
    better = rng.binomial(images, (moved + d) / 2, 2000)
    worse = rng.binomial(images - better, (moved - d) / 2 / (1 - (moved + d) / 2))
    p = {pair: mcnemar(*pair) for pair in set(zip(better.tolist(), worse.tolist(), strict=True))}
    told = np.mean([p[pair] <= 0.05 / comparisons for pair in zip(better.tolist(), worse.tolist(), strict=True)])
    assert told == pytest.approx(0.8, abs=3 * math.sqrt(0.16 / 2000))


def test_too_few_images_have_no_power():
    assert mcnemar_power(5, 1.0, 1.0) == 0.0  # 2 / 2^5 > 5 %
    assert smallest_difference(5, 0.3) == math.inf
    assert mcnemar_power(6, 1.0, 1.0) == 1.0


def test_power_agrees_with_statsmodels_and_with_the_images_it_needs():
    ours = comparison_power(400, 0.05, 0.4)
    assert ours == pytest.approx(NormalIndPower(ddof=0).power(0.05 / 0.4, 400, 0.05, ratio=0), abs=1e-6)
    images = images_for_power(0.05, 0.4, 0.8, comparisons=11)
    assert comparison_power(images, 0.05, 0.4, comparisons=11) == pytest.approx(0.8, abs=2e-3)
    assert comparison_power(images - 20, 0.05, 0.4, comparisons=11) < 0.8
    assert comparison_power(images, 0.0, 0.4) == pytest.approx(0.05)
