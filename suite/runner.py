"""One job: attack, check the constraint, verify with fresh randomness, record. Its key alone decides the result."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from purebench import registry
from purebench.batching import DeviceBatch
from purebench.context import Context
from purebench.datasets import Array
from purebench.defense import Defense
from purebench.pictures import png, to_bytes
from purebench.plan import Job
from purebench.protocols import Attack, DefenseFault, View, check_logits
from purebench.provenance import commit, device_name, versions
from purebench.records import Outcome, Picture, Record
from purebench.registry import Spec
from purebench.seeds import seeded
from purebench.threat import ThreatModel

PICTURES = 4
ROUNDING = 1e-3
"""Share of the radius by which a library may overshoot through rounding; it is projected back and that is noted."""


@dataclass(frozen=True)
class Finding:
    """A record, and the adversarial images float32 [N,C,H,W] behind it (None where there are none)."""

    record: Record
    adversarial: Array | None = None


class Violation(Exception):
    """An attack's answer lies outside the threat model."""


def run_job(job: Job, context: Context) -> Finding:
    """Runs one job. A failing attack or defense gives an ERRORED record with its reason; the board goes on."""
    board, defense = context.board, context.defenses[job.defense.name]
    start = job.block * board.dataset.block
    part = context.block(job.block)
    x = torch.as_tensor(part.floats()).to(context.device)
    y = torch.as_tensor(part.labels).to(context.device)
    blank = _blank(job, context, len(part), start)
    if job.attack.only != "all" and defense.random != (job.attack.only == "random"):
        return Finding(_all(blank, Outcome.SKIPPED, f"for {job.attack.only} defenses only"))
    began = time.perf_counter()
    try:
        attack: Attack = registry.create("attacks", job.attack.use)
        view: View = registry.create("views", Spec(job.attack.gradient), defense=defense, eot=job.attack.eot)
        with seeded(job.key, "attack", device=context.device):
            adversarial = attack(view, x.clone(), y.clone(), board.threat)
        adversarial, notes = constrain(adversarial, x, board.threat)
        attacked = time.perf_counter()
        batch = DeviceBatch(view.batch.size)
        with seeded(job.key, "verify", device=context.device):
            right = verify(defense, adversarial, y, board.draws, batch)
        verified = time.perf_counter()
        pictures = _pictures(job, context, adversarial, start, batch) if job.block == 0 else []
    except (Exception, SystemExit) as error:  # whatever a library or a defense raises is this record's reason
        told = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(_all(blank, Outcome.ERRORED, told[:500]))
    outcomes = [Outcome.HELD if row.float().mean() > 0.5 else Outcome.BROKEN for row in right]
    distances = board.threat.size(adversarial - x)
    record = replace(
        blank,
        outcomes=outcomes,
        draws=["".join("1" if draw else "0" for draw in row) for row in right.tolist()],
        distances=[round(float(value), 7) for value in distances],
        notes=[*view.notes, *view.batch.notes, *batch.notes, *notes],
        forwards=view.forwards + right.numel(),
        backwards=view.backwards,
        pictures=pictures,
        seconds={"attack": attacked - began, "verify": verified - attacked},
    )
    return Finding(record, adversarial.cpu().numpy())


def constrain(adversarial: Tensor, x: Tensor, threat: ThreatModel) -> tuple[Tensor, list[str]]:
    """The attack's answer inside the threat model, and what had to be corrected.

    Overshooting by rounding is projected back and noted. Raises Violation for more, another shape, or values that
    are not finite.
    """
    if adversarial.shape != x.shape:
        raise Violation(f"expected images of shape {list(x.shape)}, but the attack gave {list(adversarial.shape)}")
    adversarial = adversarial.detach().to(x)
    if not bool(torch.isfinite(adversarial).all()):
        raise Violation("expected finite images, but the attack gave NaN or infinity")
    over = float((threat.size(adversarial - x) - threat.radius).max())
    outside = float(torch.maximum(-adversarial.min(), adversarial.max() - 1))
    if over > ROUNDING * threat.radius or outside > ROUNDING:
        raise Violation(
            f"the attack left the threat model: {threat.norm} distance {threat.radius + over:.6g} for a radius of "
            f"{threat.radius:.6g}, values up to {max(outside, 0):.3g} outside [0,1]"
        )
    notes = []
    if over > 1e-6 or outside > 0:
        notes.append(f"rounding corrected: up to {max(over, outside):.1g} outside the threat model")
    return threat.project(adversarial, x), notes


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


def _blank(job: Job, context: Context, count: int, start: int) -> Record:
    """The job's record before anything was found."""
    defense = context.defenses[job.defense.name]
    return Record(
        key=job.key,
        board=context.board.name,
        defense=job.defense.name,
        attack=job.attack.name,
        block=job.block,
        images=[int(value) for value in context.order[start : start + count]],
        labels=[int(value) for value in context.images.labels[start : start + count]],
        outcomes=[],
        draws=[],
        distances=[],
        provenance={
            "defense": {
                "random": defense.random,
                "parameters": sum(value.numel() for value in defense.parameters()),
                "weights": context.fingerprints[job.defense.name],
                "spec": str(job.defense.use),
            },
            "data": context.data,
            "versions": versions(),
            "commit": commit(),
            "device": device_name(str(context.device)),
        },
    )


def _all(blank: Record, outcome: Outcome, reason: str) -> Record:
    count = len(blank.images)
    return replace(blank, outcomes=[outcome] * count, draws=[""] * count, distances=[None] * count, reason=reason)


@torch.no_grad()
def _pictures(job: Job, context: Context, adversarial: Tensor, start: int, batch: DeviceBatch) -> list[Picture]:
    defense = context.defenses[job.defense.name]
    some = adversarial[:PICTURES]

    def look(images: Tensor) -> tuple[Tensor, Tensor]:
        purified = defense.purify(images)
        return purified, check_logits(defense.classifier(purified), len(images)).argmax(1)

    with seeded(job.key, "picture", device=context.device):
        purified, predicted = batch.map(look, some)
    return [
        Picture(
            int(context.order[start + i]),
            int(context.images.labels[start + i]),
            _shot(some[i]),
            _shot(purified[i]),
            int(predicted[i]),
        )
        for i in range(len(some))
    ]


def _shot(image: Tensor) -> str:
    return png(to_bytes(image.cpu().numpy()))
