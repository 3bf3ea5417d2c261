"""Verifies an attack's answer: checks the threat model, and calls the defense with fresh randomness."""

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
"""Share of the radius by which an attack library may exceed it through rounding (the image is projected back, and a
note is kept), and share of the logits' spread by which the answers of a defense may differ when it is called again."""


RUNS = 32
"""Draws of each of two batches with which a random defense is compared."""
ORDERS = 10_000
"""Random orders of the permutation test."""
MASKED = 1e3
"""Factor by which a masked class is farther from the largest logit than any other class."""
ALL_EQUAL = "it is declared random, but all draws of every image are equal to the last bit"
UNLIKE_BATCH = "expected an answer that the other images of a batch do not change; look at each image by itself"
UNLIKE_GRADIENTS = (
    "expected the same answer with gradients on and off; its gradients would be those of another function"
)


class Violation(Exception):
    """An attack's answer is outside the threat model."""


@dataclass(frozen=True)
class Verdict:
    """The answers of the defense to the images of an attack.

    Attributes:
        images: adversarial images x' inside the threat model [N,C,H,W].
        right: whether each verification draw was correct on them, bool [N,draws].
        nearest: for a minimum-norm attack, the distance if most draws were wrong at it, None otherwise; empty for other
            attacks.
        notes: the corrections that were made, and what readers must know of the draws.
        passes: images passed.
    """

    images: Tensor
    right: Tensor
    nearest: list[float | None]
    notes: list[str]
    passes: int


def judge(
    defense: Defense, answer: Answer, x: Tensor, y: Tensor, threat: ThreatModel, draws: int, batch: DeviceBatch
) -> Verdict:
    """Verify an attack's answer.

    The nearest images of a minimum-norm attack that lie beyond the radius are verified twice: where they are, for their
    distance, and after projection, for the threat model.

    Args:
        defense: a copy that was never called (`Context.pristine`).
        answer: the attack's answer.
        x: clean images [N,C,H,W] in [0,1].
        y: their labels [N].
        threat: the threat model.
        draws: the number of verification draws.
        batch: the device batch.

    Raises:
        Violation: the answer is outside the threat model.
        DefenseFault: the defense breaks its contract (see `verify`).
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
    """Verification draws.

    Attributes:
        right: whether each draw was correct, bool [N,draws] on the CPU.
        notes: what readers must know of the draws.
    """

    right: Tensor
    notes: list[str]


def verify(defense: Defense, x: Tensor, y: Tensor, draws: int, batch: DeviceBatch) -> Tensor:
    """Return whether the defense is correct on each image at each draw.

    The draws of an image pass together, or in one call each if the defense `shares_draws`.

    Args:
        defense: a copy that was never called (`Context.pristine`), so that it cannot answer from memory.
        x: images [N,C,H,W] in [0,1].
        y: their labels [N].
        draws: the number of draws of a random defense; a deterministic one has one draw.
        batch: the device batch.

    Returns:
        bool [N,draws] on the CPU.

    Raises:
        DefenseFault: the logits are invalid.
        WholeFault: a deterministic defense answers differently when it is called again (see `same_again`), a random
            defense answers differently under one seed (see `same_under_one_seed`), or a defense changes its input
            images.
    """
    return ask(defense, x, y, draws, batch).right


@torch.no_grad()
def ask(defense: Defense, x: Tensor, y: Tensor, draws: int, batch: DeviceBatch) -> Asked:
    """Verify images like `verify`, and return its notes as well.

    Args:
        defense: as for `verify`.
        x: images [N,C,H,W] in [0,1].
        y: their labels [N].
        draws: the number of draws of a random defense.
        batch: the device batch.

    Raises:
        DefenseFault: as for `verify`.
        WholeFault: as for `verify`.
    """
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
    """Check that a deterministic defense returns the same logits again.

    The images pass in reverse order, in batches of half the size, and with gradients on. A defense that keeps a state,
    looks at the other images of a batch, or treats an attacker's passes differently returns other logits.

    Args:
        defense: the defense.
        x: images [N,C,H,W].
        logits: its logits [N,K] from a first call.
        batch: the device batch of the first call.

    Raises:
        WholeFault: the logits differ; the message names the cause.
    """

    def again(images: Tensor) -> tuple[Tensor]:
        return (check_logits(defense(images), len(images)).detach(),)

    halves = DeviceBatch(max(1, min(batch.size, len(x)) // 2))
    try:
        (found,) = halves.map(lambda images: (_with_gradients(defense, images),), x.flip(0))
    except DefenseFault:
        raise
    except Exception:  # a defense that is not differentiable is not a fault
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
    """Check that a random defense answers equally under one seed.

    Two passes must agree, also with a pass with gradients, and the first image's answer must not depend on the other
    image of the batch. The latter is not a fault where random numbers are drawn after a look at the images; in this
    case the distribution of the answers decides (see `batch_decides`).

    Args:
        defense: the defense.
        x: images [N,C,H,W], of which the first two are passed.

    Raises:
        WholeFault: the answers differ; the message names the cause.
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
    except Exception:  # not differentiable, as above
        slope = logits
    if not close(logits, slope):
        raise WholeFault(UNLIKE_GRADIENTS)
    if not close(logits[:1], under_one_seed(changed)[:1]) and batch_decides(defense, pair, changed):
        raise WholeFault(UNLIKE_BATCH)


def batch_decides(defense: Defense, pair: Tensor, changed: Tensor) -> bool:
    """Return whether the first image's answers differ in distribution between two batches that begin with it.

    A permutation test on the ranks of its log-probabilities; a correct defense fails it with a probability of 1/10,000.

    Args:
        defense: the defense.
        pair: a batch [2,C,H,W].
        changed: a batch [2,C,H,W] with the same first image and another second one.
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
    """Return whether logits [N,K] agree up to ROUNDING times their spread on every image.

    Classes that are masked (-1e9) are compared by a spread of their own; see `reachable`.
    """
    if logits.shape != others.shape:
        return False
    some = reachable(logits)
    top = logits.amax(1, keepdim=True)
    spread = (top - logits.masked_fill(~some, torch.inf).amin(1, keepdim=True)).where(some, top - logits)
    floor = 1e-5 * logits.abs().masked_fill(~some, 0).amax(1, keepdim=True).where(some, logits.abs())
    return bool(((logits - others).abs() <= ROUNDING * spread + floor).all())


def reachable(logits: Tensor) -> Tensor:
    """Return which classes of logits [N,K] are not masked, bool [N,K].

    A mask appears as a jump: in order of distance from the largest logit, one class is MASKED times as far as the one
    before it. The second class alone is weak evidence, because it may be tied with the first.
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
