"""The story of one job: all that is recorded about it, in time order, and where to read on in the logs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditFilter, build_job_target
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.errors import NotFoundError
from replicate_proxy.jobs.model import TimelineStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from replicate_proxy.audit.trail import AuditTrail
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import JobReader
    from replicate_proxy.webhooks.model import Attempt, Delivery
    from replicate_proxy.webhooks.ports import DeliveryStore

_MAX_ACTIONS = 100
# The functions that log about jobs, in the order of the pipeline.
_FUNCTIONS = (
    "ingest",
    "dispatch",
    "webhook",
    "track",
    "harvest",
    "notify",
    "deliver",
    "usage",
    "sweep",
    "admin",
)


class StoryEventKind(StrEnum):
    """What an event of a story is about."""

    STEP = "step"
    ATTEMPT = "attempt"
    CANCEL = "cancel"
    FILE = "file"
    DELIVERY = "delivery"
    DELIVERY_ATTEMPT = "delivery_attempt"
    RETRY = "retry"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class StoryEvent:
    """Something that happened at a time. `name` is what, in a word; `details` are plain JSON values."""

    at: datetime
    kind: StoryEventKind
    name: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogReference:
    """Where the logs say more: groups of CloudWatch Logs, and a query of Logs Insights over them.

    Webhooks that were refused, and reports that came late or twice, are in the logs only.
    """

    correlation_id: str
    log_groups: tuple[str, ...]
    query: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class JobStory:
    """The job, its events in time order, and its log reference."""

    job: Job
    events: tuple[StoryEvent, ...]
    logs: LogReference


class JobStoryteller:
    """Collects the story of a job from its record, its deliveries and the audit trail.

    `stack_name` is the beginning of the names of all functions.
    """

    def __init__(
        self,
        *,
        jobs: JobReader,
        load_files: Callable[[Job], list[dict[str, Any]]],
        deliveries: DeliveryStore,
        audit: AuditTrail,
        stack_name: str,
    ) -> None:
        self._jobs = jobs
        self._load_files = load_files
        self._deliveries = deliveries
        self._audit = audit
        self._stack_name = stack_name

    def tell(self, tenant: str, job_id: str) -> JobStory:
        """Return the story. Raises NotFoundError."""
        job = self._jobs.get(tenant, job_id)
        if job is None:
            raise NotFoundError("no such job")
        events = [
            *_list_steps(job),
            *_list_attempts(job),
            *self._list_retries(job),
            *self._list_files(job),
            *_list_deliveries(self._deliveries.list_by_job(tenant, job_id)),
            *map(_build_attempt, self._deliveries.list_attempts_by_job(tenant, job_id)),
            *self._list_actions(job),
        ]
        # Sorting is stable: of what has the same time, steps come first.
        return JobStory(job, tuple(sorted(events, key=lambda event: event.at)), self._build_reference(job))

    def _list_files(self, job: Job) -> Iterator[StoryEvent]:
        """Yield the files at the time of the harvest; the records have no time of their own."""
        at = job.timeline.get(TimelineStep.FINISHED if job.is_terminal else TimelineStep.HARVESTING)
        for record in self._load_files(job) if at else ():
            details = {name: value for name, value in record.items() if name not in {"outcome", "text"}}
            yield StoryEvent(at or job.created_at, StoryEventKind.FILE, record["outcome"], details)

    def _list_retries(self, job: Job) -> Iterator[StoryEvent]:
        """Yield the retry of the job, and that it is one. A retry may be reserved and not be created."""
        if job.retried_from is not None:
            yield StoryEvent(
                job.created_at,
                StoryEventKind.RETRY,
                "retry_of",
                {"tenant": job.tenant, "id": job.retried_from},
            )
        retry = self._jobs.get(job.tenant, job.retried_as) if job.retried_as is not None else None
        if retry is not None:
            details = {"tenant": retry.tenant, "id": retry.id, "status": retry.status.value}
            yield StoryEvent(retry.created_at, StoryEventKind.RETRY, "retried", details)

    def _list_actions(self, job: Job) -> Iterator[StoryEvent]:
        audit_filter = AuditFilter(target=build_job_target(job.tenant, job.id))
        page = self._audit.list_records(audit_filter, before_position=None, limit=_MAX_ACTIONS)
        for record in page.records:
            details = {
                "sequence": record.sequence,
                "key_id": record.key_id,
                "key_name": record.key_name,
                "source": record.source,
                "outcome": record.outcome,
                "error": record.error,
                "after": json.loads(record.after),
            }
            yield StoryEvent(
                parse_timestamp(record.started_at), StoryEventKind.OPERATOR, record.action, details
            )

    def _build_reference(self, job: Job) -> LogReference:
        return LogReference(
            job.correlation_id,
            tuple(f"/aws/lambda/{self._stack_name}-{name}" for name in _FUNCTIONS),
            "fields @timestamp, service, level, message, @message"
            f' | filter @message like "{job.id}" | sort @timestamp | limit 1000',
            job.created_at,
            job.timeline.get(TimelineStep.FINISHED),
        )


def _list_steps(job: Job) -> Iterator[StoryEvent]:
    """Yield what the job's timeline has about its last attempt, and a requested cancel."""
    details: dict[TimelineStep, dict[str, Any]] = {
        TimelineStep.SUBMITTED: {"attempt": job.attempt, "replicate_id": job.replicate_id},
        TimelineStep.REPORTED: {"status": job.replicate_status, "channel": job.report_channel},
        TimelineStep.FINISHED: {
            "status": job.status.value,
            "reason": job.end_reason.value if job.end_reason else None,
            "error": job.error,
        },
    }
    for step, at in job.timeline.items():
        yield StoryEvent(at, StoryEventKind.STEP, step.value, details.get(step, {}))
    if job.cancel_requested_at is not None:
        yield StoryEvent(job.cancel_requested_at, StoryEventKind.CANCEL, "cancel_requested")


def _list_attempts(job: Job) -> Iterator[StoryEvent]:
    for past in job.past_attempts:
        details = {
            "attempt": past.attempt,
            "replicate_id": past.replicate_id,
            "target": past.target,
            "error": past.error,
        }
        yield StoryEvent(past.ended_at, StoryEventKind.ATTEMPT, past.outcome.value, details)


def _list_deliveries(deliveries: Sequence[Delivery]) -> Iterator[StoryEvent]:
    for delivery in deliveries:
        details: dict[str, Any] = {"delivery": delivery.id, "event": delivery.kind.value}
        yield StoryEvent(delivery.created_at, StoryEventKind.DELIVERY, "created", details)
        if delivery.finished_at is not None:
            reason = delivery.failure_reason.value if delivery.failure_reason else None
            yield StoryEvent(
                delivery.finished_at,
                StoryEventKind.DELIVERY,
                delivery.status.value,
                {**details, "reason": reason},
            )


def _build_attempt(attempt: Attempt) -> StoryEvent:
    details = {
        "delivery": f"{attempt.job_id}.{attempt.sequence}.{attempt.target}",
        "number": attempt.number,
        "status": attempt.status,
        "error": attempt.error_code.value if attempt.error_code else None,
        "duration_ms": attempt.duration_ms,
        "next_attempt_at": format_timestamp(attempt.next_attempt_at) if attempt.next_attempt_at else None,
    }
    return StoryEvent(attempt.sent_at, StoryEventKind.DELIVERY_ATTEMPT, attempt.result.value, details)
