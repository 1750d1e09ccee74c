"""Running jobs on Replicate: the one place that creates predictions, so the one place that could pay twice.

Replicate knows no idempotency key. Hence: claim the job by conditional write, send once, and record the
outcome by class. Certainly not accepted: back to the queue. Refused: the job failed. Anything else: unknown,
which is for a webhook or the sweep to settle, never for a retry. A crash between any two lines leaves a claim
whose lease runs out, and that counts as unknown as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ConfigurationError, ProxyError, RetryableError
from replicate_proxy.jobs.changes import (
    Accepted,
    CheckScheduled,
    Claimed,
    EndedByProxy,
    OutcomeUnknown,
    Rejected,
    Released,
)
from replicate_proxy.jobs.model import Job, JobStatus, SubmissionKind
from replicate_proxy.jobs.state_machine import StaleChangeError
from replicate_proxy.observability import Metric, count, logger, measure_seconds
from replicate_proxy.replicate_api.callback_url import JobReference, WebhookUrls
from replicate_proxy.replicate_api.errors import (
    BreakerOpenError,
    NotAcceptedError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
)
from replicate_proxy.replicate_api.models import CreateTarget, UpstreamPrediction, UpstreamStatus
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import Clock, CommandQueue, DocumentStore, JobStore


_KINDS: dict[SubmissionKind, Literal["predictions", "model", "deployment"]] = {
    SubmissionKind.VERSION: "predictions",
    SubmissionKind.MODEL: "model",
    SubmissionKind.DEPLOYMENT: "deployment",
}
_LONGEST_PARK_SECONDS = 900.0
# These say nothing about the job; only real tries make its own wait grow.
_NOT_THE_JOBS_FAULT = (ThrottledError, BreakerOpenError, TokenRejectedError)
# The pace of somebody who has to put a setting or a secret right.
_OPERATOR_SECONDS = 60.0


class Predictions(Protocol):
    """Creating and canceling on Replicate, guarded by breaker and rate limit."""

    def create(
        self, target: CreateTarget, body: dict[str, Any], *, cancel_after_seconds: int | None
    ) -> UpstreamPrediction: ...

    def cancel(self, prediction_id: str) -> UpstreamPrediction: ...

    def acquire_create_slot(self) -> float:
        """Seconds to wait before a create may be sent, by breaker and rate limit; 0 takes a place."""
        ...


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """`lease_seconds` must outlast the function's timeout; `queue_lifetime_seconds` is how long a job may
    wait in all, `queued_seconds` how long beyond its time before the sweep takes its message for lost.
    """

    webhooks: bool = True
    lease_seconds: float = 90
    queue_lifetime_seconds: float = 24 * 3600
    queued_seconds: float = 120


class Dispatch:
    """Handles one command of the dispatch queue. Parking sends a fresh delayed message, so that waiting never
    spends the receive count that would end in the dead-letter queue.
    """

    def __init__(  # noqa: PLR0913 - the one service that needs every port
        self,
        *,
        updater: JobUpdater,
        store: JobStore,
        documents: DocumentStore,
        queue: CommandQueue,
        predictions: Predictions,
        urls: WebhookUrls,
        clock: Clock,
        settings: DispatchSettings,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._updater = updater
        self._store = store
        self._documents = documents
        self._queue = queue
        self._predictions = predictions
        self._urls = urls
        self._clock = clock
        self._settings = settings
        self._checkpoint = checkpoint

    def handle(self, command: DispatchCommand) -> None:
        """Raises NotFoundError for a job that is gone, RetryableError where the message should come again."""
        job = self._updater.get(command.tenant, command.job_id)
        if command.kind is DispatchKind.CANCEL:
            self._cancel(job)
        elif job.status is not JobStatus.QUEUED:
            logger.info("duplicate command", status=job.status.value)
        elif ended := self._ended_before_sending(job):
            self._change(job, ended)
        elif (wait := self._predictions.acquire_create_slot()) > 0:
            self._wait(job, wait)
        else:
            self._submit(job)

    def _submit(self, job: Job) -> None:
        until = self._clock.now() + timedelta(seconds=self._settings.lease_seconds)
        body = self._body(job)
        self._checkpoint("dispatch.before_claim")
        claimed = self._change(job, Claimed(attempt=job.attempt, lease_until=until))
        if claimed is None:
            return
        self._checkpoint("dispatch.claimed")
        try:
            prediction = self._predictions.create(
                _target(claimed), body, cancel_after_seconds=_seconds_left(claimed, self._clock.now())
            )
        except (NotAcceptedError, ConfigurationError) as error:
            self._released(claimed, error)
        except RejectedError as error:
            count(Metric.DISPATCH_REJECTED)
            self._change(claimed, Rejected(attempt=claimed.attempt, error=_text(error)))
            self._checkpoint("dispatch.settled")
        except ProxyError as error:
            # Whatever else went wrong, before or after the send: only what is certain may be sent again.
            count(Metric.DISPATCH_UNKNOWN)
            logger.warning("create outcome unknown", reason=type(error).__name__)
            self._change(claimed, OutcomeUnknown(attempt=claimed.attempt))
            self._checkpoint("dispatch.settled")
        else:
            self._accepted(claimed, prediction)

    def _accepted(self, job: Job, prediction: UpstreamPrediction) -> None:
        self._checkpoint("dispatch.created")
        self._store.claim_prediction(prediction.id, job.tenant, job.id)
        self._checkpoint("dispatch.owned")
        count(Metric.DISPATCH_SUBMITTED)
        measure_seconds(Metric.QUEUE_SECONDS, (self._clock.now() - job.created_at).total_seconds())
        accepted = Accepted(
            attempt=job.attempt,
            replicate_id=prediction.id,
            model=prediction.model or None,
            version=prediction.version or None,
        )
        # Where a webhook was faster, the job is further already.
        saved = self._change(job, accepted) or self._updater.get(job.tenant, job.id)
        self._checkpoint("dispatch.recorded")
        logger.info("submitted", replicate_id=prediction.id, attempt=job.attempt)
        if saved.replicate_id != prediction.id:
            logger.warning("the job went on without this prediction", replicate_id=prediction.id)
            self._cancel_upstream(prediction.id)
        elif saved.cancel_requested_at is not None:
            self._cancel(saved)

    def _released(self, job: Job, error: ProxyError) -> None:
        told = error.retry_after if isinstance(error, NotAcceptedError) else _OPERATOR_SECONDS
        wait = told if told is not None else _growing(job.releases)
        wait = min(max(wait, 1.0), _LONGEST_PARK_SECONDS)
        logger.warning("not accepted, parked", reason=type(error).__name__, seconds=wait)
        counts = not isinstance(error, _NOT_THE_JOBS_FAULT)
        retry_at = self._clock.now() + timedelta(seconds=wait)
        released = self._change(
            job, Released(attempt=job.attempt, retry_at=retry_at, increments_backoff=counts)
        )
        if released is not None and not released.is_terminal:
            self._checkpoint("dispatch.released")
            self._park(released, wait)

    def _wait(self, job: Job, seconds: float) -> None:
        """Not the time to send. Moving `due_at` keeps the sweep from adding messages to the waiting one."""
        next_look = self._clock.now() + timedelta(seconds=seconds + self._settings.queued_seconds)
        if (
            self._change(
                job,
                CheckScheduled(expected_status=job.status, next_check_at=next_look, increments_backoff=False),
            )
            is not None
        ):
            self._checkpoint("dispatch.waiting")
            self._park(job, seconds)

    def _park(self, job: Job, seconds: float) -> None:
        count(Metric.DISPATCH_REQUEUED)
        command = DispatchCommand(DispatchKind.SUBMIT, job.tenant, job.id, job.correlation_id)
        try:
            self._queue.send(command, delay_seconds=min(seconds, _LONGEST_PARK_SECONDS))
        except RetryableError as error:
            logger.warning("not parked; the sweep will send it again", reason=str(error))
        self._checkpoint("dispatch.parked")

    def _cancel(self, job: Job) -> None:
        """Before there is a prediction to cancel, the wish stays on the job and is met once there is."""
        if job.is_terminal or job.cancel_requested_at is None:
            return
        if job.status is JobStatus.QUEUED or (
            job.replicate_id is not None and self._cancel_upstream(job.replicate_id)
        ):
            self._change(job, EndedByProxy(JobStatus.CANCELED))

    def _cancel_upstream(self, replicate_id: str) -> bool:
        """Whether the prediction ended by being canceled."""
        self._checkpoint("dispatch.canceling")
        try:
            prediction = self._predictions.cancel(replicate_id)
        except RejectedError as error:
            logger.warning("Replicate refused to cancel; the sweep will look", status=error.status)
            return False
        self._checkpoint("dispatch.canceled")
        return prediction.status in {UpstreamStatus.CANCELED, UpstreamStatus.ABORTED}

    def _ended_before_sending(self, job: Job) -> EndedByProxy | None:
        now = self._clock.now()
        if job.cancel_requested_at is not None:
            return EndedByProxy(JobStatus.CANCELED)
        if job.deadline is not None and job.deadline <= now:
            return EndedByProxy(
                JobStatus.CANCELED, "The deadline (Cancel-After) passed before the prediction was started"
            )
        if (now - job.created_at).total_seconds() > self._settings.queue_lifetime_seconds:
            return EndedByProxy(
                JobStatus.FAILED, "Replicate did not accept the request within the time a job may wait"
            )
        return None

    def _body(self, job: Job) -> dict[str, Any]:
        body: dict[str, Any] = {"input": self._documents.load(job.input)}
        if job.submission.kind is SubmissionKind.VERSION:
            body["version"] = job.submission.version
        if self._settings.webhooks:
            reference = JobReference(job.tenant, job.id, job.attempt, job.correlation_id)
            body["webhook"] = self._urls.make(reference)
            body["webhook_events_filter"] = _wanted_events(job)
        return body

    def _change(self, job: Job, change: Any) -> Job | None:
        """The changed job, or None where somebody else's news came first."""
        try:
            return self._updater.apply(job, change)
        except StaleChangeError as dropped:
            count(Metric.STALE_CHANGE_IGNORED)
            logger.info("change dropped", reason=str(dropped))
            return None


def _target(job: Job) -> CreateTarget:
    return CreateTarget(_KINDS[job.submission.kind], job.submission.owner or "", job.submission.name or "")


def _seconds_left(job: Job, now: datetime) -> int | None:
    return None if job.deadline is None else int((job.deadline - now).total_seconds())


def _wanted_events(job: Job) -> list[str]:
    logs = ["logs"] if "logs" in (job.webhook_events or ()) else []
    return ["start", *logs, "completed"]


def _growing(releases: int) -> float:
    return float(min(5 * 2 ** min(releases, 8), 600))


def _text(error: RejectedError) -> str:
    return f"{error.title}: {error.detail}".strip(": \n") or f"Replicate answered {error.status}"
