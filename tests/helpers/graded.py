"""Builders of results with evidence, for the tests of grades."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.records.outcome import Outcome
from purebench.results.grading.criteria.letters import Letter
from purebench.results.grading.evidence import (
    ControlKind,
    ControlScore,
    Convergence,
    ConvergenceStatus,
    Recovery,
    Unscored,
    UnscoredControl,
)
from purebench.results.grading.grade import grade
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate

from synthetic import make_results  # isort: skip

A, B, C, D, F = Letter


@dataclass(frozen=True)
class Case:
    """The arguments of `grade`."""

    result: DefenseResult
    controls: tuple[ControlScore, ...] = ()
    convergence: Convergence | None = None
    bespoke: bool = True

    unscored: tuple[UnscoredControl, ...] = ()

    def grade(self) -> Any:
        return grade(
            attacked_for_itself(self.result) if self.bespoke else self.result,
            controls=self.controls,
            convergence=self.convergence,
            unscored=self.unscored,
            origin="board.yaml",
        )


def attacked_for_itself(found: DefenseResult) -> DefenseResult:
    """Returns the result with an attack of a mechanism that it has, bespoke to the row, which breaks no image."""
    own = {**found.board["attacks"]["clean"], "rows": [found.name]}
    board = {**found.board, "attacks": {**found.board["attacks"], "own": own}}
    (clean,) = (attack for attack in found.attacks if attack.name == "clean")
    like = next((attack for attack in found.attacks if attack.mechanisms), clean)
    same = {name: getattr(like, name) for name in ("spec", "gradient", "source", "eot", "backwards")}
    return replace(found, board=board, attacks=(*found.attacks, replace(clean, name="own", **same)))


def estimate(value: float, half: float = 0.02) -> Estimate:
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), 0.95, 100, "wilson")


def control(
    name: str, found: Recovery = Recovery.RECOVERED, alone: Recovery | None = None, *, below_proof: bool = False
) -> ControlScore:
    """Returns a control with a known accuracy of 30 %; `alone` is what is found without transfer."""
    accuracy, difference = estimate(0.3), Estimate(0.0, -0.01, 0.01, 0.95, 100, "paired")
    fields = (0.3, 0.3, accuracy, accuracy, {}, difference, found, found if alone is None else alone)
    return ControlScore(name, ControlKind.MASKED, *fields, below_proof=below_proof)


def converged(status: ConvergenceStatus) -> Convergence:
    return Convergence(status, (), estimate(0.3), "square", None, f"it is {status}")


@cache
def result(random: bool = False, images: int = 500, accuracy: float = 0.5, draws: int = 16) -> DefenseResult:
    """Returns a row with an attack of each of three mechanisms; its attacks break the same images."""
    right = round(accuracy * images)
    clean, attacked = (["1"] * images, ["1"] * right + ["0"] * (images - right))
    if random:
        clean, attacked = ([one * draws for one in answers] for answers in (clean, attacked))
    names = ("clean", "apgd", "square", "transfer")
    answers = {name: clean if name == "clean" else attacked for name in names}
    (found,) = make_results({"row": answers}, draws=draws, block=images)[2]
    assert found.random == random
    settings = {"apgd": {"eot": 16 if random else 1}, "transfer": {"source": {"defense": "row", "attack": "apgd"}}}
    return replace(found, attacks=tuple(replace(one, **settings.get(one.name, {})) for one in found.attacks))


def changed(found: DefenseResult, **changes: Any) -> DefenseResult:
    """Returns the result with other fields of its attacks: changed(found, apgd={"eot": 2})."""
    attacks = tuple(replace(attack, **changes.get(attack.name, {})) for attack in found.attacks)
    return replace(found, attacks=attacks)


def errored(found: DefenseResult, count: int) -> DefenseResult:
    """Returns the result in which the gradient attack ERRORED on the first images, which are right elsewhere."""
    (attack,) = (one for one in found.attacks if one.name == "apgd")
    outcomes = (Outcome.ERRORED,) * count + attack.outcomes[count:]
    draws = ("",) * count + attack.draws[count:]
    return changed(found, apgd={"outcomes": outcomes, "draws": draws, "reasons": ("RuntimeError: no",)})


def beaten(found: DefenseResult, count: int) -> DefenseResult:
    """Returns the result in which bespoke attacks break `count` images that the common suite leaves right."""
    picks = found.worst_case
    right = [row for row, outcome in enumerate(picks.outcomes) if outcome is Outcome.ROBUST][:count]
    outcomes = [Outcome.MISCLASSIFIED if row in right else one for row, one in enumerate(picks.outcomes)]
    draws = ["0" * len(one) if row in right else one for row, one in enumerate(picks.draws)]
    return replace(found, best_known=replace(picks, outcomes=tuple(outcomes), draws=tuple(draws)))


def without(found: DefenseResult, *names: str) -> DefenseResult:
    return replace(found, attacks=tuple(attack for attack in found.attacks if attack.name not in names))


def warned(found: DefenseResult, code: WarningCode, attack: str = "apgd") -> DefenseResult:
    return changed(found, **{attack: {"warnings": (ResultWarning(code, "a warning", 1, 2),)}})


CONTROLS = tuple(control(f"control-{number}") for number in range(20))
CONVERGED = converged(ConvergenceStatus.CONVERGED)


def missed(count: int, alone: int = 0) -> tuple[ControlScore, ...]:
    """Returns 20 controls, of which some are not recovered, and further ones by transfer only."""
    found = [Recovery.MISSED] * count + [Recovery.RECOVERED] * (20 - count)
    without_transfer = [Recovery.MISSED] * (count + alone) + [Recovery.RECOVERED] * (20 - count - alone)
    pairs = zip(found, without_transfer, strict=True)
    return tuple(control(f"control-{number}", *pair) for number, pair in enumerate(pairs))


def sequence(*views: str, eot: int = 1) -> dict[str, Any]:
    """Returns the fields of a sequence of attacks through these views; Square where the view is none."""
    parts = [{"use": "square" if view == "none" else "apgd", "gradient": view, "eot": eot} for view in views]
    return {"spec": {"name": "sequence", "params": {"parts": parts}}, "gradient": "none"}


def some(count: int, rest: Recovery | None, alone: Recovery) -> tuple[ControlScore, ...]:
    """Returns 20 controls of which some are recovered; `rest` of the others is recovered by all attacks if None."""
    found = Recovery.RECOVERED if rest is None else rest
    return (*CONTROLS[:count], *(control(f"other-{number}", found, alone) for number in range(20 - count)))


def lost(count: int, why: str) -> tuple[UnscoredControl, ...]:
    """Returns controls without a score: errored (E), unfinished (U) or not applicable (I)."""
    reasons = {"E": Unscored.ERRORED, "U": Unscored.UNFINISHED, "I": Unscored.INAPPLICABLE}
    return tuple(UnscoredControl(f"lost-{number}", reasons[why]) for number in range(count))


def good(random: bool = False, **changes: Any) -> Case:
    """Returns an evaluation without a fault, changed."""
    fields = {"result": result(random), "controls": CONTROLS, "convergence": CONVERGED, "bespoke": True} | changes
    return Case(**fields)


# the name, the evaluation, the part and criterion that are graded, and the letter of both
