"""Tests that claims are decided by their definition and keep their error rates under repeated looks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purebench.checks.finding import CheckStatus
from purebench.core.errors import PurebenchError, require_fraction
from purebench.statistics import betting_sequence
from purebench.testing.decision import at_least, at_most, not_worse

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)


@given(VALUES, st.floats(0, 1))
def test_the_result_follows_from_the_position_of_the_interval(scores: np.ndarray, accuracy: float) -> None:
    found = at_least(scores, accuracy, 0.95)
    low, high = found.estimate.low, found.estimate.high
    expected = CheckStatus.HOLDS if low >= accuracy else CheckStatus.FAILS if high < accuracy else CheckStatus.UNDECIDED
    assert found.result is expected
    assert low <= scores.mean() <= high


@given(VALUES, st.floats(0, 1))
def test_at_most_fails_above_the_limit_and_is_undecided_while_the_accuracy_may_be_above(
    scores: np.ndarray, accuracy: float
) -> None:
    found = at_most(scores, accuracy, 0.95)
    low, high = found.estimate.low, found.estimate.high
    expected = CheckStatus.HOLDS if high <= accuracy else CheckStatus.FAILS if low > accuracy else CheckStatus.UNDECIDED
    assert found.result is expected
    assert found.estimate == at_least(scores, accuracy, 0.95).estimate


@given(VALUES)
def test_comparing_a_defense_with_itself_gives_the_sequence_of_zero_differences(scores: np.ndarray) -> None:
    found = not_worse(scores, scores, 0.01, 0.95).estimate
    low, high = betting_sequence(np.full(scores.size, 0.5), 0.95)
    assert (found.low, found.high) == pytest.approx((min(0, 2 * low[-1] - 1), max(0, 2 * high[-1] - 1)))


def test_more_images_decide_a_claim() -> None:
    right = np.ones(60)
    results = [at_least(right[:n], 0.8, 0.95).result for n in (1, 10, 60)]
    assert results == [CheckStatus.UNDECIDED, CheckStatus.UNDECIDED, CheckStatus.HOLDS]
    assert not_worse(right[:60], 1 - right[:60], 0.01, 0.95).result is CheckStatus.HOLDS
    assert not_worse(1 - right[:60], right[:60], 0.01, 0.95).result is CheckStatus.FAILS


@pytest.mark.parametrize(("truth", "wrong"), [(0.5, CheckStatus.HOLDS), (0.62, CheckStatus.FAILS)])
def test_looking_after_every_block_keeps_the_error_rates(truth: float, wrong: CheckStatus) -> None:
    """In 100 runs that stop at the first decision at 90 %, each error occurs in at most 5 %, within three sigma."""
    rng, errors = np.random.default_rng(7), 0
    for _ in range(100):
        scores = (rng.random(96) < truth).astype(float)
        looks = (
            at_least(scores[:n], 0.5001 if wrong is CheckStatus.HOLDS else 0.62, 0.9).result for n in (16, 32, 64, 96)
        )
        errors += next((result for result in looks if result is not CheckStatus.UNDECIDED), None) is wrong
    assert errors <= 100 * 0.05 + 3 * (100 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize(("truth", "wrong"), [(0.5, CheckStatus.HOLDS), (0.38, CheckStatus.FAILS)])
def test_looking_after_every_block_keeps_the_error_rates_of_at_most(truth: float, wrong: CheckStatus) -> None:
    rng, errors = np.random.default_rng(8), 0
    for _ in range(100):
        scores = (rng.random(96) < truth).astype(float)
        limit = 0.4999 if wrong is CheckStatus.HOLDS else 0.38
        looks = (at_most(scores[:n], limit, 0.9).result for n in (16, 32, 64, 96))
        errors += next((result for result in looks if result is not CheckStatus.UNDECIDED), None) is wrong
    assert errors <= 100 * 0.05 + 3 * (100 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize("value", [-0.1, 1.1, 40, True, "0.4", float("nan"), None, [0.4], {}])
def test_percentages_and_text_are_rejected_as_fractions(value: object) -> None:
    with pytest.raises(PurebenchError, match=r"accuracy: expected a fraction, such as 0\.4"):
        require_fraction("accuracy", value)
