"""An attack on the posteriors of a VAE: maximises the divergence of those of x' from those of the image.

It is the unsupervised attack of Kuzina et al. 2022 (arXiv:2203.09940) on variational autoencoders, with the symmetric
Kullback-Leibler divergence as objective. Here each latent of a purifier counts with the share 1 - alpha_i that
purification keeps of it; the authors' attack on hierarchical models sums over the latents of the top levels. They start
at Gaussian noise and use SGD whose rate halves on a plateau; here the start is random in the threat model (at the image
itself the gradient is zero), and the steps are those of `climb`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.adaptive.latent import then_loss
from purebench.attacks.adaptive.off_manifold import climb
from purebench.attacks.entry import listed
from purebench.attacks.gradient import losses
from purebench.attacks.views.view import View
from purebench.attacks.views.view_module import passes_gradient
from purebench.core.answers import Inapplicable
from purebench.core.defense import GaussianEncoder
from purebench.core.parameters import CheckedParameters, Count, Share
from purebench.core.threat import Knowledge, ThreatModel


def symmetric_divergence(mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor) -> Tensor:
    """Return ½KL(a‖b) + ½KL(b‖a) of two Gaussians with diagonal covariance, in nats, [N].

    Args:
        mean: Mean of a, [N,…].
        variance: Variances of a, [N,…].
        other_mean: Mean of b, [N,…].
        other_variance: Variances of b, [N,…].
    """
    ratio = variance / other_variance
    gap = (mean - other_mean).square() * (1 / variance + 1 / other_variance)
    return ((ratio + 1 / ratio + gap) / 4 - 0.5).flatten(1).sum(1)


@listed("moves the posteriors of the latents that the purifier keeps", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class LatentSKL(CheckedParameters):
    """Maximises sum_i kept_i · SKL(q_i(·|x'), q_i(·|x)) over the latents i, coarse to fine.

    Attributes:
        mix: Share of the steps, the last ones, that ascend the classifier's loss in the gradient mode instead. 0 is the
            divergence alone.
        steps: Gradients per image and restart; one of the divergence costs one encoding, whatever the EOT samples.
        restarts: Number of random starts.
        loss: Name of the classifier's loss.
    """

    mix: Share = 0.7
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
            Inapplicable: If the purifier has no encoder, or one without variances.
        """
        purifier = view.defense.purifier
        if not isinstance(purifier, GaussianEncoder):
            raise Inapplicable("the purifier has no encoder that gives distributions of latents")
        kept = torch.tensor(purifier.kept, dtype=x.dtype, device=x.device)
        if not bool(kept.any()):
            raise Inapplicable("the purifier keeps no part of any latent")

        def posteriors(images: Tensor) -> tuple[Tensor, ...]:
            return tuple(part for level in purifier.posteriors(images) for part in level)

        with torch.no_grad():
            own = view.batch.map(posteriors, x)
        view.forwards += len(x)

        def apart(images: Tensor, *own: Tensor) -> tuple[Tensor]:
            leaf = images.detach().requires_grad_()
            with torch.enable_grad():
                found = posteriors(leaf)
                levels = map(symmetric_divergence, found[::2], found[1::2], own[::2], own[1::2])
                values = torch.stack(list(levels), 1) @ kept
                (gradient,) = torch.autograd.grad(passes_gradient(values).sum(), leaf)
            return (gradient,)

        def uphill(_: int, index: Tensor, points: Tensor) -> tuple[Tensor, None]:
            view.forwards += len(points)
            view.backwards += len(points)
            (gradient,) = view.batch.map(apart, points, *(part[index] for part in own))  # posteriors need no draws
            return view.checked(gradient, lambda: None), None

        both = then_loss(uphill, view, y, losses.find(self.loss), round((1 - self.mix) * self.steps))
        return climb(view, x, y, threat, both, steps=self.steps, restarts=self.restarts)
