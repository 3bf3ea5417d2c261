"""Tests that suspicions are judged jointly and keep the stated error rates under repeated looks."""

from __future__ import annotations

import numpy as np
import pytest

from purebench.checks.finding import (
    CheckResult,
    CheckStatus,
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
    assert [one.result for one in found] == [
        CheckStatus.FAILS,
        CheckStatus.UNDECIDED,
        CheckStatus.HOLDS,
        CheckStatus.NOT_APPLICABLE,
    ]
    assert [one.sentence for one in found] == ["a (p = 0.003, Holm)", "b", "c", "d"]


def test_certain_findings_are_decided_without_a_test() -> None:
    bad, good = judged([certain("x", "a fault"), certain("x", "", "no fault")], 0.001)
    assert (bad.result, bad.sentence) == (CheckStatus.FAILS, "a fault (p < 0.0001, Holm)")
    assert (good.result, good.sentence) == (CheckStatus.HOLDS, "no fault")


def test_worst_fails_if_any_suspicion_fails_and_holds_if_all_hold() -> None:
    found = worst([Suspicion("x", "first", 0.5, 0.01), Suspicion("x", "second", 0.02, 0.3)])
    assert found == Suspicion("x", "first", 0.04, 0.3)


def test_the_worst_finding_is_the_verdict() -> None:
    def all_of(*results: CheckStatus) -> CheckStatus:
        return verdict([CheckResult("", result, "") for result in results])

    assert all_of(CheckStatus.HOLDS, CheckStatus.NOT_APPLICABLE) is CheckStatus.HOLDS
    assert all_of(CheckStatus.HOLDS, CheckStatus.UNDECIDED) is CheckStatus.UNDECIDED
    assert all_of(CheckStatus.UNDECIDED, CheckStatus.FAILS, CheckStatus.HOLDS) is CheckStatus.FAILS


def first_decision(draw: np.ndarray, other: np.ndarray, level: float) -> CheckStatus:
    """Judges eight checks of paired differences at every look and returns the first decision."""
    for seen in LOOKS:
        checks = [compared("x", "", one[:seen], two[:seen], 0.2) for one, two in zip(draw, other, strict=True)]
        if (result := verdict(judged(checks, level))) is not CheckStatus.UNDECIDED:
            return result
    return CheckStatus.UNDECIDED


@pytest.mark.parametrize(("fault", "wrong"), [(0.0, CheckStatus.FAILS), (0.2, CheckStatus.HOLDS)])
def test_both_error_rates_are_kept_under_repeated_looks(fault: float, wrong: CheckStatus) -> None:
    """Runs 150 evaluations at a level of 10 %: sound ones, or with one of eight checks off by the tolerance."""
    rng, errors, level = np.random.default_rng(3), 0, 0.1
    for _ in range(150):
        weak = rng.random((8, LOOKS[-1])) < 0.4
        strong = rng.random((8, LOOKS[-1])) < np.array([[0.4 + fault]] + [[0.4]] * 7)
        errors += first_decision(strong.astype(float), weak.astype(float), level) is wrong
    assert errors <= 150 * level + 3 * (150 * level * (1 - level)) ** 0.5


def test_clear_cases_are_decided_correctly_on_few_images() -> None:
    """Without a fault 30 images, not 24, rule out 20 points, as `Effort` states; 64, not 48, rule out 10 points."""
    same = np.tile([1.0, 0.0], 60)
    for tolerance, enough, few in ((0.2, 30, 24), (0.1, 64, 48)):
        ends = [judged([compared("x", "", same[:n], same[:n], tolerance)], 0.025)[0].result for n in (few, enough)]
        assert ends == [CheckStatus.UNDECIDED, CheckStatus.HOLDS]
    assert judged([compared("x", "", np.ones(24), np.zeros(24), 0.2)], 0.025)[0].result is CheckStatus.FAILS


@pytest.mark.parametrize(
    ("share", "result"), [(0.0, CheckStatus.HOLDS), (0.1, CheckStatus.UNDECIDED), (0.6, CheckStatus.FAILS)]
)
def test_counts_are_tested_against_the_allowed_share(share: float, result: CheckStatus) -> None:
    values = (np.arange(30) % 10 < 10 * share).astype(float)
    assert judged([counted("x", "", values, 0.1, 0.2)], 0.025)[0].result is result
