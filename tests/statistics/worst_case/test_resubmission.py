"""Tests resubmission@N and vote@K against all subsets of draws, and that they are unbiased."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from purebench.statistics import (
    accuracy,
    most_times,
    resubmission_curve,
    resubmission_per_image,
    robust_per_image,
    vote_curve,
    vote_per_image,
)
from purebench.statistics.worst_case.resubmission import majority_of_share, power_of_share


@pytest.mark.parametrize("draws", [5, 6])
def test_estimates_are_averages_over_all_subsets_of_draws(draws):
    for count in range(draws + 1):
        answers = [1] * count + [0] * (draws - count)
        for size in range(1, draws + 1):
            subsets = [sum(chosen) for chosen in combinations(answers, size)]
            all_right = np.mean([got == size for got in subsets])
            assert power_of_share(count, draws, size) == pytest.approx(all_right, abs=1e-12)
            if size % 2:
                majority = np.mean([got > size / 2 for got in subsets])
                assert majority_of_share(count, draws, size) == pytest.approx(majority, abs=1e-12)


@pytest.mark.parametrize("q", [0.1, 0.6, 0.95])
def test_estimates_are_exactly_unbiased_and_the_naive_power_is_not(q):
    """Sums the expectation over the binomial number of right draws exactly."""
    draws, times = 8, 4
    weights = binom.pmf(np.arange(draws + 1), draws, q)
    assert weights @ power_of_share(np.arange(draws + 1), draws, times) == pytest.approx(q**times, abs=1e-12)
    assert weights @ (np.arange(draws + 1) / draws) ** times > 1.02 * q**times
    exact = binom.sf(1, 3, q)
    assert weights @ majority_of_share(np.arange(draws + 1), draws, 3) == pytest.approx(exact, abs=1e-12)


def simulated(q, draws, seed):
    """Returns bool [attacks, images, draws] from q [attacks, images]."""
    return np.random.default_rng(seed).random((*q.shape, draws)) < q[..., np.newaxis]


def test_the_worst_case_of_equal_attacks_is_unbiased_and_the_minimum_is_not():
    q = np.repeat(np.random.default_rng(1).beta(4, 2, 8000)[np.newaxis], 6, axis=0)
    right = simulated(q, 16, 2)
    for times in (1, 3, 8):
        scores = resubmission_per_image(right, times)
        error = scores.std() / math.sqrt(scores.size)
        assert scores.mean() == pytest.approx((q[0] ** times).mean(), abs=4 * error)
    naive = (right.mean(axis=2).min(axis=0) ** 3).mean()
    assert naive < (q[0] ** 3).mean() - 0.03
    votes = vote_per_image(right, 7)
    exact = binom.sf(3, 7, q[0]).mean()
    assert votes.mean() == pytest.approx(exact, abs=4 * votes.std() / math.sqrt(votes.size))


def test_resubmission_at_1_and_vote_at_1_are_the_accuracy():
    right = simulated(np.random.default_rng(3).random((4, 200)), 10, 4)
    np.testing.assert_allclose(resubmission_per_image(right, 1), robust_per_image(right))
    np.testing.assert_allclose(vote_per_image(right, 1), robust_per_image(right))
    clean = right[:1]
    assert resubmission_curve(clean)[0] == accuracy(clean[0], deterministic=False)


def test_curves_reach_half_of_the_draws_or_all_for_one_attack_per_image():
    right = simulated(np.random.default_rng(5).random((3, 50)), 9, 6)
    assert (most_times(right), len(resubmission_curve(right)), len(vote_curve(right))) == (4, 4, 2)
    assert (most_times(right[:1]), len(resubmission_curve(right[:1])), len(vote_curve(right[:1]))) == (9, 9, 5)
    one_each = np.arange(50) % 3 == np.arange(3)[:, np.newaxis]
    assert most_times(right, one_each) == 9
    alone = np.take_along_axis(right, np.argmax(one_each, axis=0)[np.newaxis, :, np.newaxis], axis=0)
    np.testing.assert_allclose(resubmission_per_image(right, 5, one_each), resubmission_per_image(alone, 5))
    falling = [point.value for point in resubmission_curve(right[:1])]
    assert falling == sorted(falling, reverse=True)


def test_resubmission_does_not_lower_the_accuracy_of_a_deterministic_defense():
    right = np.repeat(np.random.default_rng(7).random((3, 40, 1)) < 0.7, 8, axis=2)
    for times in (1, 2, 4):
        np.testing.assert_array_equal(resubmission_per_image(right, times), right[:, :, 0].min(axis=0))


def test_too_many_submissions_and_even_numbers_of_voters_are_rejected():
    right = np.ones((2, 3, 8), dtype=bool)
    with pytest.raises(ValueError, match=r"1 to 4 draws at once, but got 5: 8 draws were made"):
        resubmission_per_image(right, 5)
    with pytest.raises(ValueError, match="odd number of voters, but got 2"):
        vote_per_image(right, 2)
    with pytest.raises(ValueError, match="bool array"):
        resubmission_per_image(np.ones((2, 3, 8)), 1)


@pytest.mark.parametrize("draws", [1, 2, 31, 48, 64, 100, 128, 256, 1030, 2048])
def test_votes_agree_with_scipy_and_are_probabilities_for_any_number_of_draws(draws: int) -> None:
    """Binomial coefficients of a thousand draws overflow, and sums of probabilities may exceed 1 by rounding."""
    counts = np.arange(draws + 1)
    for voters in {1, min(3, draws), draws // 2 or 1, draws}:
        found = majority_of_share(counts, draws, voters)
        assert found.min() >= 0
        assert found.max() <= 1
        np.testing.assert_allclose(found, hypergeom.sf(voters // 2, draws, counts, voters), rtol=1e-9, atol=1e-12)
