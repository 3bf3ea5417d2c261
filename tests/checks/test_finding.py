"""Suspicions are judged together, at the error rates that are stated, however often one looks."""

from __future__ import annotations

import numpy as np
import pytest

from purebench.checks.finding import (
    CheckResult,
    Result,
    Suspicion,
    certain,
    compared,
    counted,
    judged,
    verdict,
    worst,
)

LOOKS = (12, 24, 36, 48, 72, 96)


def test_results_follow_from_both_p_values() -> None:
    found = judged(
        [
            Suspicion("clear", "a", 0.001, 0.9),
            Suspicion("chance", "b", 0.02, 0.4),
            Suspicion("fine", "c", 0.9, 0.02),
            Suspicion("none", "d"),
        ],
        level=0.03,
    )
    assert [one.result for one in found] == [Result.FAILS, Result.UNDECIDED, Result.HOLDS, Result.NOT_APPLICABLE]
    assert [one.sentence for one in found] == ["a (p = 0.003, Holm)", "b", "c", "d"]


def test_what_needs_no_counting_is_decided_at_once() -> None:
    bad, good = judged([certain("x", "a fault"), certain("x", "", "no fault")], 0.001)
    assert (bad.result, bad.sentence) == (Result.FAILS, "a fault (p = 0, Holm)")
    assert (good.result, good.sentence) == (Result.HOLDS, "no fault")


def test_of_several_any_may_be_wrong_and_all_must_be_right() -> None:
    found = worst([Suspicion("x", "first", 0.5, 0.01), Suspicion("x", "second", 0.02, 0.3)])
    assert found == Suspicion("x", "first", 0.04, 0.3)


def test_the_worst_finding_is_the_verdict() -> None:
    def all_of(*results: Result) -> Result:
        return verdict([CheckResult("", result, "") for result in results])

    assert all_of(Result.HOLDS, Result.NOT_APPLICABLE) is Result.HOLDS
    assert all_of(Result.HOLDS, Result.UNDECIDED) is Result.UNDECIDED
    assert all_of(Result.UNDECIDED, Result.FAILS, Result.HOLDS) is Result.FAILS


def first_decision(draw: np.ndarray, other: np.ndarray, level: float) -> Result:
    """Of eight checks that all look at differences of these, at each look; the first that is one."""
    for seen in LOOKS:
        checks = [compared("x", "", one[:seen], two[:seen], 0.2) for one, two in zip(draw, other, strict=True)]
        if (result := verdict(judged(checks, level))) is not Result.UNDECIDED:
            return result
    return Result.UNDECIDED


@pytest.mark.parametrize(("fault", "wrong"), [(0.0, Result.FAILS), (0.2, Result.HOLDS)])
def test_either_error_is_as_rare_as_promised(fault: float, wrong: Result) -> None:
    """150 evaluations that are sound, or in which one of eight checks is off by the tolerance, at a level of 10 %."""
    rng, errors, level = np.random.default_rng(3), 0, 0.1
    for _ in range(150):
        weak = rng.random((8, LOOKS[-1])) < 0.4
        strong = rng.random((8, LOOKS[-1])) < np.array([[0.4 + fault]] + [[0.4]] * 7)
        errors += first_decision(strong.astype(float), weak.astype(float), level) is wrong
    assert errors <= 150 * level + 3 * (150 * level * (1 - level)) ** 0.5


def test_what_is_plain_is_decided_rightly_on_few_images() -> None:
    """30 images without a fault are enough to rule out 20 points, as `Effort` says, and 24 not; 60 for 10 points."""
    same = np.tile([1.0, 0.0], 60)
    for tolerance, enough, few in ((0.2, 30, 24), (0.1, 64, 48)):
        ends = [judged([compared("x", "", same[:n], same[:n], tolerance)], 0.025)[0].result for n in (few, enough)]
        assert ends == [Result.UNDECIDED, Result.HOLDS]
    assert judged([compared("x", "", np.ones(24), np.zeros(24), 0.2)], 0.025)[0].result is Result.FAILS


@pytest.mark.parametrize(("share", "result"), [(0.0, Result.HOLDS), (0.1, Result.UNDECIDED), (0.6, Result.FAILS)])
def test_counts_are_held_against_what_chance_allows(share: float, result: Result) -> None:
    values = (np.arange(30) % 10 < 10 * share).astype(float)
    assert judged([counted("x", "", values, 0.1, 0.2)], 0.025)[0].result is result
