"""What several moves of a job have in common: ending it, starting it anew, stamping its timeline. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import DuplicateError
from replicate_proxy.jobs.model import Job, JobStatus

if TYPE_CHECKING:
    from replicate_proxy.jobs.timeouts import JobTimeouts


# The hops that every attempt goes through again.
_OF_ONE_ATTEMPT = frozenset({"claimed", "submitted", "started"})


class StaleChangeError(DuplicateError):
    """The change came too late, twice, or about another attempt; the job stays as it is."""


def start_new_attempt(job: Job, now: datetime, timeouts: JobTimeouts, *, reason: str) -> Job:
    """Back to the queue with the next attempt; what came of this one is kept on the record.

    Attempts are numbered upwards for ever: webhooks of an abandoned one must never pass for a later one's.
    """
    past = {
        "attempt": job.attempt,
        "replicate_id": job.replicate_id,
        "error": reason,
        "ended_at": format_timestamp(now),
    }
    timeline = {hop: time for hop, time in job.timeline.items() if hop not in _OF_ONE_ATTEMPT}
    return replace(
        job,
        status=JobStatus.QUEUED,
        attempt=max([job.attempt, *(int(earlier["attempt"]) for earlier in job.past_attempts)]) + 1,
        past_attempts=(*job.past_attempts, past),
        replicate_id=None,
        replicate_status=None,
        reported_via=None,
        started_at=None,
        logs=None,
        metrics={},
        lease_until=None,
        sent_at=None,
        checks=0,
        due_at=now + timedelta(seconds=timeouts.queued_seconds),
        timeline=timeline,
    )


def finish(job: Job, status: JobStatus, now: datetime, *, error: str | None) -> Job:
    """The job at its end; nobody needs to look at it again."""
    hops = ("reported", "finished") if job.replicate_status else ("finished",)
    return replace(
        job,
        status=status,
        error=error,
        lease_until=None,
        due_at=None,
        completed_at=job.completed_at or now,
        timeline=stamp_timeline(job, now, *hops),
    )


def next_check_due(job: Job, now: datetime, timeouts: JobTimeouts) -> datetime:
    """When to look first at a prediction that runs: soon where it is to be canceled."""
    due = timeouts.next_check_at(now, 0)
    return (
        due if job.cancel_requested_at is None else min(due, now + timedelta(seconds=timeouts.cancel_seconds))
    )


def stamp_timeline(job: Job, now: datetime, *hops: str) -> dict[str, str]:
    """The timeline with the hops' first times; only a new claim replaces an earlier time."""
    added = {hop: format_timestamp(now) for hop in hops if hop not in job.timeline or hop == "claimed"}
    return {**job.timeline, **added}
