"""What transitions of a job have in common: new attempts, the end, first checks, the timeline. No I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.jobs.model import (
    KNOWN_OUTCOMES,
    AttemptOutcome,
    EndReason,
    FallbackCause,
    Job,
    JobStatus,
    PastAttempt,
    TimelineStep,
)

if TYPE_CHECKING:
    from replicate_proxy.jobs.timeouts import JobTimeouts


# A record has at most 400 kB (Amazon DynamoDB, quotas), and a job keeps the errors of its past attempts.
_MAX_ERROR_CHARACTERS = 4000
_REFUSED_CREATES = frozenset({EndReason.REJECTED, EndReason.NO_CREDIT})
_UNKNOWN_ENDS = frozenset({EndReason.UNRESOLVED, EndReason.ACCOUNT_LOST})
# The steps that every attempt passes; a new attempt removes their times.
_ATTEMPT_STEPS = frozenset(TimelineStep) - {TimelineStep.ACCEPTED}


def start_new_attempt(
    job: Job, now: datetime, timeouts: JobTimeouts, *, outcome: AttemptOutcome, reason: str
) -> Job:
    """Return the job back in the queue with its next attempt; the current one moves to `past_attempts`.

    Attempt numbers are never used twice, so that a webhook of an abandoned attempt cannot be mistaken for one
    of a later attempt.
    """
    past = PastAttempt(
        attempt=job.attempt,
        outcome=outcome,
        replicate_id=job.replicate_id,
        error=reason[:_MAX_ERROR_CHARACTERS],
        ended_at=now,
        target=job.submission.target,
    )
    past_attempts = (*job.past_attempts, past)
    return replace(
        forget_prediction(job),
        status=JobStatus.QUEUED,
        attempt=max(earlier.attempt for earlier in past_attempts) + 1,
        past_attempts=past_attempts,
        waiting=None,
        create_sent_at=None,
        next_check_at=now + timedelta(seconds=timeouts.queued_seconds),
    )


def can_fall_back(job: Job, cause: FallbackCause) -> bool:
    """Return whether the job may go on with its next fallback.

    Not while an earlier attempt may still have a prediction, and not if its caller reads the stream, which
    would be continued by another model.
    """
    return (
        bool(job.fallbacks)
        and cause in job.fallback_causes
        and job.cancel_requested_at is None
        and not job.is_streamed
        and has_known_past(job)
    )


def has_known_past(job: Job) -> bool:
    """Return whether no earlier attempt may still have a prediction that is not known."""
    return all(past.outcome in KNOWN_OUTCOMES for past in job.past_attempts)


def has_known_outcome(job: Job) -> bool:
    """Return whether no attempt of an ended job may have a prediction that runs, or has run, unnoticed."""
    if job.end_reason in _UNKNOWN_ENDS:
        return False
    is_current_known = (
        job.create_sent_at is None or job.replicate_id is not None or job.end_reason in _REFUSED_CREATES
    )
    return is_current_known and has_known_past(job)


def calculate_fallback_due(job: Job, now: datetime) -> datetime | None:
    """Return when the attempt will have waited for too long, None if that leads to nothing.

    It is counted once from the first wait that a fallback can shorten.
    """
    if job.fallback_after_seconds is None or not can_fall_back(job, FallbackCause.QUEUE_TIME):
        return None
    return job.fallback_due_at or now + timedelta(seconds=job.fallback_after_seconds)


def is_fallback_due(job: Job, now: datetime) -> bool:
    """Return whether the attempt has waited for too long."""
    is_over = job.fallback_due_at is not None and job.fallback_due_at <= now
    return is_over and can_fall_back(job, FallbackCause.QUEUE_TIME)


def start_fallback(
    job: Job, now: datetime, timeouts: JobTimeouts, *, outcome: AttemptOutcome, reason: str
) -> Job:
    """Return the job back in the queue with its next fallback."""
    fallback, *others = job.fallbacks
    return replace(
        start_new_attempt(job, now, timeouts, outcome=outcome, reason=reason),
        submission=fallback.submission,
        requested_model=job.requested_model or job.submission.target,
        model=fallback.submission.model_name or None,
        version=None,
        price=fallback.price,
        input_fields=fallback.fields,
        fallbacks=tuple(others),
    )


def forget_prediction(job: Job) -> Job:
    """Return the job without its prediction and all that Replicate has reported about it."""
    return replace(
        job,
        replicate_id=None,
        replicate_status=None,
        replicate_output=None,
        report_channel=None,
        started_at=None,
        completed_at=None,
        logs=None,
        partial_output=None,
        progress_at=None,
        stream_url=None,
        files=None,
        metrics={},
        lease_until=None,
        checks=0,
        fallback_due_at=None,
        abandoned_at=None,
        timeline={step: time for step, time in job.timeline.items() if step not in _ATTEMPT_STEPS},
    )


def finish(job: Job, status: JobStatus, now: datetime, *, error: str | None) -> Job:
    """Return the job in its terminal status, without a next check.

    The error is cut to what can be saved with the job, wherever it comes from.
    """
    reported = (TimelineStep.REPORTED,) if job.replicate_status else ()
    return replace(
        job,
        status=status,
        error=error[:_MAX_ERROR_CHARACTERS] if error else error,
        partial_output=None,
        progress_at=None,
        waiting=None,
        lease_until=None,
        next_check_at=None,
        completed_at=job.completed_at or now,
        timeline=stamp_timeline(job, now, *reported, TimelineStep.FINISHED),
    )


def calculate_first_check(job: Job, now: datetime, timeouts: JobTimeouts) -> datetime:
    """Return when to check a prediction that Replicate has just accepted, or started to run.

    Soon if it is to be canceled, and not later than when it will have waited for too long.
    """
    times = [timeouts.calculate_next_check(now, 0)]
    if job.cancel_requested_at is not None:
        times.append(now + timedelta(seconds=timeouts.cancel_seconds))
    if job.fallback_due_at is not None:
        times.append(job.fallback_due_at)
    return min(times)


def stamp_timeline(job: Job, now: datetime, *steps: TimelineStep) -> dict[TimelineStep, datetime]:
    """Return the timeline with the steps' first times; only a new claim replaces an earlier time."""
    added = {step: now for step in steps if step not in job.timeline or step is TimelineStep.CLAIMED}
    return {**job.timeline, **added}
