"""Tests the forecasts of images: enough to decide, and no more than twice as many as are needed."""

from __future__ import annotations

import numpy as np
import pytest

from purebench.results.grading.convergence import LEVEL, MARGIN, convergence
from purebench.results.grading.evidence import ConvergenceStatus
from purebench.results.grading.images_needed import images_to_exclude, images_to_show, least_images
from purebench.statistics import exceeds_by_less

from ladders import ladder_results  # isort: skip

FALLS = {
    "random-noise": 0.1,
    "rung-1": 0.45,
    "rung-2": 0.5,
    "rung-3": 0.5,
    "rung-4": 0.5,
    "square": 0.4,
    "transfer": 0.3,
}


@pytest.mark.parametrize(("level", "least"), [(LEVEL, 59), (LEVEL / 2, 72)])
def test_the_least_number_of_images_is_that_of_the_closed_form(level: float, least: int) -> None:
    """No image of n differs with a probability of (1 - margin)^n if a share of the margin does."""
    assert least_images(MARGIN, level) == least
    assert (1 - MARGIN) ** least <= level < (1 - MARGIN) ** (least - 1)


def shares(images: int) -> dict[str, int]:
    return {name: round(share * images) for name, share in FALLS.items()}


@pytest.mark.parametrize("images", [10, 20, 30, 50])
def test_a_ladder_that_few_images_leave_undecided_is_decided_on_the_number_that_it_needs(images: int) -> None:
    few = convergence(*ladder_results(shares(images), images=images))
    assert few is not None
    assert few.status is ConvergenceStatus.UNDECIDED
    assert few.images == images < few.needs <= 120
    more = convergence(*ladder_results(shares(few.needs), images=few.needs))
    assert more is not None
    assert more.status is ConvergenceStatus.CONVERGED
    assert more.needs == 0


def test_more_images_are_not_the_cure_where_no_attack_has_another_mechanism() -> None:
    every = ("square", "transfer", "surrogate")
    found = convergence(*ladder_results(shares(20), images=20, skipped=every))
    assert found is not None
    assert (found.status, found.needs) == (ConvergenceStatus.UNDECIDED, 0)


@pytest.mark.parametrize("share", [0.02, 0.03])
def test_the_forecast_of_an_equivalence_test_is_enough_and_not_more_than_twice_the_number(share: float) -> None:
    """The first is right on `share` more of the images."""

    def pair(images: int) -> tuple[np.ndarray, np.ndarray]:
        a, b = np.zeros(images), np.zeros(images)
        a[: round(share * images)] = 1
        return a, b

    needed = images_to_exclude([pair(200)], MARGIN, LEVEL)
    decides = [n for n in range(50, 3000, 50) if exceeds_by_less(*pair(n), MARGIN, LEVEL)]
    assert min(decides) - 50 <= needed <= 2 * min(decides)
    assert exceeds_by_less(*pair(round(1.2 * needed)), MARGIN, LEVEL)  # with a rounded number of images


def test_without_a_difference_in_the_right_direction_twice_as_many_images_are_forecast() -> None:
    same = np.full(40, 0.5)
    assert images_to_show(same, same, LEVEL) == 80
    assert images_to_exclude([(same + 0.2, same)], MARGIN, LEVEL) == 80
