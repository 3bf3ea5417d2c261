"""Suspicions are judged together."""

from __future__ import annotations

from purebench.checks.finding import Finding, Result, Suspicion, judged, verdict


def test_results_follow_from_adjusted_p_values_and_what_was_seen() -> None:
    found = judged(
        [
            Suspicion("clear", 0.001, True, "a"),
            Suspicion("chance", 0.02, True, "b"),
            Suspicion("fine", 0.9, False, "c"),
            Suspicion("none", None, False, "d"),
        ],
        level=0.03,
    )
    assert [one.result for one in found] == [Result.FAILS, Result.UNDECIDED, Result.HOLDS, Result.NOT_APPLICABLE]
    assert [one.sentence for one in found] == ["a (p = 0.003, Holm)", "b (p = 0.04, Holm)", "c", "d"]


def test_the_worst_finding_is_the_verdict() -> None:
    def all_of(*results: Result) -> Result:
        return verdict([Finding("", result, "") for result in results])

    assert all_of(Result.HOLDS, Result.NOT_APPLICABLE) is Result.HOLDS
    assert all_of(Result.HOLDS, Result.UNDECIDED) is Result.UNDECIDED
    assert all_of(Result.UNDECIDED, Result.FAILS, Result.HOLDS) is Result.FAILS
