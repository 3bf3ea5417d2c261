"""Tests accuracy against radius: curves computed by hand, a closed form, and properties for any distances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purebench.statistics import clopper_pearson, median_distance, security_curve

DISTANCES = st.lists(st.none() | st.floats(0, 4), min_size=1, max_size=40)
RADII = st.lists(st.floats(0, 5), max_size=10)


def test_the_security_curve_agrees_with_values_computed_by_hand():
    distances = [0.0, 0.1, 0.1, 0.3, None]
    curve = security_curve(distances, [0.0, 0.05, 0.1, 0.2, 0.3, 100.0])
    assert curve == [clopper_pearson(count, 5) for count in (4, 4, 2, 2, 1, 1)]


def test_radii_may_be_in_any_order_and_the_confidence_is_used():
    assert security_curve([0.2, None], [0.3, 0.1], 0.8) == [clopper_pearson(1, 2, 0.8), clopper_pearson(2, 2, 0.8)]
    assert security_curve([0.2], []) == []


def test_the_curve_of_a_linear_classifier_agrees_with_its_closed_form():
    """The distance to the decision boundary of w·x + b is |w·x + b| / |w|, which is half-normal for normal x."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=30)
    margins = rng.normal(size=(4000, 30)) @ w
    distances = np.abs(margins) / np.linalg.norm(w)
    radii = [0.1, 0.5, 1.0, 2.0]
    exact = [math.erfc(r / math.sqrt(2)) for r in radii]
    for point, value in zip(security_curve(distances, radii, 0.999), exact, strict=True):
        assert point.low <= value <= point.high
    assert median_distance(distances) == pytest.approx(0.6745, abs=0.05)


@given(distances=DISTANCES, radii=RADII)
@settings(max_examples=80)
def test_the_curve_counts_larger_distances_and_never_rises(distances, radii):
    curve = security_curve(distances, radii)
    for radius, point in zip(radii, curve, strict=True):
        assert point == clopper_pearson(sum(d is None or d > radius for d in distances), len(distances))
    falling = [point.value for _, point in sorted(zip(radii, curve, strict=True), key=lambda pair: pair[0])]
    assert falling == sorted(falling, reverse=True)


@given(distances=DISTANCES)
@settings(max_examples=80)
def test_the_median_is_the_radius_at_which_the_curve_falls_to_one_half(distances):
    median = median_distance(distances)
    if median is None:
        assert sum(distance is None for distance in distances) >= len(distances) / 2
        return
    known = sorted(math.inf if distance is None else distance for distance in distances)
    assert median == pytest.approx(float(np.median(known)))
    assert security_curve(distances, [median])[0].value <= 0.5


@pytest.mark.parametrize(
    ("distances", "median"),
    [
        ([0.3], 0.3),
        ([None], None),
        ([0.1, 0.3], 0.2),
        ([0.1, None], None),  # the two middle values are 0.1 and infinity
        ([0.1, 0.2, None], 0.2),
        ([None, 0.1, None], None),
        ([0.0, 0.0, 0.5], 0.0),
    ],
)
def test_medians_agree_with_values_computed_by_hand(distances, median):
    assert median_distance(distances) == (None if median is None else pytest.approx(median))


@pytest.mark.parametrize("measure", [median_distance, lambda distances: security_curve(distances, [0.1])])
@pytest.mark.parametrize(
    ("distances", "message"),
    [
        ([], "at least 1 distance"),
        ([0.1, -0.2], "but got -0.2 for image 1"),
        ([float("nan")], "give None where no adversarial image was found"),
    ],
)
def test_invalid_distances_are_rejected(measure, distances, message):
    with pytest.raises(ValueError, match=message):
        measure(distances)


@pytest.mark.parametrize("radii", [[-0.1], [float("nan")], [[0.1]]])
def test_invalid_radii_are_rejected(radii):
    with pytest.raises(ValueError, match="expected radii to be a list of numbers of at least 0"):
        security_curve([0.1], radii)


def test_a_confidence_in_percent_is_rejected():
    with pytest.raises(ValueError, match="95 % confidence is written"):
        security_curve([0.1], [0.1], 95)
