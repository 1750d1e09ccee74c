"""Apply reports about predictions that run, failed or were canceled. Harvest handles succeeded ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.jobs.changes import StaleChangeError
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.observability import Metric, count, logger, tracer
from replicate_proxy.services.report_change import build_report_change
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from replicate_proxy.contracts.events import PredictionReport
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import CommandQueue, DocumentStore


class Tracker:
    """Applies reports to their jobs. Late and repeated reports are logged and ignored."""

    def __init__(
        self,
        *,
        updater: JobUpdater,
        documents: DocumentStore,
        queue: CommandQueue,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._updater = updater
        self._documents = documents
        self._queue = queue
        self._checkpoint = checkpoint

    def track_report(self, report: PredictionReport) -> Job:
        """Apply a loaded report, send the commands that follow from it, and return the job.

        Raises NotFoundError if the job does not exist, RetryableError if the message is to be received again.
        """
        job = self._updater.get(report.tenant, report.job_id)
        try:
            change = build_report_change(report, job, self._documents)
            tracer.annotate(replicate_id=change.replicate_id)
            self._checkpoint("track.before_change")
            job = self._updater.apply(job, change)
        except StaleChangeError as error:
            count(Metric.STALE_CHANGE_IGNORED)
            logger.info("stale report ignored", status=report.status, reason=str(error))
            job = self._updater.get(report.tenant, report.job_id)
        else:
            self._checkpoint("track.change_stored")
            self._send_pending_cancel(job)
        self._send_retry(job)
        self._checkpoint("track.commands_sent")
        return job

    def _send_pending_cancel(self, job: Job) -> None:
        """Cancel a prediction that became known after the caller requested the cancel."""
        if job.cancel_requested_at is not None and not job.is_terminal:
            self._queue.send(DispatchCommand.for_job(DispatchKind.CANCEL, job))

    def _send_retry(self, job: Job) -> None:
        """Enqueue a job whose status is queued again, for a new attempt.

        This includes stale reports: the message may be received again after a crash before the send. A second
        message for the job does no harm, because the dispatcher finds the job claimed.
        """
        if job.status is JobStatus.QUEUED and job.past_attempts:
            count(Metric.JOB_RETRIED)
            self._queue.send(DispatchCommand.for_job(DispatchKind.SUBMIT, job))
