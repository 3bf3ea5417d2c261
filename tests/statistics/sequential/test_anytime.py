"""Tests anytime-valid inference: it equals the confidence sequences, keeps past scores, and covers at every look."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purebench.statistics import (
    anytime_p_above,
    anytime_p_values,
    betting_at_any_time,
    betting_sequence,
    compare,
    half_width_reached,
    half_widths,
    interval,
    median_with_ends,
    rank,
    resubmission_per_image,
    robust_accuracy,
    robust_per_image,
    security_curve,
    vote_per_image,
)
from purebench.statistics.ranking.ranks import pair_p_values

REPEATS, LOOKS = 80, 120
MOST_WRONG = REPEATS * 0.05 + 3 * np.sqrt(REPEATS * 0.05 * 0.95)


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=60), confidence=st.sampled_from([0.9, 0.95]))
@settings(max_examples=40, deadline=None)
def test_betting_at_any_time_is_the_end_of_the_sequence(values: list[float], confidence: float) -> None:
    low, high = betting_sequence(values, confidence)
    found, mean = betting_at_any_time(values, confidence), float(np.mean(values))
    assert found.low == pytest.approx(min(low[-1], mean), abs=1e-9)
    assert found.high == pytest.approx(max(high[-1], mean), abs=1e-9)
    assert found.method == "betting-sequence"


def test_half_widths_agree_with_the_interval_at_every_look() -> None:
    values = np.random.default_rng(0).random((2, 50)) < 0.7
    found = half_widths(values)
    for seen in (1, 7, 50):
        by_hand = [interval(row[:seen], "betting-sequence").half_width for row in values.astype(float)]
        assert found[:, seen - 1] == pytest.approx(by_hand, abs=1e-9)
    assert half_width_reached(values, float(found[:, -1].max()) + 1e-9)


@given(seed=st.integers(0, 1000), attacks=st.integers(1, 4), draws=st.integers(2, 7))
@settings(max_examples=40, deadline=None)
def test_more_images_never_change_the_scores_of_earlier_ones(seed: int, attacks: int, draws: int) -> None:
    rng = np.random.default_rng(seed)
    right = rng.random((attacks, 30, draws)) < rng.random((attacks, 30, 1))
    counts = rng.random((attacks, 30)) < 0.7
    counts[0] = True
    for score in (
        lambda r, c: robust_per_image(r, c, in_order=True),
        lambda r, c: resubmission_per_image(r, 1, c, in_order=True),
        lambda r, c: vote_per_image(r, 1, c, in_order=True),
    ):
        assert (score(right, counts)[:11] == score(right[:, :11], counts[:, :11])).all()


def test_ties_go_to_the_attack_that_was_stronger_on_earlier_images() -> None:
    # two attacks: the second is stronger on the first image, and they tie in the first half of the second image
    right = np.array([[[1, 1], [1, 1]], [[0, 0], [1, 0]]], dtype=bool)
    found = robust_per_image(right, in_order=True)
    # image 2: the first half ties, so the attack stronger before is scored 0; the second half picks it and scores 1
    assert found.tolist() == [0.0, 0.5]
    turned = robust_per_image(right[:, ::-1], in_order=True)
    # without an image before, the tie is averaged, (1 + 0) / 2, and the other half scores 1
    assert turned.tolist() == [0.75, 0.0]


def test_anytime_robust_accuracy_of_a_deterministic_defense_is_a_betting_sequence() -> None:
    right = np.random.default_rng(1).random((2, 40, 1)) < 0.8
    found = robust_accuracy(right, deterministic=True, anytime=True)
    assert found == interval(right.min(axis=(0, 2)).astype(float), "betting-sequence")


def test_anytime_curves_and_medians_are_betting_sequences() -> None:
    distances = [None if d > 1.6 else float(d) for d in np.random.default_rng(2).lognormal(0, 0.5, 80)]
    given_ = np.array([np.inf if d is None else d for d in distances])
    for point, radius in zip(security_curve(distances, [0.0, 0.7, 1.5], anytime=True), (0.0, 0.7, 1.5), strict=True):
        assert point == interval(given_ > radius, "betting-sequence")
    found, exact = median_with_ends(distances, anytime=True), median_with_ends(distances)
    assert (found.value, found.method) == (exact.value, "betting-sequence")
    assert found.low is not None
    assert exact.low is not None
    assert found.low <= exact.low <= exact.value  # type: ignore[operator]
    assert median_with_ends([None] * 40, anytime=True).low is None


def test_the_anytime_median_interval_covers_at_all_looks() -> None:
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(REPEATS // 4):
        distances = rng.lognormal(0, 1, 90)
        for seen in (30, 60, 90):
            found = median_with_ends(distances[:seen].tolist(), anytime=True)
            if not (found.low or 0.0) <= 1.0 <= (np.inf if found.high is None else found.high):
                wrong += 1
                break
    assert wrong <= REPEATS / 4 * 0.05 + 3 * np.sqrt(REPEATS / 4 * 0.05 * 0.95)


def test_the_anytime_worst_case_interval_covers_at_all_looks() -> None:
    """Three equal attacks that often tie: the expected score is the mean of q for any pick."""
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(REPEATS):
        q = rng.beta(2, 1, LOOKS)
        right = rng.random((3, LOOKS, 4)) < q[:, np.newaxis]
        low, high = betting_sequence(robust_per_image(right, in_order=True))
        wrong += bool(((low > 2 / 3) | (high < 2 / 3)).any())
    assert wrong <= MOST_WRONG


def test_anytime_ranks_and_comparisons_use_betting_p_values() -> None:
    values = (np.random.default_rng(5).random((3, 150)) < np.array([[0.9], [0.5], [0.45]])).astype(float)
    p = pair_p_values(values, anytime=True)
    assert rank(values, anytime=True).p_values == tuple(tuple(row) for row in p.tolist())
    ids = list(range(150))
    found = compare(values[0], values[1], images=(ids, ids), anytime=True)
    assert (found.test, found.difference.method) == ("betting", "paired-betting-sequence")
    assert found.p_value == anytime_p_values(values[:1] - values[1:2])[0]
    assert p[0, 1] >= found.p_value  # corrected for three pairs


@pytest.mark.parametrize("mean", [0.05, 0.1, 0.5, 0.8])
def test_a_mean_at_the_bound_is_rejected_at_any_look_with_at_most_the_level(mean: float) -> None:
    """Binary answers and fractions whose mean is at the bound; a larger mean is detected."""
    rng, level = np.random.default_rng(6), 0.05
    for draw in (lambda: rng.random(LOOKS) < mean, lambda: rng.beta(2 * mean, 2 * (1 - mean), LOOKS)):
        wrong = sum(anytime_p_above(np.asarray(draw(), float), mean) <= level for _ in range(5 * REPEATS))
        assert wrong <= 5 * REPEATS * level + 3 * np.sqrt(5 * REPEATS * level * (1 - level))
    assert anytime_p_above((rng.random(LOOKS) < mean + 0.18).astype(float), mean) <= level


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=40), mean=st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_the_anytime_p_value_never_grows_with_more_images_or_a_lower_bound(values: list[float], mean: float) -> None:
    found = anytime_p_above(values, mean)
    assert 0 <= found <= anytime_p_above(values[:-1], mean) + 1e-9 <= 1 + 1e-9
    assert anytime_p_above(values, mean / 2) <= found + 1e-9


def test_one_positive_value_rejects_a_mean_of_zero() -> None:
    assert (anytime_p_above([0.0, 0.1], 0.0), anytime_p_above([0.0, 0.0], 0.0)) == (0.0, 1.0)
    with pytest.raises(ValueError, match=r"expected a mean in \[0,1\), but got 1"):
        anytime_p_above([0.5], 1.0)
