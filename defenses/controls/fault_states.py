"""Faults that answer by more than the image: whether gradients are recorded, and the queries before."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]
NEAR = 0.2
"""Largest change of a pixel at which a query counts as one of an image that was seen before."""
MOST = 4096
"""Number of remembered images."""


class GradientMode(nn.Module):
    """A model with other logits while gradients are recorded: those of the image turned upside down."""

    def forward(self, model: Model, x: Tensor) -> Tensor:
        """Return the model's logits [N,K], or others if the images require a gradient."""
        return model(x.flip(-2)) if torch.is_grad_enabled() and x.requires_grad else model(x)


class Memory(nn.Module):
    """A model that answers a query near an earlier one as it answered that one; a fresh copy remembers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, model: Model, x: Tensor) -> Tensor:
        """Return the model's logits [N,K], with those of earlier queries where they were near."""
        logits = model(x)
        found = logits.detach().clone()
        for row, image in enumerate(x.detach()):
            before = next((old for old in self.seen if float((old[0] - image).abs().max()) <= NEAR), None)
            if before is not None:
                found[row] = before[1]
            elif len(self.seen) < MOST:
                self.seen.append((image.clone(), found[row].clone()))
        return logits + (found - logits.detach())
