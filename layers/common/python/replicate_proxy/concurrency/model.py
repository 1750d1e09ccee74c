"""Limits, the slots that jobs occupy in them, and jobs that wait in line. No I/O.

A holder of a slot is recorded with the revision of the job's record for which the slot was acquired. A claim
that needs slots applies to that very record only (`jobs.changes.Claimed.revision`). So a slot of an earlier
revision than the present one is unused unless the present record needs it, and removing it is safe
whatever else happens at the same time.

A job that waits for the slot of its model keeps that of its tenant. Slots are always acquired in this order,
so that jobs cannot wait for each other in a circle, and none is passed over because it needs two slots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicate_proxy.jobs.model import AttemptOutcome, JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.jobs.model import Job

# All holders are in one item, and each acquisition and release writes it as a whole: 500 holders of about 60
# bytes are 30 kB, so 30 write units, of which a partition takes 1,000 a second (Amazon DynamoDB, quotas).
MAX_CONCURRENCY = 500

_TENANT_PREFIX = "tenant/"
_MODEL_PREFIX = "model/"
_AT_REPLICATE = frozenset(
    {JobStatus.SUBMITTING, JobStatus.SUBMIT_UNKNOWN, JobStatus.SUBMITTED, JobStatus.PROCESSING}
)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `max_concurrency` predictions at a time of what `name` names."""

    name: str
    max_concurrency: int


@dataclass(frozen=True, slots=True)
class Slots:
    """The holders of a limit's slots with their revisions; `has_line` if jobs may be waiting for it.

    While there is a line, only the line hands out slots, so that no job overtakes those that wait.
    """

    holders: Mapping[str, int] = field(default_factory=dict)
    has_line: bool = False


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job in the line of a limit. IDs sort by time of acceptance, and so does the line.

    Jobs of large batches come after all others.
    """

    tenant: str
    job_id: str
    correlation_id: str
    expires_at: int | None = None
    is_batched: bool = False

    @property
    def position(self) -> str:
        """What the line is sorted by."""
        return f"~{self.job_id}" if self.is_batched else self.job_id

    @property
    def holder(self) -> str:
        return f"{self.tenant}/{self.job_id}"

    @classmethod
    def from_job(cls, job: Job) -> WaitingJob:
        is_batched = job.batch_line is not None
        return cls(job.tenant, job.id, job.correlation_id, job.expires_at, is_batched)


def name_tenant_limit(tenant: str) -> str:
    return f"{_TENANT_PREFIX}{tenant}"


def name_model_limit(entry_name: str) -> str:
    return f"{_MODEL_PREFIX}{entry_name}"


def parse_tenant(limit_name: str) -> str | None:
    """Return the tenant whose limit it is, None for the limit of a model."""
    return limit_name.removeprefix(_TENANT_PREFIX) if limit_name.startswith(_TENANT_PREFIX) else None


def parse_model(limit_name: str) -> str | None:
    """Return the name of the model entry whose limit it is, None for the limit of a tenant."""
    return limit_name.removeprefix(_MODEL_PREFIX) if limit_name.startswith(_MODEL_PREFIX) else None


def build_holder(job: Job) -> str:
    return f"{job.tenant}/{job.id}"


def occupies_slot(job: Job) -> bool:
    """Return whether the job may have a prediction at Replicate that has not ended.

    A job back in the queue keeps its slots while the outcome of an earlier attempt is unknown: a report of
    that attempt may still come, and then its prediction is the job's.
    """
    if job.status in _AT_REPLICATE:
        return True
    is_unknown = any(past.outcome is AttemptOutcome.UNKNOWN for past in job.past_attempts)
    return job.status is JobStatus.QUEUED and is_unknown


def needs_slot(job: Job, limit_name: str) -> bool:
    """Return whether a slot that the job's record names must stay taken."""
    if limit_name not in job.limits:
        return False
    return occupies_slot(job) or is_in_line(job)


def is_in_line(job: Job) -> bool:
    """Return whether the job waits for a slot."""
    return job.status is JobStatus.QUEUED and job.waiting is not None and bool(job.waiting.limit)
