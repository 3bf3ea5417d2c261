"""Tests the statistics of a standing challenge: levels, the exact test, and simulated challenges."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
from scipy.stats import binom

from purebench.statistics.sequential.challenge import (
    ALPHA,
    better_picks,
    challenge_level,
    challenge_p_value,
    paired_signs,
)

PICK, TEST = 32, 128


def test_the_levels_of_all_submissions_sum_to_alpha() -> None:
    levels = np.array([challenge_level(k) for k in range(1, 20_001)])
    assert levels[0] == pytest.approx(0.05 * 6 / pi**2)
    assert levels[9] == pytest.approx(levels[0] / 100)
    assert ALPHA - 1e-5 < levels.sum() < ALPHA
    for wrong in ((0, 0.05), (1, 0.0), (1, 1.0)):
        with pytest.raises(ValueError, match="expected a number of at least 1"):
            challenge_level(*wrong)


def test_the_p_value_is_the_upper_tail_of_a_binomial() -> None:
    better, worse = np.meshgrid(np.arange(40), np.arange(40))
    expected = binom.sf(better - 1, better + worse, 0.5)
    assert challenge_p_value(better, worse) == pytest.approx(expected)
    assert challenge_p_value(0, 0) == 1.0
    assert float(challenge_p_value(60, 0)) == pytest.approx(2.0**-60)  # small enough for every number of a submission


@pytest.mark.parametrize("number", [1, 2, 10, 1000])
def test_the_level_of_each_submission_is_kept_exactly(number: int) -> None:
    """The sum of the binomial probabilities at which the test rejects, over all numbers of pairs."""
    for pairs in (1, 5, 20, 100, 1000):
        plus = np.arange(pairs + 1)
        rejects = challenge_p_value(plus, pairs - plus) <= challenge_level(number)
        assert binom.pmf(plus, pairs, 0.5)[rejects].sum() <= challenge_level(number) * (1 + 1e-9)


def test_picks_and_pairs() -> None:
    incumbent = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=bool)
    submitted = np.array([[0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]], dtype=bool)
    assert better_picks(incumbent, submitted).tolist() == [True, False, False]  # a tie keeps the incumbent
    assert paired_signs(incumbent, submitted) == (1 + 2, 2 + 1)


def simulated(rng: np.random.Generator, gap: float, submissions: int, repeats: int) -> np.ndarray:
    """Returns the p-values [repeats, submissions] of submissions to 48 images of three accuracies.

    Each submitted example is right with the probability of the incumbent's minus `gap`. Numbers of draws are sums over
    the images of one accuracy: a pick is a comparison of two binomials, and pairs have three outcomes.
    """
    size = (repeats, submissions)
    better, worse = np.zeros(size), np.zeros(size)
    for q in (0.05, 0.5, 0.9):
        p = max(0.0, q - gap)
        k = np.arange(PICK + 1)
        picked = float(binom.pmf(k, PICK, q) @ binom.cdf(k - 1, PICK, p))
        pairs = TEST * rng.binomial(16, picked, size)
        plus, minus = q * (1 - p), p * (1 - q)
        found = rng.binomial(pairs, plus)
        better += found
        worse += rng.binomial(pairs - found, 0.0 if plus == 1 else minus / (1 - plus))
    return challenge_p_value(better, worse)


def test_ten_thousand_submissions_of_the_incumbent_examples_lower_a_bound_with_at_most_5_percent() -> None:
    """200 challenges of 10,000 submissions each; 0.05 plus three standard errors is 0.096."""
    rng, levels = np.random.default_rng(0), np.array([challenge_level(k) for k in range(1, 10_001)])
    lowered = [(simulated(rng, 0.0, 10_000, 10) <= levels).any(axis=1) for _ in range(20)]
    share = float(np.mean(lowered))
    assert share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    constant = np.mean([(simulated(rng, 0.0, 10_000, 2) <= 0.05).any(axis=1) for _ in range(2)])
    assert constant == 1.0  # a constant level would lower every bound


def test_a_better_attack_lowers_the_bound_even_as_a_late_submission() -> None:
    p = simulated(np.random.default_rng(1), 0.2, 200, 1)
    assert (p <= challenge_level(1000)).mean() > 0.95


def test_the_test_is_conservative_if_some_examples_are_better_and_others_worse() -> None:
    """Random accuracies of equal mean: what the submission gains on some images, it loses on others."""
    rng, rejected = np.random.default_rng(2), []
    for _ in range(2000):
        q = rng.random(12)
        p = q[rng.permutation(12)]
        incumbent, submitted = (rng.random((12, 40)) < one[:, None] for one in (q, p))
        rejected.append(float(challenge_p_value(*paired_signs(incumbent, submitted))) <= 0.05)
    assert np.mean(rejected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
