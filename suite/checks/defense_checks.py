"""Checks of a defense itself: gradients exist, agree with finite differences, and seeds determine the draws.

The function that is differentiated is the margin, the logit of the true class minus the largest other logit. Unlike the
gradient of the cross-entropy, its gradient does not vanish where the classifier is confident, so a zero gradient comes
from the defense. Whether the gradient of the cross-entropy, which most attacks follow, vanishes is checked separately.
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

from purebench.attacks.gradient.losses import margin
from purebench.checks.finding import Floats, Suspicion, certain, counted
from purebench.core.answers import DefenseFault, check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense
from purebench.core.seeds import seeded
from purebench.execution.jobs.logit_comparison import close
from purebench.execution.jobs.repeatability import same_again, same_under_one_seed

ZERO = "gradients are not zero"
EXACT = "gradients agree with finite differences"
FADES = "the cross-entropy has a gradient"
SEEDS = "seeds determine the draws"

SMALLER = "; divide the logits by a constant: the predictions stay the same, and the gradient no longer rounds to zero"
COARSE = "; the defense computes in {}, which is less precise than float32 and can cause this; evaluate it in float32"
FINE = (torch.float32, torch.float64)
"""Floating-point types that are precise enough for finite differences."""
NO_GRADIENT_CURE = (
    "remove torch.no_grad and detach from the defense, or, if the purifier itself has no gradient, declare "
    "`differentiable = False` in its class, and attacks use the gradient of its surrogate"
)
NO_SLOPE = "there is no gradient to compare with finite differences"
CURE = (
    "; if the purifier has no gradient, declare differentiable = False, and attacks use the gradient of its surrogate"
)
BY_CHANCE = 0.1
"""Share of images on which a correct defense may have no gradient (clamped, dead units) or a kink near the image."""
STEPS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""Step sizes of the finite differences, in units of [0,1] per pixel: long steps cross kinks, short ones suffer from
rounding."""
BESIDE = 0.02
"""Largest random offset of a pixel before the check: images with 256 levels have ties, where a median has its kinks."""
OTHERS = 20
"""Number of other seeds that must all give the same answer before a random defense fails; a defense that flips a coin
is random too."""
AGREE = 0.2
"""Relative difference up to which a slope and a finite difference agree; a masked gradient differs by its whole
size."""


@dataclass(frozen=True)
class Slopes:
    """Observations about gradients at images, 0 or 1 each.

    Attributes:
        faded: the cross-entropy has no gradient, [n].
        flat: no gradient of the margin reaches the image, [n].
        off: the gradient differs from the finite differences, [m], for images that have a gradient.
        missing: why no gradient reaches any image; empty if gradients can.
        coarse: the floating-point types less precise than float32 that the defense computes in.
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
    """Check that gradients reach the images and agree with central finite differences.

    The directions have components ±1: the signs of the gradient, and random signs, with one seed for all passes. Images
    pass both in batches, as in attacks, and one by one, because the gradient may differ. The best of `STEPS` counts.
    The check is done at random points near the images (`BESIDE`), which are moved inwards so that no step leaves [0,1].

    Args:
        defense: the defense.
        x: images [N,C,H,W] in [0,1].
        y: their labels [N].
        batch: the device batch.
    """
    faded, none = _faded(defense, x, y, batch), np.zeros(0)
    if not _declares(defense):
        return Slopes(faded, none, none)
    x = beside(x)
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
    """Check that gradients exist, are correct, and leave attacks a slope.

    Args:
        defense: the defense.
        found: the observations at all images so far.
        tolerance: the share of images that must be detected.
    """
    faded = int(found.faded.sum())
    told = f"the gradient of the cross-entropy rounds to zero in float32 on {faded} of {found.faded.size} images"
    told += SMALLER if faded > BY_CHANCE * found.faded.size else ""
    keeps = counted(FADES, told, found.faded, BY_CHANCE, tolerance)
    if not _declares(defense):
        why = "the purifier declares differentiable = False; attacks use the gradient of its surrogate"
        return [Suspicion(ZERO, why), Suspicion(EXACT, why), keeps]
    if found.missing:
        why = f"no gradient reaches the images; {NO_GRADIENT_CURE}"
        return [certain(ZERO, why), Suspicion(EXACT, NO_SLOPE), keeps]
    zero, wrong = int(found.flat.sum()), int(found.off.sum())
    told = f"the gradient of the margin is zero or not finite on {zero} of {found.flat.size} images"
    told += CURE if zero > BY_CHANCE * found.flat.size else ""
    arrives = counted(ZERO, told, found.flat, BY_CHANCE, tolerance)
    if not found.off.size:
        return [arrives, Suspicion(EXACT, NO_SLOPE), keeps]
    told = (
        f"gradients and finite differences differ by more than {100 * AGREE:g} % on {wrong} of {found.off.size} images"
    )
    told += COARSE.format(" and ".join(found.coarse)) if found.coarse and wrong > BY_CHANCE * found.off.size else ""
    return [arrives, counted(EXACT, told, found.off, BY_CHANCE, tolerance), keeps]


class _Types(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the types of all tensors that are computed inside it."""

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
    """Return the names of floating-point types less precise than float32 in a pass of x [N,C,H,W]."""
    with torch.no_grad(), _Types() as types:
        defense(x)
    return tuple(sorted(str(t).removeprefix("torch.") for t in types.seen if t.is_floating_point and t not in FINE))


def beside(x: Tensor) -> Tensor:
    """Return random points near images [N,C,H,W], at least `STEPS[0]` inside of [0,1]; see `BESIDE`."""
    edge = STEPS[0] + BESIDE
    with seeded("checks", "beside", device=x.device):
        return edge + (1 - 2 * edge) * x + BESIDE * (2 * torch.rand_like(x) - 1)


def _declares(defense: Defense) -> bool:
    return defense.purifier is None or defense.purifier.differentiable


def _faded(defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch) -> Floats:
    """Return where all probabilities except that of the true class are below the smallest normal number."""
    logits = _asked(defense, x, batch, "probabilities")
    others = logits.softmax(1).masked_fill(_one_hot(logits, y), 0.0)
    faded: Floats = (others.amax(1) < torch.finfo(logits.dtype).tiny).double().cpu().numpy()
    return faded


def _disagree(
    defense: Defense, x: Tensor, y: Tensor, slope: Tensor, directions: Sequence[Tensor], batch: DeviceBatch
) -> Tensor:
    """Return where slopes and finite differences along some direction differ, bool [N]; inputs are [N,C,H,W]."""
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
    """Check that the seed determines a random defense's answers, and that a deterministic defense repeats its answers.

    Args:
        defense: the defense.
        x: images [N,C,H,W] in [0,1].
        batch: the device batch.
    """
    logits = _asked(defense, x, batch, "one seed")
    try:
        if not defense.random:
            same_again(defense, x, logits, batch)
            return certain(SEEDS, "", "the answers do not depend on the seed or the batch")
        same_under_one_seed(defense, x)
    except DefenseFault as fault:
        return certain(SEEDS, str(fault))
    if all(close(logits, _asked(defense, x, batch, f"another seed, {number}")) for number in range(OTHERS)):
        return certain(
            SEEDS,
            "the defense is declared random, but other seeds give the same answers; remove a seed that is set "
            "inside it, or declare random=False",
        )
    return certain(SEEDS, "", "equal seeds give equal draws, and different seeds give different draws")


def _asked(defense: Defense, x: Tensor, batch: DeviceBatch, seed: str) -> Tensor:
    with torch.no_grad(), seeded("checks", seed, device=x.device):
        (logits,) = batch.map(lambda part: (check_logits(defense(part), len(part)),), x)
    return logits


def _one_hot(logits: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(y, logits.shape[1]).bool()


def _margin(defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch) -> Tensor:
    def ask(part: Tensor, labels: Tensor) -> tuple[Tensor]:
        # finite differences suffer from rounding, so the margin is computed in double precision
        return (-margin(check_logits(defense(part), len(part)).double(), labels),)

    with torch.no_grad(), seeded("checks", "gradients", device=x.device):
        return batch.map(ask, x, y)[0]


def _gradient(defense: Defense, x: Tensor, y: Tensor, batch: DeviceBatch) -> Tensor:
    def ask(part: Tensor, labels: Tensor) -> tuple[Tensor]:
        leaf = part.detach().requires_grad_()
        value = -margin(check_logits(defense(leaf), len(leaf)), labels)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return (gradient,)

    with torch.enable_grad(), seeded("checks", "gradients", device=x.device):
        return batch.map(ask, x, y)[0].double()
