"""Tests picking by successive halving: cases solved by hand, and its regret in simulated worlds."""

import numpy as np
import pytest
from scipy.special import expit

from purebench.statistics import RUNGS, Rung, contenders, picked

BLOCK = 24


def play(q, rng, rungs=RUNGS, columns=16):
    """Returns q of the picks, [images], after the first draws and all rungs; q: [attacks, images] of one block."""
    draws, counts = np.full(q.shape, columns), np.ones(q.shape, dtype=bool)
    right = rng.binomial(columns, q)
    for rung in rungs:
        asked = contenders(right, draws, counts, rung.keep)
        right = right + np.where(asked, rng.binomial(rung.draws, q), 0)
        draws = draws + np.where(asked, rung.draws, 0)
    return np.take_along_axis(q, picked(right, draws, counts)[np.newaxis], axis=0)[0]


def test_the_rungs_use_at_most_180_draws_per_image():
    assert sum(rung.keep * rung.draws for rung in RUNGS) + 32 <= 180


def test_with_one_draw_the_first_successful_attack_is_picked():
    right = np.array([[1, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]])
    counts = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
    np.testing.assert_array_equal(picked(right, np.ones((3, 4), dtype=int), counts), [1, 0, 1, -1])


def test_contenders_are_the_strongest_attacks_that_apply():
    right = np.array([[16, 2], [3, 9], [9, 4], [1, 16]])
    counts = np.ones((4, 2), dtype=bool)
    counts[3, 0] = False
    found = contenders(right, np.full((4, 2), 16), counts, 2)
    np.testing.assert_array_equal(found, np.array([[0, 1], [1, 0], [1, 1], [0, 0]], dtype=bool))
    assert (contenders(right, np.full((4, 2), 16), counts, 9) == counts).all()


def test_ties_go_to_the_first_attack():
    same = np.tile(np.random.default_rng(0).binomial(16, 0.6, BLOCK), (4, 1))
    draws, counts = np.full(same.shape, 16), np.ones(same.shape, dtype=bool)
    assert (picked(same, draws, counts) == 0).all()
    np.testing.assert_array_equal(contenders(same, draws, counts, 2).any(axis=1), [True, True, False, False])


def test_many_draws_outweigh_a_few_lucky_ones():
    """0 of 2 draws are right under attack 0 and 4 of 64 under attack 1, in a block in which attacks differ a lot."""
    right = np.array([[0, 1, 2], [4, 64, 0]])
    draws = np.array([[2, 2, 2], [64, 64, 64]])
    assert picked(right, draws, np.ones((2, 3), dtype=bool)).tolist() == [1, 0, 1]


def test_a_skipped_attack_does_not_change_the_picks():
    rng = np.random.default_rng(1)
    right = rng.binomial(16, expit(rng.normal(0, 1, (4, BLOCK))))
    draws, counts = np.full(right.shape, 16), np.ones(right.shape, dtype=bool)
    counts[3] = False
    np.testing.assert_array_equal(picked(right, draws, counts), picked(right[:3], draws[:3], counts[:3]))


@pytest.mark.parametrize(
    ("right", "draws", "counts", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 2)), np.ones((2, 3), dtype=bool), "one shape"),
        (np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3)), "counts bool"),
        (np.full((2, 3), 2), np.ones((2, 3)), np.ones((2, 3), dtype=bool), "0 <= right <= draws"),
        (np.zeros((2, 3)), np.zeros((2, 3)), np.ones((2, 3), dtype=bool), "at least 1 draw"),
    ],
)
def test_invalid_counts_are_rejected(right, draws, counts, message):
    with pytest.raises(ValueError, match=message):
        picked(right, draws, counts)
    with pytest.raises(ValueError, match=message):
        contenders(right, draws, counts, 2)


def test_a_rung_must_keep_at_least_one_attack():
    with pytest.raises(ValueError, match="at least 1 attack"):
        contenders(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3), dtype=bool), 0)
    assert Rung(keep=1, draws=4).draws == 4


def one_attack_dominates(rng):
    base = rng.normal(0.3, 2, BLOCK)
    strong = np.where(np.arange(6) == rng.integers(6), 0.0, 2.0)
    return expit(base + strong[:, np.newaxis])


def attacks_differ_by_image(rng):
    return expit(rng.normal(0.3, 2, BLOCK) + rng.normal(0, 1, (6, BLOCK)))


def each_image_has_its_own(rng):
    return np.where(rng.integers(0, 6, BLOCK) == np.arange(6)[:, np.newaxis], 0.05, 0.9)


@pytest.mark.parametrize(
    ("world", "most"), [(one_attack_dominates, 0.007), (attacks_differ_by_image, 0.02), (each_image_has_its_own, 0.005)]
)
def test_the_regret_is_small_and_no_single_attack_is_stronger_than_the_picks(world, most):
    regrets, margins = [], []
    for repeat in range(40):
        rng = np.random.default_rng([2, repeat])
        q = world(rng)
        accuracy = play(q, rng).mean()
        regrets.append(accuracy - q.min(axis=0).mean())
        margins.append(accuracy - q.mean(axis=1))
    assert np.mean(regrets) <= most
    assert np.mean(margins, axis=0).max() <= 0.003


def test_picks_have_less_regret_than_the_minimum_of_right_draws():
    """Without shrinkage, the minimum of 16 draws picks a weak attack on many images."""
    ours, raw = [], []
    for repeat in range(60):
        rng = np.random.default_rng([3, repeat])
        q = one_attack_dominates(rng)
        right = rng.binomial(16, q)
        chosen = picked(right, np.full(q.shape, 16), np.ones(q.shape, dtype=bool))
        ours.append(np.take_along_axis(q, chosen[np.newaxis], axis=0).mean() - q.min(axis=0).mean())
        raw.append(np.take_along_axis(q, right.argmin(axis=0)[np.newaxis], axis=0).mean() - q.min(axis=0).mean())
    assert np.mean(ours) < 0.25 * np.mean(raw)
