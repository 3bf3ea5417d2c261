"""Defines what the grade of an evaluation is computed from: scores of controls, convergence of the attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from purebench.statistics import Estimate

RECOVERED = 0.05
"""Largest excess of the measured accuracy of a control over its truth at which it counts as recovered."""


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


@dataclass(frozen=True)
class ControlScore:
    """How near the attacks of a board come to the known truth of one control row.

    Attributes:
        name: the name of the control on the board.
        kind: its kind.
        truth_low: lower bound of its robust accuracy on the images of the board, a share of the images.
        truth_high: upper bound of it; equal to `truth_low` where the truth is exact.
        measured: robust accuracy under all attacks of the board.
        without_transfer: the same without the attacks that reuse adversarial images of other rows; None if no other
            attack applied.
        by_attack_kind: the same for each kind of attack alone, such as "exact", "bpda", "blind", "transfer" and "none".
        excess: measured − truth_high, paired by image; large values mean that the attacks miss adversarial examples.
    """

    name: str
    kind: ControlKind
    truth_low: float
    truth_high: float
    measured: Estimate
    without_transfer: Estimate | None
    by_attack_kind: Mapping[str, Estimate]
    excess: Estimate

    @property
    def recovered(self) -> bool:
        """True if the measured accuracy exceeds the truth by at most `RECOVERED`."""
        return self.excess.value <= RECOVERED


class ConvergenceStatus(StrEnum):
    """Whether more effort would lower the accuracy of a row.

    Attributes:
        CONVERGED: the accuracy falls from the lowest rung of the ladder, the last rungs are equivalent, and an attack
            of another mechanism ends no lower; or almost no accuracy is left.
        FALLING: the last rung is significantly below that with a quarter of its effort, or another attack ends lower.
        FLAT: the accuracy does not fall from the lowest rung, which is what gradient masking looks like.
        UNDECIDED: too few images to decide.
    """

    CONVERGED = "converged"
    FALLING = "falling"
    FLAT = "flat"
    UNDECIDED = "undecided"


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
    """

    status: ConvergenceStatus
    rungs: Sequence[Rung]
    drop: Estimate
    other: str
    difference: Estimate | None
    reason: str
