"""The record of a deletion, which takes the place of the job's until nothing of the job is left. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.concurrency.model import name_model_limit, name_tenant_limit
from replicate_proxy.jobs.model import TimelineStep

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job


# What may still write about a job that has ended: its changes in the stream of the table, which repeats them
# for a day, and a reader of Replicate's list, which shows a prediction with its data for an hour.
_LATE_WRITES = timedelta(hours=25)
# Whoever sends a change of a job that is older asks first whether the job was deleted.
LATE_CHANGE = timedelta(seconds=20)
# By then a change that was sent without asking is recorded: that takes an invocation of at most 30 seconds.
# Deliveries that are removed earlier would be stored again, and sent twice.
_FIRST_PASS_DELAY = timedelta(minutes=1)
# No invocation lasts longer than 15 minutes (AWS Lambda, quotas).
_RUNNING_WRITES = timedelta(minutes=15)
# Deliveries are retried for three days. Later nothing is at work on a job, unless an operator starts it.
_ALL_WORK = timedelta(days=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A job to remove: names of what belongs to it, and none of its content.

    The passes of the sweep remove objects and deliveries, the last one at `final_at` also the rows by which
    the proxy recognizes what comes late. `deletes_files` is False if the output files outlive the record.
    `limits` are the concurrency limits that may have a slot or a place in line of the job.
    """

    tenant: str
    id: str
    requested_at: datetime
    next_pass_at: datetime
    final_at: datetime
    deletes_files: bool = True
    predictions: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    batch_id: str | None = None
    idempotency_hash: str | None = None

    def calculate_next_pass(self, now: datetime) -> datetime | None:
        """Return when the next pass after one that began at `now` is due, None if that was the last one."""
        if self.final_at <= now:
            return None
        second_pass_at = self.requested_at + _RUNNING_WRITES
        return second_pass_at if now < second_pass_at < self.final_at else self.final_at


def build_deletion(job: Job, now: datetime, *, is_expired: bool = False) -> Deletion:
    """Return the deletion of an ended job; `is_expired` if its retention has ended."""
    ended_at = job.timeline.get(TimelineStep.FINISHED, job.created_at)
    final_at = max(ended_at + _LATE_WRITES, now + _RUNNING_WRITES)
    if is_expired and job.lease_until is None and ended_at + _ALL_WORK <= now:
        final_at = now
    names = [job.replicate_id, *(past.replicate_id for past in job.past_attempts)]
    return Deletion(
        tenant=job.tenant,
        id=job.id,
        requested_at=now,
        next_pass_at=max(now, ended_at + _FIRST_PASS_DELAY),
        final_at=final_at,
        deletes_files=job.deletes_files or not is_expired,
        predictions=tuple(dict.fromkeys(job.account.qualify(name) for name in names if name)),
        limits=_list_limits(job),
        batch_id=job.batch_id,
        idempotency_hash=job.idempotency_hash,
    )


def _list_limits(job: Job) -> tuple[str, ...]:
    """Return all limits that may apply to the job: its record does not name one that it has left."""
    model_limit = [name_model_limit(job.entry_name)] if job.entry_name else []
    return (name_tenant_limit(job.tenant), *model_limit)
