"""From a validated request to a job on its way: shared by single predictions and batches."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import iso
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import Job, JobStatus, Submission
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.jobs.policy import Policy
    from replicate_proxy.ports import CommandQueue, DocumentStore

__all__ = ["Intake", "NewJob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A validated create request."""

    submission: Submission
    input: Mapping[str, Any]
    base_url: str
    correlation_id: str
    webhook: str | None = None
    webhook_events: tuple[str, ...] | None = None
    image_options: Mapping[str, Any] | None = None
    cancel_after_seconds: int | None = None
    idempotency_key: str | None = None

    def fingerprint(self) -> str:
        """A hash of everything that makes two requests the same request."""
        asked = [
            self.submission.kind.value,
            self.submission.version,
            self.submission.owner,
            self.submission.name,
            self.input,
            self.webhook,
            self.webhook_events,
            self.image_options,
            self.cancel_after_seconds,
        ]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Intake:
    """Makes the record of a new job, and sends it on once it is written."""

    def __init__(self, documents: DocumentStore, queue: CommandQueue, policy: Policy) -> None:
        self._documents = documents
        self._queue = queue
        self._policy = policy

    def job(
        self, new: NewJob, principal: Principal, job_id: str, now: datetime, *, batch_id: str | None = None
    ) -> Job:
        """The job, not yet written; its input is kept already. Raises RetryableError where it cannot be."""
        deadline = timedelta(seconds=new.cancel_after_seconds) if new.cancel_after_seconds else None
        return Job(
            tenant=principal.tenant,
            id=job_id,
            status=JobStatus.QUEUED,
            created_at=now,
            submission=new.submission,
            input=self._documents.keep(principal.tenant, job_id, "input", new.input),
            correlation_id=new.correlation_id,
            base_url=new.base_url,
            key_id=principal.key_id,
            batch_id=batch_id,
            webhook=new.webhook,
            webhook_events=new.webhook_events,
            image_options=dict(new.image_options or {}),
            deadline=now + deadline if deadline else None,
            due_at=now + timedelta(seconds=self._policy.queued),
            timeline={"accepted": iso(now)},
            expires_at=self.expiry(now),
        )

    def expiry(self, now: datetime) -> int:
        return int((now + timedelta(days=self._policy.retention_days)).timestamp())

    def accepted(self, job: Job) -> None:
        """Counts and tells that the job is durable."""
        count(Metric.JOB_ACCEPTED)
        logger.info("job accepted", job_id=job.id, tenant=job.tenant, correlation_id=job.correlation_id)

    def enqueue(self, job: Job) -> bool:
        """Whether the dispatcher will hear of it at once; if not, the sweep finds the job."""
        command = DispatchCommand(DispatchKind.SUBMIT, job.tenant, job.id, job.correlation_id)
        try:
            self._queue.send(command)
        except RetryableError as error:
            logger.warning("accepted but not queued; the sweep will", job_id=job.id, reason=str(error))
            return False
        return True
