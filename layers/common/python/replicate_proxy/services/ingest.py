"""Create jobs from validated create requests.

Once the caller has its 201 the job is durable: it is written first and queued second. If queueing fails, the
sweep finds the job and queues it. services/batches creates several jobs at once with the same parts.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import (
    ApiError,
    ConflictError,
    NotWrittenError,
    RetryableError,
    UnconfirmedWriteError,
)
from replicate_proxy.ids import generate_id, hash_idempotency_key, min_id_at
from replicate_proxy.jobs.model import (
    SHARED_ACCOUNT,
    Account,
    Job,
    JobStatus,
    Submission,
    TimelineStep,
)
from replicate_proxy.model_entries.entry import ModelEntry
from replicate_proxy.observability import Metric, count, logger, tracer
from replicate_proxy.ports import Clock, IdempotencyRecord, IdempotencyStore, JobStore
from replicate_proxy.services.input_check import accept_all
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.budgets.gate import BudgetGate
    from replicate_proxy.budgets.model import Hold
    from replicate_proxy.contracts.stream_urls import StreamUrlFinder
    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.ports import CommandQueue, DocumentStore
    from replicate_proxy.services.input_check import CheckInput


# The sweep deletes jobs at the end of their retention. What it should have missed expires later.
_BACKSTOP_DELAY = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A validated create request."""

    submission: Submission
    input: Mapping[str, Any]
    public_base_url: str
    correlation_id: str
    # The name of the model, None if only the ID of an unknown version is given.
    model: str | None = None
    # The account in which it is to run, which may know other models.
    account: Account = SHARED_ACCOUNT
    # What applies to the model. It may change, and the request is the same.
    entry: ModelEntry | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] | None = None
    image_options: Mapping[str, Any] | None = None
    cancel_after_seconds: int | None = None
    idempotency_key: str | None = None
    # Not part of the fingerprint: the prediction is the same.
    retention_seconds: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_streamed: bool = False
    retried_from: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def applied_entry(self) -> ModelEntry:
        """The entry of the model, or one that changes nothing."""
        return self.entry or ModelEntry(name=self.model or "")

    def calculate_fingerprint(self) -> str:
        """Return a hash of everything that distinguishes one request from another.

        Requests that mean the same have the same hash: `owner/name:id` and `id`, 1.0 and 1, events and keys
        in any order.
        """
        version = (self.submission.version or "").rpartition(":")[2]
        distinguishing_fields = [
            self.submission.kind.value,
            version or None,
            self.submission.owner,
            self.submission.name,
            _normalize_numbers(self.input),
            self.webhook,
            sorted(self.webhook_events) if self.webhook_events is not None else None,
            self.image_options,
            self.cancel_after_seconds,
            # Requests of earlier versions had none, and keep their hash.
            *([dict(self.metadata)] if self.metadata else []),
        ]
        return hashlib.sha256(json.dumps(distinguishing_fields, sort_keys=True).encode()).hexdigest()


def _normalize_numbers(value: Any) -> Any:
    """Return the JSON value with whole numbers as int: some clients write 1.0 where others write 1.

    Recursive, since the depth of an input is bounded.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _normalize_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_normalize_numbers(entry) for entry in value]
    return value


@dataclass(frozen=True, slots=True)
class CreateResult:
    """The job of a request; `is_replay` if an earlier request with the same idempotency key created it.

    `hold` is what it has reserved, if it has a budget.
    """

    job: Job
    is_replay: bool = False
    hold: Hold | None = None


class JobCreator:
    """Creates one job per request, or per idempotency key."""

    def __init__(
        self,
        *,
        store: JobStore,
        idempotency: IdempotencyStore,
        factory: JobFactory,
        queue: CommandQueue,
        clock: Clock,
        budgets: BudgetGate,
        check_input: CheckInput = accept_all,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._store = store
        self._check_input = check_input
        self._budgets = budgets
        self._idempotency = idempotency
        self._factory = factory
        self._queue = queue
        self._clock = clock
        self._checkpoint = checkpoint

    def create(self, request: JobRequest, principal: Principal) -> CreateResult:
        """Create the job, or return the one that the idempotency key created before.

        Raises a 409 ApiError if the key was used for another request, a 422 ApiError if the model does not
        take the input, a 402 ApiError if the job does not fit into a budget, and RetryableError if the job is
        not stored: UnconfirmedWriteError if it may be after all, unless a repetition finds it by its key.
        """
        started_at = self._clock.now()
        try:
            request = replace(request, warnings=self._check_input(request))
            hold = self._budgets.check([request], principal)
        except (ApiError, RetryableError):
            # What was accepted before the schema was known or the budget used up is still found. A new key
            # stays free.
            existing = self._find_earlier(request, principal)
            if existing is None:
                raise
            return self._replay(existing)
        job_id = reserve_id(
            self._idempotency,
            principal.tenant,
            request.idempotency_key,
            request.calculate_fingerprint,
            clock=self._clock,
            checkpoint=self._checkpoint,
        )
        if request.idempotency_key is not None:
            existing = self._store.get(principal.tenant, job_id)
            if existing is not None:
                return self._replay(existing)
            if job_id < min_id_at(started_at) and self._store.is_deleted(principal.tenant, job_id):
                # Nothing of the request must be stored again.
                raise prediction_deleted()
        return self._create(request, principal, job_id, hold)

    def _create(
        self, request: JobRequest, principal: Principal, job_id: str, hold: Hold | None
    ) -> CreateResult:
        job = self._factory.build_job(request, principal, job_id, self._clock.now())
        try:
            if hold is None:
                self._store.create(job)
            else:
                hold = self._budgets.create([job], hold)
        except NotWrittenError:
            raise
        except (ConflictError, RetryableError) as error:
            stored = find_written(self._store.get, principal.tenant, job_id, request.idempotency_key)
            if stored is None:
                if isinstance(error, ConflictError) and self._store.is_deleted(principal.tenant, job_id):
                    raise prediction_deleted() from error
                raise unconfirmed_write(request.idempotency_key) from error
            if format_timestamp(stored.created_at) != format_timestamp(job.created_at):
                return self._replay(stored)
            # The write succeeded and only its response was lost.
        tracer.annotate(job_id=job.id)
        log_job_accepted(job)
        self._checkpoint("ingest.job_stored")
        enqueue_submission(self._queue, job)
        self._checkpoint("ingest.job_enqueued")
        return CreateResult(job, hold=hold)

    def _find_earlier(self, request: JobRequest, principal: Principal) -> Job | None:
        fingerprint = request.calculate_fingerprint()
        key = request.idempotency_key
        job_id = find_reserved_id(self._idempotency, principal.tenant, key, fingerprint, self._clock)
        return self._store.get(principal.tenant, job_id) if job_id else None

    def _replay(self, job: Job) -> CreateResult:
        count(Metric.JOB_REPLAYED)
        return CreateResult(job, is_replay=True)


class JobFactory:
    """Builds the records of new jobs."""

    def __init__(
        self,
        documents: DocumentStore,
        timeouts: JobTimeouts,
        find_stream_url: StreamUrlFinder = lambda _submission, _tenant, _job_id: None,
    ) -> None:
        self._documents = documents
        self._timeouts = timeouts
        self.retention = timedelta(days=timeouts.retention_days)
        self._find_stream_url = find_stream_url

    def build_job(
        self,
        request: JobRequest,
        principal: Principal,
        job_id: str,
        now: datetime,
        *,
        batch_id: str | None = None,
    ) -> Job:
        """Store the input and return the job, which the caller writes. Raises RetryableError."""
        entry = request.applied_entry
        submission = entry.build_submission(request.submission)
        model_input = entry.build_input(request.input)
        cancel_after_seconds = entry.limit_seconds(request.cancel_after_seconds)
        cancel_after = timedelta(seconds=cancel_after_seconds) if cancel_after_seconds else None
        return Job(
            tenant=principal.tenant,
            id=job_id,
            status=JobStatus.QUEUED,
            created_at=now,
            submission=submission,
            model=(submission.model_name or None) if entry.is_alias else request.model,
            requested_model=entry.name if submission != request.submission else None,
            price=entry.price,
            entry_name=request.entry.name if request.entry is not None else None,
            fallbacks=tuple(fallback.to_fallback() for fallback in entry.fallbacks),
            fallback_causes=entry.fallback_on if entry.fallbacks else (),
            fallback_after_seconds=entry.fallback_after_seconds if entry.fallbacks else None,
            input=self._documents.save(principal.tenant, job_id, "input", model_input),
            correlation_id=request.correlation_id,
            public_base_url=request.public_base_url,
            key_id=principal.key_id,
            batch_id=batch_id,
            retried_from=request.retried_from,
            webhook=request.webhook,
            webhook_events=request.webhook_events,
            metadata=request.metadata,
            image_options={**entry.images, **(request.image_options or {})},
            deadline=now + cancel_after if cancel_after else None,
            next_check_at=now + timedelta(seconds=self._timeouts.queued_seconds),
            is_streamed=request.is_streamed,
            stream_url=self._find_stream_url(submission, principal.tenant, job_id),
            warnings=request.warnings,
            timeline={TimelineStep.ACCEPTED: now},
            delete_at=now + timedelta(seconds=request.retention_seconds or self.retention.total_seconds()),
            deletes_files=request.retention_seconds is not None,
            idempotency_hash=hash_idempotency_key(request.idempotency_key),
            expires_at=self.calculate_expiry(now),
        )

    def calculate_expiry(self, now: datetime) -> int:
        """Return when DynamoDB may delete a record created now, in seconds since 1970."""
        return int((now + self.retention + _BACKSTOP_DELAY).timestamp())


def prediction_deleted() -> ApiError:
    """Return the error of a request whose idempotency key belongs to a prediction that was deleted."""
    return ApiError(
        410,
        "Prediction deleted",
        "The prediction of this Idempotency-Key was deleted. Use another key to create a new one",
    )


def find_written[T](
    read: Callable[[str, str], T | None], tenant: str, record_id: str, idempotency_key: str | None
) -> T | None:
    """Return the record whose write was not confirmed, None if it is not there. Raises RetryableError."""
    try:
        return read(tenant, record_id)
    except RetryableError as error:
        raise unconfirmed_write(idempotency_key) from error


def unconfirmed_write(idempotency_key: str | None) -> RetryableError:
    """Return the error of a create whose write may take effect later; with a key, it is safe to repeat."""
    message = "the write was not confirmed"
    return UnconfirmedWriteError(message) if idempotency_key is None else RetryableError(message)


def reserve_id(
    idempotency: IdempotencyStore,
    tenant: str,
    key: str | None,
    calculate_fingerprint: Callable[[], str],
    *,
    clock: Clock,
    checkpoint: Checkpoint,
) -> str:
    """Return the ID under which a request creates its job or batch: with a key, that of an earlier request.

    Raises a 409 ApiError if the key was used for another request.
    """
    new_id = generate_id(clock.now())
    if key is None:
        return new_id
    record = IdempotencyRecord(tenant, key, calculate_fingerprint(), new_id)
    reserved_id = claim_idempotency_key(idempotency, record, clock)
    checkpoint("ingest.idempotency_key_claimed")
    return reserved_id


def claim_idempotency_key(idempotency: IdempotencyStore, record: IdempotencyRecord, clock: Clock) -> str:
    """Return the ID reserved by this idempotency key: the one in the record, or that of an earlier request.

    The job or batch of an earlier request need not exist yet; whoever comes first creates it under this ID.
    Raises a 409 ApiError if the key was used for another request, a 410 ApiError if its batch was deleted.
    """
    stored = idempotency.claim(record, now=clock.now())
    if stored.fingerprint != record.fingerprint:
        raise ApiError(
            409, "Idempotency key in use", "This Idempotency-Key was used for a request with another body"
        )
    return _get_reserved_id(stored)


def find_reserved_id(
    idempotency: IdempotencyStore, tenant: str, key: str | None, fingerprint: str, clock: Clock
) -> str | None:
    """Return the ID that the same request has reserved by this idempotency key, None if there is none.

    Raises a 410 ApiError if its batch was deleted.
    """
    stored = idempotency.find(tenant, key, now=clock.now()) if key is not None else None
    return _get_reserved_id(stored) if stored is not None and stored.fingerprint == fingerprint else None


def _get_reserved_id(record: IdempotencyRecord) -> str:
    if not record.reserved_id:
        detail = "The batch of this Idempotency-Key was deleted. Use another key to create a new one"
        raise ApiError(410, "Batch deleted", detail)
    return record.reserved_id


def log_job_accepted(job: Job) -> None:
    """Count and log a job that has become durable."""
    count(Metric.JOB_ACCEPTED)
    logger.info("job accepted", job_id=job.id, tenant=job.tenant, correlation_id=job.correlation_id)


def enqueue_submission(queue: CommandQueue, job: Job) -> None:
    """Send the job to dispatch. If that fails, the sweep will."""
    try:
        queue.send(DispatchCommand.for_job(DispatchKind.SUBMIT, job))
    except RetryableError as error:
        logger.warning("job not enqueued, left to the sweep", job_id=job.id, reason=str(error))
