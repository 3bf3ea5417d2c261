"""Runs candidates on dev images; the records in the store are the progress of the search, so that nothing else is kept.

A search that was interrupted asks for the same jobs in the same order, and finds those that were finished.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from purebench.attack_search.candidate import AttackCandidate, sequence_eot
from purebench.attack_search.defense_profile import DefenseProfile, profile_of
from purebench.attack_search.halving import OutOfTime, Score
from purebench.boards.board import AttackChoice, Board, DefenseChoice
from purebench.boards.derived.dev_board import dev_board
from purebench.boards.jobs import Job
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.execution.backends.compute import Compute
from purebench.execution.context import Context, prepare
from purebench.execution.early_checks import check_defenses
from purebench.execution.scheduler import execute
from purebench.records import store
from purebench.records.record import Record

SEARCHED = "-break-dev"
"""End of the name of the board on dev images, under which the records of the search are stored."""
DEV_BLOCK = 12
"""Images of a job on dev images."""
CLEAN = AttackChoice("clean", Spec("clean"))


@dataclass
class AttackBench:
    """Measures candidates on dev images, as long as time is left.

    Attributes:
        context: The prepared dev board.
        known: The properties of the defense.
        path: The store.
        workers: Number of processes.
        seconds: Time of the search: of all records that it made, in this process and in earlier ones.
        images: Largest number of dev images.
        spent: Seconds of the records so far, divided by the number of processes.
        passes: Purifier passes of the records so far.
        tell: Called after every job.
        began: Time at which this process began, by the monotonic clock.
        counted: Keys of the records that `spent` and `passes` contain.
        price: Smallest seconds of a purifier pass of one image in a record.
        other_price: Largest seconds of a pass of attacks whose passes are those of another model or of a part of the
            defense; None before the first of them.
    """

    context: Context
    known: DefenseProfile
    path: Path
    workers: int
    seconds: float
    images: int
    spent: float = 0.0
    passes: int = 0
    tell: Callable[[], None] = lambda: None
    began: float = field(default_factory=time.monotonic)
    counted: set[str] = field(default_factory=set)
    price: float = float("inf")
    other_price: float | None = None

    @classmethod
    def of(
        cls, board: Board, path: Path, *, device: str, workers: int, seconds: float, images: int, seed: int
    ) -> AttackBench:
        """Prepare the dev board of a board with one shown row.

        Args:
            board: The board, with the defense as its only shown row.
            path: The store.
            device: cpu, cuda or cuda:0.
            workers: Number of processes.
            seconds: Time of the search.
            images: Largest number of dev images.
            seed: Seed of the random numbers of the attacks.

        Raises:
            PurebenchError: If something cannot be found or made, the data set has no dev images, or the board is on
                dev images.
        """
        (row,) = board.shown
        data = dev_board(board, images).dataset
        if data.use == board.dataset.use:
            raise PurebenchError(
                f"break: expected a board on test images, but {board.name} is on the dev images {data.use}, on which "
                "break searches; use another split for the board (split=test)."
            )
        context = prepare(
            replace(
                board,
                name=f"{board.name}{SEARCHED}",
                dataset=replace(data, block=min(DEV_BLOCK, images)),
                attacks=(CLEAN,),
                defenses=(row,),
                cascade=False,
                stop=None,
                seed=seed,
            ),
            device,
        )
        check_defenses(context)
        return cls(context, profile_of(context, row, board), path, workers, seconds, images)

    @property
    def row(self) -> DefenseChoice:
        """The defense."""
        return self.context.board.defenses[0]

    @property
    def left(self) -> float:
        """Seconds left, by the records and by the clock of this process."""
        return self.seconds - max(self.spent, time.monotonic() - self.began)

    def clean(self) -> Score:
        """Return the score without an attack on all dev images, which also shows what a pass costs."""
        return self._measured([(CLEAN.name, CLEAN)], self.images, {CLEAN.name: True})[CLEAN.name]

    def measure(self, candidates: Sequence[AttackCandidate], images: int) -> dict[str, Score]:
        """Run candidates on the first dev images.

        Args:
            candidates: The candidates.
            images: Number of dev images.

        Returns:
            The score of each by its name.

        Raises:
            OutOfTime: If the time is over before all of them are finished; it has the scores of those that are.
        """
        eot = sequence_eot(self.known.random)
        choices = [(candidate.name, candidate.choice(candidate.name, eot)) for candidate in candidates]
        return self._measured(choices, images, {candidate.name: candidate.whole for candidate in candidates})

    def _measured(
        self, choices: Sequence[tuple[str, AttackChoice]], images: int, whole: Mapping[str, bool]
    ) -> dict[str, Score]:
        attacks = tuple(dict(choices).values())
        board = self.context.board
        board = replace(board, attacks=attacks, dataset=replace(board.dataset, images=images))
        context = self.context.on(board)
        jobs = [job for job in context.jobs() if isinstance(job, Job)]
        records: dict[str, Record] = {}
        with store.writing(self.path) as saved:
            for job in jobs:
                if (record := saved.get(job.key)) is not None:
                    records[job.key] = self._count(record, whole[job.attack.name])
            todo = [job for job in jobs if job.key not in records] if self.left > 0 else []
            backend = Compute(str(context.device), self.workers).backend_of(context, len(todo))
            with closing(execute(todo, context, backend)) as results:
                for result in results:
                    saved.add(result.record)
                    records[result.record.key] = self._count(result.record, whole[result.record.attack])
                    self.tell()
                    if self.left <= 0:
                        break
        keys = {name: [job.key for job in jobs if job.attack.name == name] for name, _ in choices}
        finished = {name: some for name, some in keys.items() if all(key in records for key in some)}
        scores = {name: _score([records[key] for key in some]) for name, some in finished.items()}
        if len(scores) < len(keys):
            raise OutOfTime(scores)
        return scores

    def _count(self, record: Record, whole: bool) -> Record:
        """Count the time and the passes of a record once, and learn what a pass costs.

        Args:
            record: The record.
            whole: Whether the passes are those of the defense itself.
        """
        if record.key not in self.counted:
            self.counted.add(record.key)
            passes, seconds = record.forwards + 2 * record.backwards, sum(record.seconds.values())
            self.spent += seconds / self.workers
            self.passes += passes
            if passes and whole:
                self.price = min(self.price, seconds / passes)
            elif passes:
                self.other_price = max(self.other_price or 0.0, seconds / passes)
        return record


def _score(records: Sequence[Record]) -> Score:
    """Return the score of one candidate from the records of its blocks, in order."""
    failed = next((record for record in records if any(not draws for draws in record.draws)), None)
    if failed is not None:
        why = next((reason for reason in failed.reasons if reason), "the attack gave no result")
        return Score(None, 0.0, 0.0, " ".join(why.split()))
    right = np.concatenate([np.array([np.mean(draws) for draws in record.correct]) for record in records])
    passes = sum(record.forwards + 2 * record.backwards for record in records) / len(right)
    seconds = sum(sum(record.seconds.values()) for record in records) / len(right)
    return Score(right, passes, seconds)
