"""Target classes of a targeted attack: the most likely wrong classes at the clean image."""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.attacks.gradient.losses import others
from purebench.attacks.views.view import View

CLEAN_DRAWS = 8
"""Least number of draws of a random defense at the clean image that the ranking of the classes is averaged over."""


def clean_scores(view: View, x: Tensor, targets: int) -> Tensor:
    """Return the logits at the clean images, from enough draws to rank the classes if there are targets.

    Args:
        view: The defense as the attack sees it.
        x: Images [N,C,H,W] in [0,1].
        targets: Number of target classes; 0 for an untargeted attack.

    Returns:
        Logits [N,draws,K].
    """
    return view.scores(x, max(view.eot, CLEAN_DRAWS) if targets else None)


def aims_of_runs(clean: Tensor, y: Tensor, targets: int) -> list[Tensor]:
    """Return the labels of one run for each target class, or of the only run of an untargeted attack.

    Args:
        clean: Logits at the clean images, [N,draws,K]; the draws' log-probabilities are averaged.
        y: Labels [N].
        targets: Number of target classes, the most likely wrong ones first; 0 for an untargeted attack.

    Returns:
        For an untargeted attack, the labels [N]; otherwise for each run the true and the target classes, [N,2].
    """
    if not targets:
        return [y]
    scores = others(clean.log_softmax(2).mean(1), y)
    likely = scores.argsort(1, descending=True)[:, : min(targets, scores.shape[1] - 1)]
    return [torch.stack([y, aim], 1) for aim in likely.unbind(1)]
