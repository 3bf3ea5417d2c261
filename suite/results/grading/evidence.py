"""Defines what the grade of an evaluation is computed from: scores of controls, convergence of the attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from purebench.statistics import Estimate

RECOVERED = 0.05
"""Largest excess of the measured accuracy of a control over its truth at which it counts as recovered."""
EXCLUDED = 0.1
"""Excess that the images must exclude before a control counts as recovered."""
LEVEL = 0.05
"""Largest probability that a control counts as recovered if its excess is at least `EXCLUDED`, and that it counts as
missed if its excess is at most `RECOVERED`."""


class ControlKind(StrEnum):
    """The kind of a control.

    Attributes:
        MASKED: a known model behind a planted fault that hides its gradients.
        ORACLE: a deterministic model whose robust accuracy is proven.
        RANDOM: a random defense whose worst case is known exactly.
    """

    MASKED = "masked"
    ORACLE = "oracle"
    RANDOM = "random"


class Recovery(StrEnum):
    """The comparison of a control's measured accuracy with its known accuracy.

    Attributes:
        RECOVERED: the excess is at most `RECOVERED`, and the images exclude an excess of `EXCLUDED`.
        MISSED: the images show an excess above `RECOVERED`.
        UNDECIDED: the images show neither.
        TOO_EASY: the clean accuracy is less than `EXCLUDED` above the truth, so that attacks which find nothing would
            come near it.
        NO_CLEAN: the board has no clean images, so that it is not known whether the control is too easy.
    """

    RECOVERED = "recovered"
    MISSED = "missed"
    UNDECIDED = "undecided"
    TOO_EASY = "too easy"
    NO_CLEAN = "no clean accuracy"

    @property
    def heading(self) -> str:
        """The heading of a list of such controls."""
        told = {
            Recovery.UNDECIDED: "undecided, for lack of images",
            Recovery.TOO_EASY: f"too easy, with a clean accuracy less than {100 * EXCLUDED:g} points above the truth",
            Recovery.NO_CLEAN: "undecided, because the board has no clean images",
        }
        return told.get(self, str(self))


@dataclass(frozen=True)
class ControlScore:
    """How near the attacks of a board come to the known truth of one control row.

    Attributes:
        name: the name of the control on the board.
        kind: its kind.
        truth_low: lower bound of its robust accuracy on the scored images, a share of the images.
        truth_high: upper bound of it; equal to `truth_low` where the truth is exact.
        measured: robust accuracy under all attacks of the board; images on which an attack ERRORED count as right.
        without_transfer: the same without the attacks that reuse adversarial images of other rows; None if no other
            attack applied.
        by_attack_kind: the same for each kind of attack alone, such as "exact", "bpda", "blind", "transfer" and "none".
        excess: measured − truth_high, paired by image; large values mean that the attacks miss adversarial examples.
            A deterministic control has no negative excess on an image, because there the truth is what was measured.
        recovery: whether the attacks reach the truth.
        recovery_without_transfer: the same without the attacks that reuse adversarial images of other rows.
        below_proof: whether it is measured below what is proven of it.
        errored: the number of scored images on which an attack ERRORED.
        hides: in words, what is hidden from the attacker.
        reference: spec of the defense on which the upper bound is measured, "" for none.
    """

    name: str
    kind: ControlKind
    truth_low: float
    truth_high: float
    measured: Estimate
    without_transfer: Estimate | None
    by_attack_kind: Mapping[str, Estimate]
    excess: Estimate
    recovery: Recovery
    recovery_without_transfer: Recovery
    below_proof: bool = False
    errored: int = 0
    hides: str = ""
    reference: str = ""

    @property
    def recovered(self) -> bool:
        """True if the attacks reach the truth; False also if the images do not decide it."""
        return self.recovery is Recovery.RECOVERED


class Unscored(StrEnum):
    """Why a control that the board declares has no score.

    Attributes:
        ERRORED: its truth, or that of its reference, ERRORED or is not known well enough on any image.
        UNFINISHED: not all of its blocks are finished, those of its reference included.
        INAPPLICABLE: nothing is known of it under the threat model of the board, on any of its images.
    """

    ERRORED = "errored"
    UNFINISHED = "unfinished"
    INAPPLICABLE = "not applicable"


@dataclass(frozen=True)
class UnscoredControl:
    """A control that the board declares and that has no score.

    Attributes:
        name: the name of the control on the board.
        why: the reason.
    """

    name: str
    why: Unscored


class ConvergenceStatus(StrEnum):
    """Whether more effort would lower the accuracy of a row.

    Attributes:
        CONVERGED: the accuracy falls from the lowest rung of the ladder, the last rungs are equivalent, and neither an
            attack of another mechanism nor the ladder ends lower; or almost no accuracy is left.
        FALLING: the last rung is significantly below the rung two below, or another attack ends lower,
            or the ladder ends below the robust accuracy of the row.
        FLAT: the accuracy does not fall from the lowest rung, which is what gradient masking looks like.
        UNDECIDED: too few images to decide.
    """

    CONVERGED = "converged"
    FALLING = "falling"
    FLAT = "flat"
    UNDECIDED = "undecided"


class Fall(StrEnum):
    """Kind of a fall that shows that the attacks of a row have not converged.

    Attributes:
        RUNGS: the last rungs of the ladder still fall.
        LADDER: an attack of the ladder ends below the robust accuracy of the row, so that the board lacks this attack.
        OTHER: another attack ends below the last rung, so that more effort of the same attack is no answer.
    """

    RUNGS = "rungs"
    LADDER = "ladder"
    OTHER = "other"


@dataclass(frozen=True)
class Rung:
    """One effort of the ladder.

    Attributes:
        label: the effort in words, such as "APGD, 20 steps, 4 draws".
        passes: its cost in purifier passes per image (a backward pass counts as two).
        accuracy: the accuracy at the adversarial examples of this rung.
    """

    label: str
    passes: float
    accuracy: Estimate


@dataclass(frozen=True)
class Convergence:
    """The accuracy of one row against effort, on a subset of its images, paired.

    Attributes:
        status: whether more effort would lower the accuracy.
        rungs: the rungs by rising effort; the lowest is random noise without a step.
        drop: first rung − last rung, paired.
        other: the name of the attack of another mechanism that was compared, "" for none.
        difference: last rung − that attack, paired; None for none.
        reason: why the status is what it is, in a sentence.
        images: the number of images of the ladder.
        needs: about how many images decide it; 0 unless it is undecided for lack of images.
        falls: what shows that it is falling; empty for another status.
        lower: the attacks of the ladder that end below the robust accuracy of the row, as a board names them.
    """

    status: ConvergenceStatus
    rungs: Sequence[Rung]
    drop: Estimate
    other: str
    difference: Estimate | None
    reason: str
    images: int = 0
    needs: int = 0
    falls: Sequence[Fall] = ()
    lower: Sequence[str] = ()
