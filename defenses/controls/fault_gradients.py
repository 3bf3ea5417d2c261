"""Faults whose answers are those of the model, and whose gradients are others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]
Change = Callable[[Tensor], Tensor]
"""Gradient at the images [N,C,H,W] → the gradient that the attacker sees."""


class _Backward(torch.autograd.Function):
    """The identity, with a changed gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Change) -> Tensor:
        ctx.change = change
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.change(grads[0]), None


class Changed(nn.Module):
    """A model whose gradient at the images is changed.

    Args:
        change: the change.
    """

    def __init__(self, change: Change):
        super().__init__()
        self.change = change

    def forward(self, model: Model, x: Tensor) -> Tensor:
        """Return the model's logits [N,K]."""
        seen: Tensor = _Backward.apply(x, self.change)
        return model(seen)


class Detached(nn.Module):
    """A model that the images are detached from; the gradient is zero and not missing."""

    def forward(self, model: Model, x: Tensor) -> Tensor:
        """Return the model's logits [N,K]."""
        return model(x.detach()) + 0 * x.flatten(1).sum(1, keepdim=True)


class OtherClasses(nn.Module):
    """A model whose logits have the gradients of the next class's logits."""

    def forward(self, model: Model, x: Tensor) -> Tensor:
        """Return the model's logits [N,K]."""
        logits = model(x)
        return logits.detach() + (logits.roll(1, 1) - logits.roll(1, 1).detach())


def opposite(gradient: Tensor) -> Tensor:
    """Return the gradient with the opposite sign."""
    return -gradient


def vanishing(gradient: Tensor) -> Tensor:
    """Return the gradient times 1e-30."""
    return 1e-30 * gradient


def exploding(gradient: Tensor) -> Tensor:
    """Return the gradient times 1e30, in the sign of each value."""
    return 1e30 * gradient


def not_finite(gradient: Tensor) -> Tensor:
    """Return NaN."""
    return torch.full_like(gradient, torch.nan)


def sparse(gradient: Tensor) -> Tensor:
    """Return the gradient of every 64th value, and 0 for the others."""
    flat = gradient.flatten(1)
    kept = torch.arange(flat.shape[1], device=flat.device) % 64 == 0
    return (flat * kept).view_as(gradient)


def permuted(gradient: Tensor) -> Tensor:
    """Return the gradient with its values rolled by a third of the image."""
    flat = gradient.flatten(1)
    return flat.roll(flat.shape[1] // 3 + 1, 1).view_as(gradient)


def random(gradient: Tensor) -> Tensor:
    """Return Gaussian noise."""
    return torch.randn_like(gradient)


def signed(gradient: Tensor) -> Tensor:
    """Return the gradient of each image with a random sign."""
    signs = 2.0 * torch.randint(0, 2, (len(gradient),), device=gradient.device) - 1
    return gradient * signs.view(-1, *[1] * (gradient.ndim - 1))
