"""What the sweep does with an overdue job, by status. Each look sends, settles or ends something, and sets
when to look next; the word it gives back is for the log and the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.contracts.events import Event, EventSource, PredictionReport, event_name_of
from replicate_proxy.errors import PermanentError, ProxyError, RetryableError
from replicate_proxy.jobs.changes import CheckScheduled, EndedByProxy, OutcomeUnknown
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.jobs.state_machine import StaleChangeError
from replicate_proxy.jobs.timeouts import RESULT_LIFETIME, JobTimeouts
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.replicate_api.errors import RejectedError
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamStatus
from replicate_proxy.services.harvest import finish_with_source_urls, source_expired
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import Clock, CommandQueue, DocumentStore, EventBus
    from replicate_proxy.services.claim_check import ClaimCheck
    from replicate_proxy.services.resolve_submission import SubmissionResolver


_NOT_FOUND = 404
_FEW_DOUBLINGS = 4
_DOUBLINGS = 6
_HOUR_PAST = (
    "Replicate deletes a prediction's data one hour after it ends, and no news of this one came before that"
)


class Reader(Protocol):
    """Reading one prediction from Replicate."""

    def get(self, prediction_id: str) -> UpstreamPrediction: ...


type ResumeHarvest = Callable[[Job], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """The looks of a sweep, over the same ports the pipeline's own services use."""

    updater: JobUpdater
    documents: DocumentStore
    queue: CommandQueue
    bus: EventBus
    claim_check: ClaimCheck
    reader: Reader
    resolver: SubmissionResolver
    resume_harvest: ResumeHarvest
    clock: Clock
    timeouts: JobTimeouts
    checkpoint: Checkpoint = no_checkpoint

    def handlers_by_status(self) -> Mapping[JobStatus, Callable[[Job], str]]:
        looks: Mapping[JobStatus, Callable[[Job], str]] = {
            JobStatus.QUEUED: self.queued,
            JobStatus.SUBMITTING: self.submitting,
            JobStatus.SUBMIT_UNKNOWN: self.submit_unknown,
            JobStatus.SUBMITTED: self.running,
            JobStatus.PROCESSING: self.running,
            JobStatus.HARVESTING: self.harvesting,
        }
        return {status: partial(self._with_backoff, look) for status, look in looks.items()}

    def _with_backoff(self, look: Callable[[Job], str], job: Job) -> str:
        """A look that fails comes again, ever later: sick jobs must not stand first in line at every pass.

        Minutes later, not half an hour: fruitless looks count too, and many may come before one that fails.
        """
        try:
            return look(job)
        except StaleChangeError:
            raise
        except Exception:
            self._postpone(job)
            raise

    def _postpone(self, job: Job) -> None:
        try:
            wait = self.timeouts.unknown_outcome_seconds * 2 ** min(job.checks, _FEW_DOUBLINGS)
            self._next(self.updater.get(job.tenant, job.id), wait)
        except ProxyError as error:
            logger.info("not postponed", job_id=job.id, reason=type(error).__name__)

    def queued(self, job: Job) -> str:
        """Queued for too long: its message may be lost, so send another; the dispatcher ends what is past its
        time.
        """
        self._next(job, self.timeouts.queued_seconds * 2 ** min(job.checks, _DOUBLINGS))
        self.queue.send(DispatchCommand(DispatchKind.SUBMIT, job.tenant, job.id, job.correlation_id))
        self.checkpoint("sweep.done")
        return "queued_again"

    def submitting(self, job: Job) -> str:
        """The lease ran out: the dispatcher died somewhere between its claim and its record."""
        if job.lease_until is not None and job.lease_until > self.clock.now():
            self._next(job, (job.lease_until - self.clock.now()).total_seconds() + 1)
            return "lease_running"
        job = self.updater.apply(job, OutcomeUnknown(attempt=job.attempt))
        self.checkpoint("sweep.unknown")
        return self.submit_unknown(job)

    def submit_unknown(self, job: Job) -> str:
        return self.resolver.resolve(job)

    def running(self, job: Job) -> str:
        """No webhook for too long: ask Replicate, and publish what the webhook would have said."""
        if job.replicate_id is None:
            raise PermanentError("a running job without a prediction")
        if job.cancel_requested_at is not None:
            command = DispatchCommand(DispatchKind.CANCEL, job.tenant, job.id, job.correlation_id)
            self.queue.send(command)
        try:
            prediction = self.reader.get(job.replicate_id)
        except RejectedError as error:
            if error.status != _NOT_FOUND:
                raise RetryableError(str(error)) from error
            return self._lost(job, "Replicate no longer knows this prediction")
        if prediction.status is UpstreamStatus.SUCCEEDED and prediction.data_removed:
            return self._lost(job, "Replicate has deleted the output of this prediction")
        self._next(job, self._until_next_look(job, prediction))
        if prediction.status.is_terminal or job.status is JobStatus.SUBMITTED:
            self._publish(job, prediction)
            return f"polled_{prediction.status.value}"
        return "still_running"

    def harvesting(self, job: Job) -> str:
        """The harvester died or its message is lost: the output URLs are on the record, so harvest again.
        Once the files are gone, the job ends with what is stored.
        """
        if source_expired(job, self.clock.now()):
            finish_with_source_urls(job, self.updater, self.documents)
            return "harvest_fell_back"
        self._next(job, self.timeouts.harvest_seconds)
        self.resume_harvest(job)
        self.checkpoint("sweep.done")
        return "harvest_resumed"

    def _until_next_look(self, job: Job, prediction: UpstreamPrediction) -> float:
        if prediction.status.is_terminal:
            # The event may be lost on the bus; Replicate keeps the output for an hour only.
            return self.timeouts.unknown_outcome_seconds * 2.0 ** min(job.checks, _FEW_DOUBLINGS)
        if job.cancel_requested_at is not None:
            return self.timeouts.cancel_seconds * 2.0 ** min(job.checks, _DOUBLINGS)
        now = self.clock.now()
        return (self.timeouts.next_check_at(now, job.checks + 1) - now).total_seconds()

    def _publish(self, job: Job, prediction: UpstreamPrediction) -> None:
        now = self.clock.now()
        report = PredictionReport(
            tenant=job.tenant,
            job_id=job.id,
            attempt=job.attempt,
            status=prediction.status.value,
            via="poll",
            received_at=now,
            correlation_id=job.correlation_id,
            prediction=prediction.raw,
        )
        report = self.claim_check.offload(report, _weight(prediction))
        name = event_name_of(prediction.status.value, first_seen=True)
        event = Event.new(
            name, EventSource.UPSTREAM, correlation_id=job.correlation_id, now=now, data=report.to_data()
        )
        self.bus.publish([event])
        self.checkpoint("sweep.done")

    def _lost(self, job: Job, reason: str) -> str:
        count(Metric.OUTPUT_LOST)
        late = self.clock.now() - (job.completed_at or job.started_at or job.created_at) > RESULT_LIFETIME
        error = f"The output is lost: {reason}.{f' {_HOUR_PAST}.' if late else ''}"
        self.updater.apply(job, EndedByProxy(JobStatus.FAILED, error))
        return "lost"

    def _next(self, job: Job, seconds: float) -> None:
        next_look = self.clock.now() + timedelta(seconds=max(seconds, 1.0))
        self.updater.apply(job, CheckScheduled(expected_status=job.status, next_check_at=next_look))
        self.checkpoint("sweep.postponed")


def _weight(prediction: UpstreamPrediction) -> int:
    """The size of the prediction's JSON, roughly: what is long in it is input, output and logs."""
    return len(str(prediction.raw).encode("utf-8", "surrogatepass"))
