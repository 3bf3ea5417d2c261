"""Writes the records of jobs, and reads what later jobs need of them; `results.merge` reads them for the page.

No other module of the execution names the fields of a record that hold results.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from purebench.boards.jobs import AnyJob, Job
from purebench.core.answers import Answer
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.data.datasets import Array
from purebench.execution.context import Context
from purebench.execution.jobs.verification import Verification
from purebench.records.outcome import Outcome
from purebench.records.provenance import COMPILED, commit, device_name, versions
from purebench.records.record import Picture, Record

Counts = npt.NDArray[np.int64]

SPARED = "the accuracy is conditional: in a cascade, images that earlier attacks broke are not attacked"


@dataclass(frozen=True)
class JobResult:
    """The result of a job.

    Attributes:
        record: the record.
        adversarial: the adversarial images of the record, float32 [N,C,H,W]; None where there are none.
    """

    record: Record
    adversarial: Array | None = None


@dataclass(frozen=True)
class JobInputs:
    """The results of the jobs that a job needs.

    Attributes:
        before: in a cascade, the results of the attacks before this one.
        source: the result of the job whose adversarial images are reused.
    """

    before: Sequence[JobResult] = ()
    source: JobResult | None = None


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
            **({COMPILED: list(job.compiled)} if isinstance(job, Job) and job.compiled else {}),
            "data": context.data,
            "code": job.code,
            "versions": versions(),
            "commit": commit(),
            "device": device_name(str(context.device)),
        },
    )


def answered_wrong(images: Array) -> JobResult:
    """Return a result whose adversarial examples are these images [N,C,H,W], as if a job had produced them."""
    count = len(images)
    outcomes, draws = [Outcome.MISCLASSIFIED] * count, ["0"] * count
    return JobResult(Record("", "", "", "", 0, [], [], outcomes, draws, [None] * count), images)


def skipped_record(blank: Record, reason: str, *, spared: bool = False) -> Record:
    """Return the record of a job that attacks no image of its block.

    Args:
        blank: the job's record before it is run.
        reason: why it does not.
        spared: whether earlier attacks of a cascade broke every image.
    """
    count = len(blank.images)
    warnings = [ResultWarning(WarningCode.CONDITIONAL, SPARED, count, count)] if spared else []
    return replace(_same_for_all(blank, Outcome.SKIPPED, reason), warnings=warnings)


def errored_record(blank: Record, failed: Mapping[int, str], spared: Collection[int]) -> Record:
    """Return the record of an attack job that has no result for any image.

    Args:
        blank: the job's record before it is run.
        failed: the reason of each image that failed.
        spared: the images that a cascade did not attack.
    """
    rows = range(len(blank.images))
    outcomes = [Outcome.SKIPPED if row in spared else Outcome.ERRORED for row in rows]
    reasons = [failed.get(row, "") for row in rows]
    return replace(_same_for_all(blank, Outcome.ERRORED, ""), outcomes=outcomes, reasons=reasons)


def _same_for_all(blank: Record, outcome: Outcome, reason: str) -> Record:
    count = len(blank.images)
    return replace(
        blank,
        outcomes=[outcome] * count,
        draws=[""] * count,
        distances=[None] * count,
        reasons=[reason] * count,
    )


def attack_fields(
    verified: Verification,
    answer: Answer,
    distances: Sequence[float],
    *,
    notes: Sequence[str],
    warnings: Sequence[ResultWarning],
    passes: tuple[int, int],
    phases: Mapping[str, float],
) -> dict[str, Any]:
    """Return the fields of a record about the images that were attacked and verified.

    Args:
        verified: the verification of these images.
        answer: the attack's answer for them.
        distances: the norm of each perturbation.
        notes: the notes of the attack's view and of the batches.
        warnings: the warnings of the attack and of the defense.
        passes: the images passed forward and backward.
        phases: wall time of each phase in seconds.
    """
    right = verified.right
    return {
        "outcomes": [Outcome.ROBUST if row.float().mean() > 0.5 else Outcome.MISCLASSIFIED for row in right],
        "draws": ["".join("1" if draw else "0" for draw in row) for row in right.tolist()],
        "distances": [round(float(value), 7) for value in distances],
        "nearest": verified.fooling_distances,
        "claims": [] if answer.claims is None else [int(claim) for claim in answer.claims.tolist()],
        "certified": list(answer.certified or []),
        "known_right": list(answer.known_right or []),
        "known_seeds": answer.known_seeds,
        "looks": list(answer.looks or []),
        "clean_looks": list(answer.clean_looks or []),
        "truth": list(answer.truth or []),
        "control": answer.control,
        "notes": [*notes, *verified.notes],
        "warnings": list(warnings),
        "forwards": passes[0],
        "backwards": passes[1],
        "seconds": dict(phases),
    }


def attack_record(
    blank: Record,
    fields: Mapping[str, Any],
    rows: Sequence[int],
    failed: Mapping[int, str],
    spared: Collection[int],
    pictures: Sequence[Picture],
) -> Record:
    """Return the record of an attack job that has results for some images.

    Args:
        blank: the job's record before it is run.
        fields: the fields about the images with results (see `attack_fields`).
        rows: their rows in the block.
        failed: the reason of each image that failed.
        spared: the images that a cascade did not attack.
        pictures: images for display.
    """
    count = len(blank.images)
    told = _spread(fields, rows, count)
    for row in failed:
        told["outcomes"][row] = Outcome.ERRORED
    if failed:
        told["reasons"] = [failed.get(row, "") for row in range(count)]
    if spared:
        told["warnings"].append(ResultWarning(WarningCode.CONDITIONAL, SPARED, len(spared), count))
    return replace(blank, **told, pictures=list(pictures))


NOT_ASKED: dict[str, Any] = {
    "outcomes": Outcome.SKIPPED,
    "draws": "",
    **dict.fromkeys(("distances", "nearest", "claims", "certified", "known_right", "looks", "clean_looks", "truth")),
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


@dataclass(frozen=True)
class PickedScore:
    """The score of one image at its picked adversarial example; the fields are those of a record.

    Attributes:
        outcome: the outcome.
        draws: the fresh draws, "" without a pick.
        distance: the norm of the perturbation, None without a pick.
        picked: the attack of the picked example, None without a pick.
        reason: why there is no score, "" if there is one.
    """

    outcome: Outcome
    draws: str = ""
    distance: float | None = None
    picked: str | None = None
    reason: str = ""


def worst_case_record(
    blank: Record,
    scores: Sequence[PickedScore],
    *,
    notes: Sequence[str] = (),
    passes: int = 0,
    phases: Mapping[str, float] | None = None,
) -> Record:
    """Return the record of a worst-case job.

    Args:
        blank: the job's record before it is run.
        scores: the score of each image of the block.
        notes: what readers must know.
        passes: the images passed forward to pick and to score.
        phases: wall time of each phase in seconds.
    """
    return replace(
        blank,
        outcomes=[score.outcome for score in scores],
        draws=[score.draws for score in scores],
        distances=[score.distance for score in scores],
        picked=[score.picked for score in scores],
        reasons=[score.reason for score in scores],
        notes=list(notes),
        forwards=passes,
        seconds=dict(phases or {}),
    )


def broken_before(before: Sequence[JobResult]) -> dict[int, Array]:
    """Return the images that were wrong on every verification draw of an earlier attack: row → adversarial image."""
    broken: dict[int, Array] = {}
    for finding in before:
        for row, (outcome, draws) in enumerate(zip(finding.record.outcomes, finding.record.draws, strict=True)):
            if outcome is Outcome.MISCLASSIFIED and "1" not in draws and finding.adversarial is not None:
                broken.setdefault(row, finding.adversarial[row])
    return broken


def outcomes_of(results: Sequence[JobResult], row: int) -> list[Outcome]:
    """Return the outcome of an image under each of these attacks."""
    return [result.record.outcomes[row] for result in results]


def counted_draws(results: Sequence[JobResult], rows: Sequence[int]) -> tuple[Counts, Counts]:
    """Return the number of correct draws and of all draws of each attack on each image, int [attacks, images]."""
    draws = [[result.record.draws[row] for row in rows] for result in results]
    right = np.array([[given.count("1") for given in of_attack] for of_attack in draws], dtype=np.int64)
    return right, np.array([[len(given) for given in of_attack] for of_attack in draws], dtype=np.int64)
