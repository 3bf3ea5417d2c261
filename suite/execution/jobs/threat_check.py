"""Checks that the answer of an attack is inside the threat model; only rounding errors are corrected."""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.core.threat import ROUNDING, ThreatModel


class Violation(Exception):
    """An attack's answer is outside the threat model."""


def constrain(adversarial: Tensor, x: Tensor, threat: ThreatModel) -> tuple[Tensor, list[str]]:
    """Project the attack's answer into the threat model; only rounding errors are corrected, and noted.

    Args:
        adversarial: the images of the attack [N,C,H,W].
        x: clean images [N,C,H,W] in [0,1].
        threat: the threat model.

    Returns:
        The images inside the threat model, and the notes of what was corrected.

    Raises:
        Violation: the images exceed the threat model by more than rounding, have another shape, or are not finite.
    """
    adversarial, notes = inside_box(adversarial, x)
    over = float((threat.size(adversarial - x) - threat.radius).max())
    if over > ROUNDING * threat.radius:
        raise Violation(
            f"the attack left the threat model: {threat.norm} distance {threat.radius + over:.6g} for a radius of "
            f"{threat.radius:.6g}"
        )
    if over > 1e-6:
        notes = [*notes, f"rounding corrected: up to {over:.1g} beyond the radius"]
    return threat.project(adversarial, x), notes


def inside_box(images: Tensor, x: Tensor) -> tuple[Tensor, list[str]]:
    """Clip images to [0,1], with the type of x; only rounding errors are corrected, and noted.

    Args:
        images: the images of the attack.
        x: clean images [N,C,H,W] in [0,1].

    Returns:
        The images, and the notes of what was corrected.

    Raises:
        Violation: the images leave [0,1] by more than rounding, have another shape than x, or are not finite.
    """
    if images.shape != x.shape:
        raise Violation(f"expected the attack to return images of shape {list(x.shape)}, but got {list(images.shape)}")
    images = images.detach().to(x)
    if not bool(torch.isfinite(images).all()):
        raise Violation("expected the attack to return finite images, but got NaN or infinity")
    outside = float(torch.maximum(-images.min(), images.max() - 1))
    if outside > ROUNDING:
        raise Violation(f"the attack left the threat model: values up to {outside:.3g} outside [0,1]")
    notes = [f"rounding corrected: up to {outside:.1g} outside [0,1]"] if outside > 0 else []
    return images.clamp(0, 1), notes
