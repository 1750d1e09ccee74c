"""What services need from the outside, as Protocols. Adapters and test fakes implement them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.contracts.commands import DispatchCommand
    from replicate_proxy.contracts.events import Event
    from replicate_proxy.jobs.model import Batch, Document, Job


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class DueJob:
    """A row of the due index: enough to fetch the job."""

    tenant: str
    id: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs of one tenant, newest first; `next_before` is the id to go on below, None on the last page."""

    jobs: tuple[Job, ...]
    next_before_id: str | None


class JobReader(Protocol):
    """What reading jobs takes; every JobStore is one."""

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None: ...

    def list_jobs(self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int) -> JobPage: ...


class JobCache(Protocol):
    """Jobs as they were when somebody read them last."""

    def get(self, tenant: str, job_id: str) -> Job | None:
        """Raises RetryableError where the cache cannot say."""
        ...


class JobStore(Protocol):
    """Jobs by tenant and id. Every write is conditional."""

    def create(self, job: Job) -> None:
        """Raises ConflictError where the id is taken."""
        ...

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None: ...

    def save(self, job: Job) -> Job:
        """Writes the job where the stored one still has `job.rev`; gives it back with the next rev.

        Raises ConflictError where somebody else was faster.
        """
        ...

    def list_jobs(self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int) -> JobPage: ...

    def due(self, *, before: datetime, limit: int) -> Sequence[DueJob]: ...

    def claim_prediction(self, replicate_id: str, tenant: str, job_id: str) -> bool:
        """Marks a prediction on Replicate as this job's; False where it belongs to another job already."""
        ...

    def prediction_owner(self, replicate_id: str) -> str | None:
        """The id of the job that the prediction is marked as, None where it is free."""
        ...


class BatchStore(Protocol):
    """Batches by tenant and id."""

    def create(self, batch: Batch, jobs: Sequence[Job]) -> None:
        """Writes the batch and all of its jobs, or nothing. Raises ConflictError where an id is taken."""
        ...

    def get(self, tenant: str, batch_id: str) -> Batch | None: ...

    def jobs(self, batch: Batch) -> Sequence[Job]:
        """Those of its jobs that are still kept, in the batch's order."""
        ...


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """The first request under an idempotency key: what it asked (hash) and which job or batch it became."""

    tenant: str
    key: str
    fingerprint: str
    job_id: str


class IdempotencyStore(Protocol):
    """Idempotency keys, each remembered for a day."""

    def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        """The record that holds the key: the given one, or the earlier one that was there first."""
        ...


class DocumentStore(Protocol):
    """JSON values kept with a job: small ones inline, large ones as objects."""

    def keep(self, job_tenant: str, job_id: str, name: str, value: Any) -> Document: ...

    def load(self, document: Document | None) -> Any: ...


class CommandQueue(Protocol):
    """The dispatch queue."""

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None: ...


class EventBus(Protocol):
    """The service's own EventBridge bus."""

    def publish(self, events: Sequence[Event]) -> None:
        """Raises RetryableError where any entry was not taken."""
        ...


class Secrets(Protocol):
    """Secret values by name; `refresh` re-reads the store."""

    def get(self, name: str, *, refresh: bool = False) -> str: ...
