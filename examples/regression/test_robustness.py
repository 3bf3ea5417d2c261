"""Tests that the defense is not less robust than its committed baseline."""

import pytest


@pytest.mark.robustness(board="board.yaml")
def test_it_is_not_worse_than_the_baseline(robustness):
    """Fails for a loss of more than 6 points, and is undecided on too few images."""
    robustness.not_worse_than("mine", "baselines/mine.json", margin=0.06)
