"""Randomised smoothing (Cohen et al. 2019, arXiv:1902.02918): the class that most noisy copies of an image get.

g(x) = argmax_c P(f(x + noise) = c), noise ~ N(0, sigma²), is constant within sigma·Φ^-1(p) of x in l2 where
p > 1/2 bounds its probability from below (theorem 1). f may be anything: here it clamps to [0,1], and a denoiser before
the classifier is part of it (Salman et al. 2020, arXiv:2003.01908), such as one step of a diffusion model at the
timestep whose noise is sigma (Carlini et al. 2023, arXiv:2206.10550).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from scipy.special import ndtri
from torch import Tensor, nn
from torch.nn import functional

from purebench.core import registry
from purebench.core.batching import DeviceBatch
from purebench.core.defense import Certificate, Defense, Purifier
from purebench.core.errors import PurebenchError
from purebench.core.protocols import check_logits
from purebench.core.registry import Spec
from purebench.defenses.composition.voting import Voter, Votes, require_draws
from purebench.defenses.diffusion.networks import network
from purebench.defenses.diffusion.sampling import DiffusionPurifier, denoise
from purebench.defenses.diffusion.unet import noise_levels
from purebench.defenses.transforms.simple import GaussianNoise, positive
from purebench.statistics import clopper_pearson

ONE_STEP = "ddpm"
"""The denoiser that is one step of the bundled diffusion model."""


class OneStep(DiffusionPurifier):
    """Noise of standard deviation `sigma` in [0,1], taken away again by one step of a diffusion model.

    On [-1,1] the noise is 2·sigma; a state at alpha-bar a, divided by sqrt(a), has noise sqrt((1-a)/a). The timestep is
    the one where that is nearest (Carlini et al. 2023, algorithm 1); the noise is sigma exactly, as certificates want.
    """

    def __init__(self, network: nn.Module, sigma: float, levels: Tensor | None = None):
        levels = noise_levels() if levels is None else levels
        self.sigma = positive("smoothing", "sigma", sigma)
        noises = ((1 - levels.double()) / levels.double()).sqrt() / 2
        if sigma > float(noises[-1]):
            raise PurebenchError(f"smoothing: expected sigma up to the network's {noises[-1]:.3g}, but got {sigma}.")
        t = int((noises.log() - torch.tensor(sigma, dtype=torch.float64).log()).abs().argmin()) + 1
        super().__init__(network, t=t, levels=levels, checkpointed=False, surrogate="identity")

    def forward(self, x: Tensor) -> Tensor:
        """Denoised images in [0,1], differentiable."""
        level = self.level(self.top)
        state = level.sqrt() * (2 * (x + self.sigma * torch.randn_like(x)) - 1)
        predicted = self.predict(state, torch.tensor(self.top, device=x.device))
        return (denoise(state, predicted, level) + 1) / 2


class Denoised(Purifier):
    """Gaussian noise, clamped to [0,1], and any purifier behind it."""

    random = True

    def __init__(self, sigma: float, purifier: Purifier):
        super().__init__()
        self.noise, self.purifier = GaussianNoise(sigma), purifier

    def forward(self, x: Tensor) -> Tensor:
        """Purified noisy images."""
        purified: Tensor = self.purifier(self.noise(x))
        return purified

    def surrogate(self, x: Tensor) -> Tensor:
        """The purifier's, of a noisy image."""
        return self.purifier.surrogate(self.noise(x))


class Smoothed(Defense):
    """The majority of `draws` noisy answers, with a certificate of what all noise together would say.

    classifier, noisy: f is the classifier behind `noisy`, which begins with noise of standard deviation `sigma`.
    """

    def __init__(self, classifier: nn.Module, noisy: Purifier, *, sigma: float, draws: int):
        require_draws("smoothing", draws, 1)
        super().__init__(Voter(classifier, "majority"), Votes(noisy, draws))
        self.base, self.sigma, self.passes = Defense(classifier, noisy), positive("smoothing", "sigma", sigma), draws

    @torch.no_grad()
    def certify(self, x: Tensor, *, n0: int, n: int, alpha: float, batch: DeviceBatch) -> Certificate:
        """Algorithm CERTIFY of Cohen et al.: the class that n0 draws favour, and a radius from n fresh ones.

        The class's probability is bounded by Clopper & Pearson, on one side, at 1 - alpha; where the bound is no more
        than 1/2, the defense abstains.
        """
        classes, radii = [], []
        for image in x:
            guess = int(self.counts(image, n0, batch).argmax())
            low = lower_bound(int(self.counts(image, n, batch)[guess]), n, alpha)
            classes.append(guess if low > 0.5 else -1)
            radii.append(self.sigma * float(ndtri(low)) if low > 0.5 else 0.0)
        found = torch.tensor(classes, dtype=torch.long), torch.tensor(radii, dtype=torch.float64)
        return Certificate(*found, passes=len(x) * (n0 + n))

    def counts(self, image: Tensor, draws: int, batch: DeviceBatch) -> Tensor:
        """How often each class is the answer to fresh noisy copies of an image [C,H,W]; int [K] on the CPU."""

        def sums(copies: Tensor) -> tuple[Tensor]:
            logits = check_logits(self.base(copies), len(copies))
            return (functional.one_hot(logits.argmax(1), logits.shape[1]).sum(0, keepdim=True),)

        (found,) = batch.map(sums, image.expand(draws, *image.shape))
        return found.sum(0).cpu()


def lower_bound(successes: int, n: int, alpha: float) -> float:
    """A probability that is not above the true one, but with probability alpha: Clopper & Pearson's on one side."""
    return clopper_pearson(successes, n, 1 - 2 * alpha).low


def smoothing(
    *,
    sigma: float = 0.1,
    draws: int = 16,
    denoiser: str | Mapping[str, Any] | None = None,
    classifier: nn.Module,
) -> Smoothed:
    """Randomised smoothing: the vote of noisy copies; the attack `certify` tells the radii that it can prove.

    sigma: of the noise, in units of [0,1]; draws: votes of an answer; denoiser: None, `ddpm` for one step of the
    bundled diffusion model (`ddpm(weights=…)` for another), or any registered purifier; classifier: the board's.
    Raises PurebenchError for bad values, and for a denoiser that is no purifier.
    """
    return Smoothed(classifier, noisy(sigma, denoiser, classifier), sigma=sigma, draws=draws)


def noisy(sigma: float, denoiser: str | Mapping[str, Any] | None, classifier: nn.Module) -> Purifier:
    """Gaussian noise, and behind it the denoiser that one writes so."""
    if denoiser is None:
        return GaussianNoise(sigma)
    spec = Spec.parse(denoiser)
    if spec.name == ONE_STEP:
        params = dict(spec.params)
        return OneStep(network(params.pop("weights", "fashion-ddpm"), **params), sigma)
    made = registry.create("defenses", spec, classifier=classifier)
    if not isinstance(made, Purifier):
        raise PurebenchError(f"smoothing: expected denoiser to be {ONE_STEP} or a purifier, but {spec.name} is none.")
    return Denoised(sigma, made)
