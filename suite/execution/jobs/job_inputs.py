"""Collects the results of the jobs that a job needs."""

from __future__ import annotations

from collections.abc import Callable

from purebench.boards.jobs import AnyJob, WorstCaseJob
from purebench.execution.jobs.job_record import JobInputs, JobResult


def inputs_of(job: AnyJob, result: Callable[[str], JobResult]) -> JobInputs:
    """Return the inputs of a job.

    Args:
        job: the job.
        result: returns the result of a finished job by its key; called once for each needed job.
    """
    needed = {key: result(key) for key in job.needs}
    if isinstance(job, WorstCaseJob):
        return JobInputs([needed[key] for key in job.needs])
    return JobInputs([needed[key] for key in job.after], needed[job.source] if job.source else None)
