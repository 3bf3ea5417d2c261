"""Attacks the images of a block, and verifies the adversarial examples with fresh randomness."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from purebench.boards.jobs import Job
from purebench.core import registry
from purebench.core.answers import Answer, Inapplicable, WholeFault, check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.compute.devices import tf32
from purebench.core.registry import Spec
from purebench.core.seeds import Purpose, seeded
from purebench.execution.context import Context
from purebench.execution.contract.compilation import compiled_for, with_layout
from purebench.execution.jobs.blame import isolate
from purebench.execution.jobs.job_record import JobResult, attack_fields, outcomes_of
from purebench.execution.jobs.threat_check import Violation
from purebench.execution.jobs.verification import Verification, judge

if TYPE_CHECKING:
    from purebench.attacks.native import Attack
    from purebench.attacks.views.view import View

T = TypeVar("T")


@dataclass(frozen=True)
class Attacked:
    """The result of an attack on some images.

    Attributes:
        rows: the images that were attacked and verified.
        images: their adversarial images; None if the attack or the verification failed on all images.
        fields: the fields of the record about them.
        faults: why the other images failed.
    """

    rows: list[int]
    images: Tensor | None
    fields: dict[str, Any]
    faults: dict[int, BaseException]


@dataclass(frozen=True)
class _Attempt:
    """An attack's answer for some images, and the view that it used."""

    answer: Answer
    view: View


def attack_and_verify(
    job: Job, context: Context, source: JobResult | None, x: Tensor, y: Tensor, rest: Sequence[int]
) -> Attacked:
    """Attack the images of the rows `rest` and verify the result; errors are attributed to single images.

    Attack and verification each get a copy of the defense that was never called, and random numbers of their own.

    Args:
        job: the job.
        context: the prepared board.
        source: the result of the job whose adversarial images are reused.
        x: the images of the block [N,C,H,W] in [0,1].
        y: their labels [N].
        rest: the rows to attack.

    Raises:
        Inapplicable: the attack does not apply to the defense.
    """
    board, began = context.board, time.perf_counter()
    reused = _reused(job, source, x)

    def attack(rows: list[int]) -> _Attempt:
        defense = with_layout(context.pristine(job.defense.name), board)
        state = _versions(defense)
        compiled = compiled_for(context, job.defense.name, defense)
        found = None if reused is None else reused[rows]
        made: Attack = registry.create("attacks", job.attack.use, found=found)
        given = {"defense": defense, "eot": job.attack.eot, "images": x[rows], "threat": board.threat}
        with tf32(board.attack_precision == "tf32"), seeded(job.stream, Purpose.ATTACK, device=context.device):
            view: View = registry.create("views", Spec.parse(job.attack.gradient), **given)
            view.batch.size, view.precision = context.device_batch(job.defense.name), board.attack_precision
            view.compiled = compiled
            if job.attack.counters:
                view.count_looks(len(rows))
            answer = made(view, x[rows], y[rows], board.threat)
            answer = answer if isinstance(answer, Answer) else Answer(answer)
            answer = _with_looks(answer, view, x[rows], y[rows])
        _unchanged(defense, state)
        _check_lengths(answer, len(rows))
        return _Attempt(answer, view)

    def plain(rows: list[int]) -> None:
        defense, batch = context.pristine(job.defense.name), DeviceBatch(context.device_batch(job.defense.name))
        with torch.no_grad(), seeded(job.stream, Purpose.PLAIN, device=context.device):
            batch.map(lambda images: (check_logits(defense(images), len(images)),), x[rows])

    tried = isolate(attack, rest, cheap=plain)
    attacked = time.perf_counter()
    if tried.found is None:
        return Attacked([], None, {}, tried.faults)
    answer, view, place = tried.found.answer, tried.found.view, {row: i for i, row in enumerate(tried.rows)}
    batches: list[DeviceBatch] = []

    def verify(rows: list[int]) -> Verification:
        defense = context.pristine(job.defense.name)
        state = _versions(defense)
        batches.append(DeviceBatch(view.batch.size))
        some = part_of(answer, [place[row] for row in rows]) if len(rows) < len(place) else answer
        with seeded(job.stream, Purpose.VERIFY, device=context.device):
            verified = judge(defense, some, x[rows], y[rows], board.threat, board.draws, batches[-1])
        _unchanged(defense, state)
        return verified

    checked = isolate(verify, tried.rows)
    faults = {**tried.faults, **checked.faults}
    if checked.found is None:
        return Attacked([], None, {}, faults)
    verified, rows = checked.found, [place[row] for row in checked.rows]
    answer = part_of(answer, rows)
    passes, known = context.defenses[job.defense.name].passes, context.facts(job.defense.name).warnings
    fields = attack_fields(
        verified,
        answer,
        board.threat.size(verified.images - x[checked.rows]).tolist(),
        notes=[*view.notes, *view.batch.notes, *batches[-1].notes],
        warnings=[*known, *view.warnings],
        passes=(passes * (view.forwards + verified.passes) + answer.passes, passes * view.backwards),
        phases={"attack": attacked - began, "verify": time.perf_counter() - attacked},
    )
    return Attacked(checked.rows, verified.images, fields, faults)


UNCOUNTED = "no counts of looks: this attack has none that show the draws of the defense"


def _with_looks(answer: Answer, view: View, x: Tensor, y: Tensor) -> Answer:
    """Return the answer with the counts of the attack's looks, and those of equally many looks at the clean images.

    The latter are taken after the attack, so that they change none of its random numbers.
    """
    if view.counters is None:
        return answer
    if not view.counters.taken:
        view.note(UNCOUNTED)
        return answer
    clean = view.counters.at_clean(view, x, y)
    return replace(answer, looks=view.counters.by_image(), clean_looks=clean.by_image())


def _check_lengths(answer: Answer, count: int) -> None:
    """Check that an attack's images, claims and certificates are one per image.

    Raises:
        Violation: if they are not.
    """
    if isinstance(answer.images, Tensor) and len(answer.images) != count:
        raise Violation(
            f"expected the attack to return {count} images, one per input image, but got {len(answer.images)}"
        )
    claims = answer.claims
    if claims is not None and (not isinstance(claims, Tensor) or claims.shape != (count,)):
        given = f"shape {list(claims.shape)}" if isinstance(claims, Tensor) else type(claims).__name__
        raise Violation(f"expected the attack to return claims as a tensor [{count}], one per image, but got {given}")
    if answer.certified is not None and len(answer.certified) != count:
        raise Violation(f"expected {count} certified radii, one per image, but got {len(answer.certified)}")
    if answer.known_right is not None and len(answer.known_right) != count:
        raise Violation(f"expected {count} counts in known_right, one per image, but got {len(answer.known_right)}")


def part_of(answer: Answer, rows: Sequence[int]) -> Answer:
    """Return an attack's answer for some of its images.

    Args:
        answer: the answer.
        rows: the positions of the images.

    Raises:
        Violation: the answer does not contain an image for each of them.
    """

    def some(values: Sequence[T] | None) -> list[T] | None:
        return None if values is None else [values[row] for row in rows]

    try:
        return replace(
            answer,
            images=answer.images[list(rows)],
            claims=None if answer.claims is None else answer.claims[list(rows)],
            certified=some(answer.certified),
            known_right=some(answer.known_right),
            looks=some(answer.looks),
            clean_looks=some(answer.clean_looks),
        )
    except (TypeError, IndexError) as error:
        raise Violation(
            "expected the attack to return a tensor of images, one per input image, but got "
            f"{type(answer.images).__name__}"
        ) from error


def _unchanged(defense: torch.nn.Module, state: list[tuple[int, int]]) -> None:
    if _versions(defense) != state:
        raise WholeFault("expected a defense that does not modify its weights and buffers; put it in eval mode")


def _versions(defense: torch.nn.Module) -> list[tuple[int, int]]:
    """Return a value that changes when a weight or a buffer is written to or replaced."""
    return [(id(value), value._version) for value in (*defense.parameters(), *defense.buffers())]


def _reused(job: Job, source: JobResult | None, x: Tensor) -> Tensor | None:
    """Return the adversarial images of the job's source.

    Raises Inapplicable if there are none, or if the source is the same defense.
    """
    if job.attack.source is None:
        return None
    if job.attack.source.defense == job.defense.name:
        raise Inapplicable("its own images would not be transferred")
    if source is None or source.adversarial is None:
        found = outcomes_of([source], 0)[0] if source else "missing"
        raise Inapplicable(
            f"no adversarial images to reuse: {job.attack.source.attack} on {job.attack.source.defense} is {found}"
        )
    return torch.as_tensor(source.adversarial).to(x)
