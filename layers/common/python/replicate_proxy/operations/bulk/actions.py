"""The actions of bulk operations: what each does to one job, by the use case of the single job.

A new action is a member of `BulkAction`, its statuses here, and its function in `build_actions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.jobs.model import ACTIVE_STATUSES, TERMINAL_STATUSES, JobStatus
from replicate_proxy.operations.bulk.model import BulkAction
from replicate_proxy.operations.job_actions import NothingToDoError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.operations.job_actions import JobActions
    from replicate_proxy.operations.job_retries import JobRetries


# The jobs to which an action can apply: the others never match.
APPLICABLE_STATUSES: Mapping[BulkAction, frozenset[JobStatus]] = {
    BulkAction.CANCEL: ACTIVE_STATUSES,
    BulkAction.REDELIVER: frozenset(JobStatus),
    BulkAction.HARVEST: frozenset({JobStatus.SUCCEEDED}),
    BulkAction.RETRY: frozenset({JobStatus.FAILED, JobStatus.CANCELED}),
    BulkAction.DELETE: TERMINAL_STATUSES,
}


def _never(_job: Job | None, _since: datetime) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class JobAction:
    """`act` acts on a job for an operation that started at a time. It raises NothingToDoError or what
    the use case of the single job raises.

    `is_done` returns whether that has happened since the start, by the job as it is now, None if it is gone.
    A crash makes the worker ask for what it has done already.
    """

    act: Callable[[Job, datetime], object]
    is_done: Callable[[Job | None, datetime], bool] = _never


def build_actions(actions: JobActions, retries: JobRetries) -> Mapping[BulkAction, JobAction]:
    """Return the function of each action."""

    def retry(job: Job, since: datetime) -> None:
        result = retries.retry(job.tenant, job.id)
        if result.is_replay and result.job.created_at < since:
            raise NothingToDoError("Retried before", f"Job {result.job.id} is the retry of the job")

    return {
        BulkAction.CANCEL: JobAction(lambda job, _: actions.cancel(job.tenant, job.id), _is_canceled_since),
        BulkAction.REDELIVER: JobAction(lambda job, _: actions.redeliver(job.tenant, job.id)),
        BulkAction.HARVEST: JobAction(lambda job, _: actions.harvest(job.tenant, job.id)),
        BulkAction.RETRY: JobAction(retry),
        BulkAction.DELETE: JobAction(lambda job, _: actions.delete(job.tenant, job.id), _is_gone),
    }


def _is_gone(job: Job | None, _since: datetime) -> bool:
    return job is None


def _is_canceled_since(job: Job | None, since: datetime) -> bool:
    return job is not None and job.cancel_requested_at is not None and job.cancel_requested_at >= since
