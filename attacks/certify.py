"""What a defense can prove of itself: no attack, but a certificate an image (Cohen et al. 2019, arXiv:1902.02918).

A certificate is a lower bound where attacks give an upper one: within its radius nothing at all changes the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from purebench.attacks.gradient.pgd import at_least_one
from purebench.attacks.views.view import View
from purebench.core.defense import Certifier
from purebench.core.errors import PurebenchError
from purebench.core.protocols import Answer, Inapplicable
from purebench.core.threat import Knowledge, ThreatModel


def within(norm: str, radius: float, values: int) -> float:
    """The radius of the largest ball in `norm` inside an l2 ball, in so many dimensions, rounded down to 7 digits.

    |d|_2 ≤ |d|_1 and |d|_2 ≤ sqrt(values)·|d|_inf, and both are reached.
    """
    found = radius / math.sqrt(values) if norm == "linf" else radius
    return math.floor(found * 1e7) / 1e7


@dataclass(frozen=True, kw_only=True)
class Certify:
    """Certified radii of a defense that has any, such as `smoothing`; the images stay as they are.

    n0: draws to guess each image's class; n: draws to measure its probability (Cohen et al. take 100,000; with n draws
    no radius is above sigma·Φ^-1(alpha^(1/n))); alpha: probability that a certificate is wrong, each image.
    """

    n0: int = 100
    n: int = 1000
    alpha: float = 0.001
    knowledge: ClassVar[Knowledge] = Knowledge.NONE

    def __post_init__(self) -> None:
        at_least_one(n0=self.n0, n=self.n)
        if not 0 < self.alpha < 0.5:
            raise PurebenchError(f"alpha: expected a probability in (0,0.5), such as 0.001, but got {self.alpha!r}.")

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """The images, and the radii in the threat's norm; None where the answer is wrong or the defense abstains.

        Raises Inapplicable for a defense that proves nothing.
        """
        if not isinstance(view.defense, Certifier):
            raise Inapplicable("the defense has no certificate")
        proof = view.defense.certify(x, n0=self.n0, n=self.n, alpha=self.alpha, batch=view.batch)
        right = (proof.classes.to(y) == y).tolist()
        radii = [
            within(threat.norm, radius, x[0].numel()) if good else None
            for radius, good in zip(proof.radii.tolist(), right, strict=True)
        ]
        view.note(f"certified with n0 = {self.n0}, n = {self.n}, alpha = {self.alpha:g} an image")
        return Answer(x, certified=radii, passes=proof.passes)
