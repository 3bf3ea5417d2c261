"""Reuses adversarial examples found against another defense of the board (Szegedy et al. 2014, arXiv:1312.6199).

Adversarial examples often transfer between models: a defense that only masks its gradient is broken by examples that
were found on a defense whose gradient is not masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from purebench.attacks.entry import listed
from purebench.attacks.views.view import View
from purebench.core.arguments import KnownParameters
from purebench.core.errors import PurebenchError
from purebench.core.threat import Knowledge, ThreatModel


@dataclass(frozen=True)
class Transfer(KnownParameters):
    """Transfer attack, which returns the adversarial examples of another defense.

    Attributes:
        found: Adversarial images [N,C,H,W] of the attack's source, which the board names and the runner passes.
    """

    found: Tensor | None = None
    knowledge: ClassVar[Knowledge] = Knowledge.NONE

    def __post_init__(self) -> None:
        if not isinstance(self.found, Tensor | None):
            raise PurebenchError(
                f"transfer: expected no `found`: the images come from the attack's source, but got {self.found!r}; "
                "leave it out."
            )

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the source's images, projected to the threat model, [N,C,H,W].

        Args:
            view: The defense as the attack sees it; not used.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N]; not used.
            threat: The threat model.

        Raises:
            PurebenchError: If no images were passed.
        """
        if self.found is None:
            raise PurebenchError("transfer: expected a source, {defense: …, attack: …}, on the board, but got none.")
        return threat.project(self.found.to(x), x)


@listed("adversarial images that were found against another defense of the board", sees="none", bounded=True)
def transfer(*, found: Tensor | None) -> Transfer:
    """Return an attack that reuses adversarial images found against another defense of the board (its `source`).

    Args:
        found: The images, which the board's job passes. Because it has no default, the attack needs a source.
    """
    return Transfer(found)
