"""Scores the control rows of a board: how near its attacks come to the known truths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from purebench.boards.selection import label
from purebench.core.registry import Spec
from purebench.records.outcome import ANSWERED, Outcome
from purebench.results.attack_result import AttackResult
from purebench.results.grading.evidence import ControlKind, ControlScore
from purebench.results.results import CLEAN, DefenseResult
from purebench.statistics import Estimate, interval, interval_method, paired_difference, robust_accuracy

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Wanted = Callable[[AttackResult], bool]

TRANSFER = "transfer"
"""The kind of attacks that reuse adversarial images of other rows."""


@dataclass(frozen=True)
class KnownTruths:
    """The truth of one control on the images on which it is scored.

    Attributes:
        kind: the kind of the control.
        hides: in words, what is hidden from the attacker.
        reference: spec of the defense on which the upper bounds are measured, "" for none.
        scored: bool [images], the images of the result on which the truth is known.
        low: lower bounds [scored images].
        high: upper bounds [scored images].
    """

    kind: ControlKind
    hides: str
    reference: str
    scored: Bools
    low: Floats
    high: Floats


def control_scores(controls: Iterable[DefenseResult], references: Iterable[DefenseResult] = ()) -> list[ControlScore]:
    """Return the scores of the controls, in their order.

    Controls without a known truth are left out, and so are those of which an attack ERRORED.

    Args:
        controls: the results of the control rows.
        references: the results of their references under strong attacks.
    """
    known = {result.name: result for result in references}
    pairs = ((result, known_truths(result, known)) for result in controls)
    return [_score(result, truths) for result, truths in pairs if truths is not None and not result.doubtful.any()]


def known_truths(result: DefenseResult, references: Mapping[str, DefenseResult]) -> KnownTruths | None:
    """Return the truth of a control; None if it is known on no image.

    Args:
        result: the result of the control.
        references: the results of references by name.
    """
    told = next((attack for attack in result.attacks if attack.control is not None and attack.truth), None)
    if told is None or told.control is None:
        return None
    measured = _upper_bounds(references.get(label(told.control.reference)) if told.control.reference else None)
    low, high = np.full(len(result.images), np.nan), np.full(len(result.images), np.nan)
    for row, (image, bounds) in enumerate(zip(result.images, told.truth, strict=True)):
        if bounds is not None:
            low[row] = bounds.low
            high[row] = measured.get(image, np.nan) if bounds.high is None else bounds.high
    scored = ~np.isnan(low) & ~np.isnan(high)
    if not scored.any():
        return None
    # the lower bound is proven, the upper one is measured; with few draws it may come out below
    least, most = low[scored], np.maximum(low[scored], high[scored])
    facts = told.control
    return KnownTruths(ControlKind(facts.kind), facts.hides, facts.reference, scored, least, most)


def _upper_bounds(reference: DefenseResult | None) -> dict[int, float]:
    """Return the accuracy of the reference at the picked adversarial example of each image; {} without one."""
    if reference is None:
        return {}
    scores = reference.scores(errored=1.0)
    return {image: float(score) for image, score in zip(reference.images, scores, strict=True)}


def attack_kind(attack: AttackResult) -> str:
    """Return the kind of an attack: "transfer", or the name of its gradient mode; "" if it is none that applies."""
    if attack.name == CLEAN or attack.certified or attack.control is not None or attack.skipped:
        return ""
    return TRANSFER if attack.source is not None else Spec.parse(attack.gradient).name


def _score(result: DefenseResult, truths: KnownTruths) -> ControlScore:
    confidence, scored = float(result.board["confidence"]), truths.scored
    scores = result.scores()[scored]
    kinds = {kind: None for attack in result.attacks if (kind := attack_kind(attack))}
    alone = {kind: _accuracy(result, scored, partial(_is_of, kind)) for kind in kinds}
    others = any(kind != TRANSFER for kind in kinds)
    return ControlScore(
        name=result.name,
        kind=truths.kind,
        truth_low=float(truths.low.mean()),
        truth_high=float(truths.high.mean()),
        measured=interval(scores, interval_method(not result.random, result.anytime), confidence),
        without_transfer=_accuracy(result, scored, lambda attack: attack_kind(attack) != TRANSFER) if others else None,
        by_attack_kind=alone,
        excess=paired_difference(scores, truths.high, confidence, anytime=result.anytime),
    )


def _is_of(kind: str, attack: AttackResult) -> bool:
    return attack_kind(attack) == kind


def _accuracy(result: DefenseResult, scored: Bools, wanted: Wanted) -> Estimate:
    """Return the accuracy under the clean images and the wanted attacks, from the verification draws.

    Of a random defense, half of the draws pick the attack of an image and the others score it.
    """
    used = [one for one in _applying(result) if one.name == CLEAN or one.control is not None or wanted(one)]
    right = np.stack([result.right(attack)[scored] for attack in used])
    counts = np.array([[outcome in ANSWERED for outcome in attack.outcomes] for attack in used])[:, scored]
    return robust_accuracy(
        right,
        deterministic=not result.random,
        confidence=float(result.board["confidence"]),
        counts=counts,
        anytime=result.anytime,
    )


def _applying(result: DefenseResult) -> Iterator[AttackResult]:
    return (attack for attack in result.attacks if any(outcome is not Outcome.SKIPPED for outcome in attack.outcomes))


def with_truths(
    controls: Sequence[DefenseResult], references: Sequence[DefenseResult]
) -> list[tuple[ControlScore, KnownTruths]]:
    """Return the scores of the controls with their truths, in the order of `control_scores`."""
    known = {result.name: result for result in references}
    by_name = {score.name: score for score in control_scores(controls, references)}
    pairs = ((by_name.get(result.name), known_truths(result, known)) for result in controls)
    return [(score, truths) for score, truths in pairs if score is not None and truths is not None]
