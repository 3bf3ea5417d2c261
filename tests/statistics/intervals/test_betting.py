"""Tests the betting interval against the formula of the paper, cases solved by hand, theory and coverage."""

import math
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purebench.statistics import betting, betting_sequence

UNIT_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def kept(values, m, alpha, fixed_n, c=0.75):
    """Returns whether m is in the interval after t values, [t, m], by Theorem 3, value by value."""
    with np.errstate(divide="ignore"):
        most_above, most_below = c / m, c / (1 - m)
    above, below = np.ones_like(m), np.ones_like(m)  # K+ and K-
    alive, history = np.ones(m.shape, dtype=bool), []
    total, squares = 0.0, 0.0
    for t, x in enumerate(values, start=1):
        variance = (0.25 + squares) / t  # variance_{t-1}
        horizon = len(values) if fixed_n else max(t * math.log(1 + t), 120)
        bet = math.sqrt(2 * math.log(2 / alpha) / (horizon * variance))
        above *= 1 + np.minimum(bet, most_above) * (x - m)
        below *= 1 - np.minimum(bet, most_below) * (x - m)
        alive = alive & (np.maximum(above / 2, below / 2) < 1 / alpha)
        history.append(alive)
        total += x
        squares += (x - (0.5 + total) / (t + 1)) ** 2
    return np.array(history)


def slow_interval(values, confidence):
    """Returns both ends to 1e-6, by dense grids of m: over [0,1] first, then around each end."""
    step = 1e-3
    coarse = np.linspace(0, 1, 1001)
    inside = coarse[kept(values, coarse, 1 - confidence, fixed_n=True)[-1]]
    ends = []
    for end, pick in ((inside[0], np.min), (inside[-1], np.max)):
        fine = np.unique(np.clip(np.linspace(end - step, end + step, 4001), 0, 1))
        ends.append(pick(fine[kept(values, fine, 1 - confidence, fixed_n=True)[-1]]))
    return tuple(ends)


def samples():
    rng = np.random.default_rng(20240101)
    yield "coin", rng.integers(0, 2, 200).astype(float)
    yield "rare failures", (rng.random(150) < 0.97).astype(float)
    yield "draws of 16", rng.binomial(16, rng.beta(2, 1, 120)) / 16
    yield "continuous", rng.random(80)
    yield "all right", np.ones(40)
    yield "all wrong", np.zeros(40)
    yield "all a half", np.full(30, 0.5)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("values", [pytest.param(v, id=name) for name, v in samples()])
def test_betting_agrees_with_the_formula_of_the_paper(values, confidence):
    estimate = betting(values, confidence)
    assert (estimate.low, estimate.high) == pytest.approx(slow_interval(values, confidence), abs=1e-6)
    assert estimate.value == pytest.approx(values.mean(), abs=1e-15)
    assert (estimate.n, estimate.confidence, estimate.method) == (values.size, confidence, "betting")


def test_betting_of_one_image_agrees_with_the_solution_by_hand():
    # One value 1, alpha 1/2: lambda = sqrt(2 log(4) / (1/4)); K+(m) = 1 + lambda (1 - m) reaches 2/alpha = 4.
    estimate = betting([1.0], 0.5)
    assert estimate.low == pytest.approx(1 - 3 / math.sqrt(8 * math.log(4)), abs=2e-9)
    assert estimate.high == 1.0
    # At 95 % a single value cannot multiply the capital by 40, so the interval is [0, 1].
    for value in (0.0, 0.3, 1.0):
        assert (betting([value]).low, betting([value]).high) == (0.0, 1.0)


def test_the_interval_ends_at_0_or_1_if_all_values_are_0_or_1():
    right, wrong = betting(np.ones(500)), betting(np.zeros(500))
    assert (right.value, right.high, wrong.value, wrong.low) == (1.0, 1.0, 0.0, 0.0)
    assert right.low > 0.97
    assert wrong.high < 0.03


def test_the_width_agrees_with_theory():
    # lambda = sqrt(2L/(n sigma²)) with L = log(2/alpha) gives a half-width of sigma sqrt(2L/n) at time n; the
    # intersection over all times can only be shorter, and no 95 % interval is shorter than the normal one.
    rng = np.random.default_rng(3)
    n = 20_000
    for values, sigma in ((rng.integers(0, 2, n) * 1.0, 0.5), (rng.beta(2, 2, n), math.sqrt(0.05))):
        half_width = betting(values).half_width
        assert half_width < 1.02 * sigma * math.sqrt(2 * math.log(40) / n)
        assert half_width > 1.96 * sigma / math.sqrt(n)


@given(values=UNIT_VALUES, confidence=st.floats(0.5, 0.999))
@settings(max_examples=60, deadline=None)
def test_betting_is_bounded_and_symmetric(values, confidence):
    estimate, mirrored = betting(values, confidence), betting(1 - np.array(values), confidence)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert (estimate.low, estimate.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-8)


def test_betting_depends_on_the_order_and_is_valid_for_sorted_values():
    values = np.random.default_rng(5).integers(0, 2, 400).astype(float)
    as_drawn, by_size = betting(values), betting(np.sort(values))
    assert (as_drawn.low, as_drawn.high) != (by_size.low, by_size.high)
    # Sorted, every m is rejected at some time; the reported interval still contains the mean and is not a point.
    assert by_size.low <= by_size.value <= by_size.high
    assert by_size.half_width > as_drawn.half_width


BERNOULLI = [(n, p) for n in (20, 100, 500) for p in (0.02, 0.3, 0.5, 0.9, 0.98)]
BETA_BINOMIAL = [(n, a, b) for n in (20, 100, 500) for a, b in ((0.2, 0.2), (8, 1), (0.5, 20))]
REPEATS = 300
# 94.5 % minus three standard errors of a coverage of 95 % over this number of repeats: 90.7 %.
LEAST_COVERED = REPEATS * (0.945 - 3 * math.sqrt(0.95 * 0.05 / REPEATS))


def covered(draw, mean):
    estimates = [betting(draw()) for _ in range(REPEATS)]
    return sum(e.low <= mean <= e.high for e in estimates)


@pytest.mark.parametrize(("n", "p"), BERNOULLI)
def test_betting_covers_the_mean_of_binary_answers(n, p):
    rng = np.random.default_rng([1, n, int(100 * p)])
    assert covered(lambda: (rng.random(n) < p).astype(float), p) >= LEAST_COVERED


@pytest.mark.parametrize(("n", "a", "b"), BETA_BINOMIAL)
def test_betting_covers_the_mean_of_fractions_of_draws(n, a, b):
    rng = np.random.default_rng([2, n, int(10 * a), int(10 * b)])
    assert covered(lambda: rng.binomial(16, rng.beta(a, b, n)) / 16, a / (a + b)) >= LEAST_COVERED


def test_betting_sequence_agrees_with_the_formula_of_the_paper():
    values = np.random.default_rng(7).beta(4, 1, 150)
    low, high = betting_sequence(values)
    grid = np.linspace(0, 1, 1001)
    alive = kept(values, grid, 0.05, fixed_n=False)
    first = grid[alive.argmax(axis=1)]
    last = grid[grid.size - 1 - alive[:, ::-1].argmax(axis=1)]
    # betting_sequence returns the last grid point outside, the formula the first one inside.
    np.testing.assert_allclose(low, np.where(first > 0, first - 1e-3, 0), atol=1e-9)
    np.testing.assert_allclose(high, np.where(last < 1, last + 1e-3, 1), atol=1e-9)


@given(values=UNIT_VALUES, stop=st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_betting_sequence_only_shrinks_and_depends_on_past_values_only(values, stop):
    low, high = betting_sequence(values, resolution=0.02)
    assert ((low >= 0) & (low <= high) & (high <= 1)).all()
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) <= 0).all()
    low_so_far, high_so_far = betting_sequence(values[:stop], resolution=0.02)
    np.testing.assert_array_equal(low_so_far, low[:stop])
    np.testing.assert_array_equal(high_so_far, high[:stop])


@pytest.mark.parametrize("p", [0.1, 0.6])
def test_betting_sequence_covers_at_all_times_simultaneously(p):
    rng = np.random.default_rng([3, int(10 * p)])
    held = 0
    for _ in range(REPEATS):
        low, high = betting_sequence((rng.random(300) < p).astype(float), resolution=0.02)
        held += bool(((low <= p) & (p <= high)).all())
    assert held >= LEAST_COVERED


@pytest.mark.parametrize(("n", "seconds"), [(1_000, 0.05), (100_000, 5)])
def test_betting_is_fast(n, seconds):
    values = np.random.default_rng(0).random(n)
    times = []
    for _ in range(3):
        start = perf_counter()
        betting(values)
        times.append(perf_counter() - start)
    assert min(times) < seconds


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match=r"95 % confidence is written 0\.95"):
        betting([0.5], 95)
    with pytest.raises(ValueError, match=r"values in \[0,1\]"):
        betting([0.5, -0.1])
    with pytest.raises(ValueError, match=r"resolution in \(0, 0.1\]"):
        betting_sequence([0.5], resolution=0)
