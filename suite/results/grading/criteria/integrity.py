"""Grades the integrity of an evaluation: whether its numbers are what they claim to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.results.attack_claims import attack_claim
from purebench.results.attack_result import AttackResult
from purebench.results.grading.criteria import thresholds
from purebench.results.grading.criteria.cures import Cures
from purebench.results.grading.criteria.letters import Code, Letter, PartGrade, Reason, ordered
from purebench.results.grading.evidence import ControlScore
from purebench.results.results import CLEAN, DefenseResult

OF_CONTRACT = frozenset({WarningCode.GRADIENT_MODE, WarningCode.PROBABILITIES})
"""Warnings of a row that concern the answers of the defense; its other warnings are signs of gradient masking."""


def integrity(
    result: DefenseResult, warnings: Sequence[ResultWarning], controls: Sequence[ControlScore], cures: Cures
) -> PartGrade:
    """Return the letter of the integrity of an evaluation.

    Args:
        result: the result of the defense.
        warnings: the warnings of the row.
        controls: the scores of the controls of the board.
        cures: the commands for the row.
    """
    found = [
        _errors(result, cures),
        *_completeness(result, cures),
        *_contract(warnings, cures),
        *_library(result, cures),
        *_verdicts(result, cures),
        *_repeatability(cures),
        *_truths(controls, cures),
    ]
    return PartGrade("integrity", ordered(found))


def _errors(result: DefenseResult, cures: Cures) -> Reason:
    count = len(result.images)
    unknown = int((result.doubtful | ~result.scored).sum())
    failing = [attack.name for attack in result.attacks if attack.reasons]
    broken = any(attack.name == CLEAN and attack.failed for attack in result.attacks)
    again = cures.correct() if broken else cures.run(retry_errors=True)
    if unknown:
        told = f"the score of {unknown} of {count} images is unknown"
        return thresholds.UNKNOWN_SCORES.reason(unknown / count, told, again)
    if failing:
        told = f"{', '.join(failing)} errored on some images, whose score is known nevertheless"
        return thresholds.ATTACK_ERRORS.reason(again, told)
    return Reason(Code.ERRORS, Letter.A, f"no attack errored on {count} images")


def _completeness(result: DefenseResult, cures: Cures) -> Iterator[Reason]:
    if not result.complete:
        told = f"{len(result.images)} of {result.board['dataset']['images']} images are finished"
        yield thresholds.UNFINISHED.reason(cures.run(), told)


def _contract(warnings: Sequence[ResultWarning], cures: Cures) -> Iterator[Reason]:
    for warning in warnings:
        if warning.code in OF_CONTRACT:
            cure = f"{cures.check()} shows the cause; correct the defense, then {cures.run()}"
            yield thresholds.BROKEN_CONTRACT.reason(cure, str(warning))


def _library(result: DefenseResult, cures: Cures) -> Iterator[Reason]:
    for attack in result.attacks:
        for text in dict.fromkeys(one.text for one in attack.warnings if one.code is WarningCode.LIBRARY):
            yield thresholds.LIBRARY_WARNING.reason(_another(attack, cures), f"{attack.name}: {text}")


def _another(attack: AttackResult, cures: Cures) -> str:
    """Return the cure of an attack of a library that is not sure of its result."""
    return cures.change(f"other parameters of {attack.name}, or another attack,")


def _verdicts(result: DefenseResult, cures: Cures) -> Iterator[Reason]:
    for attack in () if result.random else result.attacks:
        own = attack_claim(attack)
        if own is not None and own.overclaimed:
            told = f"{attack.name} claims {own.overclaimed} of {own.asked} images that verification finds right"
            yield thresholds.OVERCLAIMED.reason(_another(attack, cures), told)


def _repeatability(cures: Cures) -> Iterator[Reason]:
    if cures.in_memory:
        yield thresholds.IN_MEMORY.reason("purebench new defense NAME, then evaluate NAME.py:NAME")


def _truths(controls: Sequence[ControlScore], cures: Cures) -> Iterator[Reason]:
    below = [one.name for one in controls if one.below_proof]
    if below:
        told = f"{', '.join(below)}: measured below the proven accuracy, so that attacks leave the threat model"
        cure = cures.change("correct or remove the attack that leaves the threat model")
        yield thresholds.BELOW_TRUTH.reason(cure, told)
    elif controls:
        yield Reason(Code.TRUTHS, Letter.A, "no control is measured below its proven accuracy")
