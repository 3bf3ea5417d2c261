"""Losses that an attack raises: each (logits [M,K], labels [M]) → [M], larger where the answer is more wrong."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from purebench.attacks.view import Loss
from purebench.errors import PurebenchError, nearest


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p(y)."""
    return functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max_{i≠y} z_i - z_y: above 0 where the answer is wrong (Carlini & Wagner 2017, arXiv:1608.04644)."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return others.amax(1) - own


def difference_of_logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """-(z_y - max_{i≠y} z_i) / (z_(1) - z_(3)), blind to the logits' scale (Croce & Hein 2020, eq. 6).

    Raises PurebenchError for fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise PurebenchError(f"loss dlr: expected at least 3 classes, but got {logits.shape[1]}; use ce or cw.")
    top = torch.topk(logits, 3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + 1e-12)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "dlr": difference_of_logits_ratio, "cw": margin}


def find(name: str) -> Loss:
    """A loss by name. Raises PurebenchError for an unknown one."""
    if name not in LOSSES:
        raise PurebenchError(f"loss: {name!r} is unknown; {nearest(name, LOSSES)}")
    return LOSSES[name]
