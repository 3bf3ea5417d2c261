"""Losses that an attack raises: each (logits [M,K], labels) → [M], larger where the answer is more wrong.

Untargeted ones take labels [M], the true classes; targeted ones [M,2], the true class and the one aimed at.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from purebench.attacks.views.view import Loss
from purebench.core.errors import Inapplicable, PurebenchError, nearest


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p(y)."""
    return functional.cross_entropy(logits, labels, reduction="none")


def scaled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the cross-entropy of the logits over z_(1) - z_(2), taken as constant, and the margin's value.

    Blind to the logits' scale: the gradient of a confident classifier does not underflow (the MIFPE loss with t = 1,
    analysed in arXiv:2507.22428). Its own value hardly moves, with two classes not at all, so that an attack which
    compares losses, as APGD does, is told the margin instead.
    """
    top = logits.detach().topk(2, dim=1).values
    gap = (top[:, :1] - top[:, 1:]).clamp_min(1e-12)
    scaled = functional.cross_entropy(logits / gap, labels, reduction="none")
    return scaled - scaled.detach() + margin(logits.detach(), labels)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max_{i≠y} z_i - z_y: above 0 where the answer is wrong (Carlini & Wagner 2017, arXiv:1608.04644)."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return others.amax(1) - own


def difference_of_logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """-(z_y - max_{i≠y} z_i) / (z_(1) - z_(3)), blind to the logits' scale (Croce & Hein 2020, eq. 6).

    Raises Inapplicable for fewer than three classes.
    """
    need_classes("dlr", logits, 3)
    top = torch.topk(logits, 3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_cross_entropy(logits: Tensor, aims: Tensor) -> Tensor:
    """log p(t)."""
    return -functional.cross_entropy(logits, aims[:, 1], reduction="none")


def targeted_margin(logits: Tensor, aims: Tensor) -> Tensor:
    """z_t - z_y."""
    own, aim = logits.gather(1, aims).unbind(1)
    return aim - own


def targeted_difference_of_logits_ratio(logits: Tensor, aims: Tensor) -> Tensor:
    """-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2) (Croce & Hein 2020, eq. 7).

    Raises Inapplicable for fewer than four classes.
    """
    need_classes("dlr with targets", logits, 4)
    top = torch.topk(logits, 4, dim=1).values
    return targeted_margin(logits, aims) / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + 1e-12)


def need_classes(loss: str, logits: Tensor, least: int) -> None:
    """Raises Inapplicable where a loss divides by a difference of more logits than there are."""
    if logits.shape[1] < least:
        raise Inapplicable(f"loss {loss}: expected at least {least} classes, but got {logits.shape[1]}; use ce or cw")


LOSSES: dict[str, Loss] = {
    "ce": cross_entropy,
    "ce-scaled": scaled_cross_entropy,
    "dlr": difference_of_logits_ratio,
    "cw": margin,
}
TARGETED: dict[str, Loss] = {
    "ce": targeted_cross_entropy,
    "dlr": targeted_difference_of_logits_ratio,
    "cw": targeted_margin,
}


def find(name: str, *, targeted: bool = False) -> Loss:
    """A loss by name. Raises PurebenchError for an unknown one."""
    known = TARGETED if targeted else LOSSES
    if not isinstance(name, str) or name not in known:
        kind = "targeted loss" if targeted else "loss"
        raise PurebenchError(f"{kind}: {name!r} is unknown; {nearest(str(name), known)}")
    return known[name]
