"""The adversarial images found against another defense of the board (Szegedy et al. 2014, arXiv:1312.6199).

What breaks one model often breaks another: a defense that only hides its gradient falls to the images that were found
where the gradient can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from purebench.attacks.views.view import View
from purebench.core.errors import PurebenchError
from purebench.core.threat import Knowledge, ThreatModel


@dataclass(frozen=True)
class Transfer:
    """found: adversarial images [N,C,H,W] of the attack's source, which the board names and the runner hands over."""

    found: Tensor | None = None
    knowledge: ClassVar[Knowledge] = Knowledge.NONE

    def __post_init__(self) -> None:
        if not isinstance(self.found, Tensor | None):
            raise PurebenchError(
                f"transfer: expected no `found`: the images come from the attack's source, but got {self.found!r}; "
                "leave it out."
            )

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """The images as they are, projected. Raises PurebenchError where none were handed over."""
        if self.found is None:
            raise PurebenchError("transfer: expected a source, {defense: …, attack: …}, on the board, but got none.")
        return threat.project(self.found.to(x), x)


def transfer(*, found: Tensor | None = None) -> Transfer:
    """Reuses the adversarial images that were found against another defense of the board (its `source`)."""
    return Transfer(found)
