"""Tests empirical Bernstein intervals against their formulas, their coverage, and that betting is shorter."""

import math

import numpy as np
import pytest

from purebench.statistics import betting, betting_sequence, empirical_bernstein, empirical_bernstein_sequence

REPEATS = 300
LEAST_COVERED = REPEATS * (0.945 - 3 * math.sqrt(0.95 * 0.05 / REPEATS))


def test_empirical_bernstein_agrees_with_maurer_and_pontil_by_hand():
    # 50 zeros and 50 ones: V = 100/99/4; log(4/0.05) = log 80
    estimate = empirical_bernstein(np.repeat([0.0, 1.0], 50))
    half = math.sqrt(2 * (25 / 99) * math.log(80) / 100) + 7 * math.log(80) / (3 * 99)
    assert (estimate.low, estimate.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-12)
    assert (empirical_bernstein([0.3]).low, empirical_bernstein([0.3]).high) == (0.0, 1.0)


def test_a_smaller_variance_gives_a_shorter_interval():
    rng = np.random.default_rng(0)
    narrow = empirical_bernstein(rng.uniform(0.45, 0.55, 500))
    wide = empirical_bernstein(rng.integers(0, 2, 500).astype(float))
    assert narrow.half_width < wide.half_width / 2


def test_the_sequence_agrees_with_theorem_2_value_by_value():
    values = np.random.default_rng(1).beta(3, 1, 60)
    low, high = empirical_bernstein_sequence(values, 0.9)
    staked = weighted = spent = 0.0
    seen, squares, least, most = 0.0, 0.0, 0.0, 1.0
    for t, x in enumerate(values, start=1):
        mean_before, variance_before = (0.5 + seen) / t, (0.25 + squares) / t
        bet = min(math.sqrt(2 * math.log(20) / (variance_before * t * math.log(1 + t))), 0.5)
        staked, weighted = staked + bet, weighted + bet * x
        spent += 4 * (x - mean_before) ** 2 * (-math.log(1 - bet) - bet) / 4
        half = (math.log(20) + spent) / staked
        least, most = max(least, weighted / staked - half), min(most, weighted / staked + half)
        assert (low[t - 1], high[t - 1]) == pytest.approx((least, most), abs=1e-12)
        seen += x
        squares += (x - (0.5 + seen) / (t + 1)) ** 2


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_interval_and_sequence_cover_the_mean(p):
    rng = np.random.default_rng([2, int(100 * p)])
    samples = [(rng.random(200) < p).astype(float) for _ in range(REPEATS)]
    estimates = [empirical_bernstein(x) for x in samples]
    assert sum(e.low <= p <= e.high for e in estimates) >= LEAST_COVERED
    held = 0
    for x in samples:
        low, high = empirical_bernstein_sequence(x)
        held += bool(((low <= p) & (p <= high)).all())
    assert held >= LEAST_COVERED


@pytest.mark.parametrize("n", [50, 500, 2000])
@pytest.mark.parametrize("p", [0.1, 0.6])
def test_betting_is_shorter_than_empirical_bernstein(n, p):
    values = (np.random.default_rng([3, n]).random(n) < p).astype(float)
    assert betting(values).half_width < empirical_bernstein(values).half_width
    by_bets, by_bernstein = betting_sequence(values), empirical_bernstein_sequence(values)
    assert by_bets[1][-1] - by_bets[0][-1] < by_bernstein[1][-1] - by_bernstein[0][-1]
