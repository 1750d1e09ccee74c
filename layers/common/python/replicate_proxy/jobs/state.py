"""The one place where a job's status moves. Pure: `apply(job, change)` gives the next job or says why not.

    queued ─▶ submitting ─▶ submitted ─▶ processing ─▶ harvesting ─▶ succeeded
      ▲  ◀──────┤  │            │             │             └──────▶ failed
      │         │  └─▶ failed   └─────────────┴─▶ failed | canceled | harvesting
      └─── submit_unknown ─▶ anything that a report from Replicate says

Duplicates, late and reordered news raise `ChangeDropped`; terminal states absorb everything.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import iso
from replicate_proxy.errors import DuplicateError
from replicate_proxy.jobs.changes import (
    Accepted,
    CancelRequested,
    Change,
    Claimed,
    Given,
    Harvested,
    Looked,
    OutcomeUnknown,
    Rejected,
    Released,
    Reported,
    Resent,
)
from replicate_proxy.jobs.model import ACTIVE, Job, JobStatus
from replicate_proxy.jobs.transient import is_transient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.jobs.policy import Policy

__all__ = ["ALLOWED", "ChangeDropped", "apply"]

S = JobStatus

# Which status a kind of change may find. Everything else is dropped.
ALLOWED: Mapping[type[Change], frozenset[JobStatus]] = {
    Claimed: frozenset({S.QUEUED}),
    Released: frozenset({S.SUBMITTING}),
    Rejected: frozenset({S.SUBMITTING}),
    OutcomeUnknown: frozenset({S.SUBMITTING}),
    Accepted: frozenset({S.SUBMITTING, S.SUBMIT_UNKNOWN}),
    Reported: frozenset({S.QUEUED, S.SUBMITTING, S.SUBMIT_UNKNOWN, S.SUBMITTED, S.PROCESSING}),
    Resent: frozenset({S.SUBMIT_UNKNOWN}),
    Harvested: frozenset({S.HARVESTING}),
    CancelRequested: ACTIVE,
    Looked: ACTIVE,
    Given: ACTIVE,
}


class ChangeDropped(DuplicateError):  # noqa: N818 - news that came too late, not a fault
    """The change came too late, twice, or about another attempt; the job stays as it is."""


def apply(job: Job, change: Change, *, now: datetime, policy: Policy) -> Job:
    """The job after the change. Raises ChangeDropped where the change has nothing to say to this job any
    more.
    """
    if job.status not in ALLOWED[type(change)]:
        raise ChangeDropped(f"{type(change).__name__} does not move a job that is {job.status}")
    return _MOVES[type(change)](job, change, now, policy)


def _claimed(job: Job, change: Claimed, now: datetime, policy: Policy) -> Job:
    return replace(
        job,
        status=S.SUBMITTING,
        lease_until=change.until,
        sent_at=now,
        due_at=change.until,
        timeline=_stamped(job, now, "claimed"),
    )


def _released(job: Job, change: Released, now: datetime, policy: Policy) -> Job:
    patience = timedelta(seconds=policy.queued)
    return replace(
        job,
        status=S.QUEUED,
        lease_until=None,
        sent_at=None,
        releases=job.releases + (1 if change.counts else 0),
        due_at=change.retry_at + patience,
    )


def _rejected(job: Job, change: Rejected, now: datetime, policy: Policy) -> Job:
    return _ended(job, S.FAILED, now, error=change.error)


def _outcome_unknown(job: Job, change: OutcomeUnknown, now: datetime, policy: Policy) -> Job:
    due = now + timedelta(seconds=policy.unknown)
    return replace(job, status=S.SUBMIT_UNKNOWN, lease_until=None, due_at=due, looks=0)


def _resent(job: Job, change: Resent, now: datetime, policy: Policy) -> Job:
    return replace(
        _anew(job, now, policy, reason="the outcome of the create request stayed unknown"),
        resent_from=job.attempt,
    )


def _accepted(job: Job, change: Accepted, now: datetime, policy: Policy) -> Job:
    return replace(
        job,
        status=S.SUBMITTED,
        replicate_id=change.replicate_id,
        model=change.model or job.model,
        version=change.version or job.version,
        lease_until=None,
        looks=0,
        due_at=policy.next_look(now, 0),
        timeline=_stamped(job, now, "submitted"),
    )


def _reported(job: Job, change: Reported, now: datetime, policy: Policy) -> Job:
    job = _recognised(job, change)
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
    return _REPORTS[change.status](known, change, now, policy)


def _recognised(job: Job, change: Reported) -> Job:
    """The job, set back to the attempt that the report is about where that can still be done."""
    if job.status is S.QUEUED:
        # The attempt given up as unknown had been accepted after all, and the new one is not sent yet: take
        # it.
        if job.resent_from is None or change.attempt != job.resent_from:
            raise ChangeDropped("a report about an attempt that is not under way")
        return replace(job, attempt=job.resent_from, resent_from=None, past_attempts=job.past_attempts[:-1])
    if change.attempt != job.attempt:
        raise ChangeDropped(f"a report about attempt {change.attempt} of a job at attempt {job.attempt}")
    if job.replicate_id is not None and change.replicate_id != job.replicate_id:
        raise ChangeDropped("a report about a prediction that is not this job's")
    return job


def _report_starting(job: Job, change: Reported, now: datetime, policy: Policy) -> Job:
    if job.status in {S.SUBMITTED, S.PROCESSING}:
        raise ChangeDropped("already known")
    return replace(
        job,
        status=S.SUBMITTED,
        looks=0,
        due_at=policy.next_look(now, 0),
        timeline=_stamped(job, now, "submitted"),
    )


def _report_processing(job: Job, change: Reported, now: datetime, policy: Policy) -> Job:
    if job.status is S.PROCESSING and change.logs is None:
        raise ChangeDropped("already known")
    due = policy.next_look(now, 0) if job.status is not S.PROCESSING else job.due_at
    return replace(job, status=S.PROCESSING, due_at=due, timeline=_stamped(job, now, "submitted", "started"))


def _report_succeeded(job: Job, change: Reported, now: datetime, policy: Policy) -> Job:
    return replace(
        job,
        status=S.HARVESTING,
        completed_at=change.completed_at or now,
        source_output=change.output,
        looks=0,
        lease_until=change.lease_until,
        due_at=change.lease_until or now + timedelta(seconds=policy.harvest),
        timeline=_stamped(job, now, "submitted", "reported", "harvesting"),
    )


def _report_failed(job: Job, change: Reported, now: datetime, policy: Policy) -> Job:
    error = change.error or "Prediction failed without an error message"
    starts_anew = (
        is_transient(error)
        and sum(1 for past in job.past_attempts if past.get("replicate_id")) < policy.fresh_attempts
        and job.cancel_requested_at is None
    )
    if starts_anew:
        return _anew(job, now, policy, reason=error)
    return _ended(replace(job, completed_at=change.completed_at or now), S.FAILED, now, error=error)


def _report_canceled(job: Job, change: Reported, now: datetime, policy: Policy) -> Job:
    return _ended(replace(job, completed_at=change.completed_at or now), S.CANCELED, now, error=change.error)


def _harvested(job: Job, change: Harvested, now: datetime, policy: Policy) -> Job:
    done = _ended(job, S.SUCCEEDED, now, error=None)
    return replace(done, output=change.output, files=change.files)


def _cancel_requested(job: Job, change: CancelRequested, now: datetime, policy: Policy) -> Job:
    if job.status is S.QUEUED and job.resent_from is None:
        return _ended(replace(job, cancel_requested_at=now, completed_at=now), S.CANCELED, now, error=None)
    if job.cancel_requested_at is not None:
        raise ChangeDropped("already asked to cancel")
    # Due at once: should the message to the dispatcher be lost, the next sweep sends it again.
    due = min(job.due_at or now, now + timedelta(seconds=policy.cancel))
    return replace(job, cancel_requested_at=now, due_at=due)


def _looked(job: Job, change: Looked, now: datetime, policy: Policy) -> Job:
    lease = change.lease_until if change.lease_until is not None else job.lease_until
    return replace(
        job, looks=job.looks + 1, due_at=change.next_look, lease_until=lease, files=change.files or job.files
    )


def _given(job: Job, change: Given, now: datetime, policy: Policy) -> Job:
    return _ended(replace(job, completed_at=job.completed_at or now), change.status, now, error=change.error)


def _anew(job: Job, now: datetime, policy: Policy, *, reason: str) -> Job:
    """Back to the queue with the next attempt; what came of this one is kept on the record."""
    past = {"attempt": job.attempt, "replicate_id": job.replicate_id, "error": reason, "ended_at": iso(now)}
    return replace(
        job,
        status=S.QUEUED,
        attempt=job.attempt + 1,
        past_attempts=(*job.past_attempts, past),
        resent_from=None,
        replicate_id=None,
        replicate_status=None,
        lease_until=None,
        sent_at=None,
        looks=0,
        due_at=now + timedelta(seconds=policy.queued),
    )


def _ended(job: Job, status: JobStatus, now: datetime, *, error: str | None) -> Job:
    hops = ("reported", "finished") if job.replicate_status else ("finished",)
    return replace(
        job,
        status=status,
        error=error,
        lease_until=None,
        due_at=None,
        completed_at=job.completed_at or now,
        timeline=_stamped(job, now, *hops),
    )


def _stamped(job: Job, now: datetime, *hops: str) -> dict[str, str]:
    """The timeline with the hops' first times; only a new claim replaces an earlier time."""
    added = {hop: iso(now) for hop in hops if hop not in job.timeline or hop == "claimed"}
    return {**job.timeline, **added}


_REPORTS: Mapping[str, Callable[[Job, Reported, datetime, Policy], Job]] = {
    "starting": _report_starting,
    "processing": _report_processing,
    "succeeded": _report_succeeded,
    "failed": _report_failed,
    "canceled": _report_canceled,
    # Ended by its deadline before it started. To clients this is `canceled`: none of the official ones knows
    # the word.
    "aborted": _report_canceled,
}

_MOVES: Mapping[type[Change], Callable[[Job, Any, datetime, Policy], Job]] = {
    Claimed: _claimed,
    Released: _released,
    Rejected: _rejected,
    OutcomeUnknown: _outcome_unknown,
    Resent: _resent,
    Accepted: _accepted,
    Reported: _reported,
    Harvested: _harvested,
    CancelRequested: _cancel_requested,
    Looked: _looked,
    Given: _given,
}
