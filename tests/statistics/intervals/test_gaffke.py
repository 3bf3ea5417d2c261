"""Tests Gaffke's interval against Clopper–Pearson, sampled Dirichlet weights, theory and simulated coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from purebench.statistics import betting, clopper_pearson, gaffke, interval, mean_p_value, one_sided_bound

UNIT_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=40)
REPEATS = 400


@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.9999])
@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (3, 20), (47, 48), (48, 48), (260, 500), (2000, 2000)])
def test_gaffke_of_binary_values_is_clopper_pearson(right, n, confidence):
    found = gaffke(np.repeat([1.0, 0.0], [right, n - right]), confidence)
    exact = clopper_pearson(right, n, confidence)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-8)
    assert (found.value, found.n, found.method) == (right / n, n, "gaffke")


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).beta(2, 1, 30),
        np.random.default_rng(1).binomial(16, 0.9, 48) / 16,
        np.array([0.2, 0.7]),
        np.array([0.01] * 50 + [1.0]),
    ],
)
def test_gaffke_agrees_with_sampled_dirichlet_weights(values):
    weights = np.random.default_rng(2).dirichlet(np.ones(values.size + 1), 100_000)
    below = weights[:, 1:] @ values  # the additional value is 0, or 1 for the high end
    low, high = one_sided_bound(values, 0.975, "low"), one_sided_bound(values, 0.975, "high")
    error = 4 * math.sqrt(0.025 * 0.975 / 100_000)
    assert np.mean(below <= low) == pytest.approx(0.025, abs=error)
    assert np.mean(below + weights[:, 0] >= high) == pytest.approx(0.025, abs=error)
    assert mean_p_value(values, 0.4) == pytest.approx(np.mean(below <= 0.4), abs=0.01)


def test_gaffke_of_equal_values_is_a_beta_quantile():
    # n equal values and an additional 0: the sum is the value times a Beta(n, 1) variable
    found = one_sided_bound(np.full(30, 0.5), 0.99, "low")
    assert found == pytest.approx(0.5 * beta.ppf(0.01, 30, 1), abs=1e-9)
    assert one_sided_bound(np.full(3, 1e-300), 0.99, "low") == pytest.approx(1e-300 * beta.ppf(0.01, 3, 1), rel=1e-6)


@given(values=UNIT_VALUES, data=st.data(), confidence=st.floats(0.05, 0.9999))
@settings(max_examples=25, deadline=None)
def test_gaffke_is_bounded_symmetric_monotone_and_independent_of_order(values, data, confidence):
    found = gaffke(values, confidence)
    assert 0 <= found.low <= found.value <= found.high <= 1
    shuffled = data.draw(st.permutations(values))
    again = gaffke(shuffled, confidence)
    assert (again.low, again.high) == (found.low, found.high)
    mirrored = gaffke(1 - np.array(values), confidence)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-8)
    assert one_sided_bound(np.array(values) * 0.5, 0.9, "low") <= one_sided_bound(values, 0.9, "low") + 1e-9


def test_the_p_value_is_the_inverse_of_the_bound():
    values = np.random.default_rng(4).random(60)
    assert mean_p_value(values, one_sided_bound(values, 0.99, "low")) == pytest.approx(0.01, abs=1e-7)
    assert mean_p_value(values, 1.0) == 1.0
    assert mean_p_value(values, 0.0) == 0.0


@pytest.mark.parametrize("n", [20, 200])
@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda rng, n: rng.binomial(16, rng.beta(0.5, 0.5, n)) / 16, 0.5),
        (lambda rng, n: rng.binomial(16, rng.beta(4.9, 0.1, n)) / 16, 0.98),
        (lambda rng, n: rng.choice([0.0, 0.49, 1.0], n, p=[0.02, 0.9, 0.08]), 0.521),
        # the difference of a constant 0.98 and a Bernoulli(0.98) variable, mapped to [0,1]
        (lambda rng, n: (1 + 0.98 - (rng.random(n) < 0.98)) / 2, 0.5),
    ],
)
def test_both_one_sided_bounds_cover_the_mean(draw, mean, n):
    rng = np.random.default_rng([5, n])
    samples = [draw(rng, n) for _ in range(REPEATS)]
    # an end is on the correct side of the mean if its p-value is at least 2.5 %, which is quicker to compute
    low, high = (
        np.array([mean_p_value(x, m) for x in side]) for side, m in ((samples, mean), (1 - np.array(samples), 1 - mean))
    )
    least = 0.975 - 3 * math.sqrt(0.975 * 0.025 / REPEATS)
    assert np.mean(low >= 0.025) >= least
    assert np.mean(high >= 0.025) >= least


def test_images_balanced_over_classes_increase_the_coverage():
    """With equally many images of ten classes of different accuracy the mean varies less than for random images."""
    rng, held = np.random.default_rng(6), 0
    accuracies = np.repeat(np.linspace(0.1, 0.9, 10), 5)
    for _ in range(150):
        values = rng.binomial(16, accuracies) / 16
        held += min(mean_p_value(values, accuracies.mean()), mean_p_value(1 - values, 1 - accuracies.mean())) > 0.025
    assert held >= 148


def test_gaffke_is_narrower_than_betting_and_as_wide_as_theory_predicts():
    rng = np.random.default_rng(7)
    for n in (48, 500, 2000):
        many = [rng.binomial(16, rng.beta(2, 1, n)) / 16 for _ in range(10)]
        assert np.mean([gaffke(x).half_width for x in many]) < 0.95 * np.mean([betting(x).half_width for x in many])
    values = many[0]
    assert gaffke(values).half_width == pytest.approx(1.96 * values.std() / math.sqrt(n), rel=0.03)


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match=r"95 % confidence is written 0\.95"):
        gaffke([0.5], 95)
    with pytest.raises(ValueError, match=r"values in \[0,1\]"):
        interval([0.5, 1.1], "gaffke")
    with pytest.raises(ValueError, match=r"mean in \[0,1\], but got 50"):
        mean_p_value([0.5], 50)
