"""News about running predictions, and ends without output: started, logs, failed, canceled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.jobs.state_machine import StaleChangeError
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.replicate_api.models import UpstreamPrediction
from replicate_proxy.services.reports import build_report_change
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from replicate_proxy.contracts.events import PredictionReport
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import CommandQueue, DocumentStore
    from replicate_proxy.services.claim_check import ClaimCheck


_COUNTED = {JobStatus.FAILED: Metric.JOB_FAILED, JobStatus.CANCELED: Metric.JOB_CANCELED}


class Track:
    """Applies a report to its job. Late, repeated and foreign reports are logged and dropped."""

    def __init__(
        self,
        *,
        updater: JobUpdater,
        documents: DocumentStore,
        claim_check: ClaimCheck,
        queue: CommandQueue,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._updater = updater
        self._documents = documents
        self._claim_check = claim_check
        self._queue = queue
        self._checkpoint = checkpoint

    def track(self, report: PredictionReport) -> Job:
        """The job after the report. Raises NotFoundError for a job that is gone, RetryableError to be tried
        again.
        """
        job = self._updater.get(report.tenant, report.job_id)
        prediction = UpstreamPrediction.parse(self._claim_check.prediction_of(report))
        try:
            change = build_report_change(
                prediction, job, attempt=report.attempt, via=report.via, documents=self._documents
            )
            self._checkpoint("track.before_change")
            job = self._updater.apply(job, change)
            self._checkpoint("track.changed")
            logger.info("report applied", status=report.status, via=report.via, job_status=job.status.value)
        except StaleChangeError as dropped:
            count(Metric.STALE_CHANGE_IGNORED)
            logger.info("report dropped", status=report.status, reason=str(dropped))
            return self._requeued(self._updater.get(report.tenant, report.job_id))
        if metric := _COUNTED.get(job.status):
            count(metric)
        if job.cancel_requested_at is not None and not job.is_terminal:
            # The wish was there before there was a prediction to cancel.
            self._queue.send(DispatchCommand(DispatchKind.CANCEL, job.tenant, job.id, job.correlation_id))
        job = self._requeued(job)
        self._checkpoint("track.told")
        return job

    def _requeued(self, job: Job) -> Job:
        """A job set back to the queue for a fresh attempt needs its message; a second one would find it
        claimed.
        """
        if job.status is JobStatus.QUEUED and job.past_attempts:
            count(Metric.JOB_RETRIED)
            self._queue.send(DispatchCommand(DispatchKind.SUBMIT, job.tenant, job.id, job.correlation_id))
        return job
