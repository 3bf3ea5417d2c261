"""Tests of the indicators of attack failure: each is found where it was planted, and none on a sound row."""

from dataclasses import replace

import pytest

from purebench.boards.derived.effort_board import EFFORT
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.records.outcome import Outcome
from purebench.results.grading.criteria.letters import Letter
from purebench.results.grading.failure_indicators import failure_indicators
from purebench.results.grading.gathering import evidence_of
from purebench.results.ranking.rank import rank

from ladders import ladder_results  # isort: skip

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


def test_rows_without_a_ladder_keep_their_warnings():
    own, _ = ladder_results(FALLS)
    assert rank([own], evidence_of([own], None)) == rank([own])


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
