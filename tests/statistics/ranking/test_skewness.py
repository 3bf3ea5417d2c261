"""Tests the guard against skewed differences: it keeps the level where sign flips alone do not, and keeps the power."""

import numpy as np
import pytest

from purebench.statistics import compare, mean_p_value, pair_p_values, sign_flip
from purebench.statistics.multiplicity import romano_wolf
from purebench.statistics.ranking.skewness import guard_p_values

IDS = tuple(range(48))


def near_constant_and_coin(rng, n=48):
    return np.full(n, 0.98), (rng.random(n) < 0.98) * 1.0


@pytest.mark.parametrize("n", [20, 48, 150])
def test_equal_accuracies_with_skewed_differences_keep_the_level(n):
    wrong, alone = 0, 0
    for repeat in range(120):
        a, b = near_constant_and_coin(np.random.default_rng([0, n, repeat]), n)
        found = compare(a, b, images=(range(n), range(n)), resamples=199)
        assert found.test == "sign-flip"
        wrong += found.p_value <= 0.05
        alone += sign_flip(a - b, resamples=199) <= 0.05
    assert wrong <= 12
    if n < 100:
        assert alone >= 30  # without the guard the level is exceeded


def test_the_family_wise_error_of_ranks_is_kept_for_skewed_differences():
    wrong, alone = 0, 0
    for repeat in range(80):
        rng = np.random.default_rng([1, repeat])
        values = np.stack([near_constant_and_coin(rng, 100)[row > 0] for row in range(6)])
        wrong += pair_p_values(values, resamples=199, seed=repeat).min() <= 0.05
        differences = np.array([values[a] - values[b] for a in range(6) for b in range(a)])
        alone += romano_wolf(differences, resamples=199, seed=repeat).min() <= 0.05
    assert wrong <= 10
    assert alone > 16


def test_the_guard_is_the_one_sided_test_of_the_mean_in_the_observed_direction():
    d = np.random.default_rng(2).uniform(-0.2, 0.5, 48)
    assert guard_p_values([d, -d]) == pytest.approx([mean_p_value((1 + d) / 2, 0.5)] * 2)
    assert guard_p_values([[1.0, 0.0, -1.0, 1.0]]).tolist() == [0.0]  # as for symmetric differences
    found = compare((1 + d) / 2, np.full(48, 0.5), images=(IDS, IDS))
    assert found.p_value >= mean_p_value((1 + d / 2) / 2, 0.5)


def test_the_guard_keeps_clear_differences_significant():
    rng = np.random.default_rng(3)
    rows = np.stack([rng.binomial(16, rng.beta(2, 2, 48) * share) / 16 for share in (1.0, 0.95, 0.4)])
    p = pair_p_values(rows)
    assert p[0, 1] > 0.05
    assert p[0, 2] <= 0.05
    assert p[1, 2] <= 0.05
