"""The ports of the services: what they need from outside, as Protocols for adapters and test fakes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.contracts.commands import DispatchCommand
    from replicate_proxy.contracts.events import Event
    from replicate_proxy.jobs.model import Batch, Document, Job


class Clock(Protocol):
    """Tells the current time, as an aware datetime."""

    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class DueJob:
    """A row of the index of due jobs: enough to read the job."""

    tenant: str
    id: str
    next_check_at: datetime


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs of one tenant, newest first.

    The next page has the jobs before `next_before_id`, the previous one those after `previous_after_id`; None
    at the end, or where it is not known.
    """

    jobs: tuple[Job, ...]
    next_before_id: str | None
    previous_after_id: str | None = None


class PredictionClaim(StrEnum):
    """How it is known which job a prediction belongs to."""

    # By the response to the create request, or by a signed callback.
    CERTAIN = "certain"
    # By likeness: the job has adopted it.
    ADOPTED = "adopted"
    # It may be this job's, which has ended without knowing: no job may adopt it.
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class PredictionOwner:
    """The job that owns a prediction on Replicate, and how that is known."""

    tenant: str
    job_id: str
    claim: PredictionClaim

    @property
    def is_certain(self) -> bool:
        return self.claim is PredictionClaim.CERTAIN


class JobReader(Protocol):
    """The reads of a JobStore, which a cache can provide as well."""

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None: ...

    def list_jobs(self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int) -> JobPage:
        """Return the newest jobs before `before_id`, down to `min_id`."""
        ...

    def list_newer_jobs(self, tenant: str, *, after_id: str, before_id: str | None, limit: int) -> JobPage:
        """Return the oldest jobs after `after_id`, up to and without `before_id`."""
        ...


class JobsById(Protocol):
    """Reads many jobs at once."""

    def get_many(self, tenant: str, job_ids: Sequence[str], *, consistent: bool = False) -> dict[str, Job]:
        """Return the jobs that exist, by ID."""
        ...


class JobCache(Protocol):
    """Jobs as they were at an earlier read."""

    def get(self, tenant: str, job_id: str) -> Job | None:
        """Return the cached job, if any. Raises RetryableError if the cache is unavailable."""
        ...


class JobStore(JobReader, Protocol):
    """Jobs by tenant and ID. Every write is conditional.

    Predictions are named by their ID, qualified by their account: a tenant signs the webhooks of its own
    account, and must not claim predictions of others.
    """

    def create(self, job: Job) -> None:
        """Write a new job. Raises ConflictError if the ID exists."""
        ...

    def is_deleted(self, tenant: str, job_id: str) -> bool:
        """Return whether the job was deleted, and its ID must not be used again."""
        ...

    def get_many(self, tenant: str, job_ids: Sequence[str], *, consistent: bool = False) -> Mapping[str, Job]:
        """Return the jobs that exist, by ID."""
        ...

    def save(self, job: Job) -> Job:
        """Write the job if the stored one has the same revision, and return it with the next revision.

        Raises ConflictError if the job was changed in between.
        """
        ...

    def list_due_jobs(self, *, before: datetime, limit: int, requires_all: bool = False) -> Sequence[DueJob]:
        """Return the jobs whose next check is due, the longest overdue first.

        Those that cannot be read at the moment are left out, unless `requires_all`: then RetryableError is
        raised, as if none can be read.
        """
        ...

    def claim_prediction(self, replicate_id: str, tenant: str, job_id: str, *, now: datetime) -> bool:
        """Record for certain that a prediction on Replicate is this job's; False if another job owns it."""
        ...

    def adopt_prediction(self, job: Job, *, now: datetime) -> Job:
        """Save the job and record, by likeness only, that it owns its prediction: both or neither.

        Returns the saved job. Raises ConflictError if the prediction has an owner or the job was changed.
        """
        ...

    def transfer_prediction(
        self, replicate_id: str, owner: PredictionOwner, job: Job, *, changed: Sequence[Job], now: datetime
    ) -> Sequence[Job]:
        """Record for certain that the owner's prediction is this job's and save changed jobs, all or nothing.

        Returns these as saved. Raises ConflictError if the prediction has another owner by now, or one of the
        jobs was changed.
        """
        ...

    def get_prediction_owner(self, replicate_id: str) -> PredictionOwner | None:
        """Return the job that claimed or adopted the prediction."""
        ...

    def dispute_prediction(self, replicate_id: str, tenant: str, job_id: str, *, now: datetime) -> None:
        """Record that a prediction without an owner may be this job's, so that no other adopts it."""
        ...


class BatchStore(Protocol):
    """Batches by tenant and ID."""

    def create(self, batch: Batch, jobs: Sequence[Job]) -> None:
        """Write the batch and all of its jobs, or nothing. Raises ConflictError if an ID exists."""
        ...

    def get(self, tenant: str, batch_id: str) -> Batch | None: ...

    def list_batches(self, tenant: str | None, *, before_id: str | None, limit: int) -> Sequence[Batch]:
        """Return the newest batches of a tenant, or of all, by an index that may lag by a moment."""
        ...

    def list_jobs(self, batch: Batch) -> Sequence[Job]:
        """Return the jobs of the batch that still exist, in the order of the batch."""
        ...


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """The first request with an idempotency key: its fingerprint, and the ID of its job or batch.

    The ID is empty if it was that of a large batch which is deleted.
    """

    tenant: str
    key: str
    fingerprint: str
    reserved_id: str


class IdempotencyStore(Protocol):
    """Idempotency keys, each stored for a day."""

    def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        """Store the record if its key is free, and return the record that holds the key."""
        ...

    def find(self, tenant: str, key: str, *, now: datetime) -> IdempotencyRecord | None:
        """Return the record that holds the key, None if it is free."""
        ...


class DocumentStore(Protocol):
    """JSON values that belong to a job: small ones inline in its record, large ones in S3."""

    def save(self, tenant: str, job_id: str, name: str, value: Any) -> Document:
        """Store the value and return its document. Raises RetryableError."""
        ...

    def load(self, document: Document | None) -> Any:
        """Return the value. Raises NotFoundError if its object is gone, RetryableError if S3 fails."""
        ...


class CommandQueue(Protocol):
    """The dispatch queue."""

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        """Send the command, to arrive after at most MAX_MESSAGE_DELAY_SECONDS. Raises RetryableError."""
        ...

    def send_all(self, commands: Sequence[DispatchCommand]) -> None:
        """Send the commands in few requests. Raises RetryableError if any was not accepted."""
        ...


class EventBus(Protocol):
    """The service's EventBridge bus."""

    def publish(self, events: Sequence[Event]) -> None:
        """Publish the events. Raises RetryableError if any was not accepted."""
        ...
