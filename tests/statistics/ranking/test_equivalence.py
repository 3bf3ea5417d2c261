"""Tests of the equivalence tests: the closed form for equal values, the level at the margin, and the power."""

import numpy as np
import pytest

from purebench.statistics import equivalent, exceeds_by_less

MARGIN = 0.05


def test_equal_values_are_equivalent_from_the_number_of_images_of_the_closed_form():
    # n differences of 0 show a difference below 1 - 0.05^(1/n), which is 0.0504 for 58 images and 0.0495 for 59
    for n, expected in ((58, False), (59, True)):
        assert (1 - 0.05 ** (1 / n) < MARGIN) is expected
        assert equivalent(np.ones(n), np.ones(n), MARGIN) is expected
        assert exceeds_by_less(np.ones(n), np.ones(n), MARGIN) is expected


def test_only_the_two_sided_test_refuses_a_mean_that_is_far_below():
    low, high = np.zeros(100), np.ones(100)
    assert exceeds_by_less(low, high, MARGIN)
    assert not equivalent(low, high, MARGIN)
    assert not exceeds_by_less(high, low, MARGIN)


@pytest.mark.parametrize("draws", [1, 8])
def test_means_that_differ_by_the_margin_are_called_equivalent_at_most_at_the_level(draws):
    level, repeats, n = 0.1, 300, 150
    rng = np.random.default_rng(0)
    for fewer in (False, True):
        found = 0
        for _ in range(repeats):
            # an image differs on a draw with probability 1 / draws, so that the mean difference is MARGIN
            broken = rng.random(n) < draws * MARGIN
            b = 1 - broken[:, None] * (rng.random((n, draws)) < 1 / draws)
            pair = (np.ones(n), b.mean(1)) if fewer else (b.mean(1), np.ones(n))
            found += equivalent(*pair, MARGIN, level)
        assert found / repeats <= level + 3 * np.sqrt(level * (1 - level) / repeats)


def test_means_that_differ_by_a_tenth_of_the_margin_are_found_equivalent():
    rng = np.random.default_rng(1)
    found = [equivalent(np.ones(400), rng.random(400) >= MARGIN / 10, MARGIN) for _ in range(100)]
    assert np.mean(found) > 0.95


@pytest.mark.parametrize(("margin", "level"), [(0.0, 0.05), (1.0, 0.05), (5, 0.05), (0.05, 0.0), (0.05, 0.5)])
def test_margins_and_levels_out_of_range_are_refused(margin, level):
    for test in (equivalent, exceeds_by_less):
        with pytest.raises(ValueError, match="expected a"):
            test([0.5], [0.5], margin, level)
