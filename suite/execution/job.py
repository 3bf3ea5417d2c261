"""Runs one job: attack, check of the threat model, verification with fresh randomness, record.

The job's key alone determines the result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from purebench.boards.board import SOURCE, Board
from purebench.boards.jobs import AnyJob, Job
from purebench.core import registry
from purebench.core.batching import DeviceBatch
from purebench.core.protocols import Answer, Inapplicable, WholeFault, check_logits
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.data.datasets import Array
from purebench.data.pictures import png, to_bytes
from purebench.execution.blame import isolate
from purebench.execution.context import Context
from purebench.execution.contract.eager import eagerly
from purebench.execution.faults import explain
from purebench.execution.verification import Verdict, Violation, judge
from purebench.records.provenance import commit, device_name, versions
from purebench.records.record import Outcome, Picture, Record

if TYPE_CHECKING:
    from purebench.attacks.native import Attack
    from purebench.attacks.views.view import View

PICTURES = 4
SPARED = "the accuracy is conditional: in a cascade, images that earlier attacks broke are not attacked"


@dataclass(frozen=True)
class Finding:
    """The result of a job.

    Attributes:
        record: the record.
        adversarial: the adversarial images of the record, float32 [N,C,H,W]; None where there are none.
    """

    record: Record
    adversarial: Array | None = None


@dataclass(frozen=True)
class Given:
    """The results of the jobs that a job needs.

    Attributes:
        before: in a cascade, the results of the attacks before this one.
        source: the result of the job whose adversarial images are reused.
    """

    before: Sequence[Finding] = ()
    source: Finding | None = None


def run_job(job: Job, context: Context, given: Given | None = None) -> Finding:
    """Run one job; if the attack or the defense fails, the record is ERRORED with the reason.

    Args:
        job: the job.
        context: the prepared board.
        given: the results of the jobs that it needs.

    Returns:
        The record and the adversarial images.
    """
    board, defense = context.board, context.defenses[job.defense.name]
    given = given or Given()
    start = job.block * board.dataset.block
    part = context.block(job.block)
    x = torch.as_tensor(part.floats()).to(context.device)
    y = torch.as_tensor(part.labels).to(context.device)
    blank = blank_record(job, context, len(part))
    if (inapplicable := _not_for(job, board, defense.random)) is not None:
        return Finding(_all(blank, Outcome.SKIPPED, inapplicable))
    spared = {} if job.attack.only == SOURCE else _broken_before(given.before)  # other rows reuse all of its images
    rest = [row for row in range(len(part)) if row not in spared]
    everything = x.cpu().numpy().copy()  # without the copy, it would share the memory of x on the CPU
    for row, image in spared.items():
        everything[row] = image
    lost = _lost(job, given.source, rest)
    rest = [row for row in rest if row not in lost]
    if not rest and not lost:
        spared_all = ResultWarning(WarningCode.CONDITIONAL, SPARED, len(part), len(part))
        skipped = _all(blank, Outcome.SKIPPED, "every image of the block was broken before")
        return Finding(replace(skipped, warnings=[spared_all]), everything)
    try:
        with eagerly():
            found = _attacked(job, context, given.source, x, y, rest) if rest else _Found([], None, {}, {})
    except Inapplicable as why:
        return Finding(_all(blank, Outcome.SKIPPED, str(why)))
    outcomes = [Outcome.SKIPPED if row in spared else Outcome.ERRORED for row in range(len(part))]
    failed = lost | {row: explain(fault) for row, fault in found.faults.items()}
    reasons = [failed.get(row, "") for row in range(len(part))]
    if found.images is None:
        return Finding(replace(_all(blank, Outcome.ERRORED, ""), outcomes=outcomes, reasons=reasons))
    everything[found.rows] = found.images.cpu().numpy()
    told = _spread(found.told, found.rows, len(part))
    for row in failed:
        told["outcomes"][row] = Outcome.ERRORED
    if failed:
        told["reasons"] = reasons
    if spared:
        told["warnings"].append(ResultWarning(WarningCode.CONDITIONAL, SPARED, len(spared), len(part)))
    pictures = _pictures(job, context, torch.as_tensor(everything), start, found.rows) if job.block == 0 else []
    return Finding(replace(blank, **told, pictures=pictures), everything)


def _not_for(job: Job, board: Board, random: bool) -> str | None:
    """Return why the board does not run this attack on this defense; None if it does."""
    only = job.attack.only
    if only == SOURCE:
        wanted = board.reuses(job.defense.name, job.attack.name)
        return None if wanted else "only on rows whose adversarial images another attack reuses"
    wanted = only == "all" or random == (only == "random")
    return None if wanted else f"for {only} defenses only"


@dataclass(frozen=True)
class _Found:
    """The result of an attack on some images.

    Attributes:
        rows: the images that were attacked and verified.
        images: their adversarial images, None where there are none.
        told: the fields of the record about them.
        faults: why the other images failed.
    """

    rows: list[int]
    images: Tensor | None
    told: dict[str, Any]
    faults: dict[int, BaseException]


@dataclass(frozen=True)
class _Attempt:
    """An attack's answer for some images, and the view that it used."""

    answer: Answer
    view: View


def _attacked(job: Job, context: Context, source: Finding | None, x: Tensor, y: Tensor, rest: Sequence[int]) -> _Found:
    """Attack the images of the rows `rest` and verify the result; errors are attributed to single images.

    Attack and verification each get a copy of the defense that was never called, and random numbers of their own.
    """
    board, began = context.board, time.perf_counter()
    reused = _reused(job, source, x)

    def attack(rows: list[int]) -> _Attempt:
        defense = context.pristine(job.defense.name)
        state = _versions(defense)
        found = None if reused is None else reused[rows]
        made: Attack = registry.create("attacks", job.attack.use, found=found)
        given = {"defense": defense, "eot": job.attack.eot, "images": x[rows], "threat": board.threat}
        with seeded(job.stream, "attack", device=context.device):
            view: View = registry.create("views", Spec.parse(job.attack.gradient), **given)
            view.batch.size, view.precision = context.device_batch(job.defense.name), board.attack_precision
            answer = made(view, x[rows], y[rows], board.threat)
        _unchanged(defense, state)
        answer = answer if isinstance(answer, Answer) else Answer(answer)
        _check_lengths(answer, len(rows))
        return _Attempt(answer, view)

    def plain(rows: list[int]) -> None:
        defense, batch = context.pristine(job.defense.name), DeviceBatch(context.device_batch(job.defense.name))
        with torch.no_grad(), seeded(job.stream, "plain", device=context.device):
            batch.map(lambda images: (check_logits(defense(images), len(images)),), x[rows])

    tried = isolate(attack, rest, cheap=plain)
    attacked = time.perf_counter()
    if tried.found is None:
        return _Found([], None, {}, tried.faults)
    answer, view, place = tried.found.answer, tried.found.view, {row: i for i, row in enumerate(tried.rows)}
    batches: list[DeviceBatch] = []

    def verify(rows: list[int]) -> Verdict:
        defense = context.pristine(job.defense.name)
        state = _versions(defense)
        batches.append(DeviceBatch(view.batch.size))
        some = part_of(answer, [place[row] for row in rows]) if len(rows) < len(place) else answer
        with seeded(job.stream, "verify", device=context.device):
            verdict = judge(defense, some, x[rows], y[rows], board.threat, board.draws, batches[-1])
        _unchanged(defense, state)
        return verdict

    checked = isolate(verify, tried.rows)
    faults = {**tried.faults, **checked.faults}
    if checked.found is None:
        return _Found([], None, {}, faults)
    verdict, rows = checked.found, [place[row] for row in checked.rows]
    answer = part_of(answer, rows)
    passes, known = context.defenses[job.defense.name].passes, context.facts(job.defense.name).warnings
    told = {
        "outcomes": [Outcome.ROBUST if row.float().mean() > 0.5 else Outcome.MISCLASSIFIED for row in verdict.right],
        "draws": ["".join("1" if draw else "0" for draw in row) for row in verdict.right.tolist()],
        "distances": [round(float(value), 7) for value in board.threat.size(verdict.images - x[checked.rows])],
        "nearest": verdict.nearest,
        "claims": [] if answer.claims is None else [int(claim) for claim in answer.claims.tolist()],
        "certified": list(answer.certified or []),
        "notes": [*view.notes, *view.batch.notes, *batches[-1].notes, *verdict.notes],
        "warnings": [*known, *view.warnings],
        "forwards": passes * (view.forwards + verdict.passes) + answer.passes,
        "backwards": passes * view.backwards,
        "seconds": {"attack": attacked - began, "verify": time.perf_counter() - attacked},
    }
    return _Found(checked.rows, verdict.images, told, faults)


def _check_lengths(answer: Answer, count: int) -> None:
    """Check that an attack's images, claims and certificates are one per image.

    Raises:
        Violation: if they are not.
    """
    if isinstance(answer.images, Tensor) and len(answer.images) != count:
        raise Violation(f"expected an attack that gives {count} images, as it was given, but got {len(answer.images)}")
    claims = answer.claims
    if claims is not None and (not isinstance(claims, Tensor) or claims.shape != (count,)):
        given = f"shape {list(claims.shape)}" if isinstance(claims, Tensor) else type(claims).__name__
        raise Violation(f"expected claims of the attack as a tensor [{count}], one per image, but got {given}")
    if answer.certified is not None and len(answer.certified) != count:
        raise Violation(f"expected {count} certified radii, one per image, but got {len(answer.certified)}")


def part_of(answer: Answer, rows: Sequence[int]) -> Answer:
    """Return an attack's answer for some of its images.

    Args:
        answer: the answer.
        rows: the positions of the images.

    Raises:
        Violation: the answer does not contain an image for each of them.
    """
    try:
        return replace(
            answer,
            images=answer.images[list(rows)],
            claims=None if answer.claims is None else answer.claims[list(rows)],
            certified=None if answer.certified is None else [answer.certified[row] for row in rows],
        )
    except (TypeError, IndexError) as error:
        raise Violation(
            f"expected an image of each image, but the attack gave {type(answer.images).__name__}"
        ) from error


def _unchanged(defense: torch.nn.Module, state: list[tuple[int, int]]) -> None:
    if _versions(defense) != state:
        raise WholeFault("expected a defense that leaves its weights and buffers alone; put it in eval mode")


def _versions(defense: torch.nn.Module) -> list[tuple[int, int]]:
    """Return a value that changes when a weight or a buffer is written to or replaced."""
    return [(id(value), value._version) for value in (*defense.parameters(), *defense.buffers())]


NOT_ASKED: dict[str, Any] = {
    "outcomes": Outcome.SKIPPED,
    "draws": "",
    "distances": None,
    "nearest": None,
    "claims": None,
    "certified": None,
}
"""The values of a record's lists for an image that was not attacked."""


def _spread(told: Mapping[str, Any], rest: Sequence[int], count: int) -> dict[str, Any]:
    """Extend the lists of a record to all images of the block, of which `rest` were attacked."""
    whole = dict(told)
    for name, blank in NOT_ASKED.items():
        if told[name]:
            whole[name] = [blank] * count
            for row, value in zip(rest, told[name], strict=True):
                whole[name][row] = value
    return whole


def _broken_before(before: Sequence[Finding]) -> dict[int, Array]:
    """Return the images that were wrong on every verification draw of an earlier attack: row → adversarial image."""
    broken: dict[int, Array] = {}
    for finding in before:
        for row, (outcome, draws) in enumerate(zip(finding.record.outcomes, finding.record.draws, strict=True)):
            if outcome is Outcome.MISCLASSIFIED and "1" not in draws and finding.adversarial is not None:
                broken.setdefault(row, finding.adversarial[row])
    return broken


def _lost(job: Job, source: Finding | None, rows: Sequence[int]) -> dict[int, str]:
    """Return the images on which the source ERRORED: row → reason. There is no adversarial example to reuse."""
    used = job.attack.source
    if used is None or source is None or used.defense == job.defense.name:
        return {}
    why = f"nothing to reuse: {used.attack} on {used.defense} is errored"
    return {row: why for row in rows if source.record.outcomes[row] is Outcome.ERRORED}


def _reused(job: Job, source: Finding | None, x: Tensor) -> Tensor | None:
    """Return the adversarial images of the job's source.

    Raises Inapplicable if there are none, or if the source is the same defense.
    """
    if job.attack.source is None:
        return None
    if job.attack.source.defense == job.defense.name:
        raise Inapplicable("its own images would not be transferred")
    if source is None or source.adversarial is None:
        found = source.record.outcomes[0] if source else "missing"
        raise Inapplicable(f"nothing to reuse: {job.attack.source.attack} on {job.attack.source.defense} is {found}")
    return torch.as_tensor(source.adversarial).to(x)


def blank_record(job: AnyJob, context: Context, count: int) -> Record:
    """Return the job's record before it is run.

    Args:
        job: the job.
        context: the prepared board.
        count: the number of images of its block.
    """
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
def _pictures(job: Job, context: Context, adversarial: Tensor, start: int, rows: Sequence[int]) -> list[Picture]:
    """Return pictures of the first of these rows; none if the defense fails on them."""
    defense, batch = context.pristine(job.defense.name), DeviceBatch(context.device_batch(job.defense.name))
    rows = rows[:PICTURES]
    some = adversarial[list(rows)].to(context.device)

    def look(images: Tensor) -> tuple[Tensor, Tensor]:
        purified = defense.purify(images)
        predicted = check_logits(defense.classifier(purified), len(images)).argmax(1)
        return purified[:, 0] if purified.ndim > images.ndim else purified, predicted  # the first vote

    try:
        with eagerly(), seeded(job.stream, "picture", device=context.device):
            purified, predicted = batch.map(look, some)
    except Exception:  # a random defense may fail on this draw; the pictures affect no result
        return []
    return [
        Picture(
            int(context.order[start + row]),
            int(context.images.labels[start + row]),
            _shot(some[i]),
            _shot(purified[i]),
            int(predicted[i]),
        )
        for i, row in enumerate(rows)
    ]


def _shot(image: Tensor) -> str:
    return png(to_bytes(image.cpu().numpy()))
