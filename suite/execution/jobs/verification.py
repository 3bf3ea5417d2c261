"""Verifies an attack's answer: checks the threat model, and calls the defense with fresh randomness."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from purebench.core.answers import Answer, WholeFault, check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense
from purebench.core.threat import ROUNDING, ThreatModel
from purebench.execution.contract.pristine import copied
from purebench.execution.jobs.repeatability import same_again, same_under_one_seed, untouched
from purebench.execution.jobs.threat_check import constrain, inside_box

ALL_EQUAL = "it is declared random, but all draws of every image are equal to the last bit"


@dataclass(frozen=True)
class Verification:
    """The answers of the defense to the images of an attack.

    Attributes:
        images: adversarial images x' inside the threat model [N,C,H,W].
        right: whether each verification draw was correct on them, bool [N,draws].
        fooling_distances: for a minimum-norm attack, the distance if most draws were wrong at it, None otherwise; empty
            for other attacks.
        notes: the corrections that were made, and what readers must know of the draws.
        passes: images passed.
    """

    images: Tensor
    right: Tensor
    fooling_distances: list[float | None]
    notes: list[str]
    passes: int


def judge(
    defense: Defense, answer: Answer, x: Tensor, y: Tensor, threat: ThreatModel, draws: int, batch: DeviceBatch
) -> Verification:
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
        return Verification(images, asked.right, [], notes + asked.notes, asked.right.numel())
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
    fooling = [
        round(float(distance), 7) if bad else None for distance, bad in zip(distances, wrong.tolist(), strict=True)
    ]
    return Verification(images, asked.right, fooling, notes + asked.notes, passes)


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

    The draws of an image pass together, or in one call each if the defense `shares_draws`: all draws of all images are
    independent, as the intervals over images assume.

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
        untouched(x, kept)
        _enough_classes(logits, y)
        same_again(defense, x, logits, batch)
        return Asked((logits.argmax(1) == y)[:, None].cpu(), [])
    if defense.shares_draws:  # one image a call as well, so that draws at different images are independent
        found = torch.stack([DeviceBatch(1).map(logits_of, x)[0] for _ in range(draws)], 1)
    else:
        (every,) = batch.map(logits_of, x.repeat_interleave(draws, 0))
        found = every.view(len(x), draws, -1)
    untouched(x, kept)
    _enough_classes(found[:, 0], y)
    same_under_one_seed(defense, x)
    notes = [ALL_EQUAL] if draws > 1 and bool((found == found[:, :1]).all()) else []
    return Asked((found.argmax(2) == y[:, None]).cpu(), notes)


def _enough_classes(logits: Tensor, y: Tensor) -> None:
    if len(y) and int(y.max()) >= logits.shape[1]:
        raise WholeFault(f"expected logits of at least {int(y.max()) + 1} classes, but got {logits.shape[1]}")
