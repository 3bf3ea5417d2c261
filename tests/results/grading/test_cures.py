"""Tests the commands that would raise a letter: each can end, and none is the one that was just followed."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from purebench.boards.parse import load_board
from purebench.cli.main import app
from purebench.core.registry import Spec
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.data.adapt import load_images
from purebench.records.outcome import Outcome
from purebench.results.attack_result import AttackResult
from purebench.results.grading.convergence import convergence
from purebench.results.grading.criteria.cures import SHIPPED, Cures
from purebench.results.grading.criteria.letters import Code, Reason
from purebench.results.grading.evidence import ControlScore, Convergence, ConvergenceStatus, Fall, Recovery
from purebench.results.grading.grade import grade
from purebench.results.results import DefenseResult

from graded import result as graded_result  # isort: skip
from graded import CONVERGED as CASE, control, lost, some  # isort: skip
from ladders import ladder_results  # isort: skip
from synthetic import make_results  # isort: skip

ROW = "'row(alpha=0.5)'"
ENDS = {"random-noise": 10, "rung-1": 45, "rung-2": 50, "rung-3": 50, "rung-4": 50, "square": 40, "transfer": 30}
FEW = {"random-noise": 2, "rung-1": 9, "rung-2": 10, "rung-3": 10, "rung-4": 10, "square": 8, "transfer": 6}


def reasons(
    result: DefenseResult,
    found: Convergence | None = None,
    warnings: tuple[ResultWarning, ...] = (),
    controls: tuple[ControlScore, ...] = (),
) -> dict[Code, Reason]:
    graded = grade(result, controls=controls, convergence=found, warnings=warnings, origin="board.yaml")
    return {reason.code: reason for reason in graded.adequacy.reasons}


def cure(result: DefenseResult, found: Convergence | None) -> str:
    return reasons(result, found)[Code.CONVERGENCE].cure


def options_are_valid(command: str) -> bool:
    words = shlex.split(command)
    told = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"}).output
    return words[0] == "purebench" and all(word in told for word in words[2:] if word.startswith("--"))


def test_a_ladder_on_few_images_asks_for_as_many_as_decide_it_and_not_for_more_effort() -> None:
    own, ladder = ladder_results(FEW, images=20)
    found = convergence(own, ladder)
    assert found is not None
    told = cure(own, found)
    assert "auto" not in told
    assert told == f"purebench run board.yaml --defense {ROW} --images {-(-found.needs // 20) * 20} --evidence"
    assert f"about {found.needs} images decide it" in reasons(own, found)[Code.CONVERGENCE].sentence
    assert options_are_valid(told)


def test_a_ladder_that_is_shorter_than_the_board_gets_more_images_of_its_own() -> None:
    own, ladder = ladder_results(FEW, images=20)
    found = convergence(own, ladder)
    assert found is not None
    assert cure(own, replace(found, images=10)).startswith("effort: {images: ")
    assert cure(own, replace(found, needs=500)).startswith("effort: {images: 500} in the board.yaml, then")


@pytest.mark.parametrize("status", [None, ConvergenceStatus.FALLING])
def test_effort_auto_is_a_cure_only_with_the_images_that_it_needs(status: ConvergenceStatus | None) -> None:
    own, ladder = ladder_results(FEW, images=20)
    found = convergence(own, ladder)
    assert found is not None
    told = cure(own, None if status is None else replace(found, status=status, needs=0, falls=(Fall.RUNGS,)))
    unless = ", unless the board already has the key effort," if status is None else ""
    assert told.startswith(f"effort: auto{unless} in the board.yaml, then purebench run")
    assert "--images 80" in told  # 72 in whole blocks of 20


def test_effort_auto_is_no_cure_where_more_effort_of_the_same_attack_does_not_help() -> None:
    """Its budget is spent, another attack ends lower than the ladder, or the ladder ends below the row."""
    still = FEW | {"rung-1": 20, "rung-2": 30, "rung-3": 50, "rung-4": 70, "transfer": 70}
    own, ladder = ladder_results(still, images=100)
    assert (convergence(own, ladder) or CASE).falls == (Fall.RUNGS,)
    assert cure(own, convergence(own, ladder)).startswith("effort: auto in the board.yaml, then")
    spent = replace(own, provenance={**own.provenance, "effort": "auto: attacks of up to 4 times the effort"})
    told = cure(spent, convergence(own, ladder))
    assert told.startswith("effort: {auto: true, budget: N} with a larger budget in the board.yaml, then")

    own, ladder = ladder_results({**ENDS, "transfer": 95}, images=100, own={"clean": 0, "apgd": 95})
    assert (convergence(own, ladder) or CASE).falls == (Fall.OTHER,)
    assert cure(own, convergence(own, ladder)) == f"purebench break {ROW} --board board.yaml --hours 1"

    own, ladder = ladder_results(ENDS, images=100, own={"clean": 0, "apgd": 30})
    assert Fall.LADDER in (convergence(own, ladder) or CASE).falls
    assert cure(own, convergence(own, ladder)).startswith(
        "apgd(steps=20, loss='cw', restarts=2) with gradient: exact-or-bpda and square(queries=100) among the attacks"
    )


def test_evidence_that_the_board_declares_is_run_and_not_declared_again() -> None:
    own = graded_result(images=100)
    told = grade(own, unscored=lost(3, "U"), origin="board.yaml").adequacy.reasons
    (controls,) = (one for one in told if one.code is Code.CONTROLS)
    assert controls.cure == f"purebench run board.yaml --defense {ROW} --images 100 --evidence"
    (controls,) = (one for one in grade(own, origin="board.yaml").adequacy.reasons if one.code is Code.CONTROLS)
    assert controls.cure.startswith("controls: {NAME: SPEC, ...} in the board.yaml")


def test_a_bundled_board_is_copied_before_it_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed command writes the copy, and the command after it names the copy."""
    monkeypatch.chdir(tmp_path)
    own = graded_result(images=100)
    told = Cures(own, "fashion-quick").change("effort: auto")
    found = re.fullmatch(
        r"effort: auto in a copy of the board \((purebench new board my-fashion-quick .*)\), then (purebench .*)", told
    )
    assert found is not None
    done = CliRunner().invoke(app, shlex.split(found[1])[1:])
    assert done.exit_code == 0, done.output
    board = Path(shlex.split(found[2])[2])
    assert load_board(board).name == "my-fashion-quick"
    assert "in a copy" not in Cures(own, "board.yaml").change("effort: auto")


def test_a_control_below_its_proof_and_a_broken_contract_ask_for_a_correction() -> None:
    own = graded_result(images=100)
    below = grade(own, controls=(control("proven", below_proof=True),), origin="board.yaml").integrity.reasons
    (truths,) = (one for one in below if one.code is Code.TRUTHS)
    assert truths.cure.startswith("correct or remove the attack that leaves the threat model in the board.yaml, then")
    mode = ResultWarning(WarningCode.GRADIENT_MODE, "other answers")
    (contract,) = (
        one for one in grade(own, warnings=(mode,), origin="board.yaml").integrity.reasons if one.code is Code.CONTRACT
    )
    shown, _, again = contract.cure.partition(" shows the cause; correct the defense, then ")
    assert shown.startswith("purebench check")
    assert options_are_valid(shown)
    assert options_are_valid(again)


def test_an_undecided_ladder_without_another_mechanism_asks_for_one() -> None:
    own, ladder = ladder_results(FEW, images=20, skipped=("square", "transfer", "surrogate"))
    assert "an attack of another mechanism" in cure(own, convergence(own, ladder))


FLAT = ResultWarning(WarningCode.FLAT_LADDER, "flat")
STRONGER = ResultWarning(WarningCode.GRADIENT_FREE_STRONGER, "stronger", 3, 20)


@pytest.mark.parametrize("warning", [FLAT, STRONGER])
def test_the_cure_of_masking_is_one_command(warning: ResultWarning) -> None:
    own, _ = ladder_results(FEW, images=20)
    told = reasons(own, warnings=(warning,))[Code.MASKING].cure
    assert told == f"purebench break {ROW} --board board.yaml --hours 1"
    assert options_are_valid(told)


def test_a_missing_gradient_asks_for_the_declaration_where_it_was_not_made() -> None:
    own, _ = ladder_results(FEW, images=20)
    hint = "differentiable = False"
    assert hint in reasons(own, warnings=(FLAT,))[Code.MASKING].sentence
    assert hint not in reasons(own, warnings=(STRONGER,))[Code.MASKING].sentence
    blind = replace(own, attacks=tuple(replace(one, gradient="bpda") for one in own.attacks))
    assert hint not in reasons(blind, warnings=(FLAT,))[Code.MASKING].sentence


def test_after_a_search_the_cure_is_not_another_search_but_the_attack_for_all_rows() -> None:
    own, _ = ladder_results(FEW, images=20)
    (attack,) = (one for one in own.attacks if one.name == "apgd")
    found: AttackResult = replace(attack, name="found")
    attacks = own.board["attacks"]
    board = {**own.board, "attacks": {**attacks, "found": {**attacks["apgd"], "rows": ["row"]}}}
    searched = replace(own, board=board, attacks=(*own.attacks, found))
    told = reasons(searched, warnings=(FLAT,))[Code.MASKING].cure
    assert told.startswith("found without rows in the board.yaml, then purebench run")
    assert "break" not in told


def test_attacks_that_are_bespoke_to_other_rows_are_in_no_cure() -> None:
    own, _ = ladder_results(FEW, images=20)
    (attack,) = (one for one in own.attacks if one.name == "apgd")
    attacks = own.board["attacks"]
    board = {
        **own.board,
        "attacks": {
            **attacks,
            "found": {**attacks["apgd"], "rows": ["row"]},
            "other": {**attacks["apgd"], "rows": ["vae"]},
            "failed": {**attacks["apgd"], "rows": ["row"]},
        },
    }
    more = [
        replace(attack, name="found"),
        replace(attack, name="other", outcomes=(Outcome.SKIPPED,) * 20, draws=("",) * 20),
        replace(attack, name="failed", outcomes=(Outcome.ERRORED,) * 20, draws=("",) * 20),
    ]
    searched = replace(own, board=board, attacks=(*own.attacks, *more))
    told = reasons(searched, warnings=(FLAT,))[Code.MASKING].cure
    assert told.startswith("found without rows in the board.yaml, then purebench run")


def test_a_defense_that_fails_itself_is_corrected_and_not_attacked_otherwise() -> None:
    failed = {"clean": [Outcome.ERRORED] * 40, "apgd": [Outcome.ERRORED] * 40}
    (found,) = make_results({"row": failed}, block=40)[2]
    graded = grade(found, origin="board.yaml")
    for part, code in ((graded.adequacy, Code.ATTACKED), (graded.integrity, Code.ERRORS)):
        (reason,) = (one for one in part.reasons if one.code is code)
        assert reason.cure.startswith("purebench check ")
        assert " shows the cause; correct the defense, then purebench run " in reason.cure


def test_the_cure_of_undecided_controls_is_twice_the_images_and_that_of_easy_ones_is_harder_ones() -> None:
    own = graded_result(images=100)
    told = [
        reasons(own, controls=some(9, rest, Recovery.RECOVERED))[Code.CONTROLS].cure
        for rest in (Recovery.UNDECIDED, Recovery.TOO_EASY, Recovery.MISSED)
    ]
    assert told[0].startswith("purebench run ")
    assert told[0].endswith(" --images 200 --evidence")
    assert [one.partition(" in the board.yaml, then purebench run ")[0] for one in told[1:]] == [
        "controls with a clean accuracy at least 10 points above their known truth",
        "stronger attacks (more steps, other mechanisms)",
    ]


def test_a_cure_asks_for_no_more_images_than_a_shipped_data_set_has() -> None:
    shipped = graded_result(images=500)
    assert shipped.board["dataset"]["use"] == "fashion-mnist"
    assert Cures(shipped).double().endswith("--images 1000 --evidence")
    assert Cures(shipped).more(4_000).endswith("--images 1000")
    whole = replace(shipped, images=tuple(range(1_000)))
    assert Cures(whole).more(4_000).startswith("a data set with more images in the board.yaml, then")
    other = replace(whole, board={**whole.board, "dataset": {**whole.board["dataset"], "use": "cifar10"}})
    assert Cures(other).more(4_000).endswith("--images 4000")


def test_the_shipped_data_sets_have_these_numbers_of_images() -> None:
    assert {name: len(load_images(Spec(name))) for name in SHIPPED} == SHIPPED


def test_controls_that_are_not_finished_are_run_again() -> None:
    own = graded_result(images=100)
    graded = grade(own, controls=some(9, None, Recovery.RECOVERED)[:9], unscored=lost(11, "U"), origin="board.yaml")
    (cure,) = (reason.cure for reason in graded.adequacy.reasons if reason.code is Code.CONTROLS)
    assert cure.endswith("--images 100 --evidence")


def test_controls_that_errored_are_run_again_and_a_board_without_clean_images_gets_them() -> None:
    own = graded_result(images=100)
    graded = grade(own, controls=some(9, None, Recovery.RECOVERED)[:9], unscored=lost(11, "E"), origin="board.yaml")
    (cure,) = (reason.cure for reason in graded.adequacy.reasons if reason.code is Code.CONTROLS)
    assert cure.endswith("--retry-errors --evidence")
    found = reasons(own, controls=some(9, Recovery.NO_CLEAN, Recovery.RECOVERED))[Code.CONTROLS]
    assert "undecided, because the board has no clean images: other-0" in found.sentence
    assert found.cure.startswith("clean: {use: clean} among the attacks in the board.yaml, then")


def test_a_ladder_that_needs_more_images_than_there_are_asks_for_another_data_set() -> None:
    own, ladder = ladder_results(FEW, images=20)
    found = convergence(own, ladder)
    assert found is not None
    assert cure(own, replace(found, needs=4_000)).startswith("effort: {images: 1000} in the board.yaml, then")
    told = cure(own, replace(found, needs=4_000, images=1_000))
    assert told.startswith("a data set with more images in the board.yaml, then")
