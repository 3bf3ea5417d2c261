"""Warnings with codes: reasons why a number may be too high, or must be interpreted with care.

Program logic depends on the code of a warning; its text is for people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

from pydantic import ConfigDict

from purebench.core.files.versioned_model import STRICT, Text, Whole


class WarningCode(StrEnum):
    """The kind of a warning.

    Attributes:
        ZERO_GRADIENT: the gradient is zero at points that are still classified correctly.
        NON_FINITE_GRADIENT: the gradient is NaN or infinite.
        GRADIENT_MODE: the defense answers differently while gradients are computed.
        GRADIENT_FREE_STRONGER: attacks without the defense's gradient break more images than attacks with it.
        NO_STARTING_POINT: an attack found no misclassified point to start from.
        LIBRARY: a warning of the library that ran the attack.
        CONDITIONAL: in a cascade, earlier attacks broke some of the images.
        PROBABILITIES: the defense returns probabilities where logits are expected.
        SHARED_DRAWS: the defense draws once per call for all images, so each draw needs a separate call.
        FLAT_LADDER: attacks of rising effort leave the accuracy that random noise leaves.
        INCOMPLETE_OPTIMISATION: the accuracy still falls with more effort of the attack.
        INCREASING_LOSS: more effort of the attack leaves a higher accuracy.
        PARTLY_MASKED: attacks without the defense's gradient break too many images that no attack with it breaks.
        TRANSFER_ONLY: images of another model lower the accuracy more than the strongest attack with gradients does.
        SILENT_SUCCESS: an attack reports a success, but the image that it returns is classified correctly.
        UNREACHABLE: attacks without a limit of the distance find no adversarial image.
    """

    ZERO_GRADIENT = "zero-gradient"
    NON_FINITE_GRADIENT = "non-finite-gradient"
    GRADIENT_MODE = "gradient-mode"
    GRADIENT_FREE_STRONGER = "gradient-free-stronger"
    NO_STARTING_POINT = "no-starting-point"
    LIBRARY = "library"
    CONDITIONAL = "conditional"
    PROBABILITIES = "probabilities"
    SHARED_DRAWS = "shared-draws"
    FLAT_LADDER = "flat-ladder"
    INCOMPLETE_OPTIMISATION = "incomplete-optimisation"
    INCREASING_LOSS = "increasing-loss"
    PARTLY_MASKED = "partly-masked"
    TRANSFER_ONLY = "transfer-only"
    SILENT_SUCCESS = "silent-success"
    UNREACHABLE = "unreachable"


OF_GRADIENTS = frozenset({WarningCode.ZERO_GRADIENT, WarningCode.NON_FINITE_GRADIENT, WarningCode.GRADIENT_MODE})
"""Warnings that the gradients of an attack were invalid. They are ignored if another attack had valid gradients and
broke more images."""
OF_ONE_ATTACK = frozenset(
    {WarningCode.NO_STARTING_POINT, WarningCode.LIBRARY, WarningCode.CONDITIONAL, WarningCode.SHARED_DRAWS}
)
"""Warnings that concern one attack and not the row's accuracy. All others are warnings of the row."""


@dataclass(frozen=True)
class ResultWarning:
    """A warning of a record, an attack's result or a row.

    Attributes:
        code: the kind of the warning.
        text: a sentence without the numbers.
        count: the number of cases; the text names what is counted. None where nothing was counted.
        of: the total that `count` is a part of; None where nothing was counted.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    code: WarningCode
    text: Text
    count: Whole | None = None
    of: Whole | None = None

    @property
    def sentence(self) -> str:
        """The text, with the count and the total."""
        return self.text if self.count is None else f"{self.text}: {self.count} of {self.of}"

    def __str__(self) -> str:
        return f"{self.sentence} [{self.code}]"


def joined(warnings: Iterable[ResultWarning]) -> tuple[ResultWarning, ...]:
    """Return the distinct warnings, in the order of their first occurrence.

    Warnings with equal code and text are merged, and their counts are added.
    """
    found: dict[tuple[WarningCode, str], ResultWarning] = {}
    for warning in warnings:
        before = found.setdefault((warning.code, warning.text), replace(warning, count=None, of=None))
        if warning.count is not None and warning.of is not None:
            count, of = (before.count or 0) + warning.count, (before.of or 0) + warning.of
            found[warning.code, warning.text] = replace(before, count=count, of=of)
    return tuple(found.values())
