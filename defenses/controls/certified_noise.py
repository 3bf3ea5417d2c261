"""A classifier behind Gaussian noise, whose probability of a right answer is proven to stay above a bound.

If one noisy copy of an image is classified rightly with a probability of at least p, then at every point within the l2
radius r with a probability of at least Φ(Φ⁻¹(p) − r / sigma) (Neyman & Pearson 1933; Salman et al. 2019,
arXiv:1906.04584, lemma 2). p is bounded from draws, with a known probability of error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from scipy.special import ndtr, ndtri
from torch import Tensor, nn

from purebench.core import registry
from purebench.core.defense import Defense
from purebench.core.defense.known_truth import Truth
from purebench.core.defense.listed import listed
from purebench.core.norms.norm_facts import NORM_FACTS
from purebench.core.parameters import Count, Positive, checked
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.defenses.composition.smoothing import lower_bound
from purebench.defenses.transforms.simple import GaussianNoise

ALPHA = 0.001
"""Probability that the bound of an image is wrong."""
TOGETHER = 250
"""Draws of an image that pass at once."""


class CertifiedNoise(Defense):
    """A classifier behind clamped Gaussian noise, one draw an answer, with a certified lower bound.

    Args:
        classifier: the classifier.
        sigma: standard deviation of the noise, in the units of images in [0,1].
        draws: draws of an image that bound its probability.
        reference: the spec of the same defense without the certificate.
    """

    kind = "random"
    hides = "nothing: noise, whose effect is bounded from below by a certificate"

    def __init__(self, classifier: nn.Module, sigma: float, draws: int, reference: str):
        super().__init__(classifier, GaussianNoise(sigma))
        self.sigma, self.draws, self.reference = sigma, draws, reference

    @torch.no_grad()
    def truth(self, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
        """Return the certified lower bound of each image; the upper bound is that of the reference.

        Args:
            x: images [N,C,H,W] in [0,1].
            y: labels [N].
            threat: the threat model; the certificate is for the l2 ball around its ball.
        """
        radius = threat.radius / NORM_FACTS[threat.norm].inside_l2(1.0, x[0].numel())
        low = [self._bound(image, int(label), radius) for image, label in zip(x, y, strict=True)]
        found = torch.tensor(low, dtype=torch.float64)
        return Truth(found, torch.full_like(found, torch.nan))

    def _bound(self, image: Tensor, label: int, radius: float) -> float:
        right, left = 0, self.draws
        while left:
            some = min(left, TOGETHER)
            right += int((self(image.expand(some, *image.shape)).argmax(1) == label).sum())
            left -= some
        p = lower_bound(right, self.draws, ALPHA)
        return float(ndtr(ndtri(p) - radius / self.sigma)) if p > 0 else 0.0


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=0,
    licence="MIT",
    source="Salman et al. 2019, arXiv:1906.04584",
)
@checked("certified-noise")
def certified_noise(
    *, sigma: Positive = 0.25, draws: Count = 1000, classifier: str | Mapping[str, Any] | nn.Module
) -> CertifiedNoise:
    """Return a classifier behind Gaussian noise with a certified lower bound of its robust accuracy (l2).

    Args:
        sigma: standard deviation of the noise, in the units of images in [0,1].
        draws: draws of an image that bound its probability of a right answer.
        classifier: a registered classifier as it is written on a board; the board's classifier by default.
    """
    noise, reference = f"gaussian-noise(sigma={sigma!r})", ""
    if isinstance(classifier, nn.Module):
        model, reference = classifier, noise
    else:
        spec = Spec.parse(classifier)
        model = registry.create("classifiers", spec)
        reference = str(Spec("before", {"purifier": noise, "classifier": spec.plain()}))
    return CertifiedNoise(model, sigma, draws, reference)
