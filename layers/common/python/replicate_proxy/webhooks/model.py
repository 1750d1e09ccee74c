"""What is delivered, to whom, and what came of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.jobs.model import Document


PREDICTION_TARGET = "prediction"
"""The target of deliveries to a prediction's own `webhook`; every other target is an endpoint's id."""


class EventKind(StrEnum):
    """Replicate's four webhook events, in the order in which one change gives them, and our test event."""

    START = "start"
    LOGS = "logs"
    OUTPUT = "output"
    COMPLETED = "completed"
    TEST = "test"


class DeliveryStatus(StrEnum):
    """Only `pending` deliveries are attempted."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Ending(StrEnum):
    """Why a delivery failed for good; a redelivery starts it anew."""

    EXHAUSTED = "exhausted"
    GONE = "gone"
    ABORTED = "aborted"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_DELETED = "endpoint_deleted"
    EXPIRED = "expired"


class Verdict(StrEnum):
    """What an attempt says: taken, refused by a receiver that is up, or nobody there to take anything."""

    TAKEN = "taken"
    REFUSED = "refused"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One event of one job, its body rendered once: every attempt of every delivery sends the same bytes.

    `body` is a Document whose value is the JSON text that is sent.
    """

    tenant: str
    job_id: str
    sequence: int
    kind: EventKind
    message_id: str
    created_at: datetime
    body: Document
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one target. `rev` guards every write.

    `queued_at` is when this round of tries began: the creation, or the latest redelivery. `tries` is the
    place in the schedule, `attempts` counts all requests ever sent, redeliveries included. `next_attempt_at`
    says when the next request may go out; `due_at` when the sweep must look, None once it ended.
    """

    tenant: str
    job_id: str
    sequence: int
    target: str
    kind: EventKind
    message_id: str
    url: str | None
    created_at: datetime
    queued_at: datetime
    next_attempt_at: datetime
    due_at: datetime | None
    expires_at: int
    status: DeliveryStatus = DeliveryStatus.PENDING
    tries: int = 0
    attempts: int = 0
    lease_until: datetime | None = None
    verdict: Verdict | None = None
    ending: Ending | None = None
    finished_at: datetime | None = None
    correlation_id: str = ""
    rev: int = 0

    @property
    def id(self) -> str:
        return delivery_id(self.job_id, self.sequence, self.target)

    @property
    def is_pending(self) -> bool:
        return self.status is DeliveryStatus.PENDING

    @property
    def lane(self) -> str:
        return lane_of(self.target, self.url)

    def is_leased(self, now: datetime) -> bool:
        return self.lease_until is not None and now < self.lease_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The record of one request: `answer` is the beginning of the receiver's, `error` a class of failure."""

    tenant: str
    job_id: str
    sequence: int
    target: str
    number: int
    at: datetime
    verdict: Verdict
    duration_ms: int
    status: int | None
    error: str | None
    answer: str
    next_attempt_at: datetime | None
    expires_at: int


def delivery_id(job_id: str, sequence: int, target: str) -> str:
    """The id in our API: unique within a tenant, and enough to find the record."""
    return f"{job_id}.{sequence}.{target}"


def lane_of(target: str, url: str | None) -> str:
    """Who must not delay whom: an endpoint by its id, a prediction's own webhook by its host."""
    if target != PREDICTION_TARGET:
        return target
    return f"host:{urlsplit(url or '').netloc.lower()}"
