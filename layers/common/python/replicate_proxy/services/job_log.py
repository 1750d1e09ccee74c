"""One log line for each change of a job, whichever function applies it: what was decided, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.jobs.changes import EndedByProxy, Harvested, Rejected, Reported
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from replicate_proxy.jobs.changes import Change
    from replicate_proxy.jobs.model import Job


def log_job_change(previous: Job, job: Job, change: Change) -> None:
    """Log the change with the job's IDs, its status before and after, and the reason."""
    logger.info(
        "job changed",
        job_id=job.id,
        tenant=job.tenant,
        correlation_id=job.correlation_id,
        change=type(change).__name__,
        previous_status=previous.status.value,
        status=job.status.value,
        attempt=job.attempt,
        replicate_id=job.replicate_id,
        reason=_find_reason(change),
        next_check_at=format_optional_timestamp(job.next_check_at),
    )


def _find_reason(change: Change) -> str | None:
    """Return why the change happened, None where its name says it."""
    match change:
        case EndedByProxy() | Harvested() | Rejected():
            return change.reason.value
        case Reported():
            return f"Replicate reported {change.status} by {change.channel.value}"
    return None
