"""The outcome of a sweep, as sweep.json contains it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, Literal

from pydantic import ConfigDict

from purebench.checks.finding import CheckResult
from purebench.checks.sweeps.choice import Choice, choose
from purebench.core.errors import PurebenchError
from purebench.core.files.versioned_model import (
    STRICT,
    Fraction,
    Line,
    PerImage,
    Plain,
    Position,
    Text,
    Whole,
    from_json,
)
from purebench.core.warning_codes import ResultWarning
from purebench.statistics import Estimate

SCHEMA: Final = 1
"""Version of the schema of sweep.json."""
CURE = "run the sweep again (purebench sweep)"


@dataclass(frozen=True)
class Point:
    """One strength.

    Attributes:
        label: The swept values in words, such as "t=150".
        values: The value of each swept parameter.
        row: Name of its row on the board of the sweep.
        spec: The spec of the defense.
        on_board: Whether it is a row of the board.
        random: Whether the defense is random.
        weights: sha256 of the weights.
        clean: Clean accuracy; None if it was not measured.
        robust: Robust accuracy; None if images errored, or no attack applies.
        clean_loss: Clean accuracy of the undefended classifier less that of the strength, on the same images.
        errored: Number of images whose score is unknown because of an error.
        strongest: The attack with the lowest accuracy.
        clean_scores: [n] in [0,1], the share of right draws of each clean image.
        robust_scores: [n] in [0,1], the same at the picked adversarial examples; empty if `robust` is None.
        seconds: Wall time of its jobs.
        warnings: Reasons why the robust accuracy may be too high.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    label: Line
    values: Mapping[str, Line]
    row: Line
    spec: Text
    on_board: bool
    random: bool
    weights: Line
    clean: Estimate | None
    robust: Estimate | None
    clean_loss: Estimate | None
    errored: Whole
    strongest: Line | None
    clean_scores: PerImage[Fraction]
    robust_scores: PerImage[Fraction]
    seconds: float
    warnings: tuple[ResultWarning, ...] = ()


@dataclass(frozen=True)
class Contrast:
    """The robust accuracy of a strength compared with that of the chosen one, on the same images.

    Attributes:
        label: The strength.
        difference: Robust accuracy of the strength less that of the chosen one, with its interval.
        p_value: p-value, adjusted by Holm over the family.
        apart: Whether they are distinguished.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    label: Line
    difference: Estimate
    p_value: Fraction
    apart: bool


@dataclass(frozen=True)
class RadiusPoint:
    """The chosen strength at one radius.

    Attributes:
        written: The radius as text.
        radius: The radius in units of images in [0,1].
        robust: Robust accuracy; None if images errored, or no attack applies.
        robust_scores: As in `Point`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    written: Line
    radius: float
    robust: Estimate | None
    robust_scores: PerImage[Fraction]


@dataclass(frozen=True)
class FamilyOutcome:
    """The strengths of one defense, and the one that the rule chooses.

    Attributes:
        name: Name of the family.
        defense: The defense, with the swept values in braces.
        points: Its strengths, in the order in which they are written.
        choice: The choice; None if no strength was measured.
        contrasts: The other measured strengths, compared with the chosen one.
        missing: Labels of the strengths that were not run, because files are missing on the machine.
        radii: The chosen strength by radius, that of the board included; empty if the radius is not swept.
        checks: The checks of this curve.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Line
    defense: Text
    points: tuple[Point, ...]
    choice: Choice | None
    contrasts: tuple[Contrast, ...]
    missing: PerImage[Line] = ()
    radii: tuple[RadiusPoint, ...] = ()
    checks: tuple[CheckResult, ...] = ()

    @property
    def chosen(self) -> Point | None:
        """The chosen strength."""
        return None if self.choice is None else self.points[self.choice.place]

    @property
    def unmeasured(self) -> str:
        """The strengths among which the rule does not choose, each with the reason; empty if there are none."""
        told = [f"{label} (files are missing)" for label in self.missing]
        for point in self.points:
            if point.robust is None or point.clean_loss is None:
                why = f"{point.errored} images errored" if point.errored else "no accuracy"
                told.append(f"{point.label} ({why})")
        return ", ".join(told)

    @property
    def reason(self) -> str:
        """The reason for the choice, and the strengths that the rule could not consider."""
        assert self.choice is not None
        return f"{self.choice.reason}; not evaluated: {self.unmeasured}" if self.unmeasured else self.choice.reason

    @property
    def alike(self) -> list[str]:
        """The strengths whose robust accuracy is not distinguished from the chosen one's."""
        return [one.label for one in self.contrasts if not one.apart]


@dataclass(frozen=True)
class SweepOutcome:
    """All numbers of a sweep.

    Attributes:
        board: Name of the board.
        settings: The settings that decide the numbers: data set, threat model, attacks, draws.
        norm: Norm of the radii.
        radius_text: The radius of the board as text.
        images: Positions of the dev images in their data set.
        labels: Their classes.
        largest_clean_loss: The limit of the rule.
        undefended: Clean accuracy of the board's classifier alone.
        families: The families.
        command: The command line.
        provenance: Versions, commit, device, and hashes of data and code.
        schema: Version of the schema.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    board: Line
    settings: Mapping[str, Plain]
    norm: Line
    radius_text: Line
    images: PerImage[Position]
    labels: PerImage[Position]
    largest_clean_loss: Fraction
    undefended: Estimate
    families: tuple[FamilyOutcome, ...]
    command: Text
    provenance: Mapping[str, Plain]
    schema: Literal[1] = SCHEMA

    @property
    def errored(self) -> bool:
        """True if a strength or a radius has no number because of an error."""
        return any(one.errored for family in self.families for one in family.points) or any(
            one.robust is None for family in self.families for one in family.radii
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str) -> SweepOutcome:
        """Create an outcome from the JSON of its `to_dict`.

        Raises:
            PurebenchError: If it does not match the schema, or a choice is not that of the rule for its numbers.
        """
        found = from_json(cls, text, version=SCHEMA, cure=CURE)
        for family in found.families:
            right = choose(family.points, found.largest_clean_loss)
            if _decided(family.choice) != _decided(right):
                raise PurebenchError(
                    f"families.{family.name}.choice: expected the strength that the rule chooses for these numbers, "
                    f"but got another one; {CURE}."
                )
        return found

    def to_json(self) -> str:
        """Return the JSON of `to_dict`, with a line break at its end."""
        return json.dumps(self.to_dict(), ensure_ascii=False) + "\n"


def _decided(choice: Choice | None) -> tuple[int, bool] | None:
    """Return what a choice decides, without its reason, whose words another version may have changed."""
    return None if choice is None else (choice.place, choice.within)
