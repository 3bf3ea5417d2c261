"""Defines losses and objectives of attacks, and the result of evaluating one at some points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""loss(logits [M,K], labels [M]) → [M], larger where the attack is more successful."""

Objective = Callable[..., tuple[Tensor, Tensor]]
"""objective(images [M,C,H,W], *rows [M,…]) → the values to maximise [M], and the logits to report [M,K]."""


@dataclass(frozen=True)
class Look:
    """Result of one evaluation at N points.

    Attributes:
        loss: Mean loss over the draws, [N].
        gradient: Gradient of the mean loss with respect to the images, [N,C,H,W].
        logits: Logits of each draw, [N,draws,K].
    """

    loss: Tensor
    gradient: Tensor
    logits: Tensor
