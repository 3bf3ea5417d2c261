"""Tests the interval for defenses whose images share the random choice of a call, by simulation of such a defense."""

from __future__ import annotations

import numpy as np
import pytest

from purebench.statistics import interval
from purebench.statistics.intervals.shared_draws import METHOD, shared_draws_interval


def answers(rng: np.random.Generator, blocks: int, images: int, draws: int) -> np.ndarray:
    """Returns bool [blocks * images, draws] of an ensemble that chooses one of two models for all images of a block.

    One model is right on 99 % of the images, the other on 1 %: the accuracy is 1/2.
    """
    chosen = np.repeat(rng.random((blocks, draws)) < 0.5, images, axis=0)
    first, second = rng.random((2, blocks * images, 1))
    return np.where(chosen, first < 0.99, second < 0.01)


@pytest.mark.parametrize(("blocks", "images"), [(2, 24), (4, 12), (10, 100)])
def test_the_interval_covers_the_accuracy_where_one_over_images_alone_does_not(blocks: int, images: int) -> None:
    rng, repeats = np.random.default_rng(blocks), 200
    covered = alone = 0
    for _ in range(repeats):
        right = answers(rng, blocks, images, 32)
        found, usual = shared_draws_interval(right), interval(right.mean(axis=1), "gaffke")
        assert found.value == usual.value == right.mean()
        assert found.low <= usual.low <= usual.high <= found.high
        covered += found.low <= 0.5 <= found.high
        alone += usual.low <= 0.5 <= usual.high
    assert covered >= (0.95 - 3 * np.sqrt(0.95 * 0.05 / repeats)) * repeats
    assert alone < 0.9 * repeats


def test_the_interval_stays_within_0_and_1_and_names_its_method() -> None:
    found = shared_draws_interval(np.ones((50, 40)), 0.9)
    assert (found.value, found.high, found.n, found.confidence, found.method) == (1, 1, 50, 0.9, METHOD)
    assert 0 < found.low < interval(np.ones(50), "gaffke", 0.9).low


def test_no_interval_is_known_where_the_results_decided_where_the_run_ended() -> None:
    found = shared_draws_interval(np.eye(4), anytime=True)
    assert (found.value, found.low, found.high) == (0.25, 0, 1)
