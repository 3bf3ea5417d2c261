"""Tests of the statistics of verification against other implementations, enumeration and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom, binomtest, fisher_exact, hypergeom

from purebench.statistics.reproduction import (
    ACCURACY_MARGIN,
    BROKEN_MARGIN,
    CONFIDENCE,
    ClaimTest,
    Conclusion,
    agreement_p_value,
    breaks_bound,
    conclude,
    contradicts,
    excess_bound,
    images_to_attack,
    repetition_p_value,
    shared_draws_p_value,
)


def counts(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


# ---- the test of equal accuracies


@pytest.mark.parametrize(("claimed", "found"), [(9, 2), (2, 9), (5, 5), (10, 0)])
def test_of_one_image_it_is_twice_the_smaller_tail_of_fishers_exact_test(claimed: int, found: int) -> None:
    table = [[claimed, 10 - claimed], [found, 12 - found]]
    tails = [fisher_exact(table, alternative=side)[1] for side in ("greater", "less")]
    assert agreement_p_value(counts(claimed), 10, counts(found), 12) == pytest.approx(min(1, 2 * min(tails)))


def test_of_a_deterministic_defense_it_is_mcnemars_exact_test() -> None:
    claimed, found = counts(*[1] * 10, *[0] * 2, *[1] * 50), counts(*[0] * 10, *[1] * 2, *[1] * 50)
    assert agreement_p_value(claimed, 1, found, 1) == pytest.approx(binomtest(10, 12).pvalue)


def test_of_several_images_it_is_the_tail_of_the_enumerated_distribution() -> None:
    claimed, found, draws, new = counts(4, 3, 1), counts(1, 2, 0), 4, 3
    totals = claimed + found
    chance = {}
    for values in itertools.product(range(draws + 1), repeat=3):
        pairs = zip(values, totals, strict=True)
        p = float(np.prod([hypergeom.pmf(value, draws + new, total, draws) for value, total in pairs]))
        chance[sum(values)] = chance.get(sum(values), 0.0) + p
    high = sum(p for total, p in chance.items() if total >= claimed.sum())
    assert agreement_p_value(claimed, draws, found, new) == pytest.approx(min(1, 2 * high))


def test_no_images_contradict_no_claim_and_wrong_counts_are_refused() -> None:
    assert agreement_p_value(counts(), 4, counts(), 4) == 1
    with pytest.raises(ValueError, match="from 0 to 4"):
        agreement_p_value(counts(5), 4, counts(1), 4)
    with pytest.raises(ValueError, match="one count per image"):
        agreement_p_value(counts(1, 2), 4, counts(1), 4)


def test_draws_that_all_images_share_are_one_observation_each() -> None:
    """All images right or wrong together: the exact test by image finds a difference that is none."""
    rng = np.random.default_rng(0)
    blocks = np.repeat([0, 1], 50)
    wrongly = alarms = 0
    for _ in range(60):
        claimed, found = (np.repeat(rng.random((2, draws)) < 0.5, 50, axis=0) for draws in (16, 32))
        alarms += shared_draws_p_value(claimed, found, blocks, rng) <= 0.05
        wrongly += agreement_p_value(claimed.sum(axis=1), 16, found.sum(axis=1), 32) <= 0.05
    assert alarms <= binom.ppf(0.999, 60, 0.05)
    assert wrongly >= 20


def test_a_claim_about_shared_draws_that_is_too_high_is_detected() -> None:
    rng = np.random.default_rng(1)
    claimed = np.repeat(rng.random((1, 32)) < 0.95, 40, axis=0)
    found = np.repeat(rng.random((1, 64)) < 0.4, 40, axis=0)
    assert shared_draws_p_value(claimed, found, np.zeros(40, dtype=np.int64), rng) < 0.002
    assert excess_bound(claimed, found, random=True, shared=True, every=True) > 0.5


@pytest.mark.parametrize("every", [True, False])
def test_the_bound_of_the_excess_covers_the_truth_where_images_share_draws(every: bool) -> None:
    """A call of 100 images has one of two models, right on 90 % and on 10 % of the images."""
    rng, misses = np.random.default_rng(5), 0
    for _ in range(200):
        first, second = rng.random((2, 200, 1)) < np.array([0.9, 0.1])[:, None, None]
        claimed = np.where(np.repeat(rng.random((2, 16)) < 0.5, 100, axis=0), first, second)
        rows = np.arange(200) if every else rng.choice(200, 60, replace=False)
        found = np.where(rng.random(64) < 0.5, first[rows], second[rows])
        bound = excess_bound(claimed[rows], found, random=True, shared=True, every=every)
        misses += bound < claimed.mean() - (first.mean() + second.mean()) / 2
    assert misses <= binom.ppf(0.999, 200, 1 - CONFIDENCE)


# ---- upper bounds


@pytest.mark.parametrize("every", [True, False])
def test_the_bound_of_the_excess_covers_the_truth(every: bool) -> None:
    rng, misses = np.random.default_rng(2), 0
    for _ in range(300):
        q = rng.beta(0.4, 0.4, 400 if not every else 60)
        claimed = rng.random((len(q), 8)) < q[:, None]
        truth = float(claimed.mean() - q.mean())
        rows = np.arange(len(q)) if every else rng.choice(len(q), 60, replace=False)
        found = rng.random((len(rows), 8)) < q[rows, None]
        bound = excess_bound(claimed[rows], found, random=True, shared=False, every=every)
        misses += bound < truth
    assert misses <= binom.ppf(0.999, 300, 1 - CONFIDENCE)


def test_the_excess_at_all_images_of_a_deterministic_defense_is_the_difference() -> None:
    claimed, found = np.ones((50, 1), dtype=bool), np.arange(50)[:, None] >= 3
    assert excess_bound(claimed, found, random=False, shared=False, every=True) == pytest.approx(0.06)
    assert excess_bound(claimed[:0], found[:0], random=False, shared=False, every=True) == 1


@pytest.mark.parametrize(("robust", "attacked", "truly"), [(300, 20, 60), (40, 20, 8), (25, 25, 5)])
def test_the_bound_of_broken_images_covers_the_truth(robust: int, attacked: int, truly: int) -> None:
    seen = np.arange(min(truly, attacked) + 1)
    chances = hypergeom.pmf(seen, robust, truly, attacked)
    covered = [breaks_bound(int(k), attacked, robust) >= truly / robust for k in seen if chances[k] > 0]
    assert float(np.dot(covered, chances[chances > 0])) >= CONFIDENCE
    assert breaks_bound(0, 1, 1) == 0
    assert breaks_bound(0, 0, 0) == 0


# ---- images that a repeated attack breaks


def test_an_image_is_broken_only_if_its_draws_contradict_the_claim() -> None:
    assert contradicts(1, 1, 0, 1)
    assert not contradicts(1, 1, 1, 1)
    assert contradicts(30, 32, 4, 32)
    assert not contradicts(17, 32, 16, 32)  # near one half, by chance
    assert not contradicts(32, 32, 17, 32)  # still robust by the board's rule


def test_images_near_one_half_are_seldom_taken_for_broken() -> None:
    rng = np.random.default_rng(3)
    claimed = rng.binomial(32, 0.5, 20_000)
    claimed = claimed[claimed > 16][:5_000]
    broken = sum(contradicts(int(one), 32, int(rng.binomial(32, 0.5)), 32) for one in claimed)
    assert broken / len(claimed) < 0.05


# ---- repeated attacks


def test_of_a_deterministic_defense_the_repetition_is_tested_by_the_signs_of_changed_images() -> None:
    claimed = np.array([1.0] * 12 + [0.0] * 3 + [1.0] * 20)
    repeated = np.array([0.0] * 12 + [1.0] * 3 + [1.0] * 20)
    exact = binomtest(12, 15, alternative="greater").pvalue
    found = repetition_p_value(claimed, repeated, np.arange(35), 0)
    assert found == pytest.approx(exact, rel=0.15)
    assert repetition_p_value(repeated, claimed, np.arange(35), 0) == 1  # stronger attacks than the repeated ones
    assert repetition_p_value(claimed, claimed, np.arange(35), 0) == 1


def test_images_whose_draws_are_shared_have_one_sign() -> None:
    claimed, repeated = np.ones(40), np.zeros(40)
    assert repetition_p_value(claimed, repeated, np.arange(40), 0) < 0.001
    assert repetition_p_value(claimed, repeated, np.repeat([7, 9], 20), 0) == pytest.approx(0.25, abs=0.02)


def test_the_sample_has_about_the_wanted_number_of_robust_images() -> None:
    assert images_to_attack(20, 500, 1000) == 40
    assert images_to_attack(20, 1000, 1000) == 20
    assert images_to_attack(20, 10, 1000) == 100  # at most five times as many
    assert images_to_attack(20, 30, 32) == 22
    assert images_to_attack(20, 3, 8) == 8
    assert images_to_attack(20, 0, 8) == 8
    assert images_to_attack(20, 0, 1000) == 100  # a claim without any robust image is tested, too
    assert images_to_attack(20, 0, 0) == 0


# ---- conclusions


def claim(p_value: float = 1.0, bound: float = 0.0) -> ClaimTest:
    return ClaimTest("claim", 0.5, 0.5, p_value, bound, ACCURACY_MARGIN, 100)


def test_the_conclusion_needs_every_bound_and_one_rejection() -> None:
    assert conclude([claim(), claim()]) is Conclusion.VERIFIED
    assert conclude([claim(), claim(bound=0.06)]) is Conclusion.UNDECIDED
    assert conclude([claim(0.006), claim(), claim()]) is Conclusion.VERIFIED  # above 1 % / 3
    assert conclude([claim(0.003), claim(), claim()]) is Conclusion.REFUTED
    assert conclude([]) is Conclusion.UNDECIDED


def simulated(
    rng: np.random.Generator,
    *,
    random: bool,
    images: int,
    lie: float = 0.0,
    unstable: float = 0.0,
    weak: float = 0.0,
    wanted: int = 20,
) -> Conclusion:
    """Simulates a bundle and its verification.

    Args:
        rng: the source of randomness.
        random: whether the defense is random.
        images: images of the board.
        lie: by how much the robust accuracy is claimed too high at the examples of the bundle.
        unstable: the share of images on which a run of the attacks succeeds by chance, with probability 0.5.
        weak: the share of images that only the repeated attacks break.
        wanted: images claimed robust that are attacked again.
    """
    draws, clean_draws = (32, 16) if random else (1, 1)
    below = rng.beta(0.4, 4, images) if random else np.zeros(images)
    above = rng.beta(4, 0.4, images) if random else np.ones(images)
    kind, stable = rng.random(images), rng.random(images) < 0.5

    def attacked(again: bool) -> np.ndarray:
        """Returns the probability of a right answer at the examples of one run, per image."""
        success = np.where(kind < unstable, rng.random(images) < 0.5, stable)
        return np.where(np.where(kind > 1 - weak, again, success), below, above)

    q = attacked(again=False)
    tests, claims = [], []
    for name, share, n in (("robust", q, draws), ("clean", np.maximum(q, above), clean_draws)):
        claimed = rng.random((images, n)) < share[:, None]
        if name == "robust" and lie:
            wrong = rng.permutation(np.flatnonzero(~claimed))[: round(lie * claimed.size)]
            claimed.flat[wrong] = True
        found = rng.random((images, n)) < share[:, None]
        p_value = agreement_p_value(claimed.sum(axis=1), n, found.sum(axis=1), n)
        bound = excess_bound(claimed, found, random=random, shared=False, every=True)
        tests.append(ClaimTest(name, claimed.mean(), found.mean(), p_value, bound, ACCURACY_MARGIN, images))
        claims.append(claimed)
    before = claims[0].mean(axis=1)
    robust = int((before > 0.5).sum())
    rows = rng.choice(images, images_to_attack(wanted, robust, images), replace=False)
    after = (rng.random((images, draws)) < attacked(again=True)[:, None]).mean(axis=1)
    held = [row for row in rows if before[row] > 0.5]
    right = [(round(before[row] * draws), draws, round(after[row] * draws), draws) for row in held]
    broken = sum(contradicts(*one) for one in right)
    p_value = repetition_p_value(before[rows], after[rows], np.arange(len(rows)), int(rng.integers(2**31)))
    bound = breaks_bound(broken, len(held), robust) if held else 1.0
    tests.append(
        ClaimTest("repeated", before[rows].mean(), after[rows].mean(), p_value, bound, BROKEN_MARGIN, len(rows))
    )
    return conclude(tests)


@pytest.mark.parametrize("random", [True, False])
def test_honest_bundles_are_refuted_at_most_at_the_stated_rate(random: bool) -> None:
    """2,000 runs in all, with attacks that break half of the images, or other images each time."""
    rng = np.random.default_rng(4)
    found = [simulated(rng, random=random, images=60, unstable=(0.1, 0.9)[i % 2]) for i in range(1_000)]
    assert found.count(Conclusion.REFUTED) <= 0.01 * len(found)


@pytest.mark.parametrize("random", [True, False])
def test_most_honest_bundles_are_verified(random: bool) -> None:
    rng = np.random.default_rng(5)
    found = [simulated(rng, random=random, images=200, unstable=0.02) for _ in range(100)]
    assert found.count(Conclusion.VERIFIED) >= 90


@pytest.mark.parametrize("random", [True, False])
def test_bundles_inflated_by_ten_points_are_refuted(random: bool) -> None:
    rng = np.random.default_rng(6)
    found = [simulated(rng, random=random, images=200, lie=0.10) for _ in range(300)]
    assert found.count(Conclusion.REFUTED) >= 0.99 * len(found)


@pytest.mark.parametrize("random", [True, False])
def test_lies_beyond_the_margin_are_never_verified(random: bool) -> None:
    rng = np.random.default_rng(7)
    found = [simulated(rng, random=random, images=60, lie=ACCURACY_MARGIN + 0.015) for _ in range(200)]
    assert found.count(Conclusion.VERIFIED) <= (1 - CONFIDENCE) * len(found)


@pytest.mark.parametrize("random", [True, False])
def test_bundles_of_weak_attacks_on_a_weak_defense_are_refuted(random: bool) -> None:
    """The repeated attacks break nearly all images, and those of the bundle broke few."""
    rng = np.random.default_rng(8)
    found = [simulated(rng, random=random, images=100, weak=0.85) for _ in range(300)]
    assert found.count(Conclusion.REFUTED) >= 0.99 * len(found)


@pytest.mark.parametrize("random", [True, False])
def test_attacks_that_break_more_than_the_margin_are_never_verified(random: bool) -> None:
    """They break 36 % of all images, which is a larger share of those that are claimed robust."""
    rng = np.random.default_rng(9)
    found = [simulated(rng, random=random, images=100, weak=0.36) for _ in range(300)]
    assert found.count(Conclusion.VERIFIED) <= (1 - CONFIDENCE) * len(found)
