"""What can happen to a job, past tense, one class each. `jobs.state.apply` says what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.jobs.model import Document, JobStatus


@dataclass(frozen=True, slots=True)
class Change:
    """Base of all changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptChange(Change):
    """News about one attempt to send the job: it says nothing to a job that is at another attempt by now."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(AttemptChange):
    """A dispatcher took the job and is about to send the create request; nobody else may before `until`."""

    lease_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(AttemptChange):
    """The create request was certainly not accepted; the job waits for `retry_at`. `counts`: really sent."""

    retry_at: datetime
    increments_backoff: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(AttemptChange):
    """Replicate refused the request for good; `error` is its own text."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeUnknown(AttemptChange):
    """The create request was sent and nobody knows whether a prediction exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResubmitAllowed(AttemptChange):
    """No trace of a prediction was found for an unknown outcome: the job may be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(AttemptChange):
    """Replicate created the prediction."""

    replicate_id: str
    model: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported(Change):
    """News from Replicate, by webhook or poll, about one attempt; `status` is Replicate's own word.

    `lease_until` is given by the harvester that will work on a success; others leave it None.
    """

    attempt: int
    replicate_id: str
    status: str
    via: str
    model: str | None = None
    version: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output: Document | None = None
    logs: Document | None = None
    error: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Harvested(Change):
    """Every output file is where it will stay; `output` is final."""

    output: Document
    files: Document | None = None


@dataclass(frozen=True, slots=True)
class CancelRequested(Change):
    """The caller wants the job stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarvestLeaseAcquired(Change):
    """A harvester goes on with the job; nobody else may before `until`."""

    lease_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckScheduled(Change):
    """Somebody looked while the job was `seen`, and it goes on: when to look next, and what is stored so far.

    `counts`: the look brought nothing new, so that the next ones come ever later.
    """

    expected_status: JobStatus
    next_check_at: datetime
    files: Document | None = None
    increments_backoff: bool = True


@dataclass(frozen=True, slots=True)
class EndedByProxy(Change):
    """The proxy itself ends the job: given up, expired, or canceled before it was ever sent."""

    status: Literal[JobStatus.FAILED, JobStatus.CANCELED]
    error: str | None = None
