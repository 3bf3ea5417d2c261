"""Tests the checks of a curve over the radius."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from purebench.checks.finding import CheckResult, CheckStatus
from purebench.checks.sweeps.radii import RISES, all_may_be_grey, check_radii, guessing
from purebench.core.threat import ThreatModel
from purebench.data.image_set import ImageSet

N = 100
WRITTEN = {0.1: "0.1", 0.2: "0.2", 0.5: "0.5"}


def images(low: int = 0, high: int = 255) -> ImageSet:
    pixels = np.zeros((N, 1, 2, 2), dtype=np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = low, high
    return ImageSet("made", pixels, np.arange(N) % 4, ("a", "b", "c", "d"), "made")


def share(value: float) -> np.ndarray:
    """Values of N images with this mean, spread over their order."""
    return (np.arange(N) * 37 % N < value * N).astype(float)


def checked(*curve: float) -> list[CheckResult]:
    radii = dict(zip(WRITTEN, map(share, curve), strict=True))
    return check_radii(radii, WRITTEN, "linf", images(), 0.95)


def test_a_curve_that_falls_to_guessing_holds() -> None:
    rises, reaches = checked(0.9, 0.5, 0.0)
    assert (rises.result, reaches.result) == (CheckStatus.HOLDS, CheckStatus.HOLDS)
    assert rises.name == RISES
    assert "90.0 % at 0.1, 50.0 % at 0.2, 0.0 % at 0.5" in rises.sentence


def test_a_curve_that_rises_fails() -> None:
    assert checked(0.2, 0.7, 0.0)[0].result is CheckStatus.FAILS
    assert checked(0.2, 0.2, 0.2)[0].result is not CheckStatus.FAILS


def test_an_accuracy_above_guessing_where_all_images_may_be_equal_fails() -> None:
    assert checked(0.9, 0.9, 0.6)[1].result is CheckStatus.FAILS
    assert checked(0.9, 0.9, 0.25)[1].result is not CheckStatus.FAILS  # 4 classes


def test_below_that_radius_no_limit_is_known() -> None:
    found = check_radii({0.1: share(0.9), 0.4: share(0.9)}, {0.1: "0.1", 0.4: "0.4"}, "linf", images(), 0.95)
    assert found[1].result is CheckStatus.NOT_APPLICABLE
    assert check_radii({0.1: share(0.9)}, WRITTEN, "linf", images(), 0.95) == []


@pytest.mark.parametrize(("norm", "least"), [("linf", 0.5), ("l2", 1.0), ("l1", 2.0)])
def test_the_radius_at_which_all_images_may_be_grey_is_their_largest_distance_from_it(norm: str, least: float) -> None:
    black_and_white = images()  # four pixels, each 1/2 from grey
    assert all_may_be_grey(ThreatModel(norm, least + 1e-6), black_and_white)
    assert not all_may_be_grey(ThreatModel(norm, least - 1e-3), black_and_white)
    assert all_may_be_grey(ThreatModel(norm, least - 1e-3), images(100, 150))


def test_where_guessing_is_nearly_always_right_no_limit_is_known() -> None:
    same = replace(images(), labels=np.zeros(N, dtype=np.int64))
    found = check_radii({radius: share(1.0) for radius in WRITTEN}, WRITTEN, "linf", same, 0.95)
    assert found[1].result is CheckStatus.NOT_APPLICABLE
    assert "guessing is right on 100.0 %" in found[1].sentence


def test_guessing_is_the_share_of_the_most_frequent_class() -> None:
    assert guessing([0, 1, 1, 2]) == 0.5
    assert guessing([3]) == 1.0
