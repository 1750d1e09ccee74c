"""Which failures of a prediction are Replicate's own passing trouble, so that one fresh attempt is worth it.
Pure.

What a report from Replicate does to a job, by Replicate's own status word. Pure.

A prediction's id says whose it is. Before we know an id, the attempt in the webhook's signed URL does: the
one under way, or an earlier one that was given up as unknown and had been accepted after all.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.jobs.transitions import (
    StaleChangeError,
    finish,
    next_check_due,
    stamp_timeline,
    start_new_attempt,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.jobs.changes import Reported
    from replicate_proxy.jobs.timeouts import JobTimeouts


# Director errors and interruptions that users' projects retry by hand, as against E1001 (out of memory),
# which comes again with the same input (Replicate docs, error codes; the codes as seen in public projects).
_TRANSIENT = re.compile(r"\((?:code: PA|E9828|E8765|E6716|E9243)\)|\bcode: PA\b|\bE(?:9828|8765|6716|9243)\b")


def is_transient(error: str) -> bool:
    """Whether the error text carries a code of passing infrastructure trouble."""
    return _TRANSIENT.search(error) is not None


S = JobStatus


def apply_report(job: Job, change: Reported, now: datetime, timeouts: JobTimeouts) -> Job:
    """The job after the news. Raises StaleChangeError where it is old, or about a prediction that is not the
    job's.
    """
    job = _recognised(job, change, now)
    known = replace(
        job,
        replicate_id=change.replicate_id,
        replicate_status=change.status,
        model=change.model or job.model,
        version=change.version or job.version,
        started_at=change.started_at or job.started_at,
        logs=change.logs or job.logs,
        metrics=change.metrics or job.metrics,
        reported_via=change.via,
        lease_until=None,
    )
    return _REPORTS[change.status](known, change, now, timeouts)


def _recognised(job: Job, change: Reported, now: datetime) -> Job:
    if job.replicate_id is not None:
        if change.replicate_id != job.replicate_id:
            raise StaleChangeError("a report about a prediction that is not this job's")
        return job
    if change.attempt == job.attempt:
        return job
    return _taken_back(job, change.attempt, now)


def _taken_back(job: Job, attempt: int, now: datetime) -> Job:
    """The job, set back to an attempt of unknown outcome that turns out to have been accepted.

    A result that is certain beats one that may never come; what the later attempt may have started is left
    behind.
    """
    if not any(past["attempt"] == attempt and _is_open(past) for past in job.past_attempts):
        raise StaleChangeError(f"a report about attempt {attempt} of a job at attempt {job.attempt}")
    past_attempts = tuple(past for past in job.past_attempts if past["attempt"] != attempt)
    if job.status is not S.QUEUED:
        left: Mapping[str, Any] = {
            "attempt": job.attempt,
            "replicate_id": None,
            "error": f"attempt {attempt} had been accepted after all",
            "ended_at": format_timestamp(now),
            "left": True,
        }
        past_attempts = (*past_attempts, left)
    return replace(job, attempt=attempt, past_attempts=past_attempts)


def _is_open(past: Mapping[str, Any]) -> bool:
    return past.get("replicate_id") is None and not past.get("left")


def _starting(job: Job, _change: Reported, now: datetime, policy: JobTimeouts) -> Job:
    if job.status in {S.SUBMITTED, S.PROCESSING}:
        raise StaleChangeError("already known")
    return replace(
        job,
        status=S.SUBMITTED,
        checks=0,
        due_at=next_check_due(job, now, policy),
        timeline=stamp_timeline(job, now, "submitted"),
    )


def _processing(job: Job, change: Reported, now: datetime, policy: JobTimeouts) -> Job:
    if job.status is S.PROCESSING and change.logs is None:
        raise StaleChangeError("already known")
    first_news = job.status is not S.PROCESSING
    return replace(
        job,
        status=S.PROCESSING,
        checks=0 if first_news else job.checks,
        due_at=next_check_due(job, now, policy) if first_news else job.due_at,
        timeline=stamp_timeline(job, now, "submitted", "started"),
    )


def _succeeded(job: Job, change: Reported, now: datetime, policy: JobTimeouts) -> Job:
    return replace(
        job,
        status=S.HARVESTING,
        completed_at=change.completed_at or now,
        source_output=change.output,
        checks=0,
        lease_until=change.lease_until,
        due_at=change.lease_until or now + timedelta(seconds=policy.harvest_seconds),
        timeline=stamp_timeline(job, now, "submitted", "reported", "harvesting"),
    )


def _failed(job: Job, change: Reported, now: datetime, policy: JobTimeouts) -> Job:
    error = change.error or "Prediction failed without an error message"
    failures = sum(1 for past in job.past_attempts if past.get("replicate_id"))
    if is_transient(error) and failures < policy.max_job_retries and job.cancel_requested_at is None:
        return start_new_attempt(job, now, policy, reason=error)
    return finish(replace(job, completed_at=change.completed_at or now), S.FAILED, now, error=error)


def _canceled(job: Job, change: Reported, now: datetime, _policy: JobTimeouts) -> Job:
    return finish(replace(job, completed_at=change.completed_at or now), S.CANCELED, now, error=change.error)


_REPORTS: Mapping[str, Callable[[Job, Reported, datetime, JobTimeouts], Job]] = {
    "starting": _starting,
    "processing": _processing,
    "succeeded": _succeeded,
    "failed": _failed,
    "canceled": _canceled,
    # Ended by its deadline before it started. To clients this is `canceled`: no official one knows the word.
    "aborted": _canceled,
}
