"""From a validated request to a job on its way: shared by single predictions and batches.

Accepting a request: once the caller has its 201 the job is durable, whatever breaks after that.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ApiError, ConflictError, RetryableError
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import Job, JobStatus, Submission, TimelineStep
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.ports import Clock, IdempotencyRecord, IdempotencyStore, JobStore
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.ports import CommandQueue, DocumentStore


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
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

    def calculate_fingerprint(self) -> str:
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


class JobFactory:
    """Makes the record of a new job, and sends it on once it is written."""

    def __init__(self, documents: DocumentStore, queue: CommandQueue, policy: JobTimeouts) -> None:
        self._documents = documents
        self._queue = queue
        self._policy = policy

    def build_job(
        self,
        new: JobRequest,
        principal: Principal,
        job_id: str,
        now: datetime,
        *,
        batch_id: str | None = None,
    ) -> Job:
        """The job, not yet written; its input is kept already. Raises RetryableError where it cannot be."""
        deadline = timedelta(seconds=new.cancel_after_seconds) if new.cancel_after_seconds else None
        return Job(
            tenant=principal.tenant,
            id=job_id,
            status=JobStatus.QUEUED,
            created_at=now,
            submission=new.submission,
            input=self._documents.save(principal.tenant, job_id, "input", new.input),
            correlation_id=new.correlation_id,
            public_base_url=new.base_url,
            key_id=principal.key_id,
            batch_id=batch_id,
            webhook=new.webhook,
            webhook_events=new.webhook_events,
            image_options=dict(new.image_options or {}),
            deadline=now + deadline if deadline else None,
            next_check_at=now + timedelta(seconds=self._policy.queued_seconds),
            timeline={TimelineStep.ACCEPTED: now},
            expires_at=self.calculate_expiry(now),
        )

    def calculate_expiry(self, now: datetime) -> int:
        return int((now + timedelta(days=self._policy.retention_days)).timestamp())

    def record_acceptance(self, job: Job) -> None:
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


@dataclass(frozen=True, slots=True)
class CreateResult:
    """The job a request became; `replayed` where an earlier request with the same idempotency key had made
    it.
    """

    job: Job
    is_replay: bool = False


class JobCreator:
    """Writes the job first and queues it second: if queueing fails, the sweep finds the job and queues it
    again.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        idempotency: IdempotencyStore,
        intake: JobFactory,
        clock: Clock,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._store = store
        self._idempotency = idempotency
        self._intake = intake
        self._clock = clock
        self._checkpoint = checkpoint

    def create(self, new: JobRequest, principal: Principal) -> CreateResult:
        """Raises ApiError 409 where the idempotency key stands for another request, RetryableError where
        nothing durable came of this one.
        """
        job_id = generate_id(self._clock.now())
        if new.idempotency_key is None:
            return self._create(new, principal, job_id)
        wanted = IdempotencyRecord(
            tenant=principal.tenant,
            key=new.idempotency_key,
            fingerprint=new.calculate_fingerprint(),
            job_id=job_id,
        )
        held_id = claim_idempotency_key(self._idempotency, wanted, self._clock)
        self._checkpoint("ingest.idempotency_key_claimed")
        return self._create(new, principal, held_id)

    def _create(self, new: JobRequest, principal: Principal, job_id: str) -> CreateResult:
        earlier = self._store.get(principal.tenant, job_id) if new.idempotency_key else None
        if earlier is not None:
            return self._replayed(earlier)
        job = self._intake.build_job(new, principal, job_id, self._clock.now())
        try:
            self._store.create(job)
        except (ConflictError, RetryableError) as error:
            there = self._store.get(principal.tenant, job_id)
            if there is None:
                raise RetryableError("the job could not be recorded") from error
            if format_timestamp(there.created_at) != format_timestamp(job.created_at):
                return self._replayed(there)
            # The write had reached the table and only its answer was lost.
        self._intake.record_acceptance(job)
        self._checkpoint("ingest.job_stored")
        self._intake.enqueue(job)
        self._checkpoint("ingest.job_enqueued")
        return CreateResult(job)

    def _replayed(self, job: Job) -> CreateResult:
        count(Metric.JOB_REPLAYED)
        return CreateResult(job, is_replay=True)


def claim_idempotency_key(idempotency: IdempotencyStore, wanted: IdempotencyRecord, clock: Clock) -> str:
    """The id that what the key stands for has or will have: whoever comes second creates or finds that very
    one. Raises ApiError 409 where the key stands for another request.
    """
    held = idempotency.claim(wanted, now=clock.now())
    if held.fingerprint != wanted.fingerprint:
        raise ApiError(
            409, "Idempotency key in use", "This Idempotency-Key was used for a request with another body"
        )
    return held.job_id
