"""Tests ranks: groups computed by hand, family-wise error on simulated boards, and the probability of being best."""

import math

import numpy as np
import pytest

from purebench.statistics import mcnemar, probability_best, rank
from purebench.statistics.ranking.ranks import alike_groups

REPEATS = 200
MOST_WRONG = REPEATS * (0.05 + 3 * math.sqrt(0.05 * 0.95 / REPEATS))


def board(accuracies, images, rng, shared=0.5):
    """Returns simulated answers, 0 or 1, [defenses, images]; a share of the images is equally hard for all defenses."""
    difficulty = np.where(rng.random((len(accuracies), images)) < shared, rng.random(images), 1.0)
    own = rng.random((len(accuracies), images))
    return (np.where(difficulty < 1, difficulty, own) < np.array(accuracies)[:, None]).astype(float)


def test_the_rank_of_two_defenses_is_mcnemars_test():
    values = board([0.6, 0.7], 150, np.random.default_rng(0))
    found = rank(values, resamples=9_999)
    exact = mcnemar(int((values[0] > values[1]).sum()), int((values[0] < values[1]).sum()))
    assert found.p_values[0][1] == pytest.approx(exact, abs=4 * math.sqrt(exact / 9_999) + 2e-4)
    assert found.p_values[0][0] == 1.0


def test_clearly_different_defenses_have_single_ranks():
    values = board([0.1, 0.9, 0.5], 400, np.random.default_rng(1))
    found = rank(values)
    assert (found.low, found.high) == ((3, 1, 2), (3, 1, 2))
    assert found.groups == ((1,), (2,), (0,))
    assert found.best == (0.0, 1.0, 0.0)
    assert (found.n, found.confidence) == (400, 0.95)


def test_defenses_with_equal_answers_share_ranks_group_and_probability():
    values = np.tile(board([0.5], 100, np.random.default_rng(2)), (3, 1))
    found = rank(values)
    assert (found.low, found.high, found.groups) == ((1, 1, 1), (3, 3, 3), ((0, 1, 2),))
    assert found.best == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert rank(values[:1]).groups == ((0,),)


def test_groups_are_maximal_sets_of_indistinguishable_defenses():
    # from best to worst: 2, 0, 3, 1; significantly different pairs: 2-3, 2-1, 0-1
    apart = np.zeros((4, 4), dtype=bool)
    for a, b in ((2, 3), (2, 1), (0, 1)):
        apart[a, b] = apart[b, a] = True
    mean = np.array([0.7, 0.4, 0.8, 0.5])
    assert alike_groups(apart, mean) == ((2, 0), (0, 3), (3, 1))
    rng = np.random.default_rng(3)
    for _ in range(20):
        apart = np.triu(rng.random((7, 7)) < 0.4, 1)
        apart = apart | apart.T
        groups = [set(group) for group in alike_groups(apart, rng.random(7))]
        for group in groups:
            assert not any(apart[a, b] for a in group for b in group)
            assert not any(group < other for other in groups)
            assert all(any(apart[a, b] for b in group) for a in set(range(7)) - group)
        together = {(a, b) for group in groups for a in group for b in group}
        assert together == {(a, b) for a in range(7) for b in range(7) if a == b or not apart[a, b]}


@pytest.mark.parametrize("accuracies", [[0.6] * 5, [0.9, 0.6, 0.6, 0.6, 0.6]], ids=["all equal", "one clear winner"])
def test_the_family_wise_error_of_equal_defenses_is_at_most_5_percent(accuracies):
    rng, wrong, won = np.random.default_rng([4, len(set(accuracies))]), 0, 0
    for repeat in range(REPEATS):
        found = rank(board(accuracies, 120, rng), seed=repeat, resamples=499)
        equal = [k for k, value in enumerate(accuracies) if value == 0.6]
        wrong += any(found.p_values[a][b] <= 0.05 for a in equal for b in equal if a != b)
        won += found.high[0] == 1
    assert wrong <= MOST_WRONG
    assert won >= 0.9 * REPEATS if accuracies[0] > 0.6 else won <= MOST_WRONG


def test_rank_intervals_cover_all_ranks_simultaneously():
    rng, held = np.random.default_rng(5), 0
    accuracies = [0.55, 0.6, 0.62, 0.75, 0.8]
    for repeat in range(REPEATS):
        found = rank(board(accuracies, 150, rng), seed=repeat, resamples=499)
        held += all(
            low <= 5 - place <= high for place, (low, high) in enumerate(zip(found.low, found.high, strict=True))
        )
    assert held >= REPEATS - MOST_WRONG


def test_the_probability_of_being_best_is_close_to_the_normal_approximation():
    values = board([0.62, 0.6], 800, np.random.default_rng(6))
    d = values[0] - values[1]
    z = d.mean() / (d.std() / math.sqrt(800))
    expected = 0.5 * math.erfc(-z / math.sqrt(2))
    assert probability_best(values, resamples=4_000)[0] == pytest.approx(expected, abs=0.03)


def test_the_seed_decides_the_ranks_and_invalid_values_are_rejected():
    values = board([0.5, 0.55, 0.6], 100, np.random.default_rng(7))
    assert rank(values, seed=1) == rank(values, seed=1) != rank(values, seed=2)
    with pytest.raises(ValueError, match="outcomes in"):
        rank([[0.0, 50.0]])
    with pytest.raises(ValueError, match=r"\[defenses, images\]"):
        rank([0.5, 0.5])
