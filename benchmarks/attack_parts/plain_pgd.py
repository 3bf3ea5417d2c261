"""A plain PyTorch PGD with momentum, written without purebench's views and bookkeeping, as a reference for its attacks.

Boards name it by its file: `use: benchmarks/attack_parts/plain_pgd.py:PlainPGD(steps=40, draws=8)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from purebench.core.threat import Knowledge, ThreatModel


@dataclass(frozen=True, kw_only=True)
class PlainPGD:
    """EOT-PGD in linf from the image itself: a fixed step, accumulated gradients, cross-entropy, the last point.

    Attributes:
        steps: Gradient steps.
        draws: Draws of the defense that a gradient averages over.
        momentum: Decay of the sum of gradients, each divided by its mean absolute value.
        step: Length of a step as a share of the radius.
        number: Of several runs with equal settings, which one; runs with other numbers have other random numbers.
    """

    steps: int = 40
    draws: int = 8
    momentum: float = 0.9
    step: float = 1 / 8
    number: int = 0
    knowledge = Knowledge.WHITE_BOX

    def __call__(self, view: Any, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the last points, [N,C,H,W].

        Args:
            view: The view; only its defense is used, with its exact gradient.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model, linf.

        Raises:
            ValueError: If the norm is another one.
        """
        if threat.norm != "linf":
            raise ValueError(f"expected the norm linf, but got {threat.norm}.")
        eps = threat.radius
        delta, heading = torch.zeros_like(x), torch.zeros_like(x)
        for _ in range(self.steps):
            gradient = torch.zeros_like(x)
            for _ in range(self.draws):
                leaf = (x + delta).requires_grad_()
                loss = functional.cross_entropy(view.defense(leaf), y, reduction="sum")
                gradient += torch.autograd.grad(loss, leaf)[0]
            view.forwards += self.draws * len(x)
            view.backwards += self.draws * len(x)
            heading = self.momentum * heading + gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-30)
            delta = (delta + self.step * eps * heading.sign()).clamp(-eps, eps)
            delta = (x + delta).clamp(0, 1) - x
        return x + delta
