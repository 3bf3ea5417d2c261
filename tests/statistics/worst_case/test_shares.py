"""Tests the shares of images by their fraction of right draws."""

import numpy as np
import pytest

from purebench.statistics import clopper_pearson, outcome_shares


def test_outcome_shares_agree_with_values_computed_by_hand():
    # 32 draws: nearly always from 31, majority from 17, nearly never up to 1
    found = outcome_shares([32, 31, 30, 17, 16, 2, 1, 0], 32, 0.9)
    assert found.nearly_always == clopper_pearson(2, 8, 0.9)
    assert found.majority == clopper_pearson(4, 8, 0.9)
    assert found.nearly_never == clopper_pearson(2, 8, 0.9)
    assert found.draws == 32


def test_the_limits_of_95_and_5_percent_are_exact():
    assert outcome_shares([19], 20).nearly_always.value == 1.0
    assert outcome_shares([1], 20).nearly_never.value == 1.0
    assert outcome_shares([57, 3], 60).nearly_always.value == 0.5
    assert outcome_shares([57, 3], 60).nearly_never.value == 0.5


def test_outcome_shares_differ_for_defenses_of_equal_mean_accuracy():
    always, half = outcome_shares([32, 0] * 20, 32), outcome_shares(np.full(40, 16), 32)
    assert (always.nearly_always.value, always.nearly_never.value) == (0.5, 0.5)
    assert (half.nearly_always.value, half.majority.value, half.nearly_never.value) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("right", "draws"), [([33], 32), ([-1], 32), ([], 32), ([[1]], 32), ([0], 0)])
def test_invalid_counts_are_rejected(right, draws):
    with pytest.raises(ValueError, match="right draws"):
        outcome_shares(right, draws)
