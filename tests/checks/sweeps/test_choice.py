"""Tests the rule that chooses a strength."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from purebench.checks.sweeps.choice import LARGEST_CLEAN_LOSS, choose
from purebench.statistics import Estimate, paired_difference


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.05, value + 0.05, 0.95, 64, "gaffke")


@dataclass(frozen=True)
class Measured:
    robust: Estimate | None
    clean_loss: Estimate | None
    label: str = ""


def candidates(*numbers: tuple[float | None, float]) -> list[Measured]:
    return [Measured(None if robust is None else estimate(robust), estimate(loss)) for robust, loss in numbers]


def chosen(*numbers: tuple[float | None, float], largest: float = LARGEST_CLEAN_LOSS) -> tuple[int, str, bool]:
    found = choose(candidates(*numbers), largest)
    assert found is not None
    return found.place, found.reason, found.within


def test_the_highest_robust_accuracy_within_the_limit_is_chosen() -> None:
    place, reason, within = chosen((0.1, 0.0), (0.3, 0.04), (0.2, 0.02), (0.9, 0.2))
    assert (place, within) == (1, True)
    assert reason == "the highest robust accuracy of the 3 strengths with a clean loss of at most 10 points"


def test_a_clean_loss_of_exactly_the_limit_is_within_it() -> None:
    assert chosen((0.1, 0.0), (0.3, 0.7 - 0.6))[0] == 1  # 0.7 - 0.6 is rounded to slightly less or more
    assert chosen((0.1, 0.0), (0.3, 0.1 + 0.2), largest=0.3)[0] == 1
    assert chosen((0.1, 0.0), (0.3, 0.101))[0] == 0


def test_of_equal_robust_accuracies_the_smallest_clean_loss_is_chosen_and_then_the_first() -> None:
    place, reason, _ = chosen((0.3, 0.05), (0.3, 0.01), (0.3, 0.01))
    assert place == 1
    assert "of 3 equal ones the smallest clean loss" in reason


def test_the_order_of_a_sum_does_not_decide_between_equal_strengths() -> None:
    other = sum([0.8, 0.7, 0.9, 0.1, 0.3, 0.3, 0, 0, 0.3, 1.0]) / 10
    more = sum([0.8, 0.4, 0.8, 0.7, 0.1, 0.3, 0.6, 0.1, 0.4, 0.2]) / 10
    assert more > other
    assert chosen((more, 0.09), (other, 0.01))[0] == 1


def test_if_all_lose_more_the_smallest_loss_is_chosen_and_told() -> None:
    place, reason, within = chosen((0.9, 0.4), (0.1, 0.2), (0.5, 0.2))
    assert (place, within) == (2, False)
    assert reason == "the smallest clean loss, because it is above 10 points at every strength"


def test_strengths_without_a_number_are_never_chosen() -> None:
    assert chosen((None, 0.0), (0.1, 0.05))[0] == 1
    assert choose(candidates((None, 0.0))) is None
    assert choose([]) is None


def test_the_reason_says_whether_the_images_decide_that_the_loss_is_within_the_limit() -> None:
    assert "the interval of its clean loss contains 10 points" in chosen((0.3, 0.08))[1]
    assert "contains" not in chosen((0.3, 0.02))[1]
    assert "contains" in chosen((0.3, 0.12))[1]
    assert "contains" not in chosen((0.3, 0.3))[1]


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_brute_force_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = [(float(rng.integers(0, 5)) / 5, float(rng.integers(0, 6)) / 30) for _ in range(6)]
    found = chosen(*numbers)[0]
    within = [one for one in numbers if one[1] <= 0.1 + 1e-9]
    if within:
        assert numbers[found] == sorted(within, key=lambda one: (-one[0], one[1]))[0]
    else:
        assert numbers[found] == sorted(numbers, key=lambda one: (one[1], -one[0]))[0]


def test_an_upper_limit_of_confidence_would_exclude_all_but_small_losses_on_64_images() -> None:
    """The number in the docs: the reason why the rule is on estimates."""

    def upper(lost: int) -> float:
        return paired_difference([1.0] * 64, [0.0] * lost + [1.0] * (64 - lost), confidence=0.9).high

    assert upper(2) < 0.1 < upper(3)
    assert round(100 * 2 / 64) == 3
