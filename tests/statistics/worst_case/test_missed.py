"""Tests the estimate of what some attacks miss and others find: by hand, and its bias in simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from purebench.statistics import missed_per_image, one_sided_bound


def drawn(q, draws, rng):
    """Returns bool [attacks, images, draws] of which the probabilities are q [attacks, images]."""
    return rng.random((*q.shape, draws)) < q[..., None]


@given(*(arrays(bool, (count, 4, 1)) for count in (2, 3)))
def test_with_one_draw_it_is_exact(some, others):
    right, found = some.all(axis=0)[:, 0], ~others.all(axis=0)[:, 0]
    assert (missed_per_image(some, others) == (right & found)).all()


@pytest.mark.parametrize(
    ("some", "others", "expected"),
    [
        (["1111"], ["0000"], 1.0),
        (["0000"], ["1111"], 0.0),
        (["1100"], ["0000"], 0.0),  # the first half shows 1 - 0 and the second scores 0 - 0; the second shows nothing
        (["1111", "0011"], ["0000"], 0.0),  # the same with the halves exchanged, by the second attack
        (["1111"], ["0011"], 0.0),  # the first half shows 1 - 0, the second scores 1 - 1
        (["1111"], ["0111"], 0.0),  # the first half picks, the second scores 1 - 1
        (["1111"], ["0101"], 0.5),  # each half shows 1 - 1/2, and the other scores it
        (["111"], ["010"], 0.75),  # halves of one and two draws score 1 - 1/2 and 1 - 0
        (["1111"], ["1111", "0000"], 1.0),
    ],
)
def test_by_hand(some, others, expected):
    some, others = (np.array([[[one == "1" for one in text]] for text in texts]) for texts in (some, others))
    assert missed_per_image(some, others).tolist() == [expected]


@given(st.integers(0, 10_000))
def test_it_is_never_above_the_difference_in_expectation(seed):
    rng = np.random.default_rng(seed)
    q = rng.random((5, 1))
    some, others = q[:3], q[3:]
    many = 4_000
    found = missed_per_image(*(drawn(np.repeat(one, many, axis=1), 8, rng) for one in (some, others)))
    most = max(0.0, float(some.min() - others.min()))
    assert found.mean() <= most + 5 * found.std() / np.sqrt(many) + 1e-9


@pytest.mark.parametrize("spread", [False, True])
def test_a_warning_at_five_percent_is_false_at_most_at_the_level(spread):
    """Either every image is missed by 5 points, or every twentieth image entirely; ten attacks on either side."""
    rng, images, runs = np.random.default_rng(3), 100, 200
    low = np.full(images, 0.5)
    high = low + 0.05 if spread else np.where(np.arange(images) < 5, 1.0, low)
    low = low if spread else np.where(np.arange(images) < 5, 0.0, low)
    alarms = 0
    for _ in range(runs):
        found = missed_per_image(*(drawn(np.tile(q, (10, 1)), 16, rng) for q in (high, low)))
        alarms += 2 * one_sided_bound((found + 1) / 2, 0.95, "low") - 1 > 0.05
    assert alarms <= 0.05 * runs + 2 * np.sqrt(0.05 * 0.95 * runs)


def test_a_fifth_of_the_images_that_is_missed_is_found():
    rng = np.random.default_rng(4)
    masked = np.arange(200) < 40
    high, low = np.where(masked, 0.97, 0.2), np.where(masked, 0.1, 0.5)
    found = missed_per_image(*(drawn(np.tile(q, (6, 1)), 16, rng) for q in (high, low)))
    assert 2 * one_sided_bound((found + 1) / 2, 0.95, "low") - 1 > 0.05
    assert ((found >= 0.5) == masked).mean() > 0.9


def test_other_images_or_draws_are_refused():
    one = np.ones((1, 2, 4), dtype=bool)
    with pytest.raises(ValueError, match="expected equally many images and draws"):
        missed_per_image(one, one[:, :, :2])
    with pytest.raises(ValueError, match="expected right to be a bool array"):
        missed_per_image(one.astype(float), one)
