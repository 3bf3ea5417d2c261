"""What a defense is asked itself: whether a gradient arrives, whether it is the right one, whether seeds decide.

The function that is differentiated is the margin, the logit of the true class minus the largest of the others: unlike
the cross-entropy its gradient does not fade where the classifier is sure, so a zero comes from the defense. Whether the
cross-entropy's fades, which most attacks follow, is asked apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from purebench.checks.finding import Floats, Suspicion, certain, counted
from purebench.core.batching import DeviceBatch
from purebench.core.defense import Defense
from purebench.core.protocols import DefenseFault, check_logits
from purebench.core.seeds import seeded
from purebench.execution.verification import close, same_again, same_under_one_seed

ZERO = "gradients are not zero"
EXACT = "gradients are those of the defense"
FADES = "the cross-entropy keeps its gradient"
SEEDS = "seeds are honoured"

SMALLER = "; divide the logits by a constant, which changes no answer, and attacks that follow it see a slope again"
COARSE = "; the defense computes in {}, which is coarser than float32 and can do that: evaluate it in float32"
FINE = (torch.float32, torch.float64)
"""Floating-point types that are not too coarse for finite differences."""
CURE = "; a purifier that has none says so (differentiable = False), and attacks take its surrogate's"
BY_CHANCE = 0.1
"""Share of images on which an honest defense may have no gradient (clamped, dead units) or a kink beside the image."""
STEPS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""Lengths of the finite differences, in units of [0,1] per pixel: too long meets kinks, too short meets rounding."""
BESIDE = 0.02
"""How far beside the image a pixel is asked, at most: images of 256 levels have ties, where a median has its kinks."""
OTHERS = 20
"""Other seeds that must all change nothing before a random defense is blamed; one that tosses a coin is random too."""
AGREE = 0.2
"""Relative difference up to which a slope and a finite difference are the same; a masked one is off by its size."""


@dataclass(frozen=True)
class Slopes:
    """What was seen at images, 0 or 1 each.

    faded [n]: the cross-entropy has no gradient. flat [n]: no gradient of the margin arrives; off [m]: one that does
    differs from the finite differences. missing: why no gradient arrives at all, empty where one may. coarse: the
    floating-point types coarser than float32 that the defense computes in.
    """

    faded: Floats
    flat: Floats
    off: Floats
    missing: str = ""
    coarse: tuple[str, ...] = ()

    def __add__(self, other: Slopes) -> Slopes:
        return Slopes(
            np.concatenate([self.faded, other.faded]),
            np.concatenate([self.flat, other.flat]),
            np.concatenate([self.off, other.off]),
            self.missing or other.missing,
            self.coarse or other.coarse,
        )


NOTHING_YET = Slopes(np.zeros(0), np.zeros(0), np.zeros(0))


def slopes(defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch) -> Slopes:
    """Whether gradients arrive at images x [N,C,H,W], labels y [N], and agree with central finite differences.

    Along directions of ±1, the signs of the gradient and random ones, under one seed for all passes; in batches as
    attacks pass them and image by image, because a gradient may be another there. The best of `STEPS` counts. Asked
    beside the images (`BESIDE`), and so far inside that no step leaves [0,1].
    """
    faded, none = _faded(defense, x, y, batch), np.zeros(0)
    if not _declares(defense):
        return Slopes(faded, none, none)
    x = _beside(x)
    with seeded("checks", "directions", device=x.device):
        random = torch.where(torch.rand_like(x) < 0.5, -1.0, 1.0)
    flat, off = (torch.zeros(len(x), dtype=torch.bool, device=x.device) for _ in range(2))
    for way, also in ((batch, [random]), (DeviceBatch(1), [])):
        try:
            slope = _gradient(defense, x, y, way)
        except RuntimeError as error:
            if "grad" not in str(error):
                raise
            return Slopes(faded, np.ones(len(x)), none, missing=str(error))
        flat |= ~slope.flatten(1).any(1) | ~slope.flatten(1).isfinite().all(1)
        off |= _disagree(defense, x, y, slope, [slope.sign().to(x), *also], way)
    return Slopes(
        faded, flat.double().cpu().numpy(), off[~flat].double().cpu().numpy(), coarse=coarse_types(defense, x[:1])
    )


def gradients(defense: Defense, found: Slopes, tolerance: float) -> list[Suspicion]:
    """Whether gradients arrive, are the right ones, and leave attacks a slope; found: at the images so far."""
    faded = int(found.faded.sum())
    told = f"float32 rounds its gradient to zero on {faded} of {found.faded.size} images"
    told += SMALLER if faded > BY_CHANCE * found.faded.size else ""
    keeps = counted(FADES, told, found.faded, BY_CHANCE, tolerance)
    if not _declares(defense):
        why = "the purifier declares that no gradient comes through it; attacks take its surrogate's"
        return [Suspicion(ZERO, why), Suspicion(EXACT, why), keeps]
    if found.missing:
        why = f"no gradient arrives at the image at all (a detach or a no_grad on the way?): {found.missing}"
        return [certain(ZERO, why), Suspicion(EXACT, why), keeps]
    zero, wrong = int(found.flat.sum()), int(found.off.sum())
    told = f"the gradient of the margin is zero or not finite on {zero} of {found.flat.size} images"
    told += CURE if zero > BY_CHANCE * found.flat.size else ""
    arrives = counted(ZERO, told, found.flat, BY_CHANCE, tolerance)
    if not found.off.size:
        return [arrives, Suspicion(EXACT, "there is no gradient to compare with finite differences"), keeps]
    told = f"slopes and finite differences differ by more than {100 * AGREE:g} % on {wrong} of {found.off.size} images"
    told += COARSE.format(" and ".join(found.coarse)) if found.coarse and wrong > BY_CHANCE * found.off.size else ""
    return [arrives, counted(EXACT, told, found.off, BY_CHANCE, tolerance), keeps]


class _Types(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the types of all tensors that are computed inside it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        self.seen |= {leaf.dtype for leaf in tree_leaves(answer) if isinstance(leaf, Tensor)}
        return answer


def coarse_types(defense: Defense, x: Tensor) -> tuple[str, ...]:
    """The floating-point types coarser than float32 that a pass of x [N,C,H,W] computes in, by name."""
    with torch.no_grad(), _Types() as types:
        defense(x)
    return tuple(sorted(str(t).removeprefix("torch.") for t in types.seen if t.is_floating_point and t not in FINE))


def _beside(x: Tensor) -> Tensor:
    edge = STEPS[0] + BESIDE
    with seeded("checks", "beside", device=x.device):
        return edge + (1 - 2 * edge) * x + BESIDE * (2 * torch.rand_like(x) - 1)


def _declares(defense: Defense) -> bool:
    return defense.purifier is None or defense.purifier.differentiable


def _faded(defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch) -> Floats:
    """Where no probability is larger than the smallest that arithmetic tells from zero, but that of the true class."""
    logits = _asked(defense, x, batch, "probabilities")
    others = logits.softmax(1).masked_fill(_one_hot(logits, y), 0.0)
    faded: Floats = (others.amax(1) < torch.finfo(logits.dtype).tiny).double().cpu().numpy()
    return faded


def _disagree(
    defense: Defense, x: Tensor, y: Tensor, slope: Tensor, directions: Sequence[Tensor], batch: DeviceBatch
) -> Tensor:
    """Where the slopes and finite differences along some direction differ, bool [N]; all [N,C,H,W]."""
    off = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for direction in directions:
        expected = (slope * direction).flatten(1).sum(1)
        floor = slope.flatten(1).norm(dim=1) / 2  # half the size of a slope along a random direction
        errors = []
        for step in STEPS:
            ahead, back = (_margin(defense, x + side * step * direction, y, batch) for side in (1, -1))
            found = (ahead - back) / (2 * step)
            errors.append((found - expected).abs() / torch.maximum(found.abs().maximum(expected.abs()), floor))
        off |= torch.stack(errors).amin(0) > AGREE
    return off


def seeds(defense: Defense, x: Tensor, batch: DeviceBatch) -> Suspicion:
    """Whether the seed decides what a random defense answers, and nothing decides what a deterministic one does."""
    logits = _asked(defense, x, batch, "one seed")
    try:
        if not defense.random:
            same_again(defense, x, logits, batch)
            return certain(SEEDS, "", "it answers the same again, whatever the seed and the batch")
        same_under_one_seed(defense, x)
    except DefenseFault as fault:
        return certain(SEEDS, str(fault))
    if all(close(logits, _asked(defense, x, batch, f"another seed, {number}")) for number in range(OTHERS)):
        return certain(SEEDS, "it calls itself random, but another seed changes nothing; is a seed set inside it?")
    return certain(SEEDS, "", "one seed gives the same draw twice, another seed another")


def _asked(defense: Defense, x: Tensor, batch: DeviceBatch, seed: str) -> Tensor:
    with torch.no_grad(), seeded("checks", seed, device=x.device):
        (logits,) = batch.map(lambda part: (check_logits(defense(part), len(part)),), x)
    return logits


def _one_hot(logits: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(y, logits.shape[1]).bool()


def _margin_of(logits: Tensor, y: Tensor) -> Tensor:
    true = _one_hot(logits, y)
    return logits[true] - logits.masked_fill(true, -torch.inf).amax(1)


def _margin(defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch) -> Tensor:
    def ask(part: Tensor, labels: Tensor) -> tuple[Tensor]:
        # finite differences meet rounding: the margin is taken in double precision
        return (_margin_of(check_logits(defense(part), len(part)).double(), labels),)

    with torch.no_grad(), seeded("checks", "gradients", device=x.device):
        return batch.map(ask, x, y)[0]


def _gradient(defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch) -> Tensor:
    def ask(part: Tensor, labels: Tensor) -> tuple[Tensor]:
        leaf = part.detach().requires_grad_()
        margin = _margin_of(check_logits(defense(leaf), len(leaf)), labels)
        (gradient,) = torch.autograd.grad(margin.sum(), leaf)
        return (gradient,)

    with torch.enable_grad(), seeded("checks", "gradients", device=x.device):
        return batch.map(ask, x, y)[0].double()
