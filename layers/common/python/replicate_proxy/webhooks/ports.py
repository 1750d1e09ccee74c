"""What telling the application needs from outside, as Protocols; adapters and test fakes implement them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.webhooks.commands import DeliverCommand
    from replicate_proxy.webhooks.endpoints import Endpoint, SigningSecret
    from replicate_proxy.webhooks.model import Attempt, Delivery, StoredEvent
    from replicate_proxy.webhooks.receiver_limits import Lane
    from replicate_proxy.webhooks.sender import Answer


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A row of the due index: enough to send the command, and to hand the delivery over to the queue."""

    command: DeliverCommand
    due_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Deliveries to one target, newest first unless asked otherwise; `next` is an opaque cursor."""

    deliveries: tuple[Delivery, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """Attempts to one target, newest first; `next` is an opaque cursor."""

    attempts: tuple[Attempt, ...]
    next: str | None


class Outbox(Protocol):
    """Events, deliveries and attempts."""

    def record_event(self, event: StoredEvent) -> None:
        """Keeps the event unless it is there already."""

    def event(self, tenant: str, job_id: str, sequence: int) -> StoredEvent | None: ...

    def record(self, delivery: Delivery) -> bool:
        """Keeps the delivery unless it is there already; whether it was new."""
        ...

    def get(self, tenant: str, job_id: str, sequence: int, target: str) -> Delivery | None: ...

    def line(self, tenant: str, job_id: str, target: str, *, up_to: int, limit: int) -> Sequence[Delivery]:
        """The last `limit` deliveries of a job to a target up to a sequence, newest first."""
        ...

    def following(self, delivery: Delivery) -> Delivery | None:
        """The next delivery of the job to the same target."""
        ...

    def save(self, delivery: Delivery) -> Delivery:
        """Writes where the stored one has the same rev, and gives it the next; else ConflictError."""
        ...

    def record_attempt(self, attempt: Attempt) -> None: ...

    def of_job(self, tenant: str, job_id: str) -> Sequence[Delivery]: ...

    def attempts_of_job(self, tenant: str, job_id: str) -> Sequence[Attempt]: ...

    def attempts(self, delivery: Delivery) -> Sequence[Attempt]: ...

    def deliveries_to(
        self,
        tenant: str,
        target: str,
        *,
        since: datetime | None,
        cursor: str | None,
        limit: int,
        oldest_first: bool,
    ) -> DeliveryPage: ...

    def attempts_to(self, tenant: str, target: str, *, cursor: str | None, limit: int) -> AttemptPage: ...

    def due(self, shard: int, *, before: datetime, limit: int) -> Sequence[DueDelivery]: ...

    def hand_over(self, due: DueDelivery, *, until: datetime) -> None:
        """Lets the queue have the delivery until then; does nothing where it has moved on."""


class EndpointStore(Protocol):
    """A tenant's endpoints."""

    def create(self, endpoint: Endpoint) -> None: ...

    def get(self, tenant: str, endpoint_id: str) -> Endpoint | None: ...

    def all(self, tenant: str) -> Sequence[Endpoint]:
        """All of a tenant's, oldest first."""
        ...

    def save(self, endpoint: Endpoint) -> Endpoint:
        """Writes where the stored one has the same rev, else ConflictError."""
        ...

    def delete(self, tenant: str, endpoint_id: str) -> bool:
        """False where there was none."""
        ...


class TenantSecrets(Protocol):
    """The signing secrets for the webhooks of a tenant's predictions."""

    def of(self, tenant: str, *, now: datetime) -> tuple[SigningSecret, ...]:
        """Made on first use."""
        ...

    def replace(self, tenant: str, *, old: Sequence[SigningSecret], new: Sequence[SigningSecret]) -> None:
        """Raises ConflictError where the stored ones are not `old` any more."""


class Lanes(Protocol):
    """Requests under way per receiver, and its health."""

    def enter(self, tenant: str, lane: str, token: str, *, now: datetime) -> None:
        """Takes a slot under a token of the caller's. Raises LaneFullError where all are taken."""

    def leave(self, tenant: str, lane: str, token: str) -> None:
        """Gives the slot back without any news about the receiver."""

    def settle(self, tenant: str, lane: str, token: str, *, answer: Answer, now: datetime) -> Lane:
        """Gives the slot back and records how the request went."""
        ...

    def get(self, tenant: str, lane: str) -> Lane | None: ...

    def forgive(self, tenant: str, lane: str) -> None:
        """Forgets failures, so that a re-enabled endpoint starts afresh."""


class DeliveryQueue(Protocol):
    """The notify queue."""

    def send(self, commands: Sequence[DeliverCommand], *, delay: float = 0) -> None:
        """Sends them all to arrive after `delay` seconds (at most 900), or raises RetryableError."""


class Sender(Protocol):
    """One request to a receiver."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer: ...


class Topic(Protocol):
    """An SNS topic for consumers inside AWS."""

    def publish(self, message: str, *, attributes: Mapping[str, str]) -> None: ...
