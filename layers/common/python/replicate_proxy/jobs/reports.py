"""The transitions of a job after a report from Replicate, by Replicate's status. No I/O.

A report belongs to a job if it names the job's prediction. While the job does not know its prediction, only a
callback can belong to it, and the attempt in the signed URL decides: the current attempt, or an earlier one
whose create request had an unknown outcome and turns out to have been accepted.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.jobs.changes import StaleChangeError
from replicate_proxy.jobs.model import (
    AttemptOutcome,
    FallbackCause,
    Job,
    JobStatus,
    PastAttempt,
    ReportChannel,
    TimelineStep,
)
from replicate_proxy.jobs.transitions import (
    calculate_fallback_due,
    calculate_first_check,
    can_fall_back,
    finish,
    stamp_timeline,
    start_fallback,
    start_new_attempt,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.jobs.changes import Reported
    from replicate_proxy.jobs.timeouts import JobTimeouts


# Director errors, interruptions, and E003 and E004 of official models whose provider has no capacity: users'
# projects retry them by hand. E1001 (out of memory) is not among them: it recurs with the same input
# (Replicate docs, error codes; the codes as seen in public projects).
_TRANSIENT_ERROR = re.compile(r"\bcode: PA\b|\bE(?:9828|8765|6716|9243)\b|\btry again later\. \(E00[34]\)")


def apply_report(job: Job, change: Reported, now: datetime, timeouts: JobTimeouts) -> Job:
    """Return the job after the report.

    Raises StaleChangeError if the report is old or about a prediction that is not the job's.
    """
    if change.replicate_account != job.replicate_account:
        raise StaleChangeError("the report is from an account in which the job does not run")
    job = _match_attempt(job, change, now)
    reported = replace(
        job,
        replicate_id=change.replicate_id,
        replicate_status=change.status,
        model=change.model or job.model,
        version=change.version or job.version,
        started_at=change.started_at or job.started_at,
        logs=change.logs or job.logs,
        metrics=change.metrics or job.metrics,
        report_channel=change.channel,
        lease_until=None,
    )
    return _TRANSITIONS[change.status](reported, change, now, timeouts)


def _match_attempt(job: Job, change: Reported, now: datetime) -> Job:
    """Return the job at the attempt that the report is about."""
    if job.replicate_id is not None:
        if change.replicate_id != job.replicate_id:
            raise StaleChangeError("the report is about a prediction that is not the job's")
        return job
    if change.channel is ReportChannel.POLL:
        # Only the URL of a callback proves whose the prediction is. This one was polled for a job that has
        # let go of it since: it is another job's.
        raise StaleChangeError("the polled prediction is not the job's any more")
    if change.attempt == job.attempt:
        return job
    return _restore_attempt(job, change.attempt, now)


def _restore_attempt(job: Job, attempt: int, now: datetime) -> Job:
    """Return the job at an earlier attempt of unknown outcome, which turned out to have been accepted.

    Its prediction exists for certain, so it replaces the current attempt, whose prediction may not.
    """
    unknown = [past.attempt for past in job.past_attempts if past.outcome is AttemptOutcome.UNKNOWN]
    if attempt not in unknown:
        raise StaleChangeError(f"the report is about attempt {attempt}, the job is at attempt {job.attempt}")
    past_attempts = tuple(past for past in job.past_attempts if past.attempt != attempt)
    if job.status is not JobStatus.QUEUED:
        replaced = PastAttempt(
            attempt=job.attempt,
            outcome=AttemptOutcome.REPLACED,
            replicate_id=None,
            error=f"attempt {attempt} turned out to have been accepted",
            ended_at=now,
            target=job.submission.target,
        )
        past_attempts = (*past_attempts, replaced)
    return replace(job, attempt=attempt, past_attempts=past_attempts)


def _apply_starting(job: Job, _change: Reported, now: datetime, timeouts: JobTimeouts) -> Job:
    if job.status in {JobStatus.SUBMITTED, JobStatus.PROCESSING}:
        raise StaleChangeError("the job has this status already")
    job = replace(job, fallback_due_at=calculate_fallback_due(job, now))
    return replace(
        job,
        status=JobStatus.SUBMITTED,
        checks=0,
        next_check_at=calculate_first_check(job, now, timeouts),
        timeline=stamp_timeline(job, now, TimelineStep.SUBMITTED),
    )


def _apply_processing(job: Job, change: Reported, now: datetime, timeouts: JobTimeouts) -> Job:
    timeline = stamp_timeline(job, now, TimelineStep.SUBMITTED, TimelineStep.STARTED)
    job = replace(
        job,
        partial_output=change.partial_output or job.partial_output,
        progress_at=change.reported_at or job.progress_at,
        fallback_due_at=None,
    )
    if job.status is JobStatus.PROCESSING:
        if change.logs is None and change.partial_output is None:
            raise StaleChangeError("the job has this status already")
        return replace(job, timeline=timeline)
    return replace(
        job,
        status=JobStatus.PROCESSING,
        checks=0,
        next_check_at=calculate_first_check(job, now, timeouts),
        timeline=timeline,
    )


def _apply_succeeded(job: Job, change: Reported, now: datetime, timeouts: JobTimeouts) -> Job:
    return replace(
        job,
        status=JobStatus.HARVESTING,
        completed_at=change.completed_at or now,
        replicate_output=change.output,
        private_folder=change.private_folder,
        checks=0,
        lease_until=change.lease_until,
        next_check_at=change.lease_until or now + timedelta(seconds=timeouts.harvest_seconds),
        timeline=stamp_timeline(
            job, now, TimelineStep.SUBMITTED, TimelineStep.REPORTED, TimelineStep.HARVESTING
        ),
    )


def _apply_failed(job: Job, change: Reported, now: datetime, timeouts: JobTimeouts) -> Job:
    error = change.error or "Prediction failed without an error message"
    if _TRANSIENT_ERROR.search(error) and not _may_be_read(job):
        if _should_retry(job, timeouts):
            return start_new_attempt(job, now, timeouts, outcome=AttemptOutcome.FAILED, reason=error)
        if can_fall_back(job, FallbackCause.TRANSIENT_FAILURE):
            return start_fallback(job, now, timeouts, outcome=AttemptOutcome.FAILED, reason=error)
    return finish(_keep_output(job, change, now), JobStatus.FAILED, now, error=error)


def _may_be_read(job: Job) -> bool:
    """Return whether a caller may have read a part of the output: from the stream, or while it polled.

    Clients add to what they have read what a later response has beyond it, so the output of a new attempt
    would be mixed with that of this one. A caller that reads the stream has also seen the failure.
    """
    return job.is_streamed or job.partial_output is not None


def _should_retry(job: Job, timeouts: JobTimeouts) -> bool:
    """Return whether retries of what runs are left, and no cancel was requested."""
    if job.cancel_requested_at is not None:
        return False
    failures = sum(
        past.outcome is AttemptOutcome.FAILED and past.target in {None, job.submission.target}
        for past in job.past_attempts
    )
    return failures < timeouts.max_job_retries


def _apply_canceled(job: Job, change: Reported, now: datetime, timeouts: JobTimeouts) -> Job:
    """Return the job with its next fallback if its prediction waited for too long, else ended."""
    is_late = job.deadline is not None and job.deadline <= now
    if job.abandoned_at is not None and not is_late and can_fall_back(job, FallbackCause.QUEUE_TIME):
        reason = f"waited longer than {job.fallback_after_seconds} s at Replicate"
        return start_fallback(job, now, timeouts, outcome=AttemptOutcome.CANCELED, reason=reason)
    return finish(_keep_output(job, change, now), JobStatus.CANCELED, now, error=change.error)


def _keep_output(job: Job, change: Reported, now: datetime) -> Job:
    """Return the job with what the prediction had written before it failed or was canceled."""
    return replace(job, completed_at=change.completed_at or now, output=change.partial_output)


_TRANSITIONS: Mapping[str, Callable[[Job, Reported, datetime, JobTimeouts], Job]] = {
    "starting": _apply_starting,
    "processing": _apply_processing,
    "succeeded": _apply_succeeded,
    "failed": _apply_failed,
    "canceled": _apply_canceled,
    # Ended by its deadline before it started. Our API shows `canceled`: no official client knows `aborted`.
    "aborted": _apply_canceled,
}
