"""Tests of convergence by theory: verdicts of known ladders, false alarms within the level, and power."""

from dataclasses import replace

import numpy as np
import pytest

from purebench.records.outcome import Outcome
from purebench.results.grading.convergence import (
    LEVEL,
    MARGIN,
    convergence,
    convergences,
    count_text,
    decide,
    lowest_other,
)
from purebench.results.grading.evidence import ConvergenceStatus, Fall
from purebench.results.grading.ladder import read_ladder

from ladders import RUNGS, ladder, ladder_results  # isort: skip

CONVERGED, FALLING = ConvergenceStatus.CONVERGED, ConvergenceStatus.FALLING
FLAT, UNDECIDED = ConvergenceStatus.FLAT, ConvergenceStatus.UNDECIDED
FALLS = {"random-noise": 10, "rung-1": 45, "rung-2": 50, "rung-3": 50, "rung-4": 50, "square": 40, "transfer": 30}


def rate(status, repeats, *arguments, **options):
    return np.mean([decide(ladder(*arguments, seed, **options))[0] is status for seed in range(repeats)])


def most(repeats):
    """The level and three standard errors of a simulated rate."""
    return LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / repeats)


@pytest.mark.parametrize("draws", [1, 8])
def test_a_ladder_that_falls_and_then_stays_has_converged(draws):
    found = convergence(*ladder_results(FALLS, draws=draws))
    assert found.status is CONVERGED
    assert [rung.accuracy.value for rung in found.rungs] == [0.9, 0.55, 0.5, 0.5, 0.5]
    assert found.rungs[0].label == "random noise"
    assert found.rungs[-1].label == f"APGD, 20 steps{', 4 draws' if draws > 1 else ''}, 2 runs"
    assert found.drop.value == pytest.approx(0.4)
    assert (found.other, found.difference.value) == ("apgd", pytest.approx(0.0))


def test_a_ladder_that_stays_at_random_noise_is_flat():
    found = convergence(*ladder_results(dict.fromkeys(FALLS, 10)))
    assert found.status is FLAT
    assert "90.0 %, then 90.0 %" in found.reason


def test_a_ladder_that_still_falls_is_falling():
    found = convergence(*ladder_results(FALLS | {"rung-2": 20, "rung-3": 35, "rung-1": 15}))
    assert found.status is FALLING
    assert "from 80.0 % to 50.0 %" in found.reason


@pytest.mark.parametrize("name", ["square", "transfer"])
def test_an_attack_of_another_mechanism_that_ends_lower_shows_that_the_ladder_has_not_converged(name):
    found = convergence(*ladder_results(FALLS | {name: 80}))
    assert found.status is FALLING
    assert f"{name} of the ladder ends lower (20.0 %, the ladder 50.0 %)" in found.reason
    assert (found.other, found.difference.value) == (f"{name} of the ladder", pytest.approx(0.3))


def test_an_attack_of_the_own_board_that_ends_lower_counts_too():
    found = convergence(*ladder_results(FALLS, own={"clean": 0, "apgd-blind": 80}))
    assert (found.status, found.other) == (FALLING, "apgd-blind")


def test_a_ladder_that_ends_below_the_robust_accuracy_of_the_row_is_falling():
    """The row's own attacks left more than a single attack of the ladder does, so its number is too high."""
    found = convergence(*ladder_results(FALLS, own={"clean": 0, "apgd": 30}))
    assert (found.status, found.falls) == (FALLING, (Fall.LADDER,))
    assert "below the robust accuracy of the row (50.0 %, the row 70.0 %)" in found.reason
    assert convergence(*ladder_results(FALLS, own={"clean": 0, "apgd": 50})).status is CONVERGED


def test_nothing_left_on_the_ladder_does_not_hide_what_is_left_of_the_row():
    broken = dict.fromkeys(FALLS, 100) | {"random-noise": 10}
    assert convergence(*ladder_results(broken)).status is CONVERGED
    found = convergence(*ladder_results(broken, own={"clean": 0, "apgd": 43}))
    assert (found.status, found.falls) == (FALLING, (Fall.LADDER,))


def test_a_row_that_may_be_above_the_ladder_is_undecided():
    own = {"clean": 0, "apgd": 46}
    found = convergence(*ladder_results(FALLS, own=own))
    assert found.status is UNDECIDED
    assert "that the ladder does not end 5 points below the row" in found.reason
    assert found.needs > 100


def test_without_an_attack_of_another_mechanism_nothing_has_converged():
    every = ("square", "transfer", "surrogate")
    found = convergence(*ladder_results(FALLS, skipped=every))
    assert found.status is UNDECIDED
    assert "none applies" in found.reason
    assert convergence(*ladder_results(FALLS, skipped=every, own={"clean": 0, "square": 50})).status is CONVERGED


def test_a_row_with_almost_no_accuracy_left_has_converged_and_is_not_flat():
    assert convergence(*ladder_results(dict.fromkeys(FALLS, 100))).status is CONVERGED
    assert convergence(*ladder_results(dict.fromkeys(FALLS, 90))).status is FLAT


def test_few_images_decide_nothing():
    few = {name: count // 4 for name, count in FALLS.items()}
    found = convergence(*ladder_results(few, images=25))
    assert found.status is UNDECIDED
    assert "last rungs differ by less than 5 points" in found.reason


def test_a_fall_that_is_neither_significant_nor_surely_small_is_undecided():
    small = convergence(*ladder_results(FALLS | {"random-noise": 47, "rung-1": 50}))
    assert small.status is UNDECIDED
    assert "a fall from random noise" in small.reason


@pytest.mark.parametrize("broken", [FALLS, dict.fromkeys(FALLS, 100) | {"random-noise": 10}])
def test_a_row_whose_score_is_not_known_on_the_images_of_the_ladder_has_not_converged(broken):
    own, climbed = ladder_results(broken, own={"clean": 0, "apgd": broken["rung-4"] - 1, "square": 0})
    assert convergence(own, climbed).status is CONVERGED
    square = replace(own.attacks[2], outcomes=(*own.attacks[2].outcomes[:-1], Outcome.ERRORED))
    found = convergence(replace(own, attacks=(*own.attacks[:2], square)), climbed)
    assert (found.status, found.needs) == (UNDECIDED, 0)
    assert "robust accuracy of the row, which is not known on all of these images" in found.reason


def test_the_ladder_is_read_on_the_images_of_the_row():
    own, climbed = ladder_results(FALLS, own={"clean": 0, "apgd-blind": 80})
    other = replace(own, images=tuple(image + 1 for image in own.images))  # the ladder lacks the last of them
    found = convergence(other, climbed)
    assert (found.images, found.status, found.other) == (99, FALLING, "apgd-blind")
    assert convergence(replace(own, images=tuple(image + 100 for image in own.images)), climbed) is None


def test_rows_without_a_ladder_have_no_convergence():
    own, climbed = ladder_results(FALLS)
    assert set(convergences([own], [climbed])) == {"row"}
    assert convergences([own], []) == {}
    assert count_text({}) == ""
    flat = convergence(*ladder_results(dict.fromkeys(FALLS, 10)))
    found = {"a": convergence(own, climbed), "b": flat, "c": flat}
    assert count_text(found) == "convergence: 1 of 3 rows converged; flat: b, c"


def test_the_other_attack_of_a_random_row_is_scored_on_draws_that_did_not_choose_it():
    # every attack has accuracy 1/2 on every draw, so that the lowest of many on the draws that choose it is lower
    rng = np.random.default_rng(0)
    found = []
    for seed in range(40):
        made = ladder([0.9] + [0.5] * 4, {f"other-{i}": 0.5 for i in range(20)}, 50, seed, draws=8)
        others = [replace(one, right=rng.random((50, 8)) < 0.5) for one in made.others]
        found.append(lowest_other(others).scored.mean())
    assert np.mean(found) == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(40 * 50 * 4))


# the accuracy under random noise, on three rungs, and on the last one; the fall over the last three is the second step
NOT_CONVERGED = {
    "the last rungs fall by the margin": ([0.9, 0.6, 0.5 + MARGIN, 0.52, 0.5], {"square": 0.6}),
    "another attack ends lower by the margin": ([0.9, 0.5, 0.5, 0.5, 0.5], {"square": 0.5 - MARGIN}),
    "the ladder does not fall": ([0.5] * 5, {"square": 0.6}),
}


@pytest.mark.parametrize("draws", [1, 8])
@pytest.mark.parametrize("case", NOT_CONVERGED)
def test_a_ladder_that_has_not_converged_is_called_converged_at_most_at_the_level(case, draws):
    repeats = 80 if draws == 1 else 25
    assert rate(CONVERGED, repeats, *NOT_CONVERGED[case], 200, draws=draws) <= most(repeats)


def test_a_ladder_that_falls_by_the_margin_is_called_flat_at_most_at_the_level():
    assert rate(FLAT, 80, [0.5 + MARGIN, 0.5, 0.5, 0.5, 0.5], {"square": 0.6}, 200) <= most(80)


def test_equal_rungs_and_attacks_that_break_other_images_are_called_falling_at_most_at_the_level():
    equal = [0.9, 0.5, 0.5, 0.5, 0.5], {"square": 0.5, "transfer": 0.5, "blind": 0.5}
    assert rate(FALLING, 80, *equal, 200, same_images=False) <= most(80)


def test_an_accuracy_of_the_margin_is_called_almost_nothing_at_most_at_the_level():
    assert rate(CONVERGED, 100, [0.9, MARGIN, 3 * MARGIN, MARGIN, MARGIN], {"square": 0.9}, 150) <= most(100)


@pytest.mark.parametrize("draws", [1, 8])
def test_on_200_images_verdicts_are_found_with_a_probability_of_at_least_nine_tenths(draws):
    repeats = 30 if draws == 1 else 15
    square = {"square": 0.6}
    assert rate(CONVERGED, repeats, [0.7, 0.51, 0.505, 0.5, 0.5], square, 200, draws=draws) >= 0.9
    assert rate(FALLING, repeats, [0.9, 0.7, 0.62, 0.56, 0.5], square, 200, draws=draws) >= 0.9
    assert rate(FLAT, repeats, [0.5] * 5, square, 200, draws=draws) >= 0.9


def test_the_rungs_are_those_of_the_ladder():
    _, climbed = ladder_results(FALLS)
    names = [attack.name for attack in climbed.attacks]
    assert names == ["random-noise", *RUNGS, "square", "surrogate", "margin", "transfer"]


@pytest.mark.parametrize(
    ("use", "view", "another"),
    [
        ("apgd", "bpda", False),  # the rungs follow it too where a purifier has no gradient
        ("apgd", "intermediate", False),
        ("random-noise", "none", False),  # no search
        ("apgd", "stand-in(model=trades)", True),
        ("apgd", "estimated", True),
        ("square", "none", True),
    ],
)
def test_another_mechanism_searches_and_not_by_the_gradient_of_the_defense(use, view, another):
    own, climbed = ladder_results({"random-noise": 10}, own={"clean": 0, "apgd": 10})
    attack = replace(own.attacks[1], spec={"name": use, "params": {}}, gradient=view)
    found = read_ladder(replace(own, attacks=(own.attacks[0], attack)), climbed)
    assert found.others[0].another is another
