"""Tests stopping rules: anytime-valid p-values, decisions about neighbouring ranks, and half-widths."""

import math

import numpy as np
import pytest

from purebench.statistics import Verdict, anytime_p_values, decided, half_width_reached, interval
from purebench.statistics.sequential.anytime import STAKES

REPEATS = 300
MOST_WRONG = REPEATS * (0.05 + 3 * math.sqrt(0.05 * 0.95 / REPEATS))


def board(accuracies, images, rng):
    return (rng.random((len(accuracies), images)) < np.array(accuracies)[:, None]).astype(float)


def test_anytime_p_values_agree_with_the_formula():
    d = np.array([0.5, -1.0, 0.0, 1.0, 1.0, 0.25, 1.0, 1.0, 1.0])
    best = 1.0
    for t in range(1, d.size + 1):
        best = max(best, float(np.mean([np.prod(1 + stake * d[:t]) for stake in STAKES])))
    assert anytime_p_values(d[np.newaxis])[0] == pytest.approx(1 / best)
    assert anytime_p_values(np.zeros((2, 5))).tolist() == [1.0, 1.0]


def test_the_expected_capital_of_a_fair_bet_is_exactly_1():
    """The capital is a martingale: its mean over all sequences of six fair outcomes is 1."""
    sequences = np.array([[1 if code >> t & 1 else -1 for t in range(6)] for code in range(64)])
    capital = np.mean([[np.prod(1 + stake * row) for stake in STAKES] for row in sequences])
    assert capital == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["right or wrong", "draws"])
def test_p_values_keep_the_level_at_any_time(kind):
    rng = np.random.default_rng(0)
    a, b = rng.random((2, REPEATS, 600))
    d = (a < 0.7) * 1.0 - (b < 0.7) if kind == "right or wrong" else a - b
    least = anytime_p_values(d)  # the smallest over all looks
    assert (least <= 0.05).sum() <= MOST_WRONG
    earlier = anytime_p_values(d[:, :200])
    assert (earlier >= least).all()


def test_different_neighbours_are_decided_and_equal_ones_are_futile():
    values = board([0.3, 0.9, 0.6, 0.6], 1000, np.random.default_rng(11))
    found = decided(values[:, :600], 1000)
    assert (found[0].better, found[0].verdict) == (1, Verdict.APART)
    assert found[-1].worse == 0
    assert found[-1].verdict is Verdict.APART
    assert found[1].verdict is Verdict.FUTILE
    assert found[1].chance < 0.1
    early = decided(values[:, :10], 1000)
    assert all(pair.verdict is Verdict.OPEN for pair in early)
    last = decided(values, 1000)
    assert all(pair.verdict is not Verdict.OPEN for pair in last)
    assert [pair.difference for pair in last] == pytest.approx(np.diff(np.sort(values.mean(axis=1)))[::-1])


def test_p_values_of_pairs_never_rise_with_more_images():
    values = board([0.4, 0.5, 0.7], 800, np.random.default_rng(2))
    smallest = [1.0]
    for seen in range(100, 801, 100):
        found = decided(values[:, :seen], 800)
        smallest.append(min(pair.p_value for pair in found))
    assert smallest == sorted(smallest, reverse=True)
    assert smallest[-1] < 0.05


def test_looking_after_every_block_keeps_the_family_wise_error():
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(REPEATS):
        values = board([0.5] * 4, 300, rng)
        # p-values only fall, so the last one is the smallest over all looks
        d = np.array([values[a] - values[b] for a in range(4) for b in range(a)])
        wrong += anytime_p_values(d).min() * d.shape[0] <= 0.05
    assert wrong <= MOST_WRONG


def test_clearly_different_neighbours_are_decided_on_few_images():
    rng, used = np.random.default_rng(4), []
    for _ in range(10):
        values = board([0.2, 0.5, 0.8], 1500, rng)
        looks = range(50, 1501, 50)
        used.append(next(n for n in looks if all(p.verdict is not Verdict.OPEN for p in decided(values[:, :n], 1500))))
        assert all(pair.verdict is Verdict.APART for pair in decided(values[:, : used[-1]], 1500))
    assert np.mean(used) < 300


def test_half_width_reached_requires_every_row():
    values = board([0.5, 0.99], 1200, np.random.default_rng(5))
    reached = interval(values[0], "betting-sequence").half_width
    assert half_width_reached(values, reached + 1e-9)
    assert not half_width_reached(values, reached - 2e-3)
    assert half_width_reached(values[1:], reached - 2e-3)
    assert not half_width_reached(values, reached + 1e-9, together=True)


def test_invalid_arguments_are_rejected():
    values = np.zeros((2, 30))
    with pytest.raises(ValueError, match="a total of at least the 30 images so far, but got 20"):
        decided(values, 20)
    with pytest.raises(ValueError, match=r"two percentage points are 0\.02"):
        half_width_reached(values, 2)
    with pytest.raises(ValueError, match="differences"):
        anytime_p_values([[2.0]])
