"""Evaluates a classifier on images with some latents resampled: right or wrong, margin, and distance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from purebench.attacks.gradient.losses import margin
from purebench.core.answers import check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import LatentPurifier, Mix
from purebench.core.seeds import seeded
from purebench.data.datasets import Array


def resample(where: Iterable[int], codes: Sequence[Tensor] | None = None) -> Mix:
    """Return the mixer that samples some latents from the prior and keeps all others.

    Args:
        where: Numbers of the latents to resample.
        codes: Codes of the kept latents; None to keep them as encoded.

    Returns:
        The mixer.
    """
    resampled = frozenset(where)
    return lambda i, encoded, sampled: sampled if i in resampled else encoded if codes is None else codes[i]


def held_codes(purifier: LatentPurifier, x: Tensor, hold: bool) -> list[Tensor] | None:
    """Return the codes of the reconstruction if they are to be held, else None.

    With None, a latent is encoded given those above it.

    Args:
        purifier: The purifier.
        x: Images [N,C,H,W] in [0,1].
        hold: Whether codes are held.

    Returns:
        One tensor per latent, or None.
    """
    return purifier.codes(x) if hold else None


@dataclass(frozen=True)
class Answers:
    """Answers of the classifier on N images at D draws each.

    Attributes:
        right: bool [N,D], whether it was right.
        margin: [N,D], the label's logit less the largest other one.
        distance: [N,D], l2 distance from the reference.
        pictures: [R,C,H,W] in [0,1], of the first draw.
        change: [H,W], mean |difference| from the reference over images, draws and channels.
    """

    right: Array
    margin: Array
    distance: Array
    pictures: Array
    change: Array


@dataclass(frozen=True)
class Asker:
    """Evaluates a classifier on images; the seed and the question decide the answers.

    Attributes:
        classifier: A function from images [N,C,H,W] in [0,1] to logits [N,K].
        x: Images [N,C,H,W] in [0,1].
        y: Labels [N].
        batch: Device and batch size.
        seed: Seed of the draws.
        pictures: Positions [R] of the images to keep pictures of.
        tick: Called after every pass over all images.
    """

    classifier: Callable[[Tensor], Tensor]
    x: Tensor
    y: Tensor
    batch: DeviceBatch
    seed: int
    pictures: list[int]
    tick: Callable[[], None]

    def ask(
        self, what: str, make: Callable[[Tensor], Tensor], draws: int, reference: Tensor | None = None
    ) -> tuple[Answers, Tensor]:
        """Evaluate the classifier on make(x).

        Args:
            what: Words that, with the seed, decide the random numbers.
            make: A function from images to images of the same shape.
            draws: Number of draws.
            reference: Images like x that distances are measured from; x itself if None.

        Returns:
            The answers, and the images make(x) of the first draw [N,C,H,W] on the CPU.
        """

        def look(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            images = make(x)
            logits = check_logits(self.classifier(images), len(images))
            return images.cpu(), (logits.argmax(1) == y).cpu(), -margin(logits, y).double().cpu()

        origin = self.x.cpu() if reference is None else reference
        kept: list[Tensor] = []
        found: list[tuple[Array, ...]] = []
        change = torch.zeros(origin.shape[2:], dtype=torch.float64)
        for draw in range(draws):
            with torch.no_grad(), seeded("inspect", str(self.seed), what, str(draw), device=self.x.device):
                images, right, margins = self.batch.map(look, self.x, self.y)
            gap = images.double() - origin
            change += gap.abs().mean((0, 1)) / draws
            found.append((right.numpy(), margins.numpy(), gap.flatten(1).norm(dim=1).numpy()))
            kept = kept or [images]
            self.tick()
        rights, margins_found, distances = (np.stack(parts, 1) for parts in zip(*found, strict=True))
        shown = kept[0][self.pictures].numpy()
        return Answers(rights, margins_found, distances, shown, change.numpy()), kept[0]

    def slopes(self, purifier: LatentPurifier, draws: int, hold: bool = False) -> Array | None:
        """Compute |gradient of the margin by latent i · (sampled - encoded)| at the reconstruction.

        Args:
            purifier: The purifier.
            draws: Number of draws.
            hold: Whether finer latents hold their codes; if not, they follow the latent that changes, as in
                purification.

        Returns:
            [latents,N,D], or None if the classifier passes no gradient.
        """

        def look(x: Tensor, y: Tensor) -> tuple[Tensor]:
            steps: list[Tensor] = []
            ways: list[Tensor] = []
            keep = resample((), held_codes(purifier, x, hold))

            def mix(i: int, encoded: Tensor, sampled: Tensor) -> Tensor:
                kept = keep(i, encoded, sampled)
                steps.append(torch.zeros_like(kept, requires_grad=True))
                ways.append((sampled - kept).detach())
                return kept + steps[-1]

            value = -margin(self.classifier(purifier.autoencode(x, mix)), y)
            if not value.requires_grad:
                return (torch.full((len(x), len(steps)), torch.nan),)
            gradients = torch.autograd.grad(value.sum(), steps, materialize_grads=True)
            dots = [(g * way).flatten(1).sum(1).abs() for g, way in zip(gradients, ways, strict=True)]
            return (torch.stack(dots, 1).double().cpu(),)

        found = []
        for draw in range(draws):
            with torch.enable_grad(), seeded("inspect", str(self.seed), "slopes", str(draw), device=self.x.device):
                (slopes,) = self.batch.map(look, self.x, self.y)
            found.append(slopes.T.numpy())
            self.tick()
        by_draw = np.stack(found, 2)
        return None if np.isnan(by_draw).all() else by_draw
