"""Create the predictions of queued jobs on Replicate, and handle the other commands of the dispatch queue.

Replicate has no idempotency key, so a create request that is sent twice is paid for twice. The dispatcher
claims the job by a conditional write, sends one create request, and records its outcome:

- definitely not accepted: the job goes back to the queue;
- rejected: the job fails;
- anything else: the outcome is unknown, and nothing is sent again until a webhook or the sweep resolves it.

A crash after the claim leaves a lease that expires, which counts as an unknown outcome as well.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.concurrency.ports import NoLimits
from replicate_proxy.contracts.commands import MAX_MESSAGE_DELAY_SECONDS, DispatchCommand, DispatchKind
from replicate_proxy.errors import ConfigurationError, ProxyError, RetryableError
from replicate_proxy.jobs.changes import (
    Change,
    CheckScheduled,
    Claimed,
    EndedByProxy,
    OutcomeUnknown,
    QueueTimeExceeded,
    StaleChangeError,
    StreamOpened,
)
from replicate_proxy.jobs.model import (
    SHARED_ACCOUNT,
    Account,
    AttemptOutcome,
    EndReason,
    Job,
    JobStatus,
    SubmissionKind,
    Waiting,
    WaitReason,
)
from replicate_proxy.jobs.transitions import is_fallback_due
from replicate_proxy.observability import Metric, count, logger, record_seconds, tracer
from replicate_proxy.replicate_api.callback_url import AttemptReference, CallbackUrls
from replicate_proxy.replicate_api.errors import NotAcceptedError, RejectedError
from replicate_proxy.replicate_api.known_models import NothingKnown
from replicate_proxy.services.cancel_prediction import PredictionCanceler, PredictionEnder
from replicate_proxy.services.create_failure import (
    MIN_DELAY_SECONDS,
    build_rejected_change,
    build_released_change,
    calculate_retry_delay,
)
from replicate_proxy.services.report_change import build_accepted_change
from replicate_proxy.services.sent_input import load_sent_input
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.concurrency.ports import ConcurrencyGate
    from replicate_proxy.contracts.stream_urls import KnownStream, StreamUrlBuilder
    from replicate_proxy.jobs.model import Submission
    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.pauses.pause import Pause
    from replicate_proxy.ports import Clock, CommandQueue, DocumentStore
    from replicate_proxy.replicate_api.models import UpstreamPrediction
    from replicate_proxy.replicate_api.predictions import CreateDelay
    from replicate_proxy.services.progress_refresh import ProgressRefresher
    from replicate_proxy.services.schema_refresh import SchemaRefresher


# Longer than the dispatch function's timeout: a lease must not expire while its holder still runs.
DEFAULT_LEASE_SECONDS = 90.0

# Jobs of a tenant that is paused look this often whether it is resumed.
_PAUSE_DELAY_SECONDS = 30.0


class PredictionClient(PredictionEnder, Protocol):
    """Creates and cancels predictions in one account, subject to its circuit breaker and rate limit."""

    def create(
        self, submission: Submission, body: dict[str, Any], *, cancel_after_seconds: int | None
    ) -> UpstreamPrediction: ...

    def acquire_create_slot(self) -> CreateDelay | None:
        """Return how long a create has to wait; None reserves a place in the rate limit."""
        ...

    def acquire_batch_slot(self) -> CreateDelay | None:
        """Do the same for a job of a large batch, which leaves some places to others."""
        ...


class ModelRecorder(Protocol):
    """Records what Replicate's response to a create says about the model. Does not raise."""

    def record_accepted(
        self, submission: Submission, prediction: UpstreamPrediction, account: Account
    ) -> None: ...

    def record_rejected(self, submission: Submission, error: RejectedError, account: Account) -> None: ...

    def record_stream(self, submission: Submission, stream: KnownStream, account: Account) -> None: ...


class Dispatcher:
    """Handles the commands of the dispatch queue.

    A job that has to wait is requeued as a new delayed message, so that waiting does not use up the receive
    count that leads to the dead-letter queue.

    `find_account(tenant)` returns the account in which jobs of the tenant start; it raises RetryableError.
    `is_start_wanted(job)` says whether Replicate is to report the start of the job.
    """

    def __init__(  # noqa: PLR0913 - the one service that needs nearly every port
        self,
        *,
        updater: JobUpdater,
        documents: DocumentStore,
        queue: CommandQueue,
        get_client: Callable[[Account], PredictionClient],
        urls: CallbackUrls,
        clock: Clock,
        timeouts: JobTimeouts,
        known_models: ModelRecorder | None = None,
        refresher: ProgressRefresher | None = None,
        schemas: SchemaRefresher | None = None,
        streams: StreamUrlBuilder | None = None,
        find_pause: Callable[[str], Pause | None] = lambda _tenant: None,
        concurrency: ConcurrencyGate | None = None,
        is_batch_canceled: Callable[[str, str], bool] = lambda _tenant, _batch_id: False,
        find_account: Callable[[str], Account] = lambda _tenant: SHARED_ACCOUNT,
        is_start_wanted: Callable[[Job], bool] = lambda _job: True,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._updater = updater
        self._documents = documents
        self._queue = queue
        self._get_client = get_client
        self._urls = urls
        self._clock = clock
        self._timeouts = timeouts
        self._known_models = known_models or NothingKnown()
        self._refresher = refresher
        self._schemas = schemas
        self._streams = streams
        self._find_pause = find_pause
        self._is_batch_canceled = is_batch_canceled
        self._concurrency = concurrency or NoLimits()
        self._find_account = find_account
        self._is_start_wanted = is_start_wanted
        self._lease_seconds = lease_seconds
        self._checkpoint = checkpoint
        self._canceler = PredictionCanceler(
            get_client=get_client,
            queue=queue,
            clock=clock,
            refresher=refresher,
            checkpoint=checkpoint,
            apply=self._apply,
            start_fallback=self._start_fallback,
        )

    def handle_command(self, command: DispatchCommand) -> None:
        """Handle one command.

        Raises NotFoundError if the job does not exist, RetryableError if the message is to be received again.
        """
        job = self._updater.get(command.tenant, command.job_id)
        if command.replicate_id:
            self._canceler.cancel_surplus(job, command.replicate_id)
        elif command.kind is DispatchKind.CANCEL:
            self._canceler.cancel(job)
        elif command.kind is DispatchKind.REFRESH:
            if self._refresher is not None:
                self._refresher.refresh(job)
        elif command.kind is DispatchKind.SCHEMA:
            if self._schemas is not None:
                self._schemas.refresh(job)
        elif job.status is not JobStatus.QUEUED:
            logger.info("duplicate command ignored", status=job.status.value)
        elif end := self._find_end_before_sending(job):
            self._apply(job, end)
        elif (pause := self._find_pause(job.tenant)) is not None:
            self._wait_for_resume(job, pause)
        else:
            self._submit_when_possible(self._assign_account(job))

    def _assign_account(self, job: Job) -> Job:
        """Return the job with the account in which its next attempt runs.

        A new attempt stays in the account of the earlier ones, one of which may have a prediction there.
        """
        if any(past.outcome is not AttemptOutcome.NOT_SENT for past in job.past_attempts):
            return job
        return replace(job, replicate_account=self._find_account(job.tenant).name)

    def _find_end_before_sending(self, job: Job) -> EndedByProxy | None:
        """Return the change that ends a job that must not be sent any more, else None."""
        now = self._clock.now()
        is_canceled = job.cancel_requested_at is not None
        if not is_canceled and job.batch_id is not None and job.batch_line is not None:
            is_canceled = self._is_batch_canceled(job.tenant, job.batch_id)
        if is_canceled:
            return EndedByProxy.decide(job, JobStatus.CANCELED, EndReason.CANCEL_REQUESTED)
        if job.deadline is not None and job.deadline <= now:
            return EndedByProxy.decide(
                job,
                JobStatus.CANCELED,
                EndReason.DEADLINE_PASSED,
                "The deadline (Cancel-After) passed before the prediction was started",
            )
        if (now - job.created_at).total_seconds() > self._timeouts.max_queued_seconds:
            return EndedByProxy.decide(
                job,
                JobStatus.FAILED,
                EndReason.EXPIRED,
                "Replicate did not accept the request within the time a job may wait",
            )
        return None

    def _wait_for_resume(self, job: Job, pause: Pause) -> None:
        """Postpone a job of a paused tenant, which takes no slot from others meanwhile."""
        logger.info("create postponed", reason="predictions are paused")
        postponed = self._postpone(job, _PAUSE_DELAY_SECONDS, WaitReason.OPERATOR_PAUSE, pause.reason)
        if postponed is not None:
            self._concurrency.step_aside(job, postponed)

    def _submit_when_possible(self, job: Job) -> None:
        """Send the job, unless a limit, the circuit breaker or the rate limit makes it wait."""
        limits = self._concurrency.acquire(job)
        if limits is None:
            if is_fallback_due(job, self._clock.now()):
                self._start_fallback(job, QueueTimeExceeded(attempt=job.attempt))
            return
        client = self._get_client(job.account)
        delay = client.acquire_create_slot() if job.batch_line is None else client.acquire_batch_slot()
        if delay is None:
            self._submit(job, limits)
            return
        postponed = self._postpone(job, delay.seconds, delay.reason)
        if limits:
            self._concurrency.give_back(limits, postponed or self._updater.get(job.tenant, job.id))

    def _postpone(self, job: Job, delay_seconds: float, reason: WaitReason, detail: str = "") -> Job | None:
        """Requeue the job until a create may be sent; return its record, or None if it has moved on.

        The next check moves as well, so that the sweep does not add another message for the waiting job.
        """
        until = self._clock.now() + timedelta(seconds=delay_seconds)
        change = CheckScheduled(
            expected_status=job.status,
            next_check_at=until + timedelta(seconds=self._timeouts.queued_seconds),
            increments_backoff=False,
            waiting=Waiting(reason=reason, until=until, detail=detail),
        )
        postponed = self._apply(job, change)
        if postponed is not None:
            self._checkpoint("dispatch.check_postponed")
            self._requeue_delayed(job, delay_seconds)
        return postponed

    def _submit(self, job: Job, limits: tuple[str, ...]) -> None:
        """Claim the job, send the create request and record its outcome."""
        lease_until = self._clock.now() + timedelta(seconds=self._lease_seconds)
        body = self._build_body(job)
        claim = Claimed(
            attempt=job.attempt,
            lease_until=lease_until,
            limits=limits,
            revision=job.revision,
            replicate_account=job.replicate_account,
        )
        self._checkpoint("dispatch.before_claim")
        claimed = self._apply(job, claim)
        if claimed is None:
            if limits:
                self._resume_late_claim(job, limits)
            return
        self._checkpoint("dispatch.job_claimed")
        try:
            prediction = self._get_client(claimed.account).create(
                claimed.submission,
                body,
                cancel_after_seconds=_calculate_seconds_left(claimed, self._clock.now()),
            )
        except (NotAcceptedError, ConfigurationError) as error:
            self._release(claimed, error)
        except RejectedError as error:
            count(Metric.DISPATCH_REJECTED)
            saved = self._apply(claimed, build_rejected_change(claimed, error))
            self._checkpoint("dispatch.failure_stored")
            self._known_models.record_rejected(claimed.submission, error, claimed.account)
            if saved is not None and saved.status is JobStatus.QUEUED:
                self._requeue_delayed(saved, 0)
        except ProxyError as error:
            # Any other failure leaves open whether Replicate accepted the request.
            count(Metric.DISPATCH_UNKNOWN)
            logger.warning("create outcome unknown", reason=type(error).__name__)
            self._apply(claimed, OutcomeUnknown(attempt=claimed.attempt))
            self._checkpoint("dispatch.failure_stored")
        else:
            self._record_acceptance(claimed, prediction)

    def _resume_late_claim(self, job: Job, limits: tuple[str, ...]) -> None:
        """Try again with the present record of a job that has changed since its slots were acquired."""
        current = self._updater.get(job.tenant, job.id)
        if current.status is JobStatus.QUEUED:
            self._requeue_delayed(current, MIN_DELAY_SECONDS)
        else:
            self._concurrency.give_back(limits, current)

    def _build_body(self, job: Job) -> dict[str, Any]:
        body: dict[str, Any] = {"input": load_sent_input(job, self._documents)}
        if job.submission.kind is SubmissionKind.VERSION:
            body["version"] = job.submission.version
        if self._timeouts.webhooks_enabled:
            attempt = AttemptReference(
                job.tenant, job.id, job.attempt, job.correlation_id, job.replicate_account
            )
            body["webhook"] = self._urls.build_url(attempt)
            body["webhook_events_filter"] = self._choose_webhook_events(job)
        return body

    def _choose_webhook_events(self, job: Job) -> list[str]:
        """Return the events to subscribe to; logs only if the caller's webhook subscribes to them."""
        start = ["start"] if self._is_start_wanted(job) else []
        logs = ["logs"] if "logs" in (job.webhook_events or ()) else []
        return [*start, *logs, "completed"]

    def _record_acceptance(self, job: Job, prediction: UpstreamPrediction) -> None:
        """Record the prediction; cancel it if the job is to be canceled or has another prediction."""
        self._checkpoint("dispatch.prediction_created")
        tracer.annotate(replicate_id=prediction.id)
        self._updater.claim_prediction(job, prediction.id)
        self._checkpoint("dispatch.prediction_claimed")
        count(Metric.DISPATCH_SUBMITTED)
        record_seconds(Metric.QUEUE_SECONDS, (self._clock.now() - job.created_at).total_seconds())
        stream, stream_url = self._build_stream_url(job, prediction)
        accepted = build_accepted_change(job, prediction, stream_url=stream_url)
        # If a webhook was faster, the change is stale and the job knows its prediction already.
        saved = self._apply(job, accepted) or self._record_stream(job, prediction, stream_url)
        self._checkpoint("dispatch.acceptance_stored")
        self._known_models.record_accepted(job.submission, prediction, job.account)
        if stream is not None:
            self._known_models.record_stream(job.submission, stream, job.account)
        if self._schemas is not None:
            self._schemas.request(job)
        if saved.replicate_id != prediction.id:
            logger.warning("job has another prediction, canceling this one", replicate_id=prediction.id)
            self._canceler.cancel_surplus(saved, prediction.id)
        elif saved.cancel_requested_at is not None:
            self._canceler.cancel(saved)

    def _record_stream(self, job: Job, prediction: UpstreamPrediction, stream_url: str | None) -> Job:
        """Return the current record, with the stream of a prediction whose webhook was faster."""
        current = self._updater.get(job.tenant, job.id)
        if stream_url is None or current.replicate_id != prediction.id or current.is_terminal:
            return current
        opened = StreamOpened(attempt=job.attempt, replicate_id=prediction.id, stream_url=stream_url)
        return self._apply(current, opened) or self._updater.get(job.tenant, job.id)

    def _build_stream_url(
        self, job: Job, prediction: UpstreamPrediction
    ) -> tuple[KnownStream | None, str | None]:
        """Return what the model streams, and our URL of the prediction's stream."""
        if self._streams is None:
            return None, None
        replicate_url = prediction.urls.get("stream")
        if replicate_url and (host := self._streams.find_unknown_host(replicate_url)) is not None:
            logger.warning("stream not relayed", host=host)
        return self._streams.build(job, replicate_url)

    def _release(self, job: Job, error: NotAcceptedError | ConfigurationError) -> None:
        """Put a job whose create request was not accepted back into the queue."""
        delay_seconds = calculate_retry_delay(job, error)
        logger.warning(
            "create not accepted",
            reason=type(error).__name__,
            delay_seconds=delay_seconds,
            replicate_account=job.replicate_account or None,
        )
        retry_at = self._clock.now() + timedelta(seconds=delay_seconds)
        saved = self._apply(job, build_released_change(job, error, retry_at))
        if saved is not None and not saved.is_terminal:
            self._checkpoint("dispatch.job_released")
            self._requeue_delayed(saved, delay_seconds)

    def _requeue_delayed(self, job: Job, delay_seconds: float) -> None:
        count(Metric.DISPATCH_REQUEUED)
        record_seconds(Metric.QUEUE_AGE_SECONDS, (self._clock.now() - job.created_at).total_seconds())
        command = DispatchCommand.for_job(DispatchKind.SUBMIT, job)
        try:
            self._queue.send(command, delay_seconds=min(delay_seconds, MAX_MESSAGE_DELAY_SECONDS))
        except RetryableError as error:
            logger.warning("message not requeued, left to the sweep", reason=str(error))
        self._checkpoint("dispatch.job_requeued")

    def _start_fallback(self, job: Job, change: Change) -> None:
        """Apply the change after which the next fallback runs, unless the job is to be canceled."""
        saved = self._apply(job, change)
        self._checkpoint("dispatch.failure_stored")
        if saved is not None and saved.status is JobStatus.QUEUED:
            self._requeue_delayed(saved, 0)

    def _apply(self, job: Job, change: Change) -> Job | None:
        """Return the changed job, or None if another change was faster."""
        try:
            return self._updater.apply(job, change)
        except StaleChangeError as error:
            count(Metric.STALE_CHANGE_IGNORED)
            logger.info("stale change ignored", reason=str(error))
            return None


def _calculate_seconds_left(job: Job, now: datetime) -> int | None:
    return None if job.deadline is None else int((job.deadline - now).total_seconds())
