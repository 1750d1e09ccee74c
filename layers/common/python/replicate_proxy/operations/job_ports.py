"""What the operators' use cases of jobs need from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.jobs.model import EndReason, Job, JobStatus


@dataclass(frozen=True, slots=True)
class JobEntry:
    """A row of an index: enough to read the job. What follows the ID is None if the index does not say it."""

    tenant: str
    id: str
    status: JobStatus | None = None
    end_reason: EndReason | None = None
    next_check_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnfinishedJobs:
    """All unfinished jobs with status and next check, in no order; incomplete if there are too many."""

    entries: tuple[JobEntry, ...]
    is_complete: bool


class JobIndex(Protocol):
    """Jobs of all tenants. Lists are newest first, before `before_id` and down to `min_id`."""

    def find(self, job_id: str) -> JobEntry | None: ...

    def list_all(self, *, before_id: str | None, min_id: str | None, limit: int) -> Sequence[JobEntry]: ...

    def list_ended(
        self, status: JobStatus, *, before_id: str | None, min_id: str | None, limit: int
    ) -> Sequence[JobEntry]:
        """Return failed or canceled jobs."""
        ...

    def list_of_tenant(
        self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int
    ) -> Sequence[JobEntry]: ...

    def list_unfinished(self) -> UnfinishedJobs: ...

    def get_jobs(self, entries: Sequence[JobEntry]) -> Mapping[str, Job]:
        """Return the jobs that exist, by ID."""
        ...
