"""A random perturbation within the threat model, without any search: the baseline that every attack has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from purebench.attacks.entry import listed
from purebench.attacks.gradient.runs import random_start
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.view import View
from purebench.core.threat import Knowledge, ThreatModel


@listed("one random perturbation within the radius, without a search", sees="none", bounded=True)
@dataclass(frozen=True, kw_only=True)
class RandomNoise(NativeAttack):
    """One random perturbation of each image within the threat model, the random start of `pgd` without a step."""

    knowledge: ClassVar[Knowledge] = Knowledge.NONE

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return one random point of the threat model for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it; not used.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N]; not used.
            threat: The threat model.
        """
        return random_start(x, threat)
