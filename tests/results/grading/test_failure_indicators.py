"""Tests of the indicators of attack failure: each is found where it was planted, and none on a sound row."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from scipy.stats import binom

from purebench.boards.derived.effort_board import EFFORT
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.records.outcome import Outcome
from purebench.results.grading.convergence import decide
from purebench.results.grading.criteria.letters import Letter
from purebench.results.grading.evidence import ConvergenceStatus
from purebench.results.grading.failure_indicators import LEVEL, MISSED, failure_indicators, of_ladder
from purebench.results.grading.gathering import evidence_of
from purebench.results.grading.grade import NO_EVIDENCE
from purebench.results.ranking.rank import rank

from ladders import RUNGS, ladder, ladder_results  # isort: skip

FALLS = {"random-noise": 10, "rung-1": 45, "rung-2": 50, "rung-3": 50, "rung-4": 50, "square": 40, "transfer": 30}


def codes(own, climbed=None):
    return [warning.code for warning in failure_indicators(own, climbed)]


@pytest.mark.parametrize("draws", [1, 8])
def test_a_sound_row_has_no_indicator(draws):
    own, climbed = ladder_results(FALLS, draws=draws)
    assert codes(own, climbed) == codes(own) == []


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (dict.fromkeys(FALLS, 10), WarningCode.FLAT_LADDER),
        (FALLS | {"rung-1": 15, "rung-2": 20, "rung-3": 35}, WarningCode.INCOMPLETE_OPTIMISATION),
        (FALLS | {"rung-1": 80}, WarningCode.INCREASING_LOSS),
        (FALLS | {"transfer": 80}, WarningCode.TRANSFER_ONLY),
    ],
)
def test_what_a_ladder_shows_is_a_warning_with_its_code_and_a_cure(broken, code):
    found = failure_indicators(*ladder_results(broken))
    assert code in [warning.code for warning in found]
    (warning,) = (one for one in found if one.code is code)
    assert "; " in warning.text  # the cure follows the finding
    assert warning.text.startswith("ladder of effort (100 images): ")


def test_a_blind_attack_of_the_own_board_that_ends_lower_is_success_by_transfer_only():
    found = ladder_results(FALLS, own={"clean": 0, "apgd-blind": 80})
    (warning,) = failure_indicators(*found)
    assert warning.code is WarningCode.TRANSFER_ONLY
    assert "(apgd-blind)" in warning.text


def test_zero_gradients_of_the_ladder_are_passed_on_to_the_row_once():
    zero = ResultWarning(WarningCode.ZERO_GRADIENT, "gradients of zero", 3, 4)
    own, climbed = ladder_results(dict.fromkeys(FALLS, 10), warnings={"rung-4": [zero]})
    assert codes(own, climbed) == [WarningCode.FLAT_LADDER, WarningCode.ZERO_GRADIENT]
    (row,) = rank([own], evidence_of([own], {EFFORT: [climbed]}))
    assert [warning.code for warning in row.warnings] == [WarningCode.FLAT_LADDER, WarningCode.ZERO_GRADIENT]
    assert row.grade.adequacy.letter is Letter.D
    itself = replace(zero, text="the same of the row's own attacks")
    told = replace(own, attacks=tuple(replace(attack, warnings=(itself,)) for attack in own.attacks))
    (row,) = rank([told], evidence_of([told], {EFFORT: [climbed]}))
    (warning,) = [warning for warning in row.warnings if warning.code is WarningCode.ZERO_GRADIENT]
    assert "the same of the row's own attacks" in warning.text


def simulated(seed, **options):
    """The codes of a ladder whose attacks have converged to 50 %, and its status."""
    others = {"square": 0.5, "transfer": 0.5, "surrogate": 0.5}
    found = ladder((0.9, 0.5, 0.5, 0.5, 0.5), others, 200, seed, **options)
    found = replace(
        found,
        rungs=[replace(one, attack=SimpleNamespace(follows_gradient=True, gradient_alone=True)) for one in found.rungs],
        others=[
            replace(
                one,
                attack=SimpleNamespace(follows_gradient=False, gradient_alone=False),
                elsewhere=one.name != "square",
            )
            for one in found.others
        ],
    )
    status = decide(found)[0]
    return {warning.code for warning in of_ladder(found, status, options["draws"] > 1)}, status


@pytest.mark.parametrize("draws", [1, 16])
def test_attacks_that_break_the_same_images_have_no_false_alarm(draws):
    assert not any(simulated(seed, draws=draws)[0] for seed in range(40))


def test_the_falls_and_an_increasing_loss_are_two_families_of_tests_at_the_level():
    """Every attack breaks other images, which is the worst case: each family has a false alarm in at most 5 %."""
    seen = [simulated(seed, draws=16, same_images=False) for seed in range(200)]
    of_falls = {WarningCode.INCOMPLETE_OPTIMISATION, WarningCode.TRANSFER_ONLY}
    assert all(status is ConvergenceStatus.FALLING for codes, status in seen if codes & of_falls)
    enough = binom.ppf(0.999, len(seen), LEVEL)
    assert sum(status is ConvergenceStatus.FALLING for _, status in seen) <= enough
    assert sum(WarningCode.INCREASING_LOSS in codes for codes, _ in seen) <= enough


def test_rows_without_a_ladder_keep_their_warnings():
    own, _ = ladder_results(FALLS)
    assert evidence_of([own], None).warnings(own) == NO_EVIDENCE.warnings(own)


def test_an_attack_that_reports_a_success_at_an_image_that_is_right_fails_silently(build):
    answers = {"clean": ["1"] * 4, "apgd": ["0", "1", "1", "1"]}
    _, _, (own,) = build.results({"row": answers}, draws=1, block=4)
    claimed = replace(own.attacks[1], claims=(1, 1, 1, 0))
    silent = replace(own, attacks=(own.attacks[0], claimed))
    (warning,) = failure_indicators(silent, None)
    assert (warning.code, warning.count, warning.of) == (WarningCode.SILENT_SUCCESS, 2, 4)
    # an image that another attack breaks is not counted, and a random defense may be broken by chance
    worst = replace(own.worst_case, outcomes=(Outcome.MISCLASSIFIED,) * 3 + (Outcome.ROBUST,))
    assert failure_indicators(replace(silent, worst_case=worst), None) == ()
    assert failure_indicators(replace(silent, random=True), None) == ()


def test_minimum_norm_attacks_that_find_nothing_at_any_distance_are_a_warning(build):
    answers = {"clean": ["1"] * 60, "apgd": ["0"] * 10 + ["1"] * 50}
    _, _, (own,) = build.results({"row": answers}, draws=1, block=60)

    def found(missing):
        nearest = tuple(None if image >= 60 - missing else 0.2 for image in range(60))
        return failure_indicators(
            replace(own, attacks=(own.attacks[0], replace(own.attacks[1], nearest=nearest))), None
        )

    assert found(0) == found(3) == ()  # 5 % may be missed
    (warning,) = found(20)
    assert (warning.code, warning.count, warning.of) == (WarningCode.UNREACHABLE, 20, 60)


def test_images_of_random_noise_that_are_reused_are_no_success_by_transfer():
    """The transfer of the ladder breaks more images than its last rung; what counts is where its images come from."""
    own, climbed = ladder_results(FALLS | {"transfer": 80})
    assert WarningCode.TRANSFER_ONLY in codes(own, climbed)
    attacks = climbed.board["attacks"]
    margin = {**attacks["margin"], "use": "random-noise", "gradient": "none"}
    noise = replace(climbed, board={**climbed.board, "attacks": {**attacks, "margin": margin}})
    assert WarningCode.TRANSFER_ONLY not in codes(own, noise)


def partly_masked(only, along, images=200, draws=1):
    """Returns the results of a ladder whose rungs break `along` images, and its transfer `only` others."""
    own, climbed = ladder_results({"random-noise": 0} | dict.fromkeys(RUNGS, along), images=images, draws=draws)
    missed = ["1" * draws] * along + ["0" * draws] * only + ["1" * draws] * (images - along - only)
    outcomes = [Outcome.MISCLASSIFIED if one[0] == "0" else Outcome.ROBUST for one in missed]
    changed = [
        replace(one, draws=tuple(missed), outcomes=tuple(outcomes)) if one.name == "transfer" else one
        for one in climbed.attacks
    ]
    return own, replace(climbed, attacks=tuple(changed))


@pytest.mark.parametrize(("only", "warned"), [(40, True), (16, True), (15, False), (4, False)])
def test_a_defense_that_masks_some_images_is_found_although_the_gradient_breaks_more_images(only, warned):
    """16 of 200 is the smallest number whose lower 95 % bound is above 5 %."""
    found = failure_indicators(*partly_masked(only, 120))
    assert [one.code for one in found] == ([WarningCode.PARTLY_MASKED] if warned else [])
    assert not warned or (found[0].count, found[0].of) == (only, 200)
    own, climbed = partly_masked(only, 120)
    (row,) = rank([own], evidence_of([own], {EFFORT: [climbed]}))
    assert (row.grade.adequacy.letter is Letter.D) == warned


@pytest.mark.parametrize(("only", "warned"), [(40, True), (20, True), (15, False), (0, False)])
def test_a_random_defense_that_masks_some_images_is_found_too(only, warned):
    found = failure_indicators(*partly_masked(only, 120, draws=8))
    assert [one.code for one in found] == ([WarningCode.PARTLY_MASKED] if warned else [])
    assert not warned or "by significantly more than 5 points on average" in found[0].text


def test_one_draw_of_a_random_defense_does_not_tell_what_is_missed():
    own, climbed = partly_masked(40, 120)
    assert WarningCode.PARTLY_MASKED in codes(own, climbed)
    assert WarningCode.PARTLY_MASKED not in codes(replace(own, random=True), climbed)


@pytest.mark.parametrize("images", [30, 48, 100, 200, 1000])
def test_images_that_the_gradient_misses_are_a_false_alarm_at_most_at_the_level(images):
    """At the limit each image is missed with a probability of 5 %; the exact false-alarm rate is a binomial tail."""
    least = next(n for n in range(images) if binom.sf(n - 1, images, MISSED) <= LEVEL)
    assert WarningCode.PARTLY_MASKED in codes(*partly_masked(least, images // 2, images))
    assert WarningCode.PARTLY_MASKED not in codes(*partly_masked(least - 1, images // 2, images))
