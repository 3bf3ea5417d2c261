"""Defines losses and objectives of attacks, the result of evaluating one at some points, and their warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from purebench.core.warning_codes import ResultWarning, WarningCode

OFTEN = 0.05
"""Share of evaluated gradients that are zero above which there is a warning."""
FLAT = "gradients may be masked; gradients of zero at images still classified correctly"
NOT_FINITE = "gradients may be masked; gradients that are not finite, which count as zero"

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


def gradient_warnings(looked: int, flat: int, not_finite: int) -> Iterator[ResultWarning]:
    """Yield the warnings that gradients of an attack may be masked.

    Args:
        looked: Images whose gradient was computed.
        flat: Of these, images whose gradient was zero while they were still classified correctly.
        not_finite: Of these, images whose gradient was not finite; each of two parts of a gradient may be counted.
    """
    if not_finite:
        yield ResultWarning(WarningCode.NON_FINITE_GRADIENT, NOT_FINITE, min(not_finite, looked), looked)
    if flat > OFTEN * looked:
        yield ResultWarning(WarningCode.ZERO_GRADIENT, FLAT, min(flat, looked), looked)
