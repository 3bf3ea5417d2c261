"""Checks an attack's answer: the constraint, and what the defense itself says, asked with fresh randomness."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from purebench.batching import DeviceBatch
from purebench.defense import Defense
from purebench.protocols import Answer, DefenseFault, check_logits
from purebench.threat import ThreatModel

ROUNDING = 1e-3
"""Share of the radius by which a library may overshoot through rounding; it is projected back and that is noted."""


class Violation(Exception):
    """An attack's answer lies outside the threat model."""


@dataclass(frozen=True)
class Verdict:
    """What the defense said of an answer.

    images: x' inside the threat model [N,C,H,W]. right: whether each verification draw was right there, bool [N,draws].
    nearest: of a minimum-norm attack, the distance at which most draws were wrong, None where they were not.
    notes: what had to be corrected. passes: images passed.
    """

    images: Tensor
    right: Tensor
    nearest: list[float | None]
    notes: list[str]
    passes: int


def judge(
    defense: Defense, answer: Answer, x: Tensor, y: Tensor, threat: ThreatModel, draws: int, batch: DeviceBatch
) -> Verdict:
    """The verdict on an attack's answer.

    The nearest images of a minimum-norm attack that lie beyond the radius are asked where they are, for their distance,
    and again where they are projected to, for the threat model. Raises Violation and DefenseFault.
    """
    if not answer.nearest:
        images, notes = constrain(answer.images, x, threat)
        right = verify(defense, images, y, draws, batch)
        return Verdict(images, right, [], notes, right.numel())
    found, notes = inside_box(answer.images, x)
    distances = threat.size(found - x)
    far = distances > threat.radius * (1 + ROUNDING)
    images = threat.project(found, x)
    right = verify(defense, images, y, draws, batch)
    there, passes = right.clone(), right.numel()
    if bool(far.any()):
        asked = verify(defense, found[far], y[far], draws, batch)
        there[far.cpu()] = asked
        passes += asked.numel()
    wrong = there.float().mean(1) <= 0.5
    nearest = [
        round(float(distance), 7) if bad else None for distance, bad in zip(distances, wrong.tolist(), strict=True)
    ]
    return Verdict(images, right, nearest, notes, passes)


def constrain(adversarial: Tensor, x: Tensor, threat: ThreatModel) -> tuple[Tensor, list[str]]:
    """The attack's answer inside the threat model, and what had to be corrected.

    Overshooting by rounding is projected back and noted. Raises Violation for more, another shape, or values that
    are not finite.
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
    """Images of the shape and type of x in [0,1], and what had to be corrected. Raises Violation for other ones."""
    if images.shape != x.shape:
        raise Violation(f"expected images of shape {list(x.shape)}, but the attack gave {list(images.shape)}")
    images = images.detach().to(x)
    if not bool(torch.isfinite(images).all()):
        raise Violation("expected finite images, but the attack gave NaN or infinity")
    outside = float(torch.maximum(-images.min(), images.max() - 1))
    if outside > ROUNDING:
        raise Violation(f"the attack left the threat model: values up to {outside:.3g} outside [0,1]")
    notes = [f"rounding corrected: up to {outside:.1g} outside [0,1]"] if outside > 0 else []
    return images.clamp(0, 1), notes


@torch.no_grad()
def verify(defense: Defense, x: Tensor, y: Tensor, draws: int, batch: DeviceBatch) -> Tensor:
    """Whether the defense is right on each image at each draw, bool [N,draws] on the CPU (one draw if deterministic).

    The draws of an image pass together. Raises DefenseFault for logits that are none, and for a defense that calls
    itself deterministic but answers otherwise when asked again, the images in reverse order.
    """
    draws = draws if defense.random else 1
    if not defense.random:
        (first,) = batch.map(lambda images: (defense(images),), x)
        (again,) = batch.map(lambda images: (defense(images),), x.flip(0))
        same = check_logits(first, len(x)).allclose(check_logits(again, len(x)).flip(0), rtol=1e-3, atol=1e-3)
        if not same:
            raise DefenseFault("expected the same answer twice of a defense with random=False; declare it random=True")
        return (first.argmax(1) == y)[:, None].cpu()

    def right(images: Tensor, labels: Tensor) -> tuple[Tensor]:
        return (check_logits(defense(images), len(images)).argmax(1) == labels,)

    (found,) = batch.map(right, x.repeat_interleave(draws, 0), y.repeat_interleave(draws))
    return found.view(len(x), draws).cpu()
