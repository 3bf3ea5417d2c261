"""Compares the logits of two calls of a defense, up to rounding."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = 1e-3
"""Share of the logits' spread by which the answers of a defense may differ when it is called again."""
MASKED = 1e3
"""Factor by which a masked class is farther from the largest logit than any other class."""


def close(logits: Tensor, others: Tensor) -> bool:
    """Return whether logits [N,K] agree up to ROUNDING times their spread on every image.

    Classes that are masked (-1e9) are compared by a spread of their own; see `reachable`.
    """
    if logits.shape != others.shape:
        return False
    some = reachable(logits)
    top = logits.amax(1, keepdim=True)
    spread = (top - logits.masked_fill(~some, torch.inf).amin(1, keepdim=True)).where(some, top - logits)
    floor = 1e-5 * logits.abs().masked_fill(~some, 0).amax(1, keepdim=True).where(some, logits.abs())
    return bool(((logits - others).abs() <= ROUNDING * spread + floor).all())


def reachable(logits: Tensor) -> Tensor:
    """Return which classes of logits [N,K] are not masked, bool [N,K].

    A mask appears as a jump: in order of distance from the largest logit, one class is MASKED times as far as the one
    before it. The second class alone is weak evidence, because it may be tied with the first.
    """
    far = (logits.amax(1, keepdim=True) - logits).double()
    sorted_far = far.sort(1).values
    times = torch.full_like(sorted_far[:, 1:], MASKED)
    times[:, :1] = torch.inf
    times[:, 1:2] = 100 * MASKED
    jump = sorted_far[:, 1:] > times * sorted_far[:, :-1]
    jump &= sorted_far[:, :-1] > 0
    last = torch.where(jump, sorted_far[:, :-1], torch.inf).amin(1, keepdim=True)
    return far <= last
