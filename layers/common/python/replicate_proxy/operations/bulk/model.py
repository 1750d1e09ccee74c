"""Bulk operations, and how they change. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.jobs.metadata import format_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from replicate_proxy.audit.model import AuditSource
    from replicate_proxy.jobs.job_filter import JobFilter

# An operation acts on at most so many jobs: its list of jobs is stored, and its count is exact.
MAX_JOBS = 10_000
MAX_SAMPLES_PER_REASON = 10
_MAX_REASONS = 20
_OTHER_REASONS = "Other reasons"


class BulkAction(StrEnum):
    """What an operation does to each job."""

    CANCEL = "cancel"
    REDELIVER = "redeliver"
    HARVEST = "harvest"
    RETRY = "retry"
    DELETE = "delete"


class BulkStatus(StrEnum):
    """`succeeded` says that each job was acted on or reported, `failed` that the operation had to stop."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"
    FAILED = "failed"


class JobOutcome(StrEnum):
    """What became of one job: acted on, nothing to do, or refused."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, order=True)
class JobKey:
    """Names a job."""

    tenant: str
    id: str


@dataclass(frozen=True, slots=True)
class JobResult:
    """The outcome of one job, and why, if the action was not done."""

    key: JobKey
    outcome: JobOutcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many jobs had the same outcome for the same reason, with the first of them."""

    outcome: JobOutcome
    reason: str
    count: int
    samples: tuple[JobKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOperation:
    """An operation. Its jobs are listed under `list_id`, those before `position` are acted on.

    `tries` counts temporary failures of the job at `position`.
    """

    id: str
    list_id: str
    action: BulkAction
    filter: JobFilter
    matched: int
    started_at: datetime
    key_id: str
    source: AuditSource
    correlation_id: str
    status: BulkStatus = BulkStatus.RUNNING
    position: int = 0
    tries: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    reasons: tuple[ReasonCount, ...] = ()
    ended_at: datetime | None = None
    canceled_by: str | None = None
    error: str | None = None
    revision: int = 0

    @property
    def is_running(self) -> bool:
        return self.status is BulkStatus.RUNNING

    def record(self, results: Sequence[JobResult], *, tries: int = 0) -> BulkOperation:
        """Return the operation after further jobs."""
        counts = {
            outcome.value: getattr(self, outcome.value) + sum(each.outcome is outcome for each in results)
            for outcome in JobOutcome
        }
        return replace(
            self,
            position=self.position + len(results),
            tries=tries,
            reasons=_count_reasons(self.reasons, results),
            **counts,
        )

    def end(
        self, status: BulkStatus, now: datetime, *, by: str | None = None, error: str | None = None
    ) -> BulkOperation:
        return replace(self, status=status, ended_at=now, canceled_by=by, error=error)


def describe_operation(operation: BulkOperation) -> dict[str, Any]:
    """Return what an audit record says about an operation."""
    return {
        "action": operation.action.value,
        "status": operation.status.value,
        **{name: getattr(operation, name) for name in ("matched", "done", "skipped", "failed")},
    }


def describe_filter(job_filter: JobFilter) -> dict[str, Any]:
    """Return the filter in the form in which requests name its parts; unused ones are left out."""
    values = {
        "status": ",".join(sorted(job_filter.statuses)) or None,
        "tenant": job_filter.tenant,
        "model": job_filter.model,
        "key": job_filter.key_id,
        "batch": job_filter.batch_id,
        "metadata": format_metadata(job_filter.metadata) or None,
        "error_class": job_filter.end_reason.value if job_filter.end_reason else None,
        "created_after": format_optional_timestamp(job_filter.created_after),
        "created_before": format_optional_timestamp(job_filter.created_before),
    }
    return {name: value for name, value in values.items() if value is not None}


def _count_reasons(counted: Iterable[ReasonCount], results: Sequence[JobResult]) -> tuple[ReasonCount, ...]:
    counts = {(count.outcome, count.reason): count for count in counted}
    for result in results:
        if result.outcome is JobOutcome.DONE:
            continue
        name = result.outcome, result.reason
        if name not in counts and len(counts) >= _MAX_REASONS:
            name = result.outcome, _OTHER_REASONS
        known = counts.get(name, ReasonCount(*name, 0, ()))
        samples = (*known.samples, result.key)[:MAX_SAMPLES_PER_REASON]
        counts[name] = replace(known, count=known.count + 1, samples=samples)
    return tuple(counts.values())
