"""What webhook delivery needs from the outside, as Protocols. Adapters and test fakes implement them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.webhooks.commands import DeliverCommand
    from replicate_proxy.webhooks.endpoints import Endpoint
    from replicate_proxy.webhooks.model import Attempt, Delivery, JobChange, StoredEvent
    from replicate_proxy.webhooks.receiver_limits import ReceiverHealth
    from replicate_proxy.webhooks.sender import ReceiverResponse
    from replicate_proxy.webhooks.signing_secrets import SigningSecret


_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Kind, target, sequence, and for an attempt its number (aws/delivery_records.py).
_SORT_KEY = re.compile(r"(?:DELIVERY|ATTEMPT)#[A-Za-z0-9_-]{1,64}#[0-9]{12}(?:#[0-9]{4,10})?")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,12}Z")


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A row of the due index: enough to enqueue the delivery and to postpone it."""

    command: DeliverCommand
    due_at: datetime


@dataclass(frozen=True, slots=True)
class DueEndpoint:
    """A row of the due index: an endpoint whose missed deliveries are to be searched for."""

    tenant: str
    endpoint_id: str
    due_at: datetime


class DeliveryPosition(NamedTuple):
    """Where a page of deliveries or attempts ended: the key of its last record, without tenant and target."""

    job_id: str
    sort_key: str
    at: str

    @classmethod
    def parse(cls, job_id: str, sort_key: str, at: str) -> Self:
        """Return the position in a cursor. Raises ValueError if no page can have ended there."""
        if not (_JOB_ID.fullmatch(job_id) and _SORT_KEY.fullmatch(sort_key) and _TIMESTAMP.fullmatch(at)):
            raise ValueError("not a position of a delivery or attempt")
        return cls(job_id, sort_key, at)


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Deliveries to one target; `next_position` is None on the last page."""

    deliveries: tuple[Delivery, ...]
    next_position: DeliveryPosition | None


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """Attempts to one target, newest first; `next_position` is None on the last page."""

    attempts: tuple[Attempt, ...]
    next_position: DeliveryPosition | None


class DeliveryStore(Protocol):
    """Events, deliveries and attempts."""

    def create_event(self, event: StoredEvent) -> None:
        """Store the event unless it exists."""

    def get_event(self, tenant: str, job_id: str, sequence: int) -> StoredEvent | None: ...

    def create(self, delivery: Delivery) -> bool:
        """Store the delivery unless it exists; return whether it was new."""
        ...

    def get(self, tenant: str, job_id: str, sequence: int, target: str) -> Delivery | None: ...

    def list_latest(
        self, tenant: str, job_id: str, target: str, *, up_to_sequence: int | None = None, limit: int
    ) -> Sequence[Delivery]:
        """Return a job's last `limit` deliveries to a target, or those up to a sequence, newest first."""
        ...

    def get_next(self, delivery: Delivery) -> Delivery | None:
        """Return the delivery of the job's next event to the same target."""
        ...

    def save(self, delivery: Delivery) -> Delivery:
        """Write the delivery and return it with its new revision.

        Raises ConflictError if the stored one has another revision.
        """
        ...

    def record_attempt(self, attempt: Attempt) -> None: ...

    def list_by_job(self, tenant: str, job_id: str) -> Sequence[Delivery]: ...

    def list_attempts_by_job(self, tenant: str, job_id: str) -> Sequence[Attempt]: ...

    def list_attempts(self, delivery: Delivery) -> Sequence[Attempt]: ...

    def list_by_target(
        self,
        tenant: str,
        target: str,
        *,
        since: datetime | None,
        after: DeliveryPosition | None,
        limit: int,
        oldest_first: bool,
    ) -> DeliveryPage:
        """Return a page by creation time."""
        ...

    def list_attempts_by_target(
        self, tenant: str, target: str, *, after: DeliveryPosition | None, limit: int
    ) -> AttemptPage:
        """Return a page, newest first."""
        ...

    def list_due(
        self, shard: int, *, before: datetime, limit: int
    ) -> Sequence[DueDelivery | DueEndpoint]: ...

    def postpone(self, due: DueDelivery, *, due_at: datetime, paused_since: datetime | None = None) -> None:
        """Set a new due time, unless the delivery has changed since it was listed.

        `paused_since` is set as well, unless the delivery has one.
        """


class EndpointStore(Protocol):
    """Endpoints by tenant and ID."""

    def create(self, endpoint: Endpoint) -> None: ...

    def get(self, tenant: str, endpoint_id: str) -> Endpoint | None: ...

    def list_all(self, tenant: str) -> Sequence[Endpoint]:
        """Return all endpoints of a tenant, oldest first."""
        ...

    def save(self, endpoint: Endpoint) -> Endpoint:
        """Write the endpoint and return it with its new revision.

        Raises ConflictError if the stored one has another revision.
        """
        ...

    def delete(self, tenant: str, endpoint_id: str) -> bool:
        """Delete the endpoint; return False if there was none."""
        ...


class SigningSecretStore(Protocol):
    """A tenant's default signing secrets, for the webhooks of its predictions."""

    def get_or_create(self, tenant: str, *, now: datetime) -> tuple[SigningSecret, ...]: ...

    def replace(self, tenant: str, *, old: Sequence[SigningSecret], new: Sequence[SigningSecret]) -> None:
        """Write the new secrets. Raises ConflictError if the stored ones are no longer `old`."""


class ReceiverLimitStore(Protocol):
    """Requests in flight per receiver, and its health."""

    def acquire_slot(self, tenant: str, receiver_id: str, token: str, *, now: datetime) -> None:
        """Take a slot under a token chosen by the caller. Raises ConcurrencyLimitError if all are taken."""

    def release_slot(self, tenant: str, receiver_id: str, token: str) -> None:
        """Release a slot that was not used."""

    def record_response(
        self, tenant: str, receiver_id: str, token: str, *, response: ReceiverResponse, now: datetime
    ) -> ReceiverHealth:
        """Release the slot and update the receiver's health; return the new health.

        A failure is counted only while the slot is held, so that repeating the call counts nothing.
        """
        ...

    def get(self, tenant: str, receiver_id: str) -> ReceiverHealth | None: ...

    def reset_failures(self, tenant: str, receiver_id: str) -> None:
        """Reset the failure counters, for an endpoint that was enabled again."""


class DeliveryQueue(Protocol):
    """The notify queue."""

    def send(self, commands: Sequence[DeliverCommand], *, delay_seconds: float = 0) -> None:
        """Enqueue the commands to arrive after a delay of at most 900 seconds.

        Raises RetryableError if any was not accepted.
        """


class Sender(Protocol):
    """Sends one request to a receiver."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> ReceiverResponse: ...


class Topic(Protocol):
    """An SNS topic for consumers inside AWS."""

    def publish(self, message: str, *, attributes: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class StreamRange:
    """A range of records in one shard of a stream, both sequence numbers included."""

    stream_arn: str
    shard_id: str
    first_sequence_number: str
    last_sequence_number: str


class JobStream(Protocol):
    """The stream of the jobs table."""

    def read_changes(self, stream_range: StreamRange) -> Iterator[JobChange]:
        """Read the changes of jobs in a range.

        Raises PermanentError if the records have expired, RetryableError if they cannot be read now.
        """
        ...
