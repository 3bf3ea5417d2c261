"""A latent attack: moves the latent codes that purification keeps away from the image's own, towards other classes'.

It follows the latent attack on autoencoders (Kos et al. 2018, arXiv:1702.06832, section 4.3), which brings the code of
x' close to that of a target. A purifier that mixes several latents (Serez et al. 2025, arXiv:2412.03453) keeps a share
1 - alpha_i of the i-th, so level i counts with that share; latents that are resampled anyway need not be moved.

On the bundled model the latents alone are weaker than gradients of the classifier, and the two together are as strong
as APGD through the whole defense: this attack complements APGD, and does not replace it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.adaptive.off_manifold import Uphill, climb
from purebench.attacks.entry import listed
from purebench.attacks.gradient import losses
from purebench.attacks.views.look import Loss
from purebench.attacks.views.view import View
from purebench.attacks.views.view_module import passes_gradient
from purebench.core.answers import Inapplicable
from purebench.core.defense import LatentPurifier
from purebench.core.parameters import CheckedParameters, Count, Share
from purebench.core.threat import Knowledge, ThreatModel

ALONE = "some images have no image of another class in their block; they are moved away from their own codes"


@dataclass(frozen=True)
class Codes:
    """All levels of the codes of N images, flat [N,D], each level multiplied by sqrt(kept_i) and divided by its spread.

    Squared distances are then sum_i kept_i |difference_i|² / scale_i, where scale_i is the mean squared distance of the
    images' codes from their mean (of a single image, from zero), so that a level does not count more for having more
    values.

    Attributes:
        purifier: The purifier that the codes belong to.
        scales: scale_i of each level.
    """

    purifier: LatentPurifier
    scales: list[Tensor]

    @classmethod
    def around(cls, purifier: LatentPurifier, codes: list[Tensor]) -> Codes:
        """Return the scaling for the images that have these codes."""
        flat = [code.flatten(1) for code in codes]
        centred = [code - code.mean(0) if len(code) > 1 else code for code in flat]
        return cls(purifier, [part.square().sum(1).mean().clamp_min(1e-12) for part in centred])

    def __call__(self, codes: list[Tensor]) -> Tensor:
        """Return the purifier's codes, scaled and flat, [N,D]."""
        parts = zip(codes, self.purifier.kept, self.scales, strict=True)
        return torch.cat([code.flatten(1) * (kept / scale).sqrt() for code, kept, scale in parts], 1)


def directions(own: Tensor, labels: Tensor, targets: int | None) -> tuple[Tensor, Tensor]:
    """Return the direction from each image's codes to the mean of its nearest images of another class.

    Args:
        own: Codes [N,D].
        labels: Labels [N].
        targets: Number of nearest images; None for all.

    Returns:
        The directions [N,D], and which images have any image of another class, bool [N]; the direction of others is
        zero.
    """
    distance = torch.cdist(own, own).masked_fill(labels[:, None] == labels[None], torch.inf)
    count = len(own) if targets is None else min(targets, len(own))
    nearest, place = distance.topk(count, dim=1, largest=False)
    valid = nearest.isfinite().to(own)
    share = valid / valid.sum(1, keepdim=True).clamp_min(1)
    mean = (share[:, :, None] * own[place]).sum(1)
    some = valid.any(1)
    return torch.where(some[:, None], mean - own, 0), some


def then_loss(first: Uphill, view: View, y: Tensor, loss: Loss, change: int) -> Uphill:
    """Return an ascent that follows another one first, and then the classifier's loss.

    Args:
        first: The ascent of the first steps.
        view: The defense as the attack sees it.
        y: Labels [N].
        loss: The classifier's loss.
        change: Number of the first step that follows the loss.
    """

    def uphill(k: int, index: Tensor, points: Tensor) -> tuple[Tensor, Tensor | None]:
        if k < change:
            return first(k, index, points)
        look = view.look(points, y[index], loss)
        return look.gradient, look.logits

    return uphill


@listed("moves the latents that the purifier keeps", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class Latent(CheckedParameters):
    """Maximises |c(x') - c(x)|² - mean_t |c(x') - c(t)|² with c the scaled codes and t images of other classes.

    The squares of c(x') cancel: what remains is a direction in the latents, along which the attack goes as far as the
    threat model allows.

    Attributes:
        mix: Share of the steps, the last ones, that ascend the classifier's loss in the gradient mode instead. 0 is the
            latent attack alone; above 0 the latents only choose where the ascent of the loss starts.
        targets: Number of images t of the block, the nearest first; None for all.
        steps: Gradients per image and restart; a latent one costs one encoding, whatever the EOT samples.
        restarts: Number of random starts.
        loss: Name of the classifier's loss.
    """

    mix: Share = 0.7
    targets: Count | None = None
    steps: Count = 40
    restarts: Count = 1
    loss: str = "ce"
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        super().__post_init__()
        losses.find(self.loss)

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the best point found for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Raises:
            Inapplicable: If the purifier does not mix latents.
        """
        purifier = view.defense.purifier
        if not isinstance(purifier, LatentPurifier):
            raise Inapplicable("the purifier keeps no latents of a generative model")
        loss = losses.find(self.loss)
        with torch.no_grad():
            found = list(view.batch.map(lambda part: tuple(purifier.codes(part)), x))
        view.forwards += len(x)
        flat = Codes.around(purifier, found)
        own = flat(found)
        way, some = directions(own, y, self.targets)
        if not bool(some.all()):
            view.note(ALONE)

        def along(images: Tensor, start: Tensor, way: Tensor, led: Tensor) -> tuple[Tensor]:
            leaf = images.detach().requires_grad_()
            with torch.enable_grad():
                moved = flat(purifier.codes(leaf)) - start
                values = torch.where(led, (moved * way).sum(1), moved.square().sum(1))
                (gradient,) = torch.autograd.grad(passes_gradient(values).sum(), leaf)
            return (gradient,)

        def uphill(_: int, index: Tensor, points: Tensor) -> tuple[Tensor, None]:
            view.forwards += len(points)
            view.backwards += len(points)
            (gradient,) = view.batch.map(along, points, own[index], way[index], some[index])  # codes need no draws
            return view.checked(gradient, lambda: None), None

        both = then_loss(uphill, view, y, loss, round((1 - self.mix) * self.steps))
        return climb(view, x, y, threat, both, steps=self.steps, restarts=self.restarts)
