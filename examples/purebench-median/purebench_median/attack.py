"""Salt-and-pepper noise, against which a median is strong, so a defense must not be evaluated by it alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from purebench import Knowledge, ThreatModel
from purebench.attacks import View, listed


@listed("random pixels, as far as the threat allows", sees="none", bounded=True)
@dataclass(frozen=True, kw_only=True)
class Salt:
    """Changes random pixels up or down as far as the threat allows. share: share of the pixels, in [0,1]."""

    share: float = 0.2
    knowledge: ClassVar[Knowledge] = Knowledge.NONE

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return images inside the threat around x [N,C,H,W]."""
        hit = torch.rand_like(x) < self.share
        signs = torch.where(torch.rand_like(x) < 0.5, -1.0, 1.0)
        return threat.project(torch.where(hit, x + signs, x), x)
