"""The state machine of jobs: `apply_change` is the only way in which a job's status changes. No I/O.

    queued ─▶ submitting ─▶ submitted ─▶ processing ─▶ harvesting ─▶ succeeded
      ▲  ◀──────┤  │            │             │             └──────▶ failed
      │         │  └─▶ failed   └─────────────┴─▶ failed | canceled | harvesting
      └─── submit_unknown ─▶ the status that a report from Replicate leads to

Duplicate, late and reordered changes raise StaleChangeError, and so does every change of a terminal job. Only
operators' do not, which leave its status: the ID of its retry, and files that were left at Replicate.
Reports from Replicate are applied in `jobs.reports`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.jobs.changes import (
    Accepted,
    AdoptionRevoked,
    AttemptChange,
    CancelRequested,
    Change,
    CheckScheduled,
    Claimed,
    EndedByProxy,
    FilesAdded,
    HarvestChange,
    Harvested,
    HarvestLeaseAcquired,
    HarvestRepeated,
    OutcomeUnknown,
    QueueTimeExceeded,
    Rejected,
    Released,
    Reported,
    ResubmitAllowed,
    RetryReserved,
    StaleChangeError,
    StreamOpened,
)
from replicate_proxy.jobs.model import (
    ACTIVE_STATUSES,
    AttemptOutcome,
    EndReason,
    FallbackCause,
    Job,
    JobStatus,
    TimelineStep,
)
from replicate_proxy.jobs.reports import apply_report
from replicate_proxy.jobs.transitions import (
    calculate_fallback_due,
    calculate_first_check,
    can_fall_back,
    finish,
    forget_prediction,
    is_fallback_due,
    stamp_timeline,
    start_fallback,
    start_new_attempt,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.jobs.timeouts import JobTimeouts


# Once Replicate's result is known, only the harvest ends the job: it is neither canceled nor given up.
_BEFORE_HARVEST = ACTIVE_STATUSES - {JobStatus.HARVESTING}

_WITH_PREDICTION = frozenset({JobStatus.SUBMITTED, JobStatus.PROCESSING, JobStatus.HARVESTING})

# The statuses in which each change applies; in any other it is stale.
ALLOWED: Mapping[type[Change], frozenset[JobStatus]] = {
    Claimed: frozenset({JobStatus.QUEUED}),
    Released: frozenset({JobStatus.SUBMITTING}),
    Rejected: frozenset({JobStatus.SUBMITTING}),
    OutcomeUnknown: frozenset({JobStatus.SUBMITTING}),
    Accepted: frozenset({JobStatus.SUBMITTING, JobStatus.SUBMIT_UNKNOWN}),
    Reported: _BEFORE_HARVEST,
    ResubmitAllowed: frozenset({JobStatus.SUBMIT_UNKNOWN}),
    HarvestLeaseAcquired: frozenset({JobStatus.HARVESTING}),
    Harvested: frozenset({JobStatus.HARVESTING}),
    CancelRequested: _BEFORE_HARVEST,
    QueueTimeExceeded: frozenset({JobStatus.QUEUED, JobStatus.SUBMITTED}),
    CheckScheduled: ACTIVE_STATUSES,
    AdoptionRevoked: _WITH_PREDICTION,
    StreamOpened: _WITH_PREDICTION,
    EndedByProxy: _BEFORE_HARVEST,
    RetryReserved: frozenset({JobStatus.FAILED, JobStatus.CANCELED}),
    HarvestRepeated: frozenset({JobStatus.SUCCEEDED}),
    FilesAdded: frozenset({JobStatus.SUCCEEDED}),
}


def apply_change(job: Job, change: Change, *, now: datetime, timeouts: JobTimeouts) -> Job:
    """Return the job after the change. Raises StaleChangeError if the change no longer applies to it."""
    if job.status not in ALLOWED[type(change)]:
        raise StaleChangeError(f"{type(change).__name__} does not apply to a job that is {job.status}")
    if isinstance(change, AttemptChange) and change.attempt != job.attempt:
        raise StaleChangeError(
            f"the change is about attempt {change.attempt}, the job is at attempt {job.attempt}"
        )
    if isinstance(change, HarvestChange) and _is_leased_to_another(job, change.lease_until, now):
        raise StaleChangeError("another harvester holds the lease")
    return _TRANSITIONS[type(change)](job, change, now, timeouts)


def _is_leased_to_another(job: Job, lease_until: datetime | None, now: datetime) -> bool:
    """Return whether a harvester other than the one with this lease holds the job. Its end identifies it."""
    if job.status is not JobStatus.HARVESTING or job.lease_until is None:
        return False
    return job.lease_until > now and job.lease_until != lease_until


def _apply_claimed(job: Job, change: Claimed, now: datetime, _timeouts: JobTimeouts) -> Job:
    if change.limits and change.revision != job.revision:
        raise StaleChangeError("the slots were acquired for an earlier record of the job")
    return replace(
        job,
        status=JobStatus.SUBMITTING,
        waiting=None,
        limits=change.limits,
        lease_until=change.lease_until,
        replicate_account=change.replicate_account,
        create_sent_at=now,
        next_check_at=change.lease_until,
        timeline=stamp_timeline(job, now, TimelineStep.CLAIMED),
    )


def _apply_released(job: Job, change: Released, now: datetime, timeouts: JobTimeouts) -> Job:
    if job.cancel_requested_at is not None:
        return finish(replace(job, create_sent_at=None), JobStatus.CANCELED, now, error=None)
    return replace(
        job,
        status=JobStatus.QUEUED,
        lease_until=None,
        create_sent_at=None,
        checks=0,
        fallback_due_at=None,
        waiting=change.waiting,
        failed_submissions=job.failed_submissions + (1 if change.increments_backoff else 0),
        next_check_at=change.retry_at + timedelta(seconds=timeouts.queued_seconds),
    )


def _apply_rejected(job: Job, change: Rejected, now: datetime, timeouts: JobTimeouts) -> Job:
    if change.is_target_gone and can_fall_back(job, FallbackCause.TARGET_GONE):
        return start_fallback(job, now, timeouts, outcome=AttemptOutcome.REJECTED, reason=change.error)
    return finish(job, JobStatus.FAILED, now, error=change.error)


def _apply_outcome_unknown(job: Job, _change: OutcomeUnknown, now: datetime, timeouts: JobTimeouts) -> Job:
    return replace(
        job,
        status=JobStatus.SUBMIT_UNKNOWN,
        lease_until=None,
        checks=0,
        fallback_due_at=None,
        next_check_at=now + timedelta(seconds=timeouts.unknown_outcome_seconds),
    )


def _apply_resubmit_allowed(job: Job, _change: ResubmitAllowed, now: datetime, timeouts: JobTimeouts) -> Job:
    if job.cancel_requested_at is not None:
        return finish(job, JobStatus.CANCELED, now, error=None)
    reason = "the outcome of the create request stayed unknown"
    return start_new_attempt(job, now, timeouts, outcome=AttemptOutcome.UNKNOWN, reason=reason)


def _apply_accepted(job: Job, change: Accepted, now: datetime, timeouts: JobTimeouts) -> Job:
    # A prediction that was found by likeness may prove to be another job's, so its wait has no limit.
    is_own = job.status is JobStatus.SUBMITTING
    job = replace(job, fallback_due_at=calculate_fallback_due(job, now) if is_own else None)
    return replace(
        job,
        status=JobStatus.SUBMITTED,
        replicate_id=change.replicate_id,
        model=change.model or job.model,
        version=change.version or job.version,
        stream_url=change.stream_url or job.stream_url,
        lease_until=None,
        checks=0,
        next_check_at=calculate_first_check(job, now, timeouts),
        timeline=stamp_timeline(job, now, TimelineStep.SUBMITTED),
    )


def _apply_harvest_lease_acquired(
    job: Job, change: HarvestLeaseAcquired, now: datetime, _timeouts: JobTimeouts
) -> Job:
    if job.lease_until is not None and job.lease_until > now:
        raise StaleChangeError("another harvester holds the lease")
    return replace(
        job,
        lease_until=change.lease_until,
        next_check_at=change.lease_until,
        private_folder=change.private_folder,
    )


def _apply_harvested(job: Job, change: Harvested, now: datetime, _timeouts: JobTimeouts) -> Job:
    finished = finish(job, JobStatus.SUCCEEDED, now, error=None)
    return replace(finished, output=change.output, files=change.files)


def _apply_cancel_requested(job: Job, _change: CancelRequested, now: datetime, timeouts: JobTimeouts) -> Job:
    if job.status is JobStatus.QUEUED:
        return finish(replace(job, cancel_requested_at=now), JobStatus.CANCELED, now, error=None)
    if job.cancel_requested_at is not None:
        raise StaleChangeError("the cancel was requested before")
    # Check soon: if the message to the dispatcher is lost, the sweep sends another.
    check_at = min(job.next_check_at or now, now + timedelta(seconds=timeouts.cancel_seconds))
    return replace(job, cancel_requested_at=now, next_check_at=check_at)


def _apply_queue_time_exceeded(
    job: Job, _change: QueueTimeExceeded, now: datetime, timeouts: JobTimeouts
) -> Job:
    if not is_fallback_due(job, now) or job.abandoned_at is not None:
        raise StaleChangeError("the attempt has not waited for too long, or is being canceled")
    if job.status is JobStatus.QUEUED:
        reason = f"waited longer than {job.fallback_after_seconds} s for a slot of its model"
        return start_fallback(job, now, timeouts, outcome=AttemptOutcome.NOT_SENT, reason=reason)
    check_at = now + timedelta(seconds=timeouts.cancel_seconds)
    return replace(job, abandoned_at=now, checks=0, next_check_at=check_at)


def _apply_check_scheduled(job: Job, change: CheckScheduled, now: datetime, _timeouts: JobTimeouts) -> Job:
    if job.status is not change.expected_status:
        raise StaleChangeError(
            f"the job was {change.expected_status} when it was checked and is {job.status}"
        )
    due_at, next_check_at = job.fallback_due_at, change.next_check_at
    if change.waiting is not None:
        # Every other wait would be that of a fallback as well.
        due_at = calculate_fallback_due(job, now) if change.waiting.is_for_model else None
        next_check_at = min(next_check_at, due_at or next_check_at)
    return replace(
        job,
        checks=job.checks + (1 if change.increments_backoff else 0),
        next_check_at=next_check_at,
        fallback_due_at=due_at,
        waiting=change.waiting or job.waiting,
        limits=job.limits if change.limits is None else change.limits,
        # The author of the change holds the harvest lease, or the lease has ended.
        lease_until=None if job.status is JobStatus.HARVESTING else job.lease_until,
        files=change.files or job.files,
    )


def _apply_adoption_revoked(job: Job, change: AdoptionRevoked, now: datetime, timeouts: JobTimeouts) -> Job:
    """Return the job as it was before it adopted the prediction: of unknown outcome."""
    if job.replicate_id != change.replicate_id:
        raise StaleChangeError("the job has another prediction")
    return replace(
        forget_prediction(job),
        status=JobStatus.SUBMIT_UNKNOWN,
        next_check_at=now + timedelta(seconds=timeouts.unknown_outcome_seconds),
    )


def _apply_stream_opened(job: Job, change: StreamOpened, _now: datetime, _timeouts: JobTimeouts) -> Job:
    if job.replicate_id != change.replicate_id:
        raise StaleChangeError("the job has another prediction")
    return replace(job, stream_url=change.stream_url)


def _apply_ended_by_proxy(job: Job, change: EndedByProxy, now: datetime, _timeouts: JobTimeouts) -> Job:
    if job.status is not change.expected_status:
        raise StaleChangeError(f"the job was {change.expected_status} and is {job.status}")
    ended = replace(
        job,
        replicate_status=change.replicate_status or job.replicate_status,
        started_at=change.started_at or job.started_at,
        metrics=change.metrics or job.metrics,
    )
    return finish(ended, change.status, now, error=change.error)


def _apply_retry_reserved(job: Job, change: RetryReserved, _now: datetime, _timeouts: JobTimeouts) -> Job:
    if job.retried_as is not None:
        raise StaleChangeError("the job is retried already")
    return replace(job, retried_as=change.job_id)


def _apply_harvest_repeated(job: Job, change: HarvestRepeated, now: datetime, _timeouts: JobTimeouts) -> Job:
    if job.lease_until is not None and job.lease_until > now:
        raise StaleChangeError("another harvester holds the lease")
    return replace(job, lease_until=change.lease_until)


def _apply_files_added(job: Job, change: FilesAdded, _now: datetime, _timeouts: JobTimeouts) -> Job:
    if job.lease_until is None or job.lease_until != change.lease_until:
        raise StaleChangeError("another harvester holds the lease")
    return replace(
        job,
        lease_until=None,
        output=change.output,
        files=change.files,
        end_reason=EndReason.HARVESTED if change.is_complete else job.end_reason,
    )


_TRANSITIONS: Mapping[type[Change], Callable[[Job, Any, datetime, JobTimeouts], Job]] = {
    Claimed: _apply_claimed,
    Released: _apply_released,
    Rejected: _apply_rejected,
    OutcomeUnknown: _apply_outcome_unknown,
    ResubmitAllowed: _apply_resubmit_allowed,
    Accepted: _apply_accepted,
    Reported: apply_report,
    HarvestLeaseAcquired: _apply_harvest_lease_acquired,
    Harvested: _apply_harvested,
    CancelRequested: _apply_cancel_requested,
    QueueTimeExceeded: _apply_queue_time_exceeded,
    CheckScheduled: _apply_check_scheduled,
    AdoptionRevoked: _apply_adoption_revoked,
    StreamOpened: _apply_stream_opened,
    EndedByProxy: _apply_ended_by_proxy,
    RetryReserved: _apply_retry_reserved,
    HarvestRepeated: _apply_harvest_repeated,
    FilesAdded: _apply_files_added,
}
