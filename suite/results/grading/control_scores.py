"""Scores the control rows of a board: how near its attacks come to the known truths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from purebench.boards.derived.controls_board import TRUTH
from purebench.boards.selection import label
from purebench.core.answers import ControlFacts, ImageTruth
from purebench.core.registry import Spec
from purebench.records.outcome import ANSWERED, Outcome
from purebench.results.attack_result import AttackResult
from purebench.results.grading.evidence import (
    EXCLUDED,
    LEVEL,
    RECOVERED,
    ControlKind,
    ControlScore,
    Recovery,
    Unscored,
    UnscoredControl,
)
from purebench.results.grading.same_jobs import same_reference
from purebench.results.results import CLEAN, DefenseResult
from purebench.statistics import (
    Estimate,
    interval,
    interval_method,
    one_sided_bound,
    paired_difference,
    robust_accuracy,
    robust_per_image,
)

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Wanted = Callable[[AttackResult], bool]

TRANSFER = "transfer"
"""The kind of attacks that reuse adversarial images of other rows."""
SIDES: Final[tuple[Literal["low"], Literal["high"]]] = ("low", "high")
PROOF_CONFIDENCE = 0.999
"""Confidence with which a random control must be measured below its proven accuracy to contradict the proof."""


@dataclass(frozen=True)
class KnownTruths:
    """The truth of one control on all images of its result.

    Attributes:
        low: lower bounds [images]; NaN where nothing is proven.
        high: upper bounds [images]; NaN where the truth is not known to within `RECOVERED`, and where the reference
            that it is measured on has no score.
    """

    low: Floats
    high: Floats

    @property
    def scored(self) -> Bools:
        """True where the truth is known, bool [images]."""
        return np.asarray(~np.isnan(self.low) & ~np.isnan(self.high), dtype=np.bool_)


@dataclass(frozen=True)
class Scored:
    """The controls of a board.

    Attributes:
        scores: the scores of those that have one.
        unscored: the others.
    """

    scores: Sequence[ControlScore] = ()
    unscored: Sequence[UnscoredControl] = ()


def score_controls(
    controls: Iterable[DefenseResult],
    references: Iterable[DefenseResult] = (),
    declared: Sequence[str] = (),
) -> Scored:
    """Return the scores of the controls of a board, and which of them have none.

    A control is scored if all blocks of it and of its reference are finished, on the images on which its truth is known
    to within `RECOVERED`. An image on which an attack ERRORED counts as its picked adversarial example, or as right
    without one, because a further attack may not have broken it either.

    Args:
        controls: the results of the control rows.
        references: the results of their references under strong attacks.
        declared: the names of the controls that the board declares, in its order; those of `controls` without any.
    """
    known = {result.name: result for result in references}
    rows = {result.name: result for result in controls}
    found = {name: _scored(rows.get(name), known) for name in declared or rows}
    return Scored(
        [one for one in found.values() if isinstance(one, ControlScore)],
        [UnscoredControl(name, one) for name, one in found.items() if isinstance(one, Unscored)],
    )


def _scored(result: DefenseResult | None, references: Mapping[str, DefenseResult]) -> ControlScore | Unscored:
    if result is None or not result.complete:
        return Unscored.UNFINISHED
    told = next((attack for attack in result.attacks if attack.spec.get("name") == TRUTH), None)
    if told is None or told.control is None or not any(told.truth):
        failed = told is not None and Outcome.ERRORED in told.outcomes
        return Unscored.ERRORED if failed else Unscored.INAPPLICABLE
    reference = references.get(label(told.control.reference)) if told.control.reference else None
    usable = reference is not None and reference.complete and same_reference(result, reference)
    if told.control.reference and not usable:
        return Unscored.UNFINISHED  # a reference of other code is run again with the control
    truths = known_truths(result.images, told.truth, reference)
    return _score(result, told.control, truths) if truths.scored.any() else Unscored.ERRORED


def known_truths(
    images: Sequence[int], told: Sequence[ImageTruth | None], reference: DefenseResult | None
) -> KnownTruths:
    """Return the truth of a control.

    Args:
        images: positions of the images in the data set.
        told: the truth that the control states of each image.
        reference: the result of its reference; None without one.
    """
    measured = {} if reference is None else _upper_bounds(reference)
    low, high = np.full(len(images), np.nan), np.full(len(images), np.nan)
    for row, (image, bounds) in enumerate(zip(images, told, strict=True)):
        if bounds is None:
            continue
        low[row] = bounds.low
        if bounds.high is None:
            high[row] = measured.get(image, np.nan)
        elif bounds.high - bounds.low <= RECOVERED:
            high[row] = bounds.high
    # the lower bound is proven, the upper one is measured; with few draws it may come out below
    return KnownTruths(low, np.where(np.isnan(high), np.nan, np.fmax(low, high)))


def _upper_bounds(reference: DefenseResult) -> dict[int, float]:
    """Return the accuracy of the reference at the picked adversarial example of each image that has a score."""
    known = reference.scored & ~reference.doubtful
    scores = zip(reference.images, reference.scores(), known, strict=True)
    return {image: float(score) for image, score, sure in scores if sure}


def attack_kind(attack: AttackResult) -> str:
    """Return the kind of an attack: "transfer", or the name of its gradient mode; "" if it is none that applies."""
    if attack.name == CLEAN or attack.certified or attack.control is not None or attack.skipped:
        return ""
    return TRANSFER if attack.source is not None else Spec.parse(attack.gradient).name


def _score(result: DefenseResult, facts: ControlFacts, truths: KnownTruths) -> ControlScore:
    confidence, scored = float(result.board["confidence"]), truths.scored
    low, high = truths.low[scored], truths.high[scored]
    scores = np.nan_to_num(result.scores(errored=1.0), nan=1.0)[scored]
    kinds = {kind: None for attack in result.attacks if (kind := attack_kind(attack))}
    alone = {kind: _accuracy(result, scored, partial(_is_of, kind)) for kind in kinds}
    others = any(kind != TRANSFER for kind in kinds)
    clean = _clean(result, scored)
    without = _per_image(result, scored, _is_no_transfer) if others else np.ones_like(high)
    return ControlScore(
        name=result.name,
        kind=ControlKind(facts.kind),
        truth_low=float(low.mean()),
        truth_high=float(high.mean()),
        measured=interval(scores, interval_method(not result.random, result.anytime), confidence),
        without_transfer=_accuracy(result, scored, _is_no_transfer) if others else None,
        by_attack_kind=alone,
        excess=paired_difference(_at_least(scores, high, result), high, confidence, anytime=result.anytime),
        recovery=recovery(_at_least(scores, high, result), high, clean, random=result.random),
        recovery_without_transfer=recovery(_at_least(without, high, result), high, clean, random=result.random),
        below_proof=_below_proof(result, truths.low),
        errored=int(result.doubtful[scored].sum()),
        hides=facts.hides,
        reference=facts.reference,
    )


def _clean(result: DefenseResult, scored: Bools) -> Floats:
    """Return the accuracy of each scored image without an attack; [] on a board without clean images."""
    found = next((attack for attack in result.attacks if attack.name == CLEAN), None)
    return np.empty(0) if found is None else np.asarray(result.right(found)[scored].mean(axis=1), dtype=np.float64)


def _at_least(scores: Floats, high: Floats, result: DefenseResult) -> Floats:
    """Return the scores of a deterministic control without those below the upper bound of the truth.

    An image that the attacks break there has the truth 0, so that it does not make up for an image that they miss. The
    scores of a random control vary with its draws in both directions and stay as they are.
    """
    return scores if result.random else np.maximum(scores, high)


def recovery(measured: Floats, truth: Floats, clean: Floats, *, random: bool) -> Recovery:
    """Decide whether attacks reach the known accuracy of a control.

    A control is recovered if the mean excess is at most `RECOVERED` and its one-sided upper bound is below `EXCLUDED`,
    and missed if the one-sided lower bound is above `RECOVERED`. For a deterministic control the bounds are those of
    Clopper and Pearson: with no missed image 29 images suffice, with one 46. A control whose clean accuracy is not at
    least `EXCLUDED` above its truth would be recovered by attacks that find nothing: it is too easy, unless it is
    missed. Without clean images this is not known.

    Args:
        measured: the measured accuracy of each image [n] in [0,1].
        truth: the known accuracy of each image [n] in [0,1], at most `measured` for a deterministic control.
        clean: the accuracy of each image without an attack [n] in [0,1], as far as it is known.
        random: whether the control is random.
    """
    excess, most = measured - truth, float((1 - truth).max())
    if most <= 0:  # no image can be missed
        return Recovery.TOO_EASY
    least = -float(truth.max()) if random else 0.0
    shares = ((excess - least) / (most - least)).clip(0, 1)
    low, high = (least + (most - least) * one_sided_bound(shares, 1 - LEVEL, side) for side in SIDES)
    if low > RECOVERED:
        return Recovery.MISSED
    if not len(clean):
        return Recovery.NO_CLEAN
    if clean.mean() - truth.mean() < EXCLUDED:
        return Recovery.TOO_EASY
    return Recovery.RECOVERED if excess.mean() <= RECOVERED and high < EXCLUDED else Recovery.UNDECIDED


def _below_proof(result: DefenseResult, low: Floats) -> bool:
    """Return whether a control is measured below its proven accuracy, so that the attacks leave the threat model.

    One image decides it for a deterministic control, and the mean over the images for a random one.
    """
    known = ~np.isnan(low) & result.scored & ~result.doubtful
    scores, proven = result.scores()[known], low[known]
    if not result.random or not known.any():
        return bool((scores < proven).any())
    return paired_difference(scores, proven, PROOF_CONFIDENCE).high < 0


def _is_no_transfer(attack: AttackResult) -> bool:
    return attack_kind(attack) != TRANSFER


def _is_of(kind: str, attack: AttackResult) -> bool:
    return attack_kind(attack) == kind


def _accuracy(result: DefenseResult, scored: Bools, wanted: Wanted) -> Estimate:
    """Return the accuracy under the clean images and the wanted attacks, from the verification draws.

    Of a random defense, half of the draws pick the attack of an image and the others score it.
    """
    right, counts = _answers(result, scored, wanted)
    return robust_accuracy(
        right,
        deterministic=not result.random,
        confidence=float(result.board["confidence"]),
        counts=counts,
        anytime=result.anytime,
    )


def _per_image(result: DefenseResult, scored: Bools, wanted: Wanted) -> Floats:
    """Return the same image by image [scored images]."""
    right, counts = _answers(result, scored, wanted)
    return robust_per_image(right, counts, in_order=result.anytime)


def _answers(result: DefenseResult, scored: Bools, wanted: Wanted) -> tuple[Bools, Bools]:
    """Return the draws, bool [attacks, scored images, draws], and where an attack answered, bool [attacks, images].

    The draws at the images themselves count as well; an image without any answer counts as right.
    """
    used = [one for one in _applying(result) if one.name == CLEAN or one.control is not None or wanted(one)]
    right = np.stack([result.right(attack)[scored] for attack in used])
    counts = np.array([[outcome in ANSWERED for outcome in attack.outcomes] for attack in used])[:, scored]
    none = ~counts.any(axis=0)
    right[:, none], counts[:, none] = True, True
    return right, counts


def _applying(result: DefenseResult) -> Iterator[AttackResult]:
    return (attack for attack in result.attacks if any(outcome is not Outcome.SKIPPED for outcome in attack.outcomes))
