"""Grades the adequacy of the attacks of an evaluation: whether they could have broken the defense.

The criteria follow Carlini et al. 2019 (arXiv:1902.06705), Tramèr et al. 2020 (arXiv:2002.08347), Pintor et al. 2022
(arXiv:2106.09947) and Croce et al. 2022 (arXiv:2202.13711).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from purebench.boards.effort_settings import EffortSettings
from purebench.core.registry import Spec
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.results.grading.attack_mechanisms import mechanisms_of
from purebench.results.grading.best_known import best_known, ran_bespoke, with_bespoke
from purebench.results.grading.convergence import BACK, LEVEL, MARGIN, clearly_above
from purebench.results.grading.criteria import thresholds
from purebench.results.grading.criteria.cures import OTHER_DATA, Cures
from purebench.results.grading.criteria.integrity import OF_CONTRACT
from purebench.results.grading.criteria.letters import Code, Letter, PartGrade, Reason, ordered
from purebench.results.grading.criteria.thresholds import (
    RECOVERED_CONTROLS,
    RECOVERED_WITHOUT_TRANSFER,
    UNDECIDED_CONTROLS,
    UNDECIDED_WITHOUT_TRANSFER,
    Fault,
    Threshold,
)
from purebench.results.grading.evidence import (
    EXCLUDED,
    ControlScore,
    Convergence,
    ConvergenceStatus,
    Fall,
    Recovery,
    Unscored,
    UnscoredControl,
)
from purebench.results.grading.images_needed import least_images
from purebench.results.results import DefenseResult

STRONGER = "stronger attacks (more steps, other mechanisms)"
HARDER = f"controls with a clean accuracy at least {100 * EXCLUDED:g} points above their known truth"
"""Changes of a board.yaml with which more of its controls may be recovered."""
EXACT = "exact"
WITHOUT_GRADIENT = frozenset({WarningCode.ZERO_GRADIENT, WarningCode.NON_FINITE_GRADIENT, WarningCode.FLAT_LADDER})
"""Warnings whose cause may be a purifier without a useful gradient."""
DECLARE = "a purifier without a useful gradient declares differentiable = False, so that attacks use BPDA in its place"


def adequacy(
    result: DefenseResult,
    warnings: Sequence[ResultWarning],
    controls: Sequence[ControlScore],
    unscored: Sequence[UnscoredControl],
    convergence: Convergence | None,
    cures: Cures,
) -> PartGrade:
    """Return the letter of the adequacy of the attacks.

    Args:
        result: the result of the defense.
        warnings: the warnings of the row.
        controls: the scores of the controls of the board; none if no controls were run.
        unscored: controls of the board without a score.
        convergence: the convergence of the row; None if it was not measured.
        cures: the commands for the row.
    """
    if not result.attacked:
        return _part([thresholds.NOT_ATTACKED.reason(_for_an_attack(result, cures))])
    if nothing_left(result):
        told = "no image is right at its picked adversarial example, so that no attack can lower the accuracy"
        return _part([Reason(Code.ATTACKED, Letter.A, told)])
    bespoke = ran_bespoke(result)
    found = [
        *_masking(result, warnings, bespoke, cures),
        *_controls(controls, unscored, cures),
        _convergence(convergence, bespoke, cures),
        *_attacks(result, cures),
        _bespoke(result, bespoke, cures),
    ]
    return _part(found)


def _for_an_attack(result: DefenseResult, cures: Cures) -> str:
    """Return the cure of a row on which no attack of the common suite has a result."""
    if result.failed:
        return cures.correct()
    if ran_bespoke(result):
        return _for_all_rows(cures)
    return cures.change("an attack that applies to the defense, such as apgd with gradient: bpda,")


def nothing_left(result: DefenseResult) -> bool:
    """Return whether no fresh draw at any picked adversarial example was right, and every image has a score."""
    return not result.fresh.any() and not result.doubtful.any() and bool(result.scored.all())


def _part(reasons: Sequence[Reason]) -> PartGrade:
    return PartGrade("attack adequacy", ordered(reasons))


def _masking(result: DefenseResult, warnings: Sequence[ResultWarning], bespoke: bool, cures: Cures) -> Iterator[Reason]:
    found = [warning for warning in warnings if warning.code not in OF_CONTRACT]
    exact = any(Spec.parse(one.gradient).name == EXACT and not one.skipped for one in result.attacks)
    for warning in found:
        hint = f"; {DECLARE}" if exact and warning.code in WITHOUT_GRADIENT else ""
        yield thresholds.MASKED.reason(_search(bespoke, cures), f"{warning}{hint}")
    if not found:
        yield Reason(Code.MASKING, Letter.A, "no warning of gradient masking")


def _controls(controls: Sequence[ControlScore], unscored: Sequence[UnscoredControl], cures: Cures) -> Iterator[Reason]:
    if not controls and not any(one.why is Unscored.ERRORED for one in unscored):
        waiting = any(one.why is Unscored.UNFINISHED for one in unscored)
        yield thresholds.NO_CONTROLS.reason(
            cures.run(evidence=True) if waiting else cures.change("controls: {NAME: SPEC, ...}")
        )
        return
    all_attacks = {one.name: one.recovery for one in controls}
    yield _share(all_attacks, unscored, "recovered", RECOVERED_CONTROLS, UNDECIDED_CONTROLS, cures)
    alone = {one.name: one.recovery_without_transfer for one in controls}
    told = "recovered without transfer"
    yield _share(alone, unscored, told, RECOVERED_WITHOUT_TRANSFER, UNDECIDED_WITHOUT_TRANSFER, cures)


def _share(
    scored: Mapping[str, Recovery],
    unscored: Sequence[UnscoredControl],
    told: str,
    threshold: Threshold,
    undecided: Fault,
    cures: Cures,
) -> Reason:
    """Return the letter of the share of recovered controls; controls without a score count as not recovered.

    Undecided, unfinished and too easy controls count as not recovered. The letter is D only if it would be worse than C
    with all of these recovered: a D states a fault that was found, a C one that is not excluded.
    """
    by = {one: [name for name, found in scored.items() if found is one] for one in Recovery}
    lost = {why: [one.name for one in unscored if one.why is why] for why in Unscored}
    recovered = len(by[Recovery.RECOVERED])
    of = len(scored) + len(lost[Unscored.ERRORED]) + len(lost[Unscored.UNFINISHED])
    groups = {
        **{one.heading: names for one, names in by.items() if one is not Recovery.RECOVERED},
        "without a score, because of errors": lost[Unscored.ERRORED],
        "without a score, because not finished": lost[Unscored.UNFINISHED],
        "not counted, because nothing is known under this threat model": lost[Unscored.INAPPLICABLE],
    }
    named = [f"{group}: {', '.join(names)}" for group, names in groups.items() if names]
    sentence = "; ".join([f"{recovered} of {of} controls are {told}", *named])
    by_images = recovered + len(by[Recovery.UNDECIDED]) + len(lost[Unscored.UNFINISHED])
    possible = by_images + len(by[Recovery.TOO_EASY]) + len(by[Recovery.NO_CLEAN])
    shares = (one / of for one in (recovered, by_images, possible, possible + len(lost[Unscored.ERRORED])))
    letter, larger, best, without_errors = map(threshold.letter, shares)
    if by[Recovery.NO_CLEAN]:
        cure = cures.change("clean: {use: clean} among the attacks")
    elif larger < letter:
        cure = cures.run(evidence=True) if lost[Unscored.UNFINISHED] else cures.double()
    elif best < letter:
        cure = cures.change(HARDER)
    elif without_errors < letter:
        cure = cures.run(retry_errors=True, evidence=True)
    else:
        cure = cures.change(STRONGER)
    if letter > Letter.C >= best:
        return undecided.reason(cure, sentence)
    return threshold.reason(recovered / of, sentence, cure)


def _convergence(found: Convergence | None, bespoke: bool, cures: Cures) -> Reason:
    least = least_images(MARGIN, LEVEL / 2)  # of the first decision of effort: auto
    if found is None:
        what = "effort: auto, unless the board already has the key effort,"
        return thresholds.NO_CONVERGENCE.reason(cures.change(what, at_least=least))
    if found.status is ConvergenceStatus.CONVERGED:
        return Reason(Code.CONVERGENCE, Letter.A, found.reason)
    told = found.reason
    if found.status is ConvergenceStatus.FLAT:
        cure = _search(bespoke, cures)
    elif found.status is ConvergenceStatus.FALLING:
        cure = _after_a_fall(found, bespoke, least, cures)
    elif found.needs:
        cure, told = _more_images(found, cures), f"{told}; about {found.needs} images decide it"
    elif len(found.rungs) <= BACK + 1 or cures.result.errored or not cures.result.complete:
        cure = cures.run(retry_errors=True, evidence=True)
    else:
        cure = cures.change("an attack of another mechanism, such as square,")
    return thresholds.NOT_CONVERGED[found.status].reason(cure, told)


def _after_a_fall(found: Convergence, bespoke: bool, least: int, cures: Cures) -> str:
    """Return the cure of attacks that have not converged; more effort of the same attack is not always one."""
    if Fall.LADDER in found.falls:
        return cures.change(f"{' and '.join(found.lower)} among the attacks", at_least=least)
    if Fall.RUNGS not in found.falls:
        return _search(bespoke, cures)
    if "effort" in cures.result.provenance:  # effort: auto has spent its budget
        return cures.change("effort: {auto: true, budget: N} with a larger budget", at_least=least)
    return cures.change("effort: auto", at_least=least)


def _more_images(found: Convergence, cures: Cures) -> str:
    """Return the cure of a ladder that too few images leave undecided; more effort does not decide it."""
    images = cures.blocks_of(found.needs)
    if images <= found.images:
        return cures.change(OTHER_DATA)
    if found.images < len(cures.result.images) or found.needs > EffortSettings().images:  # the ladder has its own limit
        return cures.change(f"effort: {{images: {images}}}", at_least=images)
    return cures.run(images, evidence=True)


def _attacks(result: DefenseResult, cures: Cures) -> Iterator[Reason]:
    asked = [one for one in result.common if not (one.skipped or one.failed)]
    following = [attack for attack in asked if attack.follows_gradient]
    if not following:
        yield thresholds.NOT_ADAPTIVE.reason(cures.change("an attack with gradient: exact or gradient: bpda"))
    else:
        names = ", ".join(attack.name for attack in following)
        yield Reason(Code.ADAPTIVITY, Letter.A, f"{names} follow the gradient of the whole defense")
    if result.random and following:
        most = max(attack.gradient_eot for attack in following)
        cure = cures.change(f"eot: {thresholds.EOT_SAMPLES.better(most)[1]:g}")
        yield thresholds.EOT_SAMPLES.reason(most, f"{most} EOT samples", cure)
    kinds = dict.fromkeys(kind for attack in asked for kind in mechanisms_of(result, attack))
    told = f"{len(kinds)} mechanisms of attacks ({', '.join(kinds) or 'none'})"
    cure = cures.change(f"attacks of {thresholds.MECHANISMS.better(len(kinds))[1]:g} mechanisms")
    yield thresholds.MECHANISMS.reason(len(kinds), told, cure)


def _bespoke(result: DefenseResult, bespoke: bool, cures: Cures) -> Reason:
    if _beaten(result):
        known, robust = best_known(result), result.robust
        assert known is not None
        assert robust is not None
        told = f"the best known accuracy is {known.percent()}, the robust accuracy {robust.percent()}"
        return thresholds.BEATEN.reason(_for_all_rows(cures), told)
    if bespoke:
        return Reason(Code.BESPOKE, Letter.A, "an attack that was written or searched for this defense was run")
    return thresholds.NOT_BESPOKE.reason(cures.search())


def _search(bespoke: bool, cures: Cures) -> str:
    """Return the command that searches for an attack; after that, the change that makes it one of the common suite."""
    return _for_all_rows(cures) if bespoke else cures.search()


def _for_all_rows(cures: Cures) -> str:
    """Return the change that makes the attacks of the row, or those of an accepted challenge, part of the suite."""
    row, attacks = cures.result.name, cures.result.board["attacks"]
    names = [
        attack.name
        for attack in cures.result.attacks
        if row in (attacks[attack.name].get("rows") or ()) and not (attack.skipped or attack.failed)
    ]
    if not names:
        return cures.change("an attack that finds examples like those of the accepted challenge,")
    return cures.change(f"{' and '.join(names)} without rows")


def _beaten(result: DefenseResult) -> bool:
    """Return whether the best known accuracy is significantly below the robust accuracy, which then is too high.

    Bespoke attacks are compared by image, as the convergence is; of an accepted challenge the interval must lie below.
    """
    robust, known = result.robust, best_known(result)
    if robust is None or known is None or known.value >= robust.value:
        return False
    whole = with_bespoke(result)
    if known is result.challenged or whole is result:
        return known.high < robust.low
    both = result.scored & whole.scored & ~whole.doubtful
    images = tuple(np.array(result.images)[both].tolist())
    return any(clearly_above(images, [(result.scores()[both], whole.scores()[both])]))
