"""Defines the letters of a grade, their reasons, and the grade of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Letter(StrEnum):
    """A letter of a grade, A is the best; a later letter of the alphabet is worse."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    F = "F"


FAILING = frozenset({Letter.D, Letter.F})
"""Letters with which a claim about the robust accuracy is not supported."""


class Code(StrEnum):
    """The criterion of a reason.

    Attributes:
        ERRORS: images whose score is unknown, and attacks that failed on some images.
        COMPLETENESS: whether all blocks of the board are finished.
        CONTRACT: warnings that the defense does not answer as attacks must assume.
        LIBRARY: warnings of the libraries behind attacks.
        VERDICTS: attacks' own verdicts on a deterministic defense, compared with verification.
        REPEATABILITY: whether a command repeats the evaluation.
        TRUTHS: controls that are measured below what is proven of them.
        ATTACKED: whether an attack applies, and whether an image is left to attack.
        MASKING: warnings of gradient masking.
        CONTROLS: the share of control rows whose known accuracy the attacks reach.
        WITHOUT_TRANSFER: the same without attacks that reuse adversarial examples of other rows.
        CONVERGENCE: whether more effort lowers the accuracy.
        ADAPTIVITY: whether an attack follows the gradient of the whole defense.
        EOT: the number of EOT samples of these attacks on a random defense.
        MECHANISMS: the number of different mechanisms of attacks.
        BESPOKE: whether an attack was written or searched for this defense.
        IMAGES: the number of images.
        HALF_WIDTH: half of the width of the confidence interval.
        DRAWS: the number of draws of a random defense.
    """

    ERRORS = "errors"
    COMPLETENESS = "completeness"
    CONTRACT = "contract"
    LIBRARY = "library"
    VERDICTS = "verdicts"
    REPEATABILITY = "repeatability"
    TRUTHS = "truths"
    ATTACKED = "attacked"
    MASKING = "masking"
    CONTROLS = "controls"
    WITHOUT_TRANSFER = "without-transfer"
    CONVERGENCE = "convergence"
    ADAPTIVITY = "adaptivity"
    EOT = "eot"
    MECHANISMS = "mechanisms"
    BESPOKE = "bespoke"
    IMAGES = "images"
    HALF_WIDTH = "half-width"
    DRAWS = "draws"


@dataclass(frozen=True)
class Reason:
    """The letter of one criterion.

    Attributes:
        code: the criterion.
        letter: its letter.
        sentence: what was found, with its numbers.
        short: the same without the numbers of the row, so that rows with the same fault have the same text.
        cure: the command that would raise the letter, or the change of the board.yaml and the command; "" for an A.
    """

    code: Code
    letter: Letter
    sentence: str
    short: str = ""
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.letter} {self.code}: {self.sentence}"


@dataclass(frozen=True)
class PartGrade:
    """The letter of one part of an evaluation.

    Attributes:
        name: integrity, attack adequacy or precision.
        reasons: one reason for each criterion that applies, the worst first.
    """

    name: str
    reasons: tuple[Reason, ...]

    @property
    def letter(self) -> Letter:
        """The worst letter of all criteria."""
        return worst(reason.letter for reason in self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = [{name: text for name, text in asdict(reason).items() if text} for reason in self.reasons]
        return {"letter": str(self.letter), "reasons": plain}


@dataclass(frozen=True)
class Grade:
    """The grade of an evaluation of one defense: how far its robust accuracy can be believed, not how high it is.

    Attributes:
        integrity: whether the numbers are what they claim to be.
        adequacy: whether the attacks could have broken the defense.
        precision: whether there are enough images and draws.
    """

    integrity: PartGrade
    adequacy: PartGrade
    precision: PartGrade

    @property
    def parts(self) -> tuple[PartGrade, PartGrade, PartGrade]:
        """The three parts in the order in which they are shown."""
        return self.integrity, self.adequacy, self.precision

    @property
    def letter(self) -> Letter:
        """The worst letter of the three parts."""
        return worst(part.letter for part in self.parts)

    @property
    def letters(self) -> str:
        """The letters of the three parts, such as "A C B"."""
        return " ".join(part.letter for part in self.parts)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons of all parts that are not an A, the worst first."""
        return ordered(reason for part in self.parts for reason in part.reasons if reason.letter is not Letter.A)

    @property
    def deciding(self) -> tuple[Reason, ...]:
        """The reasons with the overall letter; none for an A."""
        return tuple(reason for reason in self.reasons if reason.letter is self.letter)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        parts = {"integrity": self.integrity, "adequacy": self.adequacy, "precision": self.precision}
        return {"grade": str(self.letter), **{name: part.to_dict() for name, part in parts.items()}}


def worst(letters: Iterable[Letter]) -> Letter:
    """Return the worst of some letters, A without any."""
    return max(letters, default=Letter.A)


def ordered(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return reasons with the worst letters first, those of one letter in their own order."""
    return tuple(sorted(reasons, key=lambda reason: reason.letter, reverse=True))
