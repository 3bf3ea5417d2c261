"""What a defense is asked itself: whether a gradient arrives, whether it is the right one, whether seeds decide.

The function that is differentiated is the margin, the logit of the true class minus the largest of the others: unlike
the cross-entropy its gradient does not fade where the classifier is sure, so a zero comes from the defense.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy.stats import binomtest
from torch import Tensor

from purebench.batching import DeviceBatch
from purebench.checks.finding import Suspicion
from purebench.defense import Defense
from purebench.protocols import DefenseFault, check_logits
from purebench.seeds import seeded
from purebench.verify import close, same_again, same_under_one_seed

ZERO = "gradients are not zero"
EXACT = "gradients are those of the defense"
SEEDS = "seeds are honoured"

CURE = "; a purifier that has none says so (differentiable = False), and attacks take its surrogate's"
BY_CHANCE = 0.1
"""Share of images on which an honest defense may have no gradient (clamped, dead units) or a kink beside the image."""
STEPS = (1e-2, 3e-3, 1e-3, 3e-4)
"""Lengths of the finite differences, in units of [0,1] per pixel: too long meets kinks, too short meets rounding."""
AGREE = 0.2
"""Relative difference up to which a slope and a finite difference are the same; a masked one is off by its size."""


def gradients(defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch) -> list[Suspicion]:
    """Whether gradients arrive at images x [N,C,H,W], labels y [N], and agree with central finite differences.

    Along two directions of ±1 an image, the signs of the gradient and random ones, under one seed for all passes. The
    best of `STEPS` counts. Pixels at 0 or 1 are moved inside by the longest of them, so that no step leaves [0,1].
    """
    if defense.purifier is not None and not defense.purifier.differentiable:
        why = "the purifier declares that no gradient comes through it; attacks take its surrogate's"
        return [Suspicion(name, None, False, why) for name in (ZERO, EXACT)]
    x = x.clamp(STEPS[0], 1 - STEPS[0])
    try:
        slope = _gradient(defense, x, y, batch)
    except RuntimeError as error:
        if "grad" not in str(error):
            raise
        why = "no gradient arrives at the image at all (a detach or a no_grad on the way?)"
        return [Suspicion(ZERO, 0.0, True, why), Suspicion(EXACT, None, False, why)]
    flat = ~slope.flatten(1).any(1) | ~slope.flatten(1).isfinite().all(1)
    zero = int(flat.sum())
    told = f"the gradient of the margin is zero or not finite on {zero} of {len(x)} images"
    told += CURE if zero > BY_CHANCE * len(x) else ""
    return [Suspicion(ZERO, _tail(zero, len(x)), zero > 0, told), _agreement(defense, x, y, slope, flat, batch)]


def _agreement(defense: Defense, x: Tensor, y: Tensor, slope: Tensor, flat: Tensor, batch: DeviceBatch) -> Suspicion:
    if bool(flat.all()):
        return Suspicion(EXACT, None, False, "there is no gradient to compare with finite differences")
    x, y, slope = x[~flat], y[~flat], slope[~flat]
    with seeded("checks", "directions", device=x.device):
        random = torch.where(torch.rand_like(x) < 0.5, -1.0, 1.0)
    off = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for direction in (slope.sign().to(x), random):
        expected = (slope * direction).flatten(1).sum(1)
        floor = slope.flatten(1).norm(dim=1) / 2  # half the size of a slope along a random direction
        errors = []
        for step in STEPS:
            ahead, back = (_margin(defense, x + side * step * direction, y, batch) for side in (1, -1))
            found = (ahead - back) / (2 * step)
            errors.append((found - expected).abs() / torch.maximum(found.abs().maximum(expected.abs()), floor))
        off |= torch.stack(errors).amin(0) > AGREE
    wrong = int(off.sum())
    told = f"slopes and finite differences differ by more than {AGREE:.0%} on {wrong} of {len(x)} images"
    return Suspicion(EXACT, _tail(wrong, len(x)), wrong > BY_CHANCE * len(x), told)


def seeds(defense: Defense, x: Tensor, batch: DeviceBatch) -> Suspicion:
    """Whether the seed decides what a random defense answers, and nothing decides what a deterministic one does."""
    logits = _asked(defense, x, batch, "one seed")
    try:
        if not defense.random:
            same_again(defense, x, logits, batch)
            return Suspicion(SEEDS, 1.0, False, "it answers the same again, whatever the seed and the batch")
        same_under_one_seed(defense, x)
    except DefenseFault as fault:
        return Suspicion(SEEDS, 0.0, True, str(fault))
    if close(logits, _asked(defense, x, batch, "another seed")):
        why = "it calls itself random, but another seed changes nothing; is a seed set inside it?"
        return Suspicion(SEEDS, 0.0, True, why)
    return Suspicion(SEEDS, 1.0, False, "one seed gives the same draw twice, another seed another")


def _tail(count: int, images: int) -> float:
    """The chance that as many images or more are conspicuous in an honest defense."""
    return float(binomtest(count, images, BY_CHANCE, alternative="greater").pvalue)


def _asked(defense: Defense, x: Tensor, batch: DeviceBatch, seed: str) -> Tensor:
    with torch.no_grad(), seeded("checks", seed, device=x.device):
        (logits,) = batch.map(lambda part: (check_logits(defense(part), len(part)),), x)
    return logits


def _margin_of(logits: Tensor, y: Tensor) -> Tensor:
    true = torch.nn.functional.one_hot(y, logits.shape[1]).bool()
    return logits[true] - logits.masked_fill(true, -torch.inf).amax(1)


def _under_one_seed(work: Callable[..., tuple[Tensor, ...]], x: Tensor, y: Tensor) -> Tensor:
    """Image by image, so that each sees its own noise, whichever other images are asked."""
    rows = []
    for row in range(len(x)):
        with seeded("checks", "gradients", device=x.device):
            rows.append(work(x[row : row + 1], y[row : row + 1])[0])
    return torch.cat(rows)


def _margin(defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch) -> Tensor:
    def ask(part: Tensor, labels: Tensor) -> tuple[Tensor]:
        # finite differences meet rounding: the margin is taken in double precision
        return (_margin_of(check_logits(defense(part), len(part)).double(), labels),)

    with torch.no_grad():
        return _same_noise(ask, defense, x, y, batch)


def _gradient(defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch) -> Tensor:
    def ask(part: Tensor, labels: Tensor) -> tuple[Tensor]:
        leaf = part.detach().requires_grad_()
        margin = _margin_of(check_logits(defense(leaf), len(leaf)), labels)
        (gradient,) = torch.autograd.grad(margin.sum(), leaf)
        return (gradient,)

    with torch.enable_grad():
        return _same_noise(ask, defense, x, y, batch).double()


def _same_noise(
    ask: Callable[..., tuple[Tensor, ...]], defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch
) -> Tensor:
    return _under_one_seed(ask, x, y) if defense.random else batch.map(ask, x, y)[0]
