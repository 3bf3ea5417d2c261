"""Grades the adequacy of the attacks of an evaluation: whether they could have broken the defense.

The criteria follow Carlini et al. 2019 (arXiv:1902.06705), Tramèr et al. 2020 (arXiv:2002.08347), Pintor et al. 2022
(arXiv:2106.09947) and Croce et al. 2022 (arXiv:2202.13711).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from purebench.core.warning_codes import ResultWarning
from purebench.results.attack_result import AttackResult
from purebench.results.grading.best_known import ran_bespoke
from purebench.results.grading.criteria import thresholds
from purebench.results.grading.criteria.cures import Cures
from purebench.results.grading.criteria.integrity import OF_CONTRACT
from purebench.results.grading.criteria.letters import Code, Letter, PartGrade, Reason, ordered
from purebench.results.grading.criteria.thresholds import Threshold
from purebench.results.grading.evidence import RECOVERED, ControlScore, Convergence, ConvergenceStatus
from purebench.results.results import CLEAN, DefenseResult

SUBSTITUTES = ("blind", "surrogate", "noised")
"""Gradient modes that follow the gradient of another model than the defense."""


def adequacy(
    result: DefenseResult,
    warnings: Sequence[ResultWarning],
    controls: Sequence[ControlScore],
    convergence: Convergence | None,
    bespoke: bool,
    cures: Cures,
) -> PartGrade:
    """Return the letter of the adequacy of the attacks.

    Args:
        result: the result of the defense.
        warnings: the warnings of the row.
        controls: the scores of the controls of the board; none if no controls were run.
        convergence: the convergence of the row; None if it was not measured.
        bespoke: whether an attack was written or searched for this defense.
        cures: the commands for the row.
    """
    if not result.attacked:
        cure = cures.change("an attack that applies to the defense, such as apgd with gradient: bpda,")
        return _part([thresholds.NOT_ATTACKED.reason(cure)])
    if nothing_left(result):
        told = "no image is right at its picked adversarial example, so that no attack can lower the accuracy"
        return _part([Reason(Code.ATTACKED, Letter.A, told)])
    found = [
        *_masking(warnings, cures),
        *_controls(controls, cures),
        _convergence(convergence, cures),
        *_attacks(result, cures),
        _bespoke(bespoke or ran_bespoke(result), cures),
    ]
    return _part(found)


def nothing_left(result: DefenseResult) -> bool:
    """Return whether no fresh draw at any picked adversarial example was right, and every image has a score."""
    return not result.fresh.any() and not result.doubtful.any() and bool(result.scored.all())


def mechanism(attack: AttackResult) -> str:
    """Return the mechanism of an attack: gradient, substitute gradient, gradient-free or transfer."""
    view = attack.gradient.partition("(")[0]
    if attack.source is not None:
        return "transfer"
    if view == "none":
        return "gradient-free"
    return "substitute gradient" if view in SUBSTITUTES else "gradient"


def _part(reasons: Sequence[Reason]) -> PartGrade:
    return PartGrade("attack adequacy", ordered(reasons))


def _masking(warnings: Sequence[ResultWarning], cures: Cures) -> Iterator[Reason]:
    found = [warning for warning in warnings if warning.code not in OF_CONTRACT]
    for warning in found:
        yield thresholds.MASKED.reason(_search(cures), str(warning))
    if not found:
        yield Reason(Code.MASKING, Letter.A, "no warning of gradient masking")


def _controls(controls: Sequence[ControlScore], cures: Cures) -> Iterator[Reason]:
    if not controls:
        yield thresholds.NO_CONTROLS.reason(cures.change("controls: {NAME: SPEC, ...}"))
        return
    missed = [one.name for one in controls if not one.recovered]
    yield _shared(thresholds.RECOVERED_CONTROLS, "recovered", missed, len(controls), cures)
    alone = [one.name for one in controls if not _recovered_without_transfer(one)]
    yield _shared(thresholds.RECOVERED_WITHOUT_TRANSFER, "recovered without transfer", alone, len(controls), cures)


def _recovered_without_transfer(control: ControlScore) -> bool:
    alone = control.without_transfer
    return alone is not None and alone.value - control.truth_high <= RECOVERED


def _shared(threshold: Threshold, what: str, missed: Sequence[str], of: int, cures: Cures) -> Reason:
    told = f"{of - len(missed)} of {of} controls are {what}" + (f", not {', '.join(missed)}" if missed else "")
    cure = cures.change("stronger attacks (more steps, other mechanisms)")
    return threshold.reason((of - len(missed)) / of, told, cure)


def _convergence(found: Convergence | None, cures: Cures) -> Reason:
    if found is None:
        return thresholds.NO_CONVERGENCE.reason(cures.change("effort: auto"))
    if found.status is ConvergenceStatus.CONVERGED:
        return Reason(Code.CONVERGENCE, Letter.A, found.reason)
    cure = _search(cures) if found.status is ConvergenceStatus.FLAT else cures.change("effort: auto")
    return thresholds.NOT_CONVERGED[found.status].reason(cure, found.reason)


def _attacks(result: DefenseResult, cures: Cures) -> Iterator[Reason]:
    asked = [one for one in result.attacks if not (one.skipped or one.failed or one.certified or one.name == CLEAN)]
    following = [attack for attack in asked if mechanism(attack) == "gradient"]
    if not following:
        yield thresholds.NOT_ADAPTIVE.reason(cures.change("an attack with gradient: exact or gradient: bpda"))
    else:
        names = ", ".join(attack.name for attack in following)
        yield Reason(Code.ADAPTIVITY, Letter.A, f"{names} follow the gradient of the whole defense")
    if result.random and following:
        most = max(attack.eot for attack in following)
        cure = cures.change(f"eot: {thresholds.EOT_SAMPLES.better(most)[1]:g}")
        yield thresholds.EOT_SAMPLES.reason(most, f"{most} EOT samples", cure)
    kinds = dict.fromkeys(mechanism(attack) for attack in asked)
    told = f"{len(kinds)} mechanisms of attacks ({', '.join(kinds) or 'none'})"
    cure = cures.change(f"attacks of {thresholds.MECHANISMS.better(len(kinds))[1]:g} mechanisms")
    yield thresholds.MECHANISMS.reason(len(kinds), told, cure)


def _bespoke(bespoke: bool, cures: Cures) -> Reason:
    if bespoke:
        return Reason(Code.BESPOKE, Letter.A, "an attack that was written or searched for this defense was run")
    return thresholds.NOT_BESPOKE.reason(cures.search())


def _search(cures: Cures) -> str:
    return f"{cures.check()} names the cause; then {cures.search()}"
