"""Checks an attack's answer: the constraint, and what the defense itself says, asked with fresh randomness."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from purebench.core.batching import DeviceBatch
from purebench.core.defense import Defense
from purebench.core.protocols import Answer, DefenseFault, WholeFault, check_logits
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.execution.contract.pristine import copied

ROUNDING = 1e-3
"""Share of the radius by which a library may overshoot through rounding (it is projected back and that is noted), and
of the logits' spread by which a defense may answer otherwise when asked again."""


RUNS = 32
"""Draws of each of two batches by which a random defense is compared."""
ORDERS = 10_000
"""Random orders that they are compared with."""
MASKED = 1e3
"""How much farther from the largest logit a masked class is than any other."""
ALL_EQUAL = "it is declared random, but all draws of every image are equal to the last bit"
UNLIKE_BATCH = "expected an answer that the other images of a batch do not change; look at each image by itself"
UNLIKE_GRADIENTS = (
    "expected the same answer with gradients on and off; its gradients would be those of another function"
)


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
        asked = ask(defense, images, y, draws, batch)
        return Verdict(images, asked.right, [], notes + asked.notes, asked.right.numel())
    found, notes = inside_box(answer.images, x)
    distances = threat.size(found - x)
    far = distances > threat.radius * (1 + ROUNDING)
    images = threat.project(found, x)
    another = copied(defense) if bool(far.any()) else defense
    asked = ask(defense, images, y, draws, batch)
    there, passes = asked.right.clone(), asked.right.numel()
    if bool(far.any()):
        beyond = verify(another, found[far], y[far], draws, batch)
        there[far.cpu()] = beyond
        passes += beyond.numel()
    wrong = there.float().mean(1) <= 0.5
    nearest = [
        round(float(distance), 7) if bad else None for distance, bad in zip(distances, wrong.tolist(), strict=True)
    ]
    return Verdict(images, asked.right, nearest, notes + asked.notes, passes)


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


@dataclass(frozen=True)
class Asked:
    """Verification draws: whether each was right, bool [N,draws] on the CPU, and what a reader must know of them."""

    right: Tensor
    notes: list[str]


def verify(defense: Defense, x: Tensor, y: Tensor, draws: int, batch: DeviceBatch) -> Tensor:
    """Whether the defense is right on each image at each draw, bool [N,draws] on the CPU (one draw if deterministic).

    defense: one that was never asked anything (`Context.pristine`), so that it cannot answer from memory.
    The draws of an image pass together, or in a call each where the defense `shares_draws`. Raises DefenseFault for
    logits that are none, and WholeFault for a defense that calls itself deterministic but answers otherwise when asked
    again (see `same_again`), for a random one that two passes under one seed do not agree on (see
    `same_under_one_seed`), and for one that changes the images that it is given.
    """
    return ask(defense, x, y, draws, batch).right


@torch.no_grad()
def ask(defense: Defense, x: Tensor, y: Tensor, draws: int, batch: DeviceBatch) -> Asked:
    """`verify`, with its notes."""
    kept = x.clone()

    def logits_of(images: Tensor) -> tuple[Tensor]:
        return (check_logits(defense(images), len(images)),)

    if not defense.random:
        (logits,) = batch.map(logits_of, x)
        _untouched(x, kept)
        _enough_classes(logits, y)
        same_again(defense, x, logits, batch)
        return Asked((logits.argmax(1) == y)[:, None].cpu(), [])
    if defense.shares_draws:
        found = torch.stack([batch.map(logits_of, x)[0] for _ in range(draws)], 1)
    else:
        (every,) = batch.map(logits_of, x.repeat_interleave(draws, 0))
        found = every.view(len(x), draws, -1)
    _untouched(x, kept)
    _enough_classes(found[:, 0], y)
    same_under_one_seed(defense, x)
    notes = [ALL_EQUAL] if draws > 1 and bool((found == found[:, :1]).all()) else []
    return Asked((found.argmax(2) == y[:, None]).cpu(), notes)


def _enough_classes(logits: Tensor, y: Tensor) -> None:
    if len(y) and int(y.max()) >= logits.shape[1]:
        raise WholeFault(f"expected logits of at least {int(y.max()) + 1} classes, but got {logits.shape[1]}")


def same_again(defense: Defense, x: Tensor, logits: Tensor, batch: DeviceBatch) -> None:
    """Raises WholeFault unless images x [N,C,H,W] get these logits [N,K] again.

    They are asked in reverse order, in batches of half the size, and with gradients on: what keeps a state, looks at
    the other images of a batch, or treats an attacker's passes unlike others answers otherwise.
    """

    def again(images: Tensor) -> tuple[Tensor]:
        return (check_logits(defense(images), len(images)).detach(),)

    halves = DeviceBatch(max(1, min(batch.size, len(x)) // 2))
    try:
        (found,) = halves.map(lambda images: (_with_gradients(defense, images),), x.flip(0))
    except DefenseFault:
        raise
    except Exception:  # it may not be differentiable at all, which is no fault
        (found,) = halves.map(again, x.flip(0))
    if close(logits, found.flip(0)):
        return
    (repeated,) = batch.map(again, x)
    (parted,) = halves.map(again, x)
    if not close(logits, repeated):
        raise WholeFault(
            "expected the same answer twice of a defense with random=False; declare it random=True, or keep no state"
        )
    raise WholeFault(UNLIKE_GRADIENTS if close(logits, parted) else UNLIKE_BATCH)


@torch.no_grad()
def same_under_one_seed(defense: Defense, x: Tensor) -> None:
    """Raises WholeFault unless a random defense answers alike under one seed, at the first of images x [N,C,H,W].

    Two passes must agree, one with gradients must, and the first image's answer must not depend on the other image of a
    batch. The last is no fault where random numbers are drawn after a look at the images: there the distribution of the
    answers decides (see `batch_decides`).
    """
    first, other = x[:1], x[1:2] if len(x) > 1 else x[:1].flip(-1)
    pair, changed = torch.cat([first, other]), torch.cat([first, 1 - other])

    def under_one_seed(images: Tensor, gradients: bool = False) -> Tensor:
        kept = images.clone()
        with seeded("verify", "one seed", device=x.device):
            found = _with_gradients(defense, images) if gradients else check_logits(defense(images), len(images))
        _untouched(images, kept)
        return found

    logits = under_one_seed(pair)
    if not close(logits, under_one_seed(pair)):
        raise WholeFault(
            "expected the same draw twice under one seed; take random numbers from torch's global generators alone, "
            "and keep no state"
        )
    try:
        slope = under_one_seed(pair, gradients=True)
    except DefenseFault:
        raise
    except Exception:  # as above
        slope = logits
    if not close(logits, slope):
        raise WholeFault(UNLIKE_GRADIENTS)
    if not close(logits[:1], under_one_seed(changed)[:1]) and batch_decides(defense, pair, changed):
        raise WholeFault(UNLIKE_BATCH)


def batch_decides(defense: Defense, pair: Tensor, changed: Tensor) -> bool:
    """Whether the first image's answers differ in distribution between two batches [2,C,H,W] that begin with it.

    A permutation test on the ranks of its log-probabilities; a defense without a fault fails it once in 10,000.
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


def _untouched(x: Tensor, kept: Tensor) -> None:
    if not torch.equal(x, kept):
        raise WholeFault("expected that images are left as they are, but they were changed in place; work on x.clone()")


def close(logits: Tensor, others: Tensor) -> bool:
    """Whether logits [N,K] agree up to ROUNDING times their spread, image by image.

    Classes that a mask puts out of reach (-1e9) count by a spread of their own; see `reachable`.
    """
    if logits.shape != others.shape:
        return False
    some = reachable(logits)
    top = logits.amax(1, keepdim=True)
    spread = (top - logits.masked_fill(~some, torch.inf).amin(1, keepdim=True)).where(some, top - logits)
    floor = 1e-5 * logits.abs().masked_fill(~some, 0).amax(1, keepdim=True).where(some, logits.abs())
    return bool(((logits - others).abs() <= ROUNDING * spread + floor).all())


def reachable(logits: Tensor) -> Tensor:
    """Which classes of logits [N,K] are not masked, bool [N,K].

    A mask shows as a jump: in order of distance from the largest logit, one class is MASKED times as far as the one
    before it. The second class alone proves little, because it may be tied with the first.
    """
    far = (logits.amax(1, keepdim=True) - logits).double()
    sorted_far = far.sort(1).values
    times = torch.full_like(sorted_far[:, 1:], MASKED)
    times[:, :1] = torch.inf
    times[:, 1:2] = 100 * MASKED
    jump = sorted_far[:, 1:] > times * sorted_far[:, :-1]
    jump &= sorted_far[:, :-1] > 0
    last = torch.where(jump, sorted_far[:, :-1], torch.inf).amin(1, keepdim=True)
    return far <= last
