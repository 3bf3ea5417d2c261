"""Runs jobs on a backend, each once the jobs that it needs are finished; the backend does not affect results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from graphlib import TopologicalSorter
from heapq import heappop, heappush

from purebench.boards.jobs import AnyJob, WorstCaseJob
from purebench.execution.backends.protocol import Backend, Done, Lost
from purebench.execution.context import Context
from purebench.execution.jobs.job_record import (
    JobInputs,
    JobResult,
    PickedScore,
    blank_record,
    errored_record,
    worst_case_record,
)
from purebench.records.outcome import Outcome

MOST_ATTEMPTS = 3
"""A job whose worker ended this often is ERRORED."""

Asking = Callable[[AnyJob], JobInputs]
"""Returns the results of the jobs that a job needs; called when all of them are finished."""
Admitting = Callable[[AnyJob], bool]
"""Returns whether a job may be started now; it is asked again later if not."""


def execute(
    jobs: Sequence[AnyJob],
    context: Context,
    backend: Backend,
    done: Collection[str] = (),
    given: Asking = lambda job: JobInputs(),
    admits: Admitting = lambda job: True,
) -> Generator[JobResult, None, None]:
    """Run jobs and yield their results as they finish; a job starts after those it needs.

    A job that is lost with its worker is run again, and is ERRORED after a few attempts.

    Args:
        jobs: the jobs.
        context: the prepared board.
        backend: runs the jobs.
        done: keys of jobs that were finished before.
        given: returns the results of the jobs that a job needs.
        admits: returns whether a job may be started now. The run ends when no job runs and none may be started.

    Yields:
        The results, in any order.

    Raises:
        PurebenchError: no worker can run jobs. A later run continues.
    """
    queue, lost = Queue(jobs, done), Counter[str]()

    def fill() -> None:
        while backend.free and (job := queue.take(admits)):
            backend.submit(job, given(job))

    def settle(answer: Done | Lost) -> JobResult | None:
        if isinstance(answer, Done):
            return answer.result
        lost[answer.job.key] += 1
        if lost[answer.job.key] < MOST_ATTEMPTS:
            queue.put_back(answer.job)
            return None
        return given_up(answer.job, context, answer.reason)

    if not jobs:
        return
    with backend:
        while True:
            fill()
            if not backend.busy:
                return
            settled = [(answer.job, settle(answer)) for answer in backend.answers()]
            if backend.workers > 1:
                fill()  # workers do not wait until these results are saved
            for job, result in settled:
                if result is not None:
                    yield result
                    queue.finish(job)


def given_up(job: AnyJob, context: Context, reason: str) -> JobResult:
    """Return the ERRORED result of a job whose workers ended.

    Args:
        job: the job.
        context: the prepared board.
        reason: what happened to the last worker.
    """
    count = len(context.block(job.block))
    blank = blank_record(job, context, count)
    told = f"{MOST_ATTEMPTS} workers ended while they ran this job; the last: {reason}"
    if isinstance(job, WorstCaseJob):
        return JobResult(worst_case_record(blank, [PickedScore(Outcome.ERRORED, reason=told)] * count))
    return JobResult(errored_record(blank, dict.fromkeys(range(count), told), ()))


class Queue:
    """Jobs to run, each once the jobs that it needs are finished.

    Args:
        jobs: the jobs.
        done: keys of jobs that were finished before.
    """

    def __init__(self, jobs: Sequence[AnyJob], done: Collection[str] = ()):
        self.jobs = {job.key: job for job in jobs}
        self.place = {key: place for place, key in enumerate(self.jobs)}
        # jobs that are not in the queue count as finished, so that no job waits for them
        waits = {
            key: [other for other in job.needs if other in self.jobs and other not in done]
            for key, job in self.jobs.items()
        }
        self.sorter = TopologicalSorter(waits)
        self.sorter.prepare()
        self.ready: list[tuple[int, str]] = []

    def take(self, admits: Admitting = lambda job: True) -> AnyJob | None:
        """Remove and return the first job that may start.

        Args:
            admits: returns whether a job may be started now.

        Returns:
            The job; None if no job remains, all wait for running jobs, or the first one is not admitted.
        """
        for key in self.sorter.get_ready():
            heappush(self.ready, (self.place[key], key))
        if not self.ready or not admits(self.jobs[self.ready[0][1]]):
            return None
        return self.jobs[heappop(self.ready)[1]]

    def put_back(self, job: AnyJob) -> None:
        """Return a job that was taken and is to be run again."""
        heappush(self.ready, (self.place[job.key], job.key))

    def finish(self, job: AnyJob) -> None:
        """Mark a job as finished, so that jobs that need it may start."""
        self.sorter.done(job.key)
