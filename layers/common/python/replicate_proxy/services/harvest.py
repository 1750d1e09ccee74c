"""Harvest a succeeded prediction: store its output files, then finish the job with the final output.

One message of the harvest queue is one round: acquire the lease of the job, store its files, then finish the
job, schedule another round, or fall back. Another round is scheduled if files are left over or could not be
fetched yet; the job then has the records of the files stored so far. The fallback ends a harvest that cannot
succeed any more: the job succeeds with the files stored so far and Replicate's own URLs for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.clock import truncate_to_milliseconds
from replicate_proxy.contracts.events import Event, PredictionReport
from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.jobs.changes import (
    CheckScheduled,
    FilesAdded,
    Harvested,
    HarvestLeaseAcquired,
    HarvestRepeated,
    StaleChangeError,
)
from replicate_proxy.jobs.model import EndReason, Job, JobStatus, ReportChannel
from replicate_proxy.jobs.timeouts import REPLICATE_RETENTION
from replicate_proxy.observability import Metric, count, logger, record_seconds, tracer
from replicate_proxy.outputs.file_metrics import count_files
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from replicate_proxy.outputs.references import find_references, replace_references
from replicate_proxy.services.report_change import build_report_change
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from replicate_proxy.jobs.model import Document
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import Clock, DocumentStore


# Delays before the rounds that retry files that could not be fetched. After the last one the job finishes
# with the source URLs of those files.
_RETRY_DELAYS_SECONDS = (5.0, 20.0, 60.0)
# A continuation message that is this late counts as lost: the sweep then sends another.
_CONTINUATION_TIMEOUT_SECONDS = 120
# Replicate deletes the files an hour after the prediction ends, when a round may still be running.
_EXPIRY_MARGIN = timedelta(minutes=10)
_GIVEN_UP = "harvest_given_up"


class OutputHarvester(Protocol):
    """Stores the files of one output. Implemented by `outputs.harvester.ParallelOutputHarvester`."""

    def harvest(
        self,
        *,
        tenant: str,
        job_id: str,
        output: object,
        options: ImageOptions,
        deadline: datetime,
        earlier_records: tuple[FileRecord, ...],
        is_private: bool,
    ) -> HarvestResult: ...


class HarvestQueue(Protocol):
    """The harvest queue, for the continuation of a job in a later invocation."""

    def send(self, event: Event, *, tenant: str, delay_seconds: float = 0) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHarvester:
    """Runs one round for each message. The lease keeps a second delivery of the message from running too.

    `choose_private_folder` returns the folder of a job's files if they are to be private, or "". It is called
    in the first round and its result saved with the lease, so that all files of a job are of one kind. It
    raises RetryableError as long as that is not known.
    """

    updater: JobUpdater
    documents: DocumentStore
    output_harvester: OutputHarvester
    queue: HarvestQueue
    clock: Clock
    default_image_options: Callable[[str], ImageOptions]
    choose_private_folder: Callable[[str, str], str] = lambda _tenant, _job_id: ""
    checkpoint: Checkpoint = no_checkpoint

    def harvest_job(self, report: PredictionReport, deadline: datetime) -> Job:
        """Run one round and return the job after it.

        `report` is loaded (see `ReportLoader.load`); that of a continuation has no prediction. `deadline` is
        the end of the invocation, and of the lease. Raises NotFoundError for an unknown job, RetryableError
        if the message is to be received again.
        """
        deadline = truncate_to_milliseconds(deadline)
        if report.channel is ReportChannel.REPEATED_HARVEST:
            return self._repeat(report, deadline)
        job = self._acquire(report, deadline)
        if job is None:
            return self.updater.get(report.tenant, report.job_id)
        if job.replicate_id is not None:
            tracer.annotate(replicate_id=job.replicate_id)
        self.checkpoint("harvest.lease_acquired")
        try:
            return self._run_round(job, deadline)
        except StaleChangeError as error:
            # The lease ended during the round and another invocation changed the job.
            count(Metric.STALE_CHANGE_IGNORED)
            logger.info("harvest round ignored", reason=str(error))
            return self.updater.get(report.tenant, report.job_id)

    def _acquire(self, report: PredictionReport, deadline: datetime) -> Job | None:
        """Return the job under a lease, or None if there is nothing to do."""
        job = self.updater.get(report.tenant, report.job_id)
        try:
            if job.status is JobStatus.HARVESTING:
                return self._reacquire(job, deadline)
            if report.prediction is None:
                raise StaleChangeError(f"continuation of a job that is {job.status}")
            folder = self._find_private_folder(job)
            change = build_report_change(
                report, job, self.documents, lease_until=deadline, private_folder=folder
            )
            return self.updater.apply(job, change)
        except StaleChangeError as error:
            count(Metric.STALE_CHANGE_IGNORED)
            logger.info("report ignored", reason=str(error))
            return None

    def _reacquire(self, job: Job, deadline: datetime) -> Job:
        folder = self._find_private_folder(job)
        change = HarvestLeaseAcquired(lease_until=deadline, private_folder=folder)
        return self.updater.apply(job, change)

    def _find_private_folder(self, job: Job) -> str:
        """Return the folder of the job's private files, or "", as decided by the first round."""
        if job.private_folder is not None:
            return job.private_folder
        return self.choose_private_folder(job.tenant, job.id)

    def _run_round(self, job: Job, deadline: datetime) -> Job:
        earlier_records = load_file_records(job, self.documents)
        try:
            result = self._harvest_files(job, deadline, earlier_records)
        except NotFoundError:
            return finish_with_source_urls(job, self.updater, self.documents)
        except RetryableError as error:
            return self._continue_later(job, None, _retry_delay_seconds(job), reason=str(error))
        self.checkpoint("harvest.files_stored")
        if not result.is_complete:
            # Back off if a round is done with no file, so that such rounds do not repeat at once.
            made_progress = _count_final(result.records) > _count_final(earlier_records)
            delay_seconds = 0 if made_progress else _retry_delay_seconds(job)
            return self._continue_later(job, result, delay_seconds, reason="files left for another round")
        if result.has_retryable_files and self._can_retry_files(job):
            delay_seconds = _retry_delay_seconds(job)
            return self._continue_later(job, result, delay_seconds, reason="some files could not be fetched")
        return self._finish(job, result)

    def _harvest_files(
        self, job: Job, deadline: datetime, earlier_records: tuple[FileRecord, ...]
    ) -> HarvestResult:
        return self.output_harvester.harvest(
            tenant=job.tenant,
            job_id=job.id,
            output=self.documents.load(job.replicate_output),
            options=self._build_image_options(job),
            deadline=deadline,
            earlier_records=earlier_records,
            is_private=bool(job.private_folder),
        )

    def _repeat(self, report: PredictionReport, deadline: datetime) -> Job:
        """Fetch the files again that a finished harvest has left, and add those that are stored now."""
        job = self.updater.get(report.tenant, report.job_id)
        known = load_file_records(job, self.documents)
        if all(record.is_stored for record in known) or source_expired(job, self.clock.now()):
            logger.info("harvest not repeated", files=len(known))
            return job
        try:
            job = self.updater.apply(job, HarvestRepeated(lease_until=deadline))
        except StaleChangeError as error:
            count(Metric.STALE_CHANGE_IGNORED)
            logger.info("harvest not repeated", reason=str(error))
            return job
        self.checkpoint("harvest.lease_acquired")
        # Another harvester may have stored files before this one had the lease.
        known = load_file_records(job, self.documents)
        result = self._harvest_files(job, deadline, tuple(record for record in known if record.is_stored))
        self.checkpoint("harvest.files_stored")
        return self._add_files(job, known, result)

    def _add_files(self, job: Job, known: Iterable[FileRecord], result: HarvestResult) -> Job:
        """Save the output with the files stored by now. Those that a round had no time for stay as known."""
        latest = {record.path: replace(record, retryable=False) for record in (*known, *result.records)}
        records = tuple(latest.values())
        change = FilesAdded(
            lease_until=job.lease_until,
            output=_save_output(job, result.output, self.documents),
            files=_save_records(job, records, self.documents),
            is_complete=all(record.is_stored for record in records),
        )
        stored_before = {record.path for record in known if record.is_stored}
        job = self.updater.apply(job, change)
        self.checkpoint("harvest.result_stored")
        added = [record for record in records if record.is_stored and record.path not in stored_before]
        count_files(added)
        logger.info("harvest repeated", files=len(records), added=len(added))
        return job

    def _build_image_options(self, job: Job) -> ImageOptions:
        """Return the tenant's image options, overridden by those of the request."""
        return ImageOptions.parse(
            format=job.image_options.get("format"),
            quality=job.image_options.get("quality"),
            accepts_avif=job.image_options.get("accepts_avif", False),
            defaults=self.default_image_options(job.tenant),
        )

    def _can_retry_files(self, job: Job) -> bool:
        now = self.clock.now()
        completed_at = job.completed_at or now
        return job.checks < len(_RETRY_DELAYS_SECONDS) and now - completed_at < REPLICATE_RETENTION

    def _finish(self, job: Job, result: HarvestResult) -> Job:
        change = Harvested(
            lease_until=job.lease_until,
            output=_save_output(job, result.output, self.documents),
            files=_save_records(job, result.records, self.documents),
        )
        job = self.updater.apply(job, change)
        self.checkpoint("harvest.result_stored")
        count_files(result.records)
        return job

    def _continue_later(
        self, job: Job, result: HarvestResult | None, delay_seconds: float, *, reason: str
    ) -> Job:
        """Record what is stored and send a continuation; the sweep sends another if this one is lost."""
        now = self.clock.now()
        if source_expired(job, now):
            records = result.records if result else None
            return finish_with_source_urls(job, self.updater, self.documents, records=records)
        logger.info("harvest continues later", reason=reason, seconds=delay_seconds)
        record_seconds(Metric.HARVEST_AGE_SECONDS, (now - (job.completed_at or now)).total_seconds())
        change = CheckScheduled(
            lease_until=job.lease_until,
            expected_status=job.status,
            next_check_at=now + timedelta(seconds=delay_seconds + _CONTINUATION_TIMEOUT_SECONDS),
            files=_save_records(job, result.records, self.documents) if result else None,
            increments_backoff=delay_seconds > 0,
        )
        job = self.updater.apply(job, change)
        self.checkpoint("harvest.continuation_stored")
        event = build_continuation_event(job, now)
        self.queue.send(event, tenant=job.tenant, delay_seconds=delay_seconds)
        self.checkpoint("harvest.continuation_sent")
        return job


def build_continuation_event(job: Job, now: datetime) -> Event:
    """Return the event that starts another round. It has no prediction: the output is stored with the job."""
    return _build_event(job, ReportChannel.CONTINUATION, now)


def build_repetition_event(job: Job, now: datetime) -> Event:
    """Return the event after which a finished harvest fetches the files again that it has left."""
    return _build_event(job, ReportChannel.REPEATED_HARVEST, now)


def load_file_records(job: Job, documents: DocumentStore) -> tuple[FileRecord, ...]:
    """Return the records of the job's files, in the order of the output."""
    return tuple(FileRecord.from_json(record) for record in documents.load(job.files) or ())


def _build_event(job: Job, channel: ReportChannel, now: datetime) -> Event:
    report = PredictionReport(
        tenant=job.tenant,
        job_id=job.id,
        attempt=job.attempt,
        status="succeeded",
        channel=channel,
        received_at=now,
        correlation_id=job.correlation_id,
    )
    return report.to_event()


def source_expired(job: Job, now: datetime) -> bool:
    """Return whether Replicate has deleted the job's files, so that another round cannot fetch any."""
    return now - (job.completed_at or job.created_at) > REPLICATE_RETENTION + _EXPIRY_MARGIN


def finish_with_source_urls(
    job: Job,
    updater: JobUpdater,
    documents: DocumentStore,
    *,
    records: tuple[FileRecord, ...] | None = None,
) -> Job:
    """Finish the job with the files stored so far and the source URLs of all others.

    `records` are those of the last round; without them, the records that are saved with the job apply. The
    output is null if the stored source output does not exist any more. Raises StaleChangeError.
    """
    logger.error("harvest given up, source URLs kept", job_id=job.id, attempt=job.attempt)
    try:
        source_output = documents.load(job.replicate_output)
    except NotFoundError:
        job = _finish_given_up(job, None, (), updater, documents)
        count(Metric.OUTPUT_LOST)
        return job
    earlier = load_file_records(job, documents) if records is None else records
    records = _complete_records(earlier, source_output)
    output = replace_references(
        source_output, {record.path: record.url for record in records if record.is_stored}
    )
    return _finish_given_up(job, output, records, updater, documents)


def _complete_records(earlier: Iterable[FileRecord], source_output: object) -> tuple[FileRecord, ...]:
    """Return a record of every file of the output: those of the rounds so far, and of files left over."""
    records = {record.path: replace(record, retryable=False) for record in earlier}
    return tuple(
        records.get(reference.path)
        or FileRecord(reference.path, FileOutcome.NOT_STORED, reference.recorded_url, _GIVEN_UP)
        for reference in find_references(source_output)
    )


def _finish_given_up(
    job: Job,
    output: object,
    records: tuple[FileRecord, ...],
    updater: JobUpdater,
    documents: DocumentStore,
) -> Job:
    change = Harvested(
        lease_until=job.lease_until,
        output=_save_output(job, output, documents),
        files=_save_records(job, records, documents) or job.files,
        reason=EndReason.HARVEST_GIVEN_UP,
    )
    job = updater.apply(job, change)
    count_files(records)
    return job


def _save_output(job: Job, output: object, documents: DocumentStore) -> Document:
    """Store the output under the revision of the job's record, which no other harvester has.

    A harvester whose lease has ended must not overwrite what its successor has stored.
    """
    return documents.save(job.tenant, job.id, f"output-{job.revision}", output)


def _save_records(job: Job, records: Iterable[FileRecord], documents: DocumentStore) -> Document | None:
    """Store the records of files with the job, as the output; return None if there are none."""
    values = [record.to_json() for record in records]
    return documents.save(job.tenant, job.id, f"files-{job.revision}", values) if values else None


def _count_final(records: Iterable[FileRecord]) -> int:
    return sum(not record.retryable for record in records)


def _retry_delay_seconds(job: Job) -> float:
    return _RETRY_DELAYS_SECONDS[min(job.checks, len(_RETRY_DELAYS_SECONDS) - 1)]
