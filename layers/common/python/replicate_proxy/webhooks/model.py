"""Records of webhook delivery. No I/O.

A change of a job gives events; each event is delivered to every target that wants it; each delivery makes
attempts until one succeeds:

    JobChange ─▶ StoredEvent ─▶ Delivery (one per target) ─▶ Attempt (one per request)
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Document, Job


PREDICTION_TARGET = "prediction"
"""The target of deliveries to a prediction's own `webhook`; every other target is an endpoint's ID."""

_SEQUENCE_DIGITS = 12
# A job ID or a target in an ID that a caller sends: bounded, since it becomes part of a key.
_KEY_PART = re.compile(r"[A-Za-z0-9_-]{1,64}")


class EventKind(StrEnum):
    """Replicate's four webhook events, in the order in which one change produces them, and ours."""

    START = "start"
    LOGS = "logs"
    OUTPUT = "output"
    COMPLETED = "completed"
    BATCH_COMPLETED = "batch.completed"
    TEST = "test"


class DeliveryStatus(StrEnum):
    """State of a delivery. Only `pending` deliveries are attempted.

    A delivery is superseded when a later event of the same job reached the target first.
    """

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class FailureReason(StrEnum):
    """Why a delivery failed. A redelivery clears it."""

    EXHAUSTED = "exhausted"
    GONE = "gone"
    ABORTED = "aborted"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_DELETED = "endpoint_deleted"
    EXPIRED = "expired"


MISSED_REASONS = frozenset({FailureReason.ENDPOINT_DISABLED, FailureReason.GONE})
"""A delivery fails for one of these because its endpoint is disabled or was disabled by the response."""


class AttemptResult(StrEnum):
    """Outcome of an attempt.

    `rejected` means that the receiver is up and refuses this event; `unavailable` that no event would
    fare better now.
    """

    DELIVERED = "delivered"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"


class ErrorCode(StrEnum):
    """Why an attempt was not delivered."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    FORBIDDEN_ADDRESS = "forbidden_address"
    BAD_RESPONSE = "bad_response"
    SEND_FAILED = "send_failed"
    REDIRECT = "redirect"
    CLIENT_ERROR = "http_4xx"
    SERVER_ERROR = "http_5xx"
    OTHER_STATUS = "http_other"


@dataclass(frozen=True, slots=True)
class JobChange:
    """Two records of one job, one save apart; `old` is None for a new job."""

    old: Job | None
    new: Job

    @property
    def is_restored(self) -> bool:
        """Return whether the job is new and has ended: an operator has restored it from a backup.

        Jobs are created queued. What follows from the end was done when the job ended.
        """
        return self.old is None and self.new.is_terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One event of one job with its rendered body, so that every attempt sends the same.

    `body` is a Document whose value is the JSON text to send. URLs of private files, which are those in
    `private_folder`, are signed for each attempt. `expires_at` is in epoch seconds.
    """

    tenant: str
    job_id: str
    sequence: int
    kind: EventKind
    message_id: str
    created_at: datetime
    body: Document
    expires_at: int
    private_folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one target.

    The retry schedule starts at creation and again at each redelivery: `schedule_started_at` is that time,
    `schedule_attempts` counts the finished attempts since then, `total_attempts` all requests ever sent.
    `next_attempt_at` is the earliest time of the next request; `due_at` is when the sweep enqueues the
    delivery, None once it has ended. `paused_since` is set while an operator's pause holds it, and
    `paused_seconds` are those of earlier pauses in this schedule. `expires_at` is in epoch seconds.
    `revision` grows by one with each save and guards it.
    """

    tenant: str
    job_id: str
    sequence: int
    target: str
    kind: EventKind
    message_id: str
    url: str | None
    created_at: datetime
    schedule_started_at: datetime
    next_attempt_at: datetime
    due_at: datetime | None
    expires_at: int
    status: DeliveryStatus = DeliveryStatus.PENDING
    schedule_attempts: int = 0
    total_attempts: int = 0
    lease_until: datetime | None = None
    paused_since: datetime | None = None
    paused_seconds: int = 0
    last_result: AttemptResult | None = None
    failure_reason: FailureReason | None = None
    finished_at: datetime | None = None
    correlation_id: str = ""
    revision: int = 0

    @property
    def id(self) -> str:
        return build_delivery_id(self.job_id, self.sequence, self.target)

    @property
    def is_pending(self) -> bool:
        return self.status is DeliveryStatus.PENDING

    @property
    def receiver_id(self) -> str:
        return build_receiver_id(self.target, self.url)

    @property
    def is_redelivery(self) -> bool:
        return self.schedule_started_at != self.created_at

    @property
    def may_have_arrived(self) -> bool:
        """Return whether the target may have accepted it without our knowing.

        Its last attempt is in progress, ended with its process, or got no response.
        """
        is_uncertain = self.lease_until is not None or self.last_result is AttemptResult.UNAVAILABLE
        return self.is_pending and is_uncertain

    def calculate_age(self, now: datetime) -> timedelta:
        """Return the time since the schedule started, without pauses."""
        paused = timedelta(seconds=self.paused_seconds)
        if self.paused_since is not None:
            paused += now - self.paused_since
        return now - self.schedule_started_at - paused

    def end_pause(self, now: datetime) -> Delivery:
        """Return the delivery without a pause, whose time does not count."""
        if self.paused_since is None:
            return self
        seconds = max(0, int((now - self.paused_since).total_seconds()))
        return replace(self, paused_since=None, paused_seconds=self.paused_seconds + seconds)

    def is_leased(self, now: datetime) -> bool:
        return self.lease_until is not None and now < self.lease_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The record of one request.

    `response_body` is the beginning of the receiver's response; `status` is None if there was none.
    `expires_at` is in epoch seconds.
    """

    tenant: str
    job_id: str
    sequence: int
    target: str
    number: int
    sent_at: datetime
    result: AttemptResult
    duration_ms: int
    status: int | None
    error_code: ErrorCode | None
    response_body: str
    next_attempt_at: datetime | None
    expires_at: int


def build_delivery_id(job_id: str, sequence: int, target: str) -> str:
    """Return the ID that our API shows. It is unique within a tenant and holds the record's key."""
    return f"{job_id}.{sequence}.{target}"


def parse_delivery_id(delivery_id: str) -> tuple[str, int, str] | None:
    """Return job ID, sequence and target, or None if the text is no delivery ID."""
    job_id, sequence, target = [*delivery_id.split("."), "", ""][:3]
    is_sequence = sequence.isascii() and sequence.isdigit() and len(sequence) <= _SEQUENCE_DIGITS
    if not (_KEY_PART.fullmatch(job_id) and is_sequence and _KEY_PART.fullmatch(target)):
        return None
    parsed = job_id, int(sequence), target
    return parsed if build_delivery_id(*parsed) == delivery_id else None


def build_receiver_id(target: str, url: str | None) -> str:
    """Return the ID under which concurrency and health are kept: the endpoint's, or a hash of the URL's host.

    Predictions' own webhooks share one receiver per host. The ID becomes part of a key, whose length is
    limited; that of a host in a URL is not.
    """
    if target != PREDICTION_TARGET:
        return target
    host = urlsplit(url or "").netloc.lower()
    return f"host:{hashlib.sha256(host.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
