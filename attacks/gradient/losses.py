"""Losses that an attack maximises: each maps (logits [M,K], labels) to [M], larger where the answer is more wrong.

Untargeted losses take labels [M], the true classes; targeted ones take [M,2], the true class and the target class.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from purebench.attacks.views.look import Loss
from purebench.core.errors import Inapplicable, PurebenchError, did_you_mean


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy -log p(y), [M]."""
    return functional.cross_entropy(logits, labels, reduction="none")


def scaled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the margin, with the gradient of the cross-entropy of logits divided by z_(1) - z_(2), taken as constant.

    The gradient does not depend on the scale of the logits, so that it does not underflow for a confident classifier
    (the MIFPE loss with t = 1, analysed in arXiv:2507.22428). The loss's own value hardly changes, with two classes not
    at all; attacks that compare losses, as APGD does, therefore get the margin as its value.
    """
    top = logits.detach().topk(2, dim=1).values
    gap = (top[:, :1] - top[:, 1:]).clamp_min(1e-12)
    scaled = functional.cross_entropy(logits / gap, labels, reduction="none")
    return scaled - scaled.detach() + margin(logits.detach(), labels)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return max_{i≠y} z_i - z_y, above 0 where the answer is wrong (Carlini & Wagner 2017, arXiv:1608.04644).

    Args:
        logits: Logits [M,K].
        labels: True classes [M].

    Returns:
        The margin of each row, [M].
    """
    own = logits.gather(1, labels[:, None]).squeeze(1)
    return others(logits, labels).amax(1) - own


def probability_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return PM = max_{i≠y} p_i - p_y in [-1,1], the margin of the probabilities (Xie et al. 2024, arXiv:2411.15210).

    Its gradient vanishes for confident classifiers, as that of the cross-entropy; those of `cw` and `dlr` do not. It is
    a mixture over the classes: p_m - (p_m - p_y) p_m at the largest other class m, -p_y - (p_m - p_y) p_y at the true
    class, and -(p_m - p_y) p_k at each other class k.
    """
    return margin(logits.softmax(1), labels)


def others(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logits [M,K] with -inf at the true classes [M], which leaves the other classes to be ranked."""
    return logits.scatter(1, labels[:, None], -torch.inf)


def mean_over_draws(loss: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of a loss over draws, [N], for logits [N,draws,K] and labels [N]."""
    values = loss(logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1]))
    return values.view(len(labels), -1).mean(1)


def difference_of_logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the DLR loss, which does not depend on the logits' scale (Croce & Hein 2020, eq. 6).

    It is -(z_y - max_{i≠y} z_i) / (z_(1) - z_(3)).

    Args:
        logits: Logits [M,K].
        labels: True classes [M].

    Raises:
        Inapplicable: If there are fewer than three classes.
    """
    need_classes("dlr", logits, 3)
    top = torch.topk(logits, 3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_cross_entropy(logits: Tensor, aims: Tensor) -> Tensor:
    """Return log p(t), the log-probability of the target class, [M]."""
    return -functional.cross_entropy(logits, aims[:, 1], reduction="none")


def targeted_margin(logits: Tensor, aims: Tensor) -> Tensor:
    """Return z_t - z_y, the target's logit minus the true class's, [M]."""
    own, aim = logits.gather(1, aims).unbind(1)
    return aim - own


def targeted_probability_margin(logits: Tensor, aims: Tensor) -> Tensor:
    """Return p_t - p_y in [-1,1], the target's probability minus the true class's, [M]."""
    return targeted_margin(logits.softmax(1), aims)


def targeted_difference_of_logits_ratio(logits: Tensor, aims: Tensor) -> Tensor:
    """Return the targeted DLR loss (Croce & Hein 2020, eq. 7).

    It is -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2).

    Args:
        logits: Logits [M,K].
        aims: True and target classes [M,2].

    Raises:
        Inapplicable: If there are fewer than four classes.
    """
    need_classes("dlr with targets", logits, 4)
    top = torch.topk(logits, 4, dim=1).values
    return targeted_margin(logits, aims) / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + 1e-12)


def need_classes(loss: str, logits: Tensor, least: int) -> None:
    """Check that there are enough classes for a loss that divides by a difference of the largest logits.

    Args:
        loss: Name of the loss, for the error message.
        logits: Logits [M,K].
        least: Smallest number of classes.

    Raises:
        Inapplicable: If there are fewer classes.
    """
    if logits.shape[1] < least:
        raise Inapplicable(f"loss {loss}: expected at least {least} classes, but got {logits.shape[1]}; use ce or cw")


LOSSES: dict[str, Loss] = {
    "ce": cross_entropy,
    "ce-scaled": scaled_cross_entropy,
    "dlr": difference_of_logits_ratio,
    "cw": margin,
    "pm": probability_margin,
}
TARGETED: dict[str, Loss] = {
    "ce": targeted_cross_entropy,
    "dlr": targeted_difference_of_logits_ratio,
    "cw": targeted_margin,
    "pm": targeted_probability_margin,
}


def find(name: str, *, targeted: bool = False) -> Loss:
    """Return a loss by name.

    Args:
        name: Name of the loss, such as ce, dlr, cw or pm.
        targeted: Look among the targeted losses.

    Raises:
        PurebenchError: If the name is unknown.
    """
    known = TARGETED if targeted else LOSSES
    if not isinstance(name, str) or name not in known:
        kind = "targeted loss" if targeted else "loss"
        raise PurebenchError(f"{kind}: {name!r} is unknown; {did_you_mean(str(name), known)}")
    return known[name]
