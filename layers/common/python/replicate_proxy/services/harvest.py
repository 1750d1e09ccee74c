"""The end of a harvest that cannot succeed any more: what is stored stays, the rest keeps its old URLs.

Finishing a succeeded prediction: every output file into our bucket, then the final output, then
`succeeded`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.contracts.events import Event, EventName, EventSource, PredictionReport
from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.jobs.changes import CheckScheduled, Harvested, HarvestLeaseAcquired
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.jobs.state_machine import StaleChangeError
from replicate_proxy.jobs.timeouts import RESULT_LIFETIME
from replicate_proxy.observability import Metric, count, logger, measure
from replicate_proxy.outputs.records import FileRecord, HarvestResult
from replicate_proxy.outputs.references import replace_files
from replicate_proxy.replicate_api.models import UpstreamPrediction
from replicate_proxy.services.reports import build_report_change
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import Clock, DocumentStore
    from replicate_proxy.services.claim_check import ClaimCheck


# Some time for a round that began within the hour.
_GRACE = timedelta(minutes=10)


def is_hopeless(job: Job, now: datetime) -> bool:
    """Whether Replicate has deleted the files by now, so that another round can bring no more of them."""
    return now - (job.completed_at or job.created_at) > RESULT_LIFETIME + _GRACE


def degraded(job: Job, documents: DocumentStore) -> Harvested:
    """The job succeeds with an output of which some or all files are where the model put them."""
    count(Metric.FILE_NOT_OPTIMIZED)
    logger.error("harvest given up, output left where it was", job_id=job.id, attempt=job.attempt)
    try:
        output = documents.load(job.source_output)
    except NotFoundError:
        count(Metric.OUTPUT_LOST)
        return Harvested(documents.keep(job.tenant, job.id, "output", None), job.files)
    records = [FileRecord.from_json(record) for record in documents.load(job.files) or ()]
    stored = {record.path: record.url for record in records if record.outcome != "left"}
    final = replace_files(output, stored)
    return Harvested(documents.keep(job.tenant, job.id, "output", final), job.files)


# A file that could not be fetched is tried again after these seconds; then the job ends with Replicate's own
# URL.
_RETRY_PAUSES = (5.0, 20.0, 60.0)
# How long after its time a message for a further round is taken for lost.
_MESSAGE_SECONDS = 120


class Outputs(Protocol):
    """The harvest library: all files of one output."""

    def harvest(
        self,
        *,
        tenant: str,
        job_id: str,
        output: object,
        options: ImageOptions,
        deadline: datetime,
        already: tuple[FileRecord, ...],
    ) -> HarvestResult: ...


class HarvestMessages(Protocol):
    """The harvest queue, for going on with a job in a further invocation."""

    def send(self, event: Event, *, tenant: str, delay_seconds: float = 0) -> None: ...


def again_event(job: Job, now: datetime) -> Event:
    """The same event the bus delivers, without the prediction: what is needed lies on the job."""
    report = PredictionReport(
        tenant=job.tenant,
        job_id=job.id,
        attempt=job.attempt,
        status="succeeded",
        via="again",
        received_at=now,
        correlation_id=job.correlation_id,
    )
    return Event.new(
        EventName.PREDICTION_COMPLETED,
        EventSource.UPSTREAM,
        correlation_id=job.correlation_id,
        now=now,
        data=report.to_data(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """One message is one round. A lease on the job keeps a second delivery of the message out while a round
    runs.
    """

    updater: JobUpdater
    documents: DocumentStore
    claim_check: ClaimCheck
    outputs: Outputs
    messages: HarvestMessages
    clock: Clock
    defaults: Callable[[str], ImageOptions]
    checkpoint: Checkpoint = no_checkpoint

    def harvest(self, report: PredictionReport, deadline: datetime) -> Job:
        """The job after this round. Raises NotFoundError for a job that is gone, RetryableError to be tried
        again.
        """
        job = self._taken(report, deadline)
        if job is None:
            return self.updater.get(report.tenant, report.job_id)
        self.checkpoint("harvest.taken")
        try:
            return self._round(job, deadline)
        except StaleChangeError as dropped:
            # The lease ran out meanwhile, and somebody else brought the job to its end.
            count(Metric.STALE_CHANGE_IGNORED)
            logger.info("round dropped", reason=str(dropped))
            return self.updater.get(report.tenant, report.job_id)

    def _round(self, job: Job, deadline: datetime) -> Job:
        already = self._already(job)
        try:
            result = self.outputs.harvest(
                tenant=job.tenant,
                job_id=job.id,
                output=self.documents.load(job.source_output),
                options=self._options(job),
                deadline=deadline,
                already=already,
            )
        except NotFoundError:
            return self._given_up(job)
        except RetryableError as error:
            return self._again(job, None, _pause(job), reason=str(error))
        self.checkpoint("harvest.stored")
        if not result.complete:
            # A round that had time for no file must not be followed by the next at once, for ever.
            pause = 0 if len(result.files) > len(already) else _pause(job)
            return self._again(job, result, pause, reason="more files than one round takes")
        if result.retry_worthwhile and self._may_retry(job):
            return self._again(job, result, _pause(job), reason="some files could not be fetched yet")
        return self._finished(job, result)

    def _taken(self, report: PredictionReport, deadline: datetime) -> Job | None:
        """The job under our lease, or None where there is nothing to do for us."""
        job = self.updater.get(report.tenant, report.job_id)
        try:
            if job.status is JobStatus.HARVESTING:
                return self._taken_again(job, deadline)
            if report.prediction is None and report.prediction_ref is None:
                raise StaleChangeError(f"nothing to go on with in a job that is {job.status}")
            prediction = UpstreamPrediction.parse(self.claim_check.prediction_of(report))
            change = build_report_change(
                prediction,
                job,
                attempt=report.attempt,
                via=report.via,
                documents=self.documents,
                lease_until=deadline,
            )
            return self.updater.apply(job, change)
        except StaleChangeError as dropped:
            count(Metric.STALE_CHANGE_IGNORED)
            logger.info("report dropped", reason=str(dropped))
            return None

    def _taken_again(self, job: Job, deadline: datetime) -> Job:
        return self.updater.apply(job, HarvestLeaseAcquired(lease_until=deadline))

    def _again(self, job: Job, result: HarvestResult | None, pause: float, *, reason: str) -> Job:
        """Keeps what is stored so far and goes on later; the sweep goes on should this message be lost."""
        now = self.clock.now()
        if is_hopeless(job, now):
            return self._given_up(job)
        logger.info("harvest goes on later", reason=reason, seconds=pause)
        files = [record.to_json() for record in result.files] if result else None
        kept = self.documents.keep(job.tenant, job.id, "files", files) if files else None
        next_look = now + timedelta(seconds=pause + _MESSAGE_SECONDS)
        looked = CheckScheduled(
            expected_status=job.status, next_check_at=next_look, files=kept, increments_backoff=pause > 0
        )
        job = self.updater.apply(job, looked)
        self.checkpoint("harvest.again")
        self.messages.send(again_event(job, now), tenant=job.tenant, delay_seconds=pause)
        self.checkpoint("harvest.sent")
        return job

    def _given_up(self, job: Job) -> Job:
        job = self.updater.apply(job, degraded(job, self.documents))
        count(Metric.JOB_SUCCEEDED)
        return job

    def _finished(self, job: Job, result: HarvestResult) -> Job:
        files = [record.to_json() for record in result.files]
        change = Harvested(
            output=self.documents.keep(job.tenant, job.id, "output", result.output),
            files=self.documents.keep(job.tenant, job.id, "files", files) if files else None,
        )
        job = self.updater.apply(job, change)
        self.checkpoint("harvest.recorded")
        self._count(job, result)
        return job

    def _may_retry(self, job: Job) -> bool:
        ended = job.completed_at or self.clock.now()
        return job.checks < len(_RETRY_PAUSES) and self.clock.now() - ended < RESULT_LIFETIME

    def _already(self, job: Job) -> tuple[FileRecord, ...]:
        """What earlier rounds stored; a file they had to leave gets another try."""
        records = (FileRecord.from_json(record) for record in self.documents.load(job.files) or ())
        return tuple(record for record in records if not record.retry)

    def _options(self, job: Job) -> ImageOptions:
        wanted = job.image_options
        return ImageOptions.from_texts(
            format=wanted.get("format"), quality=wanted.get("quality"), base=self.defaults(job.tenant)
        )

    def _count(self, job: Job, result: HarvestResult) -> None:
        count(Metric.JOB_SUCCEEDED)
        now = self.clock.now()
        measure(Metric.JOB_SECONDS, (now - job.created_at).total_seconds())
        measure(Metric.HARVEST_SECONDS, (now - (job.completed_at or now)).total_seconds())
        for record in result.files:
            count(
                Metric.FILE_NOT_OPTIMIZED if record.outcome in {"left", "unreadable"} else Metric.FILE_STORED
            )
            if record.outcome == "compressed":
                count(Metric.IMAGE_BYTES_BEFORE, record.bytes_before)
                count(Metric.IMAGE_BYTES_AFTER, record.bytes_after)
        logger.info("harvested", files=len(result.files))


def _pause(job: Job) -> float:
    return _RETRY_PAUSES[min(job.checks, len(_RETRY_PAUSES) - 1)]
