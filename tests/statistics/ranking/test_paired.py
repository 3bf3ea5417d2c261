"""Tests paired comparisons against statsmodels' McNemar and Holm, exact sign flips, coverage, and different images."""

import math
from itertools import product

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests

from purebench.core.errors import PurebenchError
from purebench.statistics import (
    attributable_loss,
    compare,
    gaffke,
    holm,
    mcnemar,
    paired_difference,
    romano_wolf,
    sign_flip,
)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (5, 0), (3, 9), (40, 25), (7, 7)])
def test_mcnemar_agrees_with_statsmodels(better, worse):
    theirs = their_mcnemar([[10, better], [worse, 10]], exact=True).pvalue if better + worse else 1.0
    assert mcnemar(better, worse) == pytest.approx(theirs, abs=1e-12)


def test_sign_flip_agrees_with_the_exact_permutation_test():
    d = np.array([0.5, -0.25, 0.75, 0.125, 0.5, 0.25, -0.125, 0.5, 0.0])
    sums = [abs(sum(s * abs(x) for s, x in zip(signs, d, strict=True))) for signs in product((-1, 1), repeat=d.size)]
    exact = np.mean(np.array(sums) >= abs(d.sum()) - 1e-12)
    assert sign_flip(d, resamples=20_000) == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000))
    assert sign_flip(np.zeros(5)) == 1.0
    # for differences of one size it is McNemar's test
    right = np.repeat([1.0, -1.0, 0.0], [14, 4, 30])
    assert sign_flip(right, resamples=20_000) == pytest.approx(
        mcnemar(14, 4), abs=4 * math.sqrt(mcnemar(14, 4) / 20_000)
    )


def test_paired_difference_has_the_interval_of_a_mean_and_covers_it():
    rng = np.random.default_rng(0)
    a, b = rng.random(80), rng.random(80)
    found = paired_difference(a, b, 0.9)
    moved = gaffke((1 + a - b) / 2, 0.9)
    assert (found.low, found.high) == pytest.approx((2 * moved.low - 1, 2 * moved.high - 1))
    assert (found.value, found.n, found.method) == (pytest.approx((a - b).mean()), 80, "paired-gaffke")
    held = 0
    for _ in range(300):
        q = rng.beta(3, 1, 60)
        clean, attacked = (rng.random(60) < q) * 1.0, rng.binomial(8, q * 0.6) / 8
        found = attributable_loss(clean, attacked)
        held += found.low <= 0.75 * 0.4 <= found.high
    assert held >= 300 * (0.945 - 3 * math.sqrt(0.95 * 0.05 / 300))


def test_the_paired_interval_is_shorter_than_the_difference_of_two_intervals():
    rng = np.random.default_rng(1)
    q = rng.beta(0.3, 0.3, 1000)
    a, b = rng.binomial(16, q) / 16, rng.binomial(16, q * 0.95) / 16
    assert paired_difference(a, b).half_width < 0.5 * (gaffke(a).half_width + gaffke(b).half_width)


def test_compare_agrees_with_values_computed_by_hand():
    a = np.array([1, 1, 1, 1, 0, 0, 1, 1], dtype=float)
    b = np.array([1, 0, 0, 0, 1, 0, 0, 1], dtype=float)
    found = compare(a, b, images=(range(8), range(8)))
    assert (found.better, found.worse, found.test) == (4, 1, "mcnemar")
    assert found.p_value == pytest.approx(2 * (5 + 1) / 32)
    assert found.odds_ratio == pytest.approx(4.5 / 1.5)
    assert found.cohen_g == pytest.approx(0.8 - 0.5)
    assert found.difference.value == pytest.approx(3 / 8)
    fractions = compare(a / 2, b, images=("abcdefgh", "abcdefgh"), seed=1)
    assert fractions.test == "sign-flip"
    alike = compare(a, a, images=(range(8), range(8)))
    assert (alike.p_value, alike.odds_ratio, alike.cohen_g) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ([1, 2, 3], [1, 2, 4], "1 and 1 images that only one of them has"),
        ([1, 2, 3], [1, 2], "1 and 0 images that only one of them has"),
        ([1, 2, 3], [3, 2, 1], "the same images in another order"),
        ([1, 1, 2], [1, 1, 2], "each image once"),
    ],
)
def test_comparing_different_images_is_rejected(left, right, message):
    with pytest.raises(PurebenchError, match=message):
        compare(np.ones(len(left)), np.ones(len(right)), images=(left, right))
    with pytest.raises(ValueError, match="an id for each of 3 images"):
        compare(np.ones(3), np.ones(3), images=([1], [1]))


def test_holm_agrees_with_statsmodels():
    p = np.random.default_rng(2).random(20) ** 3
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-15)
    with pytest.raises(ValueError, match="p-values in"):
        holm([0.1, float("nan")])


def test_romano_wolf_agrees_with_all_sign_vectors():
    """The step-down procedure written from its definition, over all 2^10 sign vectors."""
    d = np.random.default_rng(3).normal(0.4, 1, (3, 10)) * np.array([[1], [2], [0.1]])
    signs = np.array(list(product((-1, 1), repeat=10)))
    statistic = np.abs(signs @ d.T) / np.sqrt((d**2).sum(axis=1))
    seen = np.abs(d.sum(axis=1)) / np.sqrt((d**2).sum(axis=1))
    left, exact, least = [0, 1, 2], np.empty(3), 0.0
    while left:
        strongest = max(left, key=lambda h: seen[h])
        least = max(least, (statistic[:, left].max(axis=1) >= seen[strongest] - 1e-9).mean())
        exact[strongest] = least
        left.remove(strongest)
    np.testing.assert_allclose(romano_wolf(d, resamples=20_000), exact, atol=0.015)


def test_romano_wolf_is_stronger_than_holm_under_dependence_and_keeps_the_level():
    rng = np.random.default_rng(4)
    alone = rng.normal(0.25, 1, 100)
    single = romano_wolf(alone[np.newaxis])[0]
    assert romano_wolf(np.tile(alone, (10, 1)))[0] == pytest.approx(
        single, abs=0.01
    )  # ten copies of the same hypothesis
    assert holm([single] * 10)[0] == pytest.approx(10 * single)
    wrong = sum(romano_wolf(rng.integers(-1, 2, (6, 40)), seed=k, resamples=499).min() <= 0.05 for k in range(300))
    assert wrong <= 300 * (0.05 + 3 * math.sqrt(0.05 * 0.95 / 300))
