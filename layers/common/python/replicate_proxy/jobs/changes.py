"""The changes that can happen to a job, one class each; `jobs.state_machine` applies them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from replicate_proxy.errors import DuplicateError
from replicate_proxy.jobs.model import EndReason, JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.jobs.model import Document, Job, ReportChannel, Waiting


class StaleChangeError(DuplicateError):
    """The change is late, a duplicate, or about another attempt; the job is not changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """Base of all changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptChange(Change):
    """A change that concerns one attempt: it is stale once the job has started another attempt."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(AttemptChange):
    """A dispatcher is about to send the create request and has the job for itself until `lease_until`.

    `limits` are the concurrency limits in which it has slots, acquired for the record of this `revision`.
    `replicate_account` is the tenant's account that it is sent to, empty for the shared one.
    """

    lease_until: datetime
    limits: tuple[str, ...] = ()
    revision: int = 0
    replicate_account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(AttemptChange):
    """The create request was definitely not accepted; the job waits in the queue until `retry_at`.

    `increments_backoff` is False if the job is not the cause: a rate limit, an open breaker, our token.
    `waiting` says what it is.
    """

    retry_at: datetime
    increments_backoff: bool = True
    waiting: Waiting | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(AttemptChange):
    """Replicate rejected the request permanently; `error` is its text.

    `is_target_gone`: because it does not know the model, version or deployment.
    """

    error: str
    is_target_gone: bool = False
    reason: EndReason = EndReason.REJECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeUnknown(AttemptChange):
    """The create request was sent, and it is unknown whether Replicate created a prediction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResubmitAllowed(AttemptChange):
    """No prediction was found for a create request of unknown outcome: it may be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(AttemptChange):
    """Replicate created the prediction."""

    replicate_id: str
    model: str | None = None
    version: str | None = None
    stream_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOpened(AttemptChange):
    """The prediction has a stream, which is learned after a report that was faster than the acceptance."""

    replicate_id: str
    stream_url: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported(Change):
    """Replicate reported on one attempt, by webhook or poll; `status` is Replicate's own word.

    `replicate_account` is the tenant's account that the report is from, empty for the shared one.
    `lease_until` and the `private_folder` of the job are set by a harvester that continues with the harvest
    itself.
    """

    attempt: int
    replicate_id: str
    status: str
    channel: ReportChannel
    model: str | None = None
    version: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output: Document | None = None
    logs: Document | None = None
    partial_output: Document | None = None
    reported_at: datetime | None = None
    error: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    lease_until: datetime | None = None
    private_folder: str | None = None
    replicate_account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarvestChange(Change):
    """A change of a job that is being harvested: stale while another harvester holds the lease.

    `lease_until` is the end of its author's own lease, None for an author without one.
    """

    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvested(HarvestChange):
    """The harvest is complete; `output` is the final output and `files` its file records."""

    output: Document
    files: Document | None = None
    reason: EndReason = EndReason.HARVESTED


@dataclass(frozen=True, slots=True, kw_only=True)
class HarvestRepeated(Change):
    """A harvester fetches files again that a finished harvest has left, and has them until `lease_until`."""

    lease_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesAdded(Change):
    """A repeated harvest has ended: the output with the files stored by now, and all its file records.

    `lease_until` is that of its author. `is_complete` if no file is left at Replicate.
    """

    lease_until: datetime | None
    output: Document
    files: Document | None
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryReserved(Change):
    """An operator retries the ended job: `job_id` is the ID of the new one, once for all."""

    job_id: str


@dataclass(frozen=True, slots=True)
class CancelRequested(Change):
    """The caller asked to cancel the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTimeExceeded(AttemptChange):
    """The attempt has waited for longer than its entry allows: in the line of its model, or at Replicate.

    A queued job goes on with its next fallback. A submitted one does so once Replicate reports that its
    prediction is canceled: until then it may start to run, and succeed.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class HarvestLeaseAcquired(Change):
    """A harvester continues the harvest and has the job for itself until `lease_until`.

    `private_folder` is that of the job, which the first harvester decides.
    """

    lease_until: datetime
    private_folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckScheduled(HarvestChange):
    """The next check of a job that is still in `expected_status`, and the files stored so far.

    `increments_backoff`: there was no progress, so the following checks come at longer intervals. A harvester
    releases its lease by it. `waiting` says why a queued job is not sent, and `limits` in which concurrency
    limits it keeps slots; None leaves them as they are.
    """

    expected_status: JobStatus
    next_check_at: datetime
    waiting: Waiting | None = None
    limits: tuple[str, ...] | None = None
    files: Document | None = None
    increments_backoff: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionRevoked(Change):
    """The prediction that the job had adopted by likeness turned out to be another job's."""

    replicate_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedByProxy(AttemptChange):
    """The proxy ends the job without a result from Replicate: given up, expired, or canceled in the queue.

    It was decided for a job in `expected_status`: if the job has moved on since, there is news of Replicate.
    What Replicate said about the end of the prediction, if it did, tells what the prediction cost.
    """

    expected_status: JobStatus
    status: Literal[JobStatus.FAILED, JobStatus.CANCELED]
    reason: EndReason
    error: str | None = None
    replicate_status: str | None = None
    started_at: datetime | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def decide(
        cls,
        job: Job,
        status: Literal[JobStatus.FAILED, JobStatus.CANCELED],
        reason: EndReason,
        error: str | None = None,
    ) -> EndedByProxy:
        """Return the end of a job, decided by its present record."""
        return cls(attempt=job.attempt, expected_status=job.status, status=status, reason=reason, error=error)


def find_end_reason(job: Job, change: Change) -> EndReason:
    """Return why a job has ended, by the change that ended it."""
    match change:
        case EndedByProxy() | Harvested() | Rejected():
            return change.reason
        case Reported() if job.status is JobStatus.FAILED or job.cancel_requested_at is None:
            return EndReason.REPORTED
    # A requested cancel also ends a job that returns to the queue.
    return EndReason.CANCEL_REQUESTED
