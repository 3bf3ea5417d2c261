"""Salt and pepper: what a median is good at, so that it is not judged by that alone."""

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
    """Random pixels go as far up or down as the threat allows. share: of the pixels, in [0,1]."""

    share: float = 0.2
    knowledge: ClassVar[Knowledge] = Knowledge.NONE

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """X' inside the threat of images x [N,C,H,W]."""
        hit = torch.rand_like(x) < self.share
        signs = torch.where(torch.rand_like(x) < 0.5, -1.0, 1.0)
        return threat.project(torch.where(hit, x + signs, x), x)
