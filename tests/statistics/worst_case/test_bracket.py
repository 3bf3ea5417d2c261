"""Tests the bracket of the worst case: its ends, its coverage where the split is biased, and invalid arrays."""

import math

import numpy as np
import pytest
from scipy.special import expit

from purebench.statistics import (
    accuracy,
    betting_at_any_time,
    bracket,
    gaffke,
    lowest_per_image,
    one_sided_bound,
    robust_accuracy,
    robust_per_image,
)


def test_the_ends_of_a_bracket_are_one_sided_bounds():
    rng = np.random.default_rng(0)
    lowest, fresh = rng.random(50) * 0.8, rng.random(50)
    found = bracket(lowest, fresh, 0.9)
    assert found.low == one_sided_bound(lowest, 0.95, "low")
    assert found.high == one_sided_bound(fresh, 0.95, "high")
    assert (found.value, found.n, found.method) == (fresh.mean(), 50, "bracket")
    later = bracket(lowest, fresh, anytime=True)
    assert (later.low, later.high) == (betting_at_any_time(lowest).low, betting_at_any_time(fresh).high)
    assert later.method == "bracket-sequence"


def test_the_bracket_of_one_attack_is_the_interval_of_its_accuracy():
    values = np.random.default_rng(1).random(40)
    found, plain = bracket(values, values), gaffke(values)
    assert (found.low, found.value, found.high) == (plain.low, plain.value, plain.high)


def test_crossing_ends_are_widened_to_contain_the_value():
    found = bracket(np.ones(500), np.zeros(500))
    assert (found.low, found.value) == (0.0, 0.0)
    assert found.high > 0.98  # the low end is replaced by the value 0
    below = bracket(np.full(100, 0.5), np.full(100, 0.2))
    assert below.low == below.value == pytest.approx(0.2)


def test_the_lowest_fraction_is_over_attacks_that_apply():
    right = np.array([[[1, 1], [1, 0]], [[1, 0], [0, 0]]], dtype=bool)
    np.testing.assert_array_equal(lowest_per_image(right), [0.5, 0.0])
    counts = np.array([[True, True], [True, False]])
    np.testing.assert_array_equal(lowest_per_image(right, counts), [0.5, 0.5])
    with pytest.raises(ValueError, match="none on 1 of 2 images"):
        lowest_per_image(right, np.array([[True, False], [True, False]]))


def test_robust_accuracy_of_plain_arrays_is_the_bracket():
    right = np.random.default_rng(2).random((5, 60, 16)) < 0.6
    found = robust_accuracy(right, deterministic=False)
    assert found == bracket(right.mean(axis=2).min(axis=0), robust_per_image(right))
    later = robust_accuracy(right, deterministic=False, anytime=True)
    assert later == bracket(lowest_per_image(right), robust_per_image(right, in_order=True), anytime=True)
    assert robust_accuracy(right[:1], deterministic=False) == accuracy(right[0], deterministic=False)


WORLDS = {
    "spread": lambda rng, n: expit(rng.normal(0.3, 2, n) + rng.normal(0, 0.5, (5, n))),
    "normal": lambda rng, n: np.clip(0.6 + rng.normal(0, 0.15, (5, n)), 0, 1),
    "dominant": lambda rng, n: expit(rng.normal(0.3, 2, n) + np.array([0, 2, 2, 2, 2])[:, np.newaxis]),
    "coin": lambda rng, n: np.full((5, n), 0.6),
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_bracket_covers_the_worst_case_where_the_split_is_biased(name):
    repeats, images = 120, 500
    truth = WORLDS[name](np.random.default_rng(9), 200_000).min(axis=0).mean()
    held, alone = 0, 0
    for repeat in range(repeats):
        rng = np.random.default_rng([3, repeat])
        q = WORLDS[name](rng, images)
        right = rng.random((*q.shape, 16)) < q[:, :, np.newaxis]
        found = robust_accuracy(right, deterministic=False)
        held += found.low <= truth <= found.high
        plain = gaffke(robust_per_image(right))
        alone += plain.low <= truth <= plain.high
    assert held >= repeats * (0.945 - 3 * math.sqrt(0.95 * 0.05 / repeats))
    if name in ("spread", "normal"):
        assert alone <= 0.7 * repeats


def test_invalid_arrays_are_rejected():
    with pytest.raises(ValueError, match=r"as many images at the lower end as at the upper end, but got 2 .* and 3"):
        bracket([0.1, 0.2], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"written 0\.95"):
        bracket([0.1], [0.1], 95)
    with pytest.raises(ValueError, match=r"values in \[0,1\]"):
        bracket([0.1], [1.1])
