"""The known robust accuracy of a control, in the form of an attack that changes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from purebench.attacks.entry import listed
from purebench.attacks.views.view import View
from purebench.core.answers import Answer, ControlFacts, ImageTruth, Inapplicable
from purebench.core.defense import Defense
from purebench.core.defense.known_truth import Control, Truth
from purebench.core.parameters import CheckedParameters
from purebench.core.threat import Knowledge, ThreatModel


@listed("no attack: the known robust accuracy of a control", sees="none", bounded=True)
@dataclass(frozen=True, kw_only=True)
class KnownTruth(CheckedParameters):
    """Bounds of the robust accuracy of a control, image by image (docs/controls.md); the images stay as they are."""

    knowledge: ClassVar[Knowledge] = Knowledge.NONE

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """Ask the control for the bounds of each image.

        Args:
            view: A view of the defense.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Returns:
            The unchanged images, and the bounds.

        Raises:
            Inapplicable: If the defense is no control, or nothing is known of it under this threat model.
        """
        control = control_of(view.defense)
        if control is None:
            raise Inapplicable("the defense is no control: it has no method `truth`")
        facts = ControlFacts(control.kind, control.hides, control.reference)  # type: ignore[arg-type]
        return Answer(x, truth=by_image(control.truth(x, y, threat), control.reference), control=facts)


def control_of(defense: Defense) -> Control | None:
    """Return the control behind a defense: itself, or its classifier if it has no purifier; None if there is none."""
    candidates: tuple[object, ...] = (defense, defense.classifier) if defense.purifier is None else (defense,)
    return next((one for one in candidates if isinstance(one, Control)), None)


def by_image(truth: Truth, reference: str) -> list[ImageTruth | None]:
    """Return the bounds of each image; None for images on which the control is not scored.

    Args:
        truth: The bounds.
        reference: The reference, which has the upper bounds that are NaN; "" for none.
    """
    rows = zip(truth.low.tolist(), truth.high.tolist(), strict=True)
    return [
        None
        if math.isnan(low) or (math.isnan(high) and not reference)
        else ImageTruth(low, None if math.isnan(high) else high)
        for low, high in rows
    ]
