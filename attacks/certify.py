"""Certificates of a defense, in the form of an attack that changes nothing (Cohen et al. 2019, arXiv:1902.02918).

A certificate gives a lower bound of the robust accuracy, attacks give an upper one: within the certified radius no
perturbation changes the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from purebench.attacks.entry import listed
from purebench.attacks.views.view import View
from purebench.core.answers import Answer, Inapplicable
from purebench.core.defense import Certifier
from purebench.core.files.validation_errors import Expected
from purebench.core.norms.norm_facts import NORM_FACTS
from purebench.core.parameters import CheckedParameters, Count
from purebench.core.threat import Knowledge, ThreatModel


def within(norm: str, radius: float, values: int) -> float:
    """Return the radius of the largest ball in `norm` inside an l2 ball, rounded down to 7 digits.

    d|_2 ≤ |d|_1 and |d|_2 ≤ sqrt(values)·|d|_inf, and both bounds are attained.

    Args:
        norm: linf, l2 or l1.
        radius: Radius of the l2 ball.
        values: Number of dimensions.
    """
    return math.floor(NORM_FACTS[norm].inside_l2(radius, values) * 1e7) / 1e7


@listed("no attack: certified radii of the defense", sees="none", bounded=True)
@dataclass(frozen=True, kw_only=True)
class Certify(CheckedParameters):
    """Certified radii of a defense that provides them, such as `smoothing`; the images stay as they are.

    Attributes:
        n0: Draws to guess each image's class.
        n: Draws to estimate the probability of that class. Cohen et al. take 100,000; with n draws no radius exceeds
            sigma·Φ^-1(alpha^(1/n)).
        alpha: Probability that a certificate is wrong, per image; in (0,0.5).
    """

    n0: Count = 100
    n: Count = 1000
    alpha: Annotated[float, Field(gt=0, lt=0.5), Expected("a probability in (0,0.5), such as 0.001")] = 0.001
    knowledge: ClassVar[Knowledge] = Knowledge.NONE

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """Compute the certified radius of each image.

        Args:
            view: A view of the defense.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: Threat model whose norm the radii are given in.

        Returns:
            The unchanged images, and the radii; None where the answer is wrong or the defense abstains.

        Raises:
            Inapplicable: If the defense has no certificate.
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
