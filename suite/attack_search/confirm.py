"""Confirms the attack that a search found: once, on images of the board, with fresh draws.

Nothing was chosen on these images and draws, so that the mean is unbiased. Images on which the attack fails with an
error count as right, so that the accuracy stays an upper bound. A user who is not content with the result may search
again with another seed, and confirm again; the smallest of many confirmed results would be too low. So the k-th
confirmation of a defense on a board has the confidence 1 - α/2^k, where 1 - α is the board's: all intervals together
cover with probability at least 1 - α (the union bound), however many there are and whenever the user stops. Two
confirmations are the same one only if all their jobs have the same keys, which everything that decides their results
is part of: another number of draws, changed code or another version of torch makes it a further confirmation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from purebench.attack_search.candidate import AttackCandidate, sequence_eot
from purebench.boards.board import Board
from purebench.boards.jobs import Job
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.core.seeds import hash_of
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import run_prepared
from purebench.execution.context import Context, prepare
from purebench.records import store
from purebench.records.outcome import WORST_CASE
from purebench.records.record import Record
from purebench.statistics import Estimate, accuracy

CONFIRMED = "-break"
"""End of the name of the board of confirmations."""
FOUND = "found-"
"""Begin of the name of a confirmed attack; a hash of the keys of its jobs follows."""
LARGEST_BLOCK = 24
"""Largest number of images of a job."""


@dataclass(frozen=True)
class Confirmation:
    """The result of the winner on images of the board.

    Attributes:
        number: k: it is the k-th confirmation of this defense on this board with this store.
        robust: Accuracy under the attack, with its interval at confidence 1 - α/2^k. Images on which the attack failed
            count as right.
        errored: Number of images on which the attack failed.
        passes: Purifier passes per image.
        seconds: Seconds per image.
    """

    number: int
    robust: Estimate
    errored: int
    passes: float
    seconds: float


def level(confidence: float, number: int) -> float:
    """Return the confidence of the k-th confirmation, 1 - α/2^k.

    Args:
        confidence: 1 - α, in (0,1).
        number: k, from 1 on.
    """
    return 1 - (1 - confidence) * 0.5**number


@dataclass(frozen=True)
class DefenseIdentity:
    """Identity of a defense for the count of its confirmations, independent of the name of its row.

    Attributes:
        spec: Spec of the defense.
        weights: Hash of its weights.
        source: Hash of its source; "" if there is none.
    """

    spec: str
    weights: str
    source: str

    @classmethod
    def of(cls, record: Record) -> DefenseIdentity:
        """Return the identity of the defense of a record."""
        return cls.of_facts(record.provenance.get("defense"), record.provenance.get("code"))

    @classmethod
    def of_facts(cls, defense: Any, code: Any) -> DefenseIdentity:
        """Return the identity from the fields `defense` and `code` of a provenance."""
        defense, code = (found if isinstance(found, Mapping) else {} for found in (defense, code))
        part = code.get("defense")
        source = part.get("source", "") if isinstance(part, Mapping) else ""
        return cls(str(defense.get("spec", "")), str(defense.get("weights", "")), str(source))

    def same_as(self, other: DefenseIdentity) -> bool:
        """Return whether the specs, or code, weights and parameters are equal: a copied file is the same defense."""
        if self.spec == other.spec or not self.source:
            return self.spec == other.spec
        alike = (self.source, self.weights) == (other.source, other.weights)
        return alike and _without_path(self.spec) == _without_path(other.spec)


def _without_path(text: str) -> tuple[str, Mapping[str, Any]]:
    spec = Spec.parse(text)
    return spec.name.rpartition(":")[2], spec.params


def number_of(records: Sequence[Record], defense: DefenseIdentity, attack: str) -> int:
    """Return k for an attack on a defense: that of the same attack if it was confirmed before, else the next one.

    Args:
        records: All records of the board of confirmations, in the order in which they were added.
        defense: The defense.
        attack: Name of the attack, which the keys of its jobs decide.
    """
    own = (one for one in records if one.attack != WORST_CASE and DefenseIdentity.of(one).same_as(defense))
    before = list(dict.fromkeys(one.attack for one in own))
    return (before.index(attack) if attack in before else len(before)) + 1


def confirm(
    board: Board,
    candidate: AttackCandidate,
    path: Path,
    *,
    random: bool,
    images: int,
    device: str,
    workers: int,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Confirmation:
    """Run the winner on images of the board, in the store, and estimate the accuracy.

    An interrupted confirmation is continued, and the same attack gets the same result without spending alpha again.

    Args:
        board: The board, with the defense as its only shown row.
        candidate: The winner.
        path: The store.
        random: Whether the defense is random.
        images: Number of images, the first in the board's order.
        device: cpu, cuda or cuda:0.
        workers: Number of processes.
        progress: Called as the work proceeds.

    Raises:
        PurebenchError: If the attack failed on every image.
    """
    (row,) = board.shown
    compute = Compute(device, workers)
    compute.check()
    unnamed = replace(
        board,
        name=f"{board.name}{CONFIRMED}",
        title=f"{board.title}, attacks that were searched for",
        attacks=(candidate.choice(FOUND, sequence_eot(random)),),
        defenses=(row,),
        dataset=replace(board.dataset, images=images, block=min(board.dataset.block, LARGEST_BLOCK, images)),
        cascade=False,
        stop=None,
    )
    context = _named(prepare(unnamed, compute.main_device()))
    (choice,) = context.board.attacks
    with store.writing(path) as saved:
        number = number_of(saved.of_board(unnamed.name), _identity(context), choice.name)
    records = run_prepared(
        context.board,
        context,
        path,
        compute=compute,
        progress=lambda done, total, record: progress("confirming on images of the board", done, total),
    )
    return _estimated([one for one in records if one.attack != WORST_CASE], number, random, board.confidence)


def _identity(context: Context) -> DefenseIdentity:
    (row,) = context.board.defenses
    code = next((job.code for job in context.jobs() if isinstance(job, Job)), {})
    facts = {"spec": str(row.use), "weights": context.fingerprints[row.name]}
    return DefenseIdentity.of_facts(facts, code)


def _named(context: Context) -> Context:
    """Return the context with the attack named after the keys of its jobs, which have everything that decides them."""
    (choice,) = context.board.attacks
    decides = hash_of([job.key for job in context.jobs()])
    return context.on(replace(context.board, attacks=(replace(choice, name=f"{FOUND}{decides[:12]}"),)))


def _estimated(records: Sequence[Record], number: int, random: bool, confidence: float) -> Confirmation:
    """Return the estimate of the records' draws; images without draws count as right.

    Raises:
        PurebenchError: If no image has draws.
    """
    answers = [draws for record in records for draws in record.correct]
    count = max((len(draws) for draws in answers), default=0)
    if not count:
        why = next((reason for record in records for reason in record.reasons if reason), "no image was attacked")
        raise PurebenchError(f"break: expected results of the attack on images of the board, but it failed: {why}")
    errored = sum(not draws for draws in answers)
    right = np.array([draws or [True] * count for draws in answers], dtype=np.bool_)
    passes, seconds = (sum(values) / len(right) for values in zip(*map(_cost, records), strict=True))
    robust = accuracy(right, deterministic=not random, confidence=level(confidence, number))
    return Confirmation(number, robust, errored, passes, seconds)


def _cost(record: Record) -> tuple[float, float]:
    return float(record.forwards + 2 * record.backwards), sum(record.seconds.values())
