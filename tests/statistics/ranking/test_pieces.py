"""Tests that sums over random signs and resamples do not depend on the pieces in which they are computed."""

from itertools import combinations

import numpy as np
import pytest

from purebench.statistics import signs
from purebench.statistics.ranking import ranks


@pytest.mark.parametrize("of_rows", [False, True])
def test_signs_are_summed_in_pieces_as_all_at_once(monkeypatch, of_rows):
    values = np.random.default_rng(0).random((4, 500))
    pairs = list(combinations(range(4), 2))
    differences = np.array([values[a] - values[b] for a, b in pairs])
    rows = (values, pairs) if of_rows else None
    found = []
    for most in (1, 3_000, 10**9):
        monkeypatch.setattr(signs, "_SUMMED_AT_ONCE", most)
        found.append(signs.sign_flipped(differences, 200, 7, rows))
    np.testing.assert_allclose(found[0], found[2], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[1], found[2], rtol=1e-9, atol=1e-12)
    drawn = 2.0 * np.random.default_rng(7).integers(0, 2, (200, 500), dtype=np.int8) - 1
    expected = np.abs(drawn @ differences.T) / np.sqrt((differences**2).sum(axis=1))
    np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("images", [50, 3_000])
def test_resampled_images_do_not_depend_on_their_number_at_once(monkeypatch, images):
    values = np.random.default_rng(1).random((3, images))
    found = []
    for most in (1, 40_000, 2_000_000):
        monkeypatch.setattr(ranks, "_AT_ONCE", most)
        found.append(ranks.probability_best(values, seed=3, resamples=150))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
