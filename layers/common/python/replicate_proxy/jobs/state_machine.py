"""The one place where a job's status moves. Pure: `apply(job, change)` gives the next job or says why not.

    queued ─▶ submitting ─▶ submitted ─▶ processing ─▶ harvesting ─▶ succeeded
      ▲  ◀──────┤  │            │             │             └──────▶ failed
      │         │  └─▶ failed   └─────────────┴─▶ failed | canceled | harvesting
      └─── submit_unknown ─▶ anything that a report from Replicate says

Duplicates, late and reordered news raise `StaleChangeError`; terminal states absorb everything.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.jobs.changes import (
    Accepted,
    AttemptChange,
    CancelRequested,
    Change,
    CheckScheduled,
    Claimed,
    EndedByProxy,
    Harvested,
    HarvestLeaseAcquired,
    OutcomeUnknown,
    Rejected,
    Released,
    Reported,
    ResubmitAllowed,
)
from replicate_proxy.jobs.model import ACTIVE, Job, JobStatus
from replicate_proxy.jobs.reports import apply_report
from replicate_proxy.jobs.transitions import (
    StaleChangeError,
    finish,
    next_check_due,
    stamp_timeline,
    start_new_attempt,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.jobs.timeouts import JobTimeouts

__all__ = [
    "ALLOWED",
    "StaleChangeError",
    "apply",
]

S = JobStatus

# Replicate's result is there: from now on the job ends by its harvest alone, neither canceled nor given up.
_BEFORE_HARVEST = ACTIVE - {S.HARVESTING}

# Which status a kind of change may find. Everything else is dropped.
ALLOWED: Mapping[type[Change], frozenset[JobStatus]] = {
    Claimed: frozenset({S.QUEUED}),
    Released: frozenset({S.SUBMITTING}),
    Rejected: frozenset({S.SUBMITTING}),
    OutcomeUnknown: frozenset({S.SUBMITTING}),
    Accepted: frozenset({S.SUBMITTING, S.SUBMIT_UNKNOWN}),
    Reported: _BEFORE_HARVEST,
    ResubmitAllowed: frozenset({S.SUBMIT_UNKNOWN}),
    HarvestLeaseAcquired: frozenset({S.HARVESTING}),
    Harvested: frozenset({S.HARVESTING}),
    CancelRequested: _BEFORE_HARVEST,
    CheckScheduled: ACTIVE,
    EndedByProxy: _BEFORE_HARVEST,
}


def apply(job: Job, change: Change, *, now: datetime, timeouts: JobTimeouts) -> Job:
    """The job after the change. Raises StaleChangeError where it has nothing to say to this job any more."""
    if job.status not in ALLOWED[type(change)]:
        raise StaleChangeError(f"{type(change).__name__} does not move a job that is {job.status}")
    if isinstance(change, AttemptChange) and change.attempt != job.attempt:
        raise StaleChangeError(f"news of attempt {change.attempt} of a job at attempt {job.attempt}")
    return _MOVES[type(change)](job, change, now, timeouts)


def _claimed(job: Job, change: Claimed, now: datetime, _policy: JobTimeouts) -> Job:
    return replace(
        job,
        status=S.SUBMITTING,
        lease_until=change.lease_until,
        sent_at=now,
        due_at=change.lease_until,
        timeline=stamp_timeline(job, now, "claimed"),
    )


def _released(job: Job, change: Released, now: datetime, policy: JobTimeouts) -> Job:
    if job.cancel_requested_at is not None:
        return finish(job, S.CANCELED, now, error=None)
    return replace(
        job,
        status=S.QUEUED,
        lease_until=None,
        sent_at=None,
        checks=0,
        releases=job.releases + (1 if change.increments_backoff else 0),
        due_at=change.retry_at + timedelta(seconds=policy.queued_seconds),
    )


def _rejected(job: Job, change: Rejected, now: datetime, _policy: JobTimeouts) -> Job:
    return finish(job, S.FAILED, now, error=change.error)


def _outcome_unknown(job: Job, _change: OutcomeUnknown, now: datetime, policy: JobTimeouts) -> Job:
    due = now + timedelta(seconds=policy.unknown_outcome_seconds)
    return replace(job, status=S.SUBMIT_UNKNOWN, lease_until=None, due_at=due, checks=0)


def _resent(job: Job, _change: ResubmitAllowed, now: datetime, policy: JobTimeouts) -> Job:
    if job.cancel_requested_at is not None:
        return finish(job, S.CANCELED, now, error=None)
    return start_new_attempt(job, now, policy, reason="the outcome of the create request stayed unknown")


def _accepted(job: Job, change: Accepted, now: datetime, policy: JobTimeouts) -> Job:
    return replace(
        job,
        status=S.SUBMITTED,
        replicate_id=change.replicate_id,
        model=change.model or job.model,
        version=change.version or job.version,
        lease_until=None,
        checks=0,
        due_at=next_check_due(job, now, policy),
        timeline=stamp_timeline(job, now, "submitted"),
    )


def _harvest_taken(job: Job, change: HarvestLeaseAcquired, now: datetime, _policy: JobTimeouts) -> Job:
    if job.lease_until is not None and job.lease_until > now:
        raise StaleChangeError("being harvested by somebody else")
    return replace(job, lease_until=change.lease_until, due_at=change.lease_until)


def _harvested(job: Job, change: Harvested, now: datetime, _policy: JobTimeouts) -> Job:
    done = finish(job, S.SUCCEEDED, now, error=None)
    return replace(done, output=change.output, files=change.files)


def _cancel_requested(job: Job, _change: CancelRequested, now: datetime, policy: JobTimeouts) -> Job:
    if job.status is S.QUEUED:
        return finish(replace(job, cancel_requested_at=now), S.CANCELED, now, error=None)
    if job.cancel_requested_at is not None:
        raise StaleChangeError("already asked to cancel")
    # Due soon: should the message to the dispatcher be lost, a sweep sends it again.
    due = min(job.due_at or now, now + timedelta(seconds=policy.cancel_seconds))
    return replace(job, cancel_requested_at=now, due_at=due)


def _looked(job: Job, change: CheckScheduled, _now: datetime, _policy: JobTimeouts) -> Job:
    if job.status is not change.expected_status:
        raise StaleChangeError(f"a look at a job that was {change.expected_status} and is {job.status}")
    return replace(
        job,
        checks=job.checks + (1 if change.increments_backoff else 0),
        due_at=change.next_check_at,
        # A look at a harvest is its holder's last word, or comes when the lease has run out.
        lease_until=None if job.status is S.HARVESTING else job.lease_until,
        files=change.files or job.files,
    )


def _given(job: Job, change: EndedByProxy, now: datetime, _policy: JobTimeouts) -> Job:
    return finish(job, change.status, now, error=change.error)


_MOVES: Mapping[type[Change], Callable[[Job, Any, datetime, JobTimeouts], Job]] = {
    Claimed: _claimed,
    Released: _released,
    Rejected: _rejected,
    OutcomeUnknown: _outcome_unknown,
    ResubmitAllowed: _resent,
    Accepted: _accepted,
    Reported: apply_report,
    HarvestLeaseAcquired: _harvest_taken,
    Harvested: _harvested,
    CancelRequested: _cancel_requested,
    CheckScheduled: _looked,
    EndedByProxy: _given,
}
