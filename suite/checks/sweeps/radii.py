"""Checks the robust accuracy of a defense over the radius.

A larger radius permits every perturbation of a smaller one, so that the best attack never leaves a higher accuracy
(Carlini et al. 2019, arXiv:1902.06705, section 3). Where every image may become the mid-grey image, no answer can be
right for more images than the most frequent class has, or fewer if the defense is random: an attack that leaves more is
too weak, or gradients are masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from purebench.checks.attack_strength import LEFT
from purebench.checks.finding import CheckResult, Suspicion, compared, counted, judged, worst
from purebench.core.threat import ThreatModel
from purebench.data.image_set import ImageSet

Floats = npt.NDArray[np.float64]

TOLERANCE = 0.2
"""Smallest violation that the checks must detect, as that of `purebench check`."""
RISES = "robust accuracy does not rise with the radius"
REACHES = "the largest radius leaves no more than guessing"
GREY = 0.5


def check_radii(
    curve: Mapping[float, Floats], written: Mapping[float, str], norm: str, images: ImageSet, confidence: float
) -> list[CheckResult]:
    """Check a curve over the radius.

    Args:
        curve: [n] in [0,1] at each radius: the share of right draws of each image at its picked adversarial example.
        written: Each radius as text.
        norm: Norm of the radii.
        images: The images, in the same order.
        confidence: A sound evaluation fails any of the checks with a probability of at most (1 - confidence) / 2.

    Returns:
        One finding for each check; none for fewer than two radii.
    """
    radii = sorted(curve)
    if len(radii) < 2:
        return []
    told = ", ".join(f"{_percent(curve[radius])} at {written[radius]}" for radius in radii)
    rising = [compared(RISES, told, curve[far], curve[near], TOLERANCE) for near, far in pairwise(radii)]
    last = radii[-1]
    reaches = _reaches(curve[last], written[last], ThreatModel(norm, last), images)
    return judged([worst(rising), reaches], (1 - confidence) / 2)


def _reaches(values: Floats, text: str, threat: ThreatModel, images: ImageSet) -> Suspicion:
    if not all_may_be_grey(threat, images):
        return Suspicion(REACHES, f"at {text}, not every image may become the same image, so that no limit is known")
    most = guessing(images.labels.tolist())
    guess = f"guessing is right on {100 * most:.1f} %"
    if most + LEFT >= 1:
        return Suspicion(REACHES, f"at {text}, {guess}, so that no limit is known")
    told = f"{_percent(values)} at {text}, where every image may become the same image; {guess}"
    return counted(REACHES, told, values, most + LEFT, TOLERANCE)


def all_may_be_grey(threat: ThreatModel, images: ImageSet) -> bool:
    """Return whether the mid-grey image is inside the threat model of every image."""
    sizes = threat.size(torch.as_tensor(images.floats()) - GREY)
    return bool((sizes <= threat.radius).all())


def guessing(labels: Sequence[int]) -> float:
    """Return the share of the most frequent class, in (0,1]."""
    return max(labels.count(label) for label in set(labels)) / len(labels)


def _percent(values: Floats) -> str:
    return f"{100 * values.mean():.1f} %"
