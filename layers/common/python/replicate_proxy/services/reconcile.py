"""The checks of overdue jobs, by status: each schedules the next one, then repeats the step that stalled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ConfigurationError, PermanentError, ProxyError, RetryableError
from replicate_proxy.jobs.changes import (
    CheckScheduled,
    EndedByProxy,
    OutcomeUnknown,
    QueueTimeExceeded,
    StaleChangeError,
)
from replicate_proxy.jobs.model import EndReason, Job, JobStatus
from replicate_proxy.jobs.timeouts import MAX_CHECK_INTERVAL, REPLICATE_RETENTION, JobTimeouts
from replicate_proxy.jobs.transitions import is_fallback_due
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.replicate_api.errors import RejectedError, TokenRejectedError
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamStatus
from replicate_proxy.services.check_outcome import CheckOutcome
from replicate_proxy.services.harvest import finish_with_source_urls, source_expired
from replicate_proxy.services.report_change import build_end_change
from replicate_proxy.services.reports import build_poll_report
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.jobs.model import Account
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import Clock, CommandQueue, DocumentStore
    from replicate_proxy.services.reports import ReportPublisher
    from replicate_proxy.services.resolve_submission import SubmissionResolver
    from replicate_proxy.services.sweep import CheckHandler


_NOT_FOUND = 404
# Bounds of the exponent of a backoff: 16 and 64 times the first interval.
_SHORT_BACKOFF_STEPS = 4
_LONG_BACKOFF_STEPS = 6
_MIN_CHECK_INTERVAL_SECONDS = 1.0
_MAX_STATUS_CHARACTERS = 40
_REPORTED_TOO_LATE = (
    "Replicate deletes a prediction's data one hour after it ends, and no report of it arrived before"
)

_ACCOUNT_LOST = (
    "The output is lost: for a day, the token of the Replicate account that ran this prediction was rejected "
    "or missing"
)


class PredictionFetcher(Protocol):
    """Reads one prediction from Replicate."""

    def get(self, prediction_id: str) -> UpstreamPrediction: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Puts overdue jobs back into the pipeline, through the ports that the pipeline's services use."""

    updater: JobUpdater
    documents: DocumentStore
    queue: CommandQueue
    reports: ReportPublisher
    get_reader: Callable[[Account], PredictionFetcher]
    resolver: SubmissionResolver
    resume_harvest: Callable[[Job], None]
    clock: Clock
    timeouts: JobTimeouts
    checkpoint: Checkpoint = no_checkpoint

    def build_handlers(self) -> Mapping[JobStatus, CheckHandler]:
        """Return the check for each active status."""
        handlers: Mapping[JobStatus, CheckHandler] = {
            JobStatus.QUEUED: self._check_queued,
            JobStatus.SUBMITTING: self._check_submitting,
            JobStatus.SUBMIT_UNKNOWN: self.resolver.resolve,
            JobStatus.SUBMITTED: self._check_running,
            JobStatus.PROCESSING: self._check_running,
            JobStatus.HARVESTING: self._check_harvesting,
        }
        return {status: partial(self._with_backoff, handler) for status, handler in handlers.items()}

    def _with_backoff(self, handler: CheckHandler, job: Job) -> CheckOutcome:
        """Run the check; if it fails, back off the job, so that failing jobs do not starve others."""
        try:
            return handler(job)
        except StaleChangeError:
            raise
        except (ConfigurationError, TokenRejectedError):
            if self._is_account_lost(job):
                return self._end_without_account(job)
            self._postpone_failed_check(job)
            raise
        except Exception:
            self._postpone_failed_check(job)
            raise

    def _is_account_lost(self, job: Job) -> bool:
        """Return whether a tenant's account, whose token is rejected or deleted, had a day to return."""
        if job.account.is_shared or job.status is JobStatus.HARVESTING:
            return False
        sent_at = job.create_sent_at or job.created_at
        return (self.clock.now() - sent_at).total_seconds() > self.timeouts.max_queued_seconds

    def _end_without_account(self, job: Job) -> CheckOutcome:
        """Fail the job. It is not sent again: its prediction may have run, and cost, in the account."""
        logger.error("account of the job is lost, job failed", job_id=job.id, attempt=job.attempt)
        current = self.updater.get(job.tenant, job.id)
        end = EndedByProxy.decide(current, JobStatus.FAILED, EndReason.ACCOUNT_LOST, _ACCOUNT_LOST)
        self.updater.apply(current, end)
        return CheckOutcome.ACCOUNT_LOST

    def _postpone_failed_check(self, job: Job) -> None:
        """Schedule the next check some minutes later."""
        try:
            # For the status that was checked: whoever has changed it has scheduled the next check.
            self._schedule_next_check(job, self._calculate_short_interval(job))
        except ProxyError as error:
            logger.info("failed check not postponed", job_id=job.id, reason=type(error).__name__)

    def _check_queued(self, job: Job) -> CheckOutcome:
        """Send another message for the job, as the first may be lost. The dispatcher ends expired jobs."""
        seconds = self.timeouts.queued_seconds * 2 ** min(job.checks, _LONG_BACKOFF_STEPS)
        self._schedule_next_check(job, seconds)
        self.queue.send(DispatchCommand.for_job(DispatchKind.SUBMIT, job))
        self.checkpoint("sweep.message_sent")
        return CheckOutcome.SUBMIT_REQUEUED

    def _check_submitting(self, job: Job) -> CheckOutcome:
        """Treat an expired lease as an unknown outcome: the dispatcher crashed before it recorded one."""
        now = self.clock.now()
        if job.lease_until is not None and job.lease_until > now:
            self._schedule_next_check(job, (job.lease_until - now).total_seconds() + 1)
            return CheckOutcome.LEASE_ACTIVE
        job = self.updater.apply(job, OutcomeUnknown(attempt=job.attempt))
        self.checkpoint("sweep.unknown_outcome_stored")
        return self.resolver.resolve(job)

    def _check_running(self, job: Job) -> CheckOutcome:
        """Read the prediction from Replicate, as no webhook came for too long, and publish a report of it."""
        if job.replicate_id is None:
            raise PermanentError("a running job has no replicate_id")
        if job.cancel_requested_at is not None:
            self.queue.send(DispatchCommand.for_job(DispatchKind.CANCEL, job))
        try:
            prediction = self.get_reader(job.account).get(job.replicate_id)
        except RejectedError as error:
            if error.status != _NOT_FOUND:
                raise RetryableError(str(error)) from error
            return self._fail_lost_output(job, "Replicate no longer knows this prediction")
        if prediction.status is UpstreamStatus.SUCCEEDED and prediction.data_removed:
            return self._fail_lost_output(
                job, "Replicate has deleted the output of this prediction", prediction
            )
        if prediction.status is UpstreamStatus.UNKNOWN:
            return self._check_unknown_status(job, prediction)
        if prediction.status is UpstreamStatus.STARTING and is_fallback_due(job, self.clock.now()):
            return self._abandon(job)
        self._schedule_next_check(job, self._calculate_running_interval(job, prediction))
        if prediction.status.is_terminal or job.status is JobStatus.SUBMITTED:
            self._publish_report(job, prediction)
            return CheckOutcome.REPORT_PUBLISHED
        return CheckOutcome.STILL_RUNNING

    def _abandon(self, job: Job) -> CheckOutcome:
        """Have a prediction canceled that has waited at Replicate for too long; its end starts the fallback.

        The command is sent again until Replicate says that the prediction has ended, or runs.
        """
        if job.abandoned_at is None:
            self.updater.apply(job, QueueTimeExceeded(attempt=job.attempt))
            self.checkpoint("sweep.next_check_stored")
        else:
            self._schedule_next_check(job, self._calculate_cancel_interval(job))
        self.queue.send(DispatchCommand.for_job(DispatchKind.CANCEL, job))
        self.checkpoint("sweep.message_sent")
        return CheckOutcome.ABANDONED

    def _check_unknown_status(self, job: Job, prediction: UpstreamPrediction) -> CheckOutcome:
        """Leave the job to its next check, or fail it if its prediction has ended."""
        count(Metric.UNKNOWN_STATUS_IGNORED)
        if prediction.completed_at is None:
            self._schedule_next_check(job, self._calculate_running_interval(job, prediction))
            return CheckOutcome.STILL_RUNNING
        word = str(prediction.raw.get("status"))[:_MAX_STATUS_CHARACTERS]
        error = f"Replicate ended the prediction with a status that is not documented: {word}"
        self.updater.apply(job, EndedByProxy.decide(job, JobStatus.FAILED, EndReason.UNKNOWN_STATUS, error))
        return CheckOutcome.ENDED_WITH_UNKNOWN_STATUS

    def _check_harvesting(self, job: Job) -> CheckOutcome:
        """Harvest again, as the harvester crashed or its message is lost.

        Once Replicate has deleted the files, the job ends with what is stored.
        """
        if source_expired(job, self.clock.now()):
            finish_with_source_urls(job, self.updater, self.documents)
            return CheckOutcome.FINISHED_WITH_SOURCE_URLS
        self._schedule_next_check(job, self.timeouts.harvest_seconds)
        self.resume_harvest(job)
        self.checkpoint("sweep.message_sent")
        return CheckOutcome.HARVEST_RESUMED

    def _calculate_running_interval(self, job: Job, prediction: UpstreamPrediction) -> float:
        """Return the seconds until the next check of a job that runs on Replicate."""
        if prediction.status.is_terminal:
            # The report may be lost on the bus, and Replicate keeps the output for an hour only.
            return self._calculate_short_interval(job)
        if job.cancel_requested_at is not None:
            return self._calculate_cancel_interval(job)
        now = self.clock.now()
        next_check_at = self.timeouts.calculate_next_check(now, job.checks + 1)
        if job.fallback_due_at is not None and job.fallback_due_at > now:
            next_check_at = min(next_check_at, job.fallback_due_at)
        return (next_check_at - now).total_seconds()

    def _calculate_short_interval(self, job: Job) -> float:
        """Return up to 16 times the timeout of an unknown outcome, and no more than half an hour.

        `job.checks` counts checks without progress too. The short backoff keeps a single failure after many
        of those from postponing the job for long: Replicate keeps the result for an hour only.
        """
        seconds = self.timeouts.unknown_outcome_seconds * 2.0 ** min(job.checks, _SHORT_BACKOFF_STEPS)
        return min(seconds, MAX_CHECK_INTERVAL.total_seconds())

    def _calculate_cancel_interval(self, job: Job) -> float:
        return self.timeouts.cancel_seconds * 2.0 ** min(job.checks, _LONG_BACKOFF_STEPS)

    def _publish_report(self, job: Job, prediction: UpstreamPrediction) -> None:
        report = build_poll_report(job, prediction, self.clock.now())
        self.reports.publish(report)
        logger.info("polled report published", job_id=job.id, status=report.status)
        self.checkpoint("sweep.message_sent")

    def _fail_lost_output(
        self, job: Job, reason: str, prediction: UpstreamPrediction | None = None
    ) -> CheckOutcome:
        latest_known = job.completed_at or job.started_at or job.created_at
        is_late = self.clock.now() - latest_known > REPLICATE_RETENTION
        error = f"The output is lost: {reason}.{f' {_REPORTED_TOO_LATE}.' if is_late else ''}"
        end = EndedByProxy.decide(job, JobStatus.FAILED, EndReason.OUTPUT_LOST, error)
        if prediction is not None:
            end = build_end_change(end, job, prediction, self.clock.now())
        self.updater.apply(job, end)
        count(Metric.OUTPUT_LOST)
        return CheckOutcome.OUTPUT_LOST

    def _schedule_next_check(self, job: Job, seconds: float) -> None:
        next_check_at = self.clock.now() + timedelta(seconds=max(seconds, _MIN_CHECK_INTERVAL_SECONDS))
        scheduled = CheckScheduled(expected_status=job.status, next_check_at=next_check_at)
        self.updater.apply(job, scheduled)
        self.checkpoint("sweep.next_check_stored")
