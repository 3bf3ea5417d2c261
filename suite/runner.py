"""One job: attack, check the constraint, verify with fresh randomness, record. Its key alone decides the result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from purebench import registry
from purebench.batching import DeviceBatch
from purebench.board import SOURCE, Board
from purebench.context import Context
from purebench.datasets import Array
from purebench.pictures import png, to_bytes
from purebench.plan import AnyJob, Job
from purebench.protocols import Answer, Attack, DefenseFault, Inapplicable, View, check_logits
from purebench.provenance import commit, device_name, versions
from purebench.records import Outcome, Picture, Record
from purebench.registry import Spec
from purebench.seeds import seeded
from purebench.verify import judge
from purebench.warning_codes import ResultWarning, WarningCode

PICTURES = 4
SPARED = "the accuracy is conditional: in a cascade, images that earlier attacks broke are not attacked"


@dataclass(frozen=True)
class Finding:
    """A record, and the adversarial images float32 [N,C,H,W] behind it (None where there are none)."""

    record: Record
    adversarial: Array | None = None


@dataclass(frozen=True)
class Given:
    """What the jobs that a job needs have found.

    before: of the attacks before this one, in a cascade; source: of the job whose adversarial images are reused.
    """

    before: Sequence[Finding] = ()
    source: Finding | None = None


def run_job(job: Job, context: Context, given: Given | None = None) -> Finding:
    """Runs one job. A failing attack or defense gives an ERRORED record with its reason; the board goes on."""
    board, defense = context.board, context.defenses[job.defense.name]
    given = given or Given()
    start = job.block * board.dataset.block
    part = context.block(job.block)
    x = torch.as_tensor(part.floats()).to(context.device)
    y = torch.as_tensor(part.labels).to(context.device)
    blank = blank_record(job, context, len(part))
    if (inapplicable := _not_for(job, board, defense.random)) is not None:
        return Finding(_all(blank, Outcome.SKIPPED, inapplicable))
    spared = {} if job.attack.only == SOURCE else _broken_before(given.before)  # others reuse all of its images
    rest = [row for row in range(len(part)) if row not in spared]
    everything = x.cpu().numpy().copy()  # on the CPU it would be the memory of x itself
    for row, image in spared.items():
        everything[row] = image
    if not rest:
        spared_all = ResultWarning(WarningCode.CONDITIONAL, SPARED, len(part), len(part))
        skipped = _all(blank, Outcome.SKIPPED, "every image of the block was broken before")
        return Finding(replace(skipped, warnings=[spared_all]), everything)
    try:
        told, adversarial = _attacked(job, context, given.source, x[rest], y[rest], rest)
        everything[rest] = adversarial.cpu().numpy()
        pictures = _pictures(job, context, torch.as_tensor(everything), start) if job.block == 0 else []
    except Inapplicable as why:
        return Finding(_all(blank, Outcome.SKIPPED, str(why)))
    except (Exception, SystemExit) as error:  # whatever a library or a defense raises is this record's reason
        return Finding(_all(blank, Outcome.ERRORED, fault_text(error)))
    if spared:
        told["warnings"].append(ResultWarning(WarningCode.CONDITIONAL, SPARED, len(spared), len(part)))
    return Finding(replace(blank, **_spread(told, rest, len(part)), pictures=pictures), everything)


def _not_for(job: Job, board: Board, random: bool) -> str | None:
    """Why the board does not want this attack on this defense; None where it does."""
    only = job.attack.only
    if only == SOURCE:
        wanted = board.reuses(job.defense.name, job.attack.name)
        return None if wanted else "only on rows whose adversarial images another attack reuses"
    wanted = only == "all" or random == (only == "random")
    return None if wanted else f"for {only} defenses only"


def _attacked(
    job: Job, context: Context, source: Finding | None, x: Tensor, y: Tensor, rest: Sequence[int]
) -> tuple[dict[str, Any], Tensor]:
    """What a record says of the images x that are attacked, and their adversarial images."""
    board, defense = context.board, context.defenses[job.defense.name]
    began = time.perf_counter()
    size = context.device_batch(job.defense.name)
    state = _versions(defense)
    attack: Attack = registry.create("attacks", job.attack.use, found=_reused(job, source, x, rest))
    given = {"defense": defense, "eot": job.attack.eot, "images": x, "threat": board.threat}
    with seeded(job.stream, "attack", device=context.device):
        view: View = registry.create("views", Spec.parse(job.attack.gradient), **given)
        view.batch.size, view.precision = size, board.attack_precision
        found = attack(view, x.clone(), y.clone(), board.threat)
    attacked = time.perf_counter()
    answer = found if isinstance(found, Answer) else Answer(found)
    batch = DeviceBatch(view.batch.size)
    with seeded(job.stream, "verify", device=context.device):
        verdict = judge(defense, answer, x, y, board.threat, board.draws, batch)
    if _versions(defense) != state:
        raise DefenseFault("expected a defense that leaves its weights and buffers alone; put it in eval mode")
    notes = [*view.notes, *view.batch.notes, *batch.notes, *verdict.notes]
    claims = [] if answer.claims is None else [int(claim) for claim in answer.claims.tolist()]
    told = {
        "outcomes": [Outcome.HELD if row.float().mean() > 0.5 else Outcome.BROKEN for row in verdict.right],
        "draws": ["".join("1" if draw else "0" for draw in row) for row in verdict.right.tolist()],
        "distances": [round(float(value), 7) for value in board.threat.size(verdict.images - x)],
        "nearest": verdict.nearest,
        "claims": claims,
        "certified": list(answer.certified or []),
        "notes": notes,
        "warnings": list(view.warnings),
        "forwards": defense.passes * (view.forwards + verdict.passes) + answer.passes,
        "backwards": defense.passes * view.backwards,
        "seconds": {"attack": attacked - began, "verify": time.perf_counter() - attacked},
    }
    return told, verdict.images


def _versions(defense: torch.nn.Module) -> list[tuple[int, int]]:
    """What changes when a weight or a buffer is written to or replaced."""
    return [(id(value), value._version) for value in (*defense.parameters(), *defense.buffers())]


NOT_ASKED: dict[str, Any] = {
    "outcomes": Outcome.SKIPPED,
    "draws": "",
    "distances": None,
    "nearest": None,
    "claims": None,
    "certified": None,
}
"""What a record says of an image that the attack was spared, for each of its lists."""


def _spread(told: Mapping[str, Any], rest: Sequence[int], count: int) -> dict[str, Any]:
    """The lists of a record for all images of the block, of which `rest` were attacked."""
    whole = dict(told)
    for name, blank in NOT_ASKED.items():
        if told[name]:
            whole[name] = [blank] * count
            for row, value in zip(rest, told[name], strict=True):
                whole[name][row] = value
    return whole


def _broken_before(before: Sequence[Finding]) -> dict[int, Array]:
    """The images that were wrong on every verification draw of an earlier attack: row → adversarial image."""
    broken: dict[int, Array] = {}
    for finding in before:
        for row, (outcome, draws) in enumerate(zip(finding.record.outcomes, finding.record.draws, strict=True)):
            if outcome is Outcome.BROKEN and "1" not in draws and finding.adversarial is not None:
                broken.setdefault(row, finding.adversarial[row])
    return broken


def _reused(job: Job, source: Finding | None, x: Tensor, rest: Sequence[int]) -> Tensor | None:
    """The adversarial images of the job's source. Raises Inapplicable where there are none, or the source is itself."""
    if job.attack.source is None:
        return None
    if job.attack.source.defense == job.defense.name:
        raise Inapplicable("its own images would not be transferred")
    if source is None or source.adversarial is None:
        found = source.record.outcomes[0] if source else "missing"
        raise Inapplicable(f"nothing to reuse: {job.attack.source.attack} on {job.attack.source.defense} is {found}")
    return torch.as_tensor(source.adversarial[np.asarray(rest)]).to(x)


def fault_text(error: BaseException) -> str:
    """An exception as the reason of a record."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def blank_record(job: AnyJob, context: Context, count: int) -> Record:
    """The job's record before anything was found. count: images of its block."""
    defense, start = context.defenses[job.defense.name], job.block * context.board.dataset.block
    return Record(
        key=job.key,
        board=context.board.name,
        defense=job.defense.name,
        attack=job.label,
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
            "code": job.code,
            "versions": versions(),
            "commit": commit(),
            "device": device_name(str(context.device)),
        },
    )


def _all(blank: Record, outcome: Outcome, reason: str) -> Record:
    count = len(blank.images)
    return replace(
        blank,
        outcomes=[outcome] * count,
        draws=[""] * count,
        distances=[None] * count,
        reasons=[reason] * count,
    )


@torch.no_grad()
def _pictures(job: Job, context: Context, adversarial: Tensor, start: int) -> list[Picture]:
    defense, batch = context.defenses[job.defense.name], DeviceBatch(context.device_batch(job.defense.name))
    some = adversarial[:PICTURES].to(context.device)

    def look(images: Tensor) -> tuple[Tensor, Tensor]:
        purified = defense.purify(images)
        predicted = check_logits(defense.classifier(purified), len(images)).argmax(1)
        return purified[:, 0] if purified.ndim > images.ndim else purified, predicted  # of votes, the first

    with seeded(job.stream, "picture", device=context.device):
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
