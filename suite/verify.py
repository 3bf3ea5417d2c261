"""Checks an attack's answer: the constraint, and what the defense itself says, asked with fresh randomness."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from purebench.batching import DeviceBatch
from purebench.defense import Defense
from purebench.protocols import Answer, DefenseFault, check_logits
from purebench.seeds import seeded
from purebench.threat import ThreatModel

ROUNDING = 1e-3
"""Share of the radius by which a library may overshoot through rounding (it is projected back and that is noted), and
of the logits' spread by which a defense may answer otherwise when asked again."""


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

    The draws of an image pass together. Raises DefenseFault for logits that are none, for a defense that calls itself
    deterministic but answers otherwise when asked again (see `same_again`), for a random one that two passes under one
    seed do not agree on, and for one that changes the images that it is given.
    """
    if not defense.random:
        kept = x.clone()
        (logits,) = batch.map(lambda images: (check_logits(defense(images), len(images)),), x)
        _untouched(x, kept)
        if int(y.max()) >= logits.shape[1]:
            raise DefenseFault(f"expected logits of at least {int(y.max()) + 1} classes, but got {logits.shape[1]}")
        same_again(defense, x, logits, batch)
        return (logits.argmax(1) == y)[:, None].cpu()
    same_under_one_seed(defense, x[:1])

    def right(images: Tensor, labels: Tensor) -> tuple[Tensor]:
        return (check_logits(defense(images), len(images)).argmax(1) == labels,)

    (found,) = batch.map(right, x.repeat_interleave(draws, 0), y.repeat_interleave(draws))
    return found.view(len(x), draws).cpu()


def same_again(defense: Defense, x: Tensor, logits: Tensor, batch: DeviceBatch) -> None:
    """Raises DefenseFault unless images x [N,C,H,W] get these logits [N,K] again.

    They are asked in reverse order, in batches of half the size, and with gradients on: what keeps a state, looks at
    the other images of a batch, or treats an attacker's passes unlike others answers otherwise.
    """

    def ask(images: Tensor) -> tuple[Tensor]:
        return (check_logits(defense(images), len(images)).detach(),)

    def with_gradients(images: Tensor) -> tuple[Tensor]:
        with torch.enable_grad():
            return ask(images.clone().requires_grad_())

    halves = DeviceBatch(max(1, min(batch.size, len(x)) // 2))
    try:
        (again,) = halves.map(with_gradients, x.flip(0))
    except DefenseFault:
        raise
    except Exception:  # it may not be differentiable at all, which is no fault
        (again,) = halves.map(ask, x.flip(0))
    if close(logits, again.flip(0)):
        return
    (repeated,) = batch.map(ask, x)
    (parted,) = halves.map(ask, x)
    if not close(logits, repeated):
        cure = "expected the same answer twice of a defense with random=False; declare it random=True, or keep no state"
    elif not close(logits, parted):
        cure = "expected an answer that the other images of a batch do not change; look at each image by itself"
    else:
        cure = "expected the same answer with gradients on and off; its gradients would be those of another function"
    raise DefenseFault(cure)


def same_under_one_seed(defense: Defense, x: Tensor) -> None:
    """Raises DefenseFault unless two passes of a random defense over images x [N,C,H,W] under one seed agree."""
    found, kept = [], x.clone()
    for _ in range(2):
        with seeded("verify", "one seed", device=x.device):
            found.append(check_logits(defense(x), len(x)))
        _untouched(x, kept)
    if not close(*found):
        raise DefenseFault(
            "expected the same draw twice under one seed; take random numbers from torch's global generators alone, "
            "and keep no state"
        )


def _untouched(x: Tensor, kept: Tensor) -> None:
    if not torch.equal(x, kept):
        raise DefenseFault(
            "expected that images are left as they are, but they were changed in place; work on x.clone()"
        )


def close(logits: Tensor, others: Tensor) -> bool:
    """Whether logits [N,K] agree up to ROUNDING times their spread, image by image."""
    spread = logits.amax(1, keepdim=True) - logits.amin(1, keepdim=True)
    floor = 1e-5 * logits.abs().amax(1, keepdim=True)
    return logits.shape == others.shape and bool(((logits - others).abs() <= ROUNDING * spread + floor).all())
