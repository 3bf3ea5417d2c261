"""Tests the ways in which ranks of many images are computed faster, against those for few images."""

import numpy as np
import pytest

from purebench.statistics.multiplicity import romano_wolf
from purebench.statistics.ranking import ranks


@pytest.fixture
def values():
    return np.random.default_rng(3).binomial(10, 0.6, (4, 60)) / 10


def test_resamples_drawn_image_by_image_have_the_distribution_of_multinomial_counts(values, monkeypatch):
    few = ranks.probability_best(values, seed=1, resamples=20_000)
    monkeypatch.setattr(ranks, "_MANY", 0)
    many = ranks.probability_best(values, seed=2, resamples=20_000)
    assert many.sum() == pytest.approx(1)
    assert many == pytest.approx(few, abs=5 * np.sqrt(2 * 0.25 / 20_000))
    assert not np.array_equal(many, few)


def test_each_resample_has_as_many_images_as_the_board():
    drawn = ranks._drawn(np.random.default_rng(0), 50, 4_000)
    assert (drawn.sum(axis=1) == 50).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(50), abs=5 / np.sqrt(4_000))
    assert drawn.var() == pytest.approx(1 - 1 / 50, rel=0.02)


def test_the_numbers_of_published_boards_come_from_multinomial_counts(values):
    """Few images keep the random numbers of earlier versions: the counts of `Generator.multinomial`."""
    rng = np.random.default_rng(0)
    means = rng.multinomial(60, np.full(60, 1 / 60), size=500) @ values.T
    best = means >= means.max(axis=1, keepdims=True) - 1e-9
    expected = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    assert ranks.probability_best(values, seed=0, resamples=500) == pytest.approx(expected, abs=1e-12)


def test_sums_of_rows_give_the_p_values_of_the_differences_themselves(values):
    values[1, :20] = values[0, :20]
    values[:, 5] = 0.5  # no pair differs: no sign is drawn for the image
    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    differences = np.array([values[a] - values[b] for a, b in pairs])
    plain = romano_wolf(differences, seed=4, resamples=999)
    assert np.array_equal(romano_wolf(differences, seed=4, resamples=999, rows=(values, pairs)), plain)
    assert (plain < 1).any()
