"""Checks that a defense answers the same again: a deterministic one always, a random one under one seed."""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.core.answers import DefenseFault, WholeFault, check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense
from purebench.core.seeds import seeded
from purebench.execution.jobs.logit_comparison import close

RUNS = 32
"""Draws of each of two batches with which a random defense is compared."""
ORDERS = 10_000
"""Random orders of the permutation test."""
UNLIKE_BATCH = "expected answers that do not depend on the other images of a batch; process each image separately"
UNLIKE_GRADIENTS = (
    "expected equal answers with gradients on and off; otherwise the gradients are those of another function"
)


def same_again(defense: Defense, x: Tensor, logits: Tensor, batch: DeviceBatch) -> None:
    """Check that a deterministic defense returns the same logits again.

    The images pass in reverse order, in batches of half the size, and with gradients on. A defense that keeps a state,
    looks at the other images of a batch, or treats an attacker's passes differently returns other logits.

    Args:
        defense: the defense.
        x: images [N,C,H,W].
        logits: its logits [N,K] from a first call.
        batch: the device batch of the first call.

    Raises:
        WholeFault: the logits differ; the message names the cause.
    """

    def again(images: Tensor) -> tuple[Tensor]:
        return (check_logits(defense(images), len(images)).detach(),)

    halves = DeviceBatch(max(1, min(batch.size, len(x)) // 2))
    try:
        (found,) = halves.map(lambda images: (_with_gradients(defense, images),), x.flip(0))
    except DefenseFault:
        raise
    except Exception:  # a defense that is not differentiable is not a fault
        (found,) = halves.map(again, x.flip(0))
    if close(logits, found.flip(0)):
        return
    (repeated,) = batch.map(again, x)
    (parted,) = halves.map(again, x)
    if not close(logits, repeated):
        raise WholeFault(
            "expected equal answers from a defense with random=False; declare random=True, or remove its state"
        )
    raise WholeFault(UNLIKE_GRADIENTS if close(logits, parted) else UNLIKE_BATCH)


@torch.no_grad()
def same_under_one_seed(defense: Defense, x: Tensor) -> None:
    """Check that a random defense answers equally under one seed.

    Two passes must agree, also with a pass with gradients, and the first image's answer must not depend on the other
    image of the batch. The latter is not a fault where random numbers are drawn after a look at the images; in this
    case the distribution of the answers decides (see `batch_decides`).

    Args:
        defense: the defense.
        x: images [N,C,H,W], of which the first two are passed.

    Raises:
        WholeFault: the answers differ; the message names the cause.
    """
    first, other = x[:1], x[1:2] if len(x) > 1 else x[:1].flip(-1)
    pair, changed = torch.cat([first, other]), torch.cat([first, 1 - other])

    def under_one_seed(images: Tensor, gradients: bool = False) -> Tensor:
        kept = images.clone()
        with seeded("verify", "one seed", device=x.device):
            found = _with_gradients(defense, images) if gradients else check_logits(defense(images), len(images))
        untouched(images, kept)
        return found

    logits = under_one_seed(pair)
    if not close(logits, under_one_seed(pair)):
        raise WholeFault(
            "expected equal draws under equal seeds; draw random numbers only from torch's global generators, and "
            "keep no state"
        )
    try:
        slope = under_one_seed(pair, gradients=True)
    except DefenseFault:
        raise
    except Exception:  # not differentiable, as above
        slope = logits
    if not close(logits, slope):
        raise WholeFault(UNLIKE_GRADIENTS)
    if not close(logits[:1], under_one_seed(changed)[:1]) and batch_decides(defense, pair, changed):
        raise WholeFault(UNLIKE_BATCH)


def batch_decides(defense: Defense, pair: Tensor, changed: Tensor) -> bool:
    """Return whether the first image's answers differ in distribution between two batches that begin with it.

    A permutation test on the ranks of its log-probabilities; a correct defense fails it with a probability of 1/10,000.

    Args:
        defense: the defense.
        pair: a batch [2,C,H,W].
        changed: a batch [2,C,H,W] with the same first image and another second one.
    """
    found = []
    for number in range(RUNS):
        for which, images in enumerate((pair, changed)):
            with seeded("verify", "batch", str(number), str(which), device=pair.device):
                found.append(check_logits(defense(images.clone()), 2)[0].log_softmax(0))
    ranks = torch.stack(found).argsort(0).argsort(0).double()
    ranks = ranks - ranks.mean(0)
    side = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(RUNS)
    generator = torch.Generator().manual_seed(0)
    orders = torch.stack([side[torch.randperm(len(side), generator=generator)] for _ in range(ORDERS)])
    ranks = ranks.cpu()
    observed = float((side @ ranks).square().sum())
    return bool(((orders @ ranks).square().sum(1) < observed).all())


def _with_gradients(defense: Defense, images: Tensor) -> Tensor:
    with torch.enable_grad():
        return check_logits(defense(images.clone().requires_grad_()), len(images)).detach()


def untouched(x: Tensor, kept: Tensor) -> None:
    """Raise WholeFault if images [N,C,H,W] differ from the copy of them that was kept."""
    if not torch.equal(x, kept):
        raise WholeFault(
            "expected a defense that does not modify its input images, but it modifies them in place; work on x.clone()"
        )
