"""Builders of control rows with known truths, for the tests of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from purebench.boards.board import AttackChoice, Board, Source
from purebench.core.answers import ControlFacts, ImageTruth
from purebench.core.registry import Spec
from purebench.records.outcome import Outcome
from purebench.results.grading.control_scores import score_controls
from purebench.results.grading.evidence import ControlScore
from purebench.results.results import DefenseResult

from synthetic import make_board, make_record, merge  # isort: skip

REFERENCE = "before(purifier='none', classifier='fashion-trades')"
MASKED = ControlFacts("masked", "a fault", REFERENCE)
EXACT = ControlFacts("oracle", "nothing", "")
ATTACKS = (
    AttackChoice("clean", Spec("clean")),
    AttackChoice("apgd", Spec("apgd"), "exact"),
    AttackChoice("blind", Spec("apgd"), "blind"),
    AttackChoice("transfer", Spec("transfer"), source=Source("plain", "apgd")),
    AttackChoice("truth", Spec("known-truth")),
)


def board(**more: object) -> Board:
    return replace(make_board(defenses=("control",), images=8, block=8), attacks=ATTACKS, **more)


def control(
    answers: dict[str, str], truth: list[ImageTruth | None], facts: ControlFacts, of: Board | None = None
) -> DefenseResult:
    """Return the result of a deterministic control; each attack has one character per image, 1 for right."""
    of = of or board()
    everything = {name: answers.get(name, answers["clean"]) for name in (attack.name for attack in of.attacks)}
    records = [
        make_record(
            of, "control", name, 0, list(given), **({"truth": truth, "control": facts} if name == "truth" else {})
        )
        for name, given in everything.items()
    ]
    (found,) = merge(of, records)
    return found


def row_of(found: DefenseResult) -> DefenseResult:
    """Returns the result of a row of the board of a control."""
    attacks = {name: attack for name, attack in found.board["attacks"].items() if name != "truth"}
    return replace(found, name="row", board={**found.board, "attacks": attacks}, attacks=found.attacks[:-1])


def scores(controls: list[DefenseResult], references: Sequence[DefenseResult] = ()) -> list[ControlScore]:
    return list(score_controls(controls, references).scores)


def why(controls: list[DefenseResult], references: Sequence[DefenseResult] = (), declared: Sequence[str] = ()) -> Any:
    """Returns the reasons of the controls without a score, by name."""
    return {one.name: one.why for one in score_controls(controls, references, declared).unscored}


def many(count: int, wrong: int, low: str, high: str, errored: int = 0) -> DefenseResult:
    """Returns a control that is right on `count` images, the first of which are broken, with equal bounds on all."""
    of = replace(make_board(defenses=("control",), images=count, block=count), attacks=ATTACKS)
    answers: list[object] = [*"0" * wrong, *"1" * (count - wrong)]
    records = [
        make_record(of, "control", name, 0, ["1"] * count if name == "clean" else list(answers), reason="it fails")
        for name in ("clean", "apgd", "blind", "transfer")
    ]
    failing: list[object] = [*answers[: count - errored], *[Outcome.ERRORED] * errored]
    records[1] = make_record(of, "control", "apgd", 0, failing, reason="it fails")
    truth = [ImageTruth(float(low), float(high))] * count
    records += [make_record(of, "control", "truth", 0, ["1"] * count, truth=truth, control=EXACT)]
    (found,) = merge(of, records)
    return found


def bounds(low: str, high: str) -> list[ImageTruth | None]:
    return [ImageTruth(float(a), float(b)) for a, b in zip(low, high, strict=True)]
