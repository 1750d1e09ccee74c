"""What operators do to one job: cancel it, redeliver its webhooks, harvest it again, delete it.

Everything is recorded in the audit trail under the job, whose story has it. What cannot be done is refused by
a 409 ApiError that says what to do instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.audit.model import AuditAction, build_job_target
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.jobs.timeouts import REPLICATE_RETENTION
from replicate_proxy.services.harvest import build_repetition_event, load_file_records, source_expired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.deletion.deleter import JobDeleter
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock, DocumentStore, JobReader
    from replicate_proxy.services.cancel import JobCanceler
    from replicate_proxy.services.harvest import HarvestQueue
    from replicate_proxy.webhooks.model import Delivery


class NothingToDoError(ApiError):
    """What is asked for is done already, or there is nothing to do it to."""

    def __init__(self, title: str, detail: str) -> None:
        super().__init__(409, title, detail)


class JobDeliveries(Protocol):
    """The deliveries of a job: a part of `webhooks.ports.DeliveryStore`."""

    def list_by_job(self, tenant: str, job_id: str) -> Sequence[Delivery]: ...


class Redeliverer(Protocol):
    """Sends one delivery again: a part of `webhooks.redelivery.RedeliveryService`."""

    def redeliver(self, tenant: str, delivery_id: str) -> Delivery: ...


@dataclass(slots=True)
class RedeliveredJob:
    """The IDs of the deliveries that are sent again, and why others are not, by ID."""

    redelivered: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobActions:
    """Use cases of the routes of one job. All raise NotFoundError."""

    jobs: JobReader
    documents: DocumentStore
    canceler: JobCanceler
    deliveries: JobDeliveries
    redeliverer: Redeliverer
    harvest_queue: HarvestQueue
    deleter: JobDeleter
    audit: AuditLog
    clock: Clock

    def cancel(self, tenant: str, job_id: str) -> Job:
        """Request the cancel and return the job. A repeated request changes nothing."""
        job = find_job(self.jobs, tenant, job_id)
        with self.audit.change(
            AuditAction.CANCEL_JOB, build_job_target(tenant, job_id), tenant=tenant, before=describe_job(job)
        ) as change:
            _require_unfinished(job)
            job = self.canceler.request_cancel(job)
            if job.status is not JobStatus.CANCELED:
                # It may have ended meanwhile.
                _require_unfinished(job)
            if job.status is JobStatus.HARVESTING:
                raise ApiError(
                    409,
                    "Job is being harvested",
                    "The prediction has succeeded, its files are being stored: the job ends within minutes",
                )
            change.after = describe_job(job)
        return job

    def redeliver(self, tenant: str, job_id: str) -> RedeliveredJob:
        """Send all deliveries of the job again, the earliest event first."""
        find_job(self.jobs, tenant, job_id)
        with self.audit.change(
            AuditAction.REDELIVER_JOB, build_job_target(tenant, job_id), tenant=tenant
        ) as change:
            deliveries = sorted(self.deliveries.list_by_job(tenant, job_id), key=lambda each: each.sequence)
            change.before = {delivery.id: delivery.status.value for delivery in deliveries}
            if not deliveries:
                raise NothingToDoError(
                    "No deliveries",
                    "The job has no webhook, and no endpoint subscribes to its events, or they have expired",
                )
            result = self._redeliver_all(deliveries)
            change.after = {"redelivered": result.redelivered, "refused": result.refused}
        return result

    def harvest(self, tenant: str, job_id: str) -> Job:
        """Have the files fetched again that are left at Replicate, and return the job as it is."""
        job = find_job(self.jobs, tenant, job_id)
        with self.audit.change(
            AuditAction.HARVEST_JOB, build_job_target(tenant, job_id), tenant=tenant, before=describe_job(job)
        ) as change:
            left = self._find_files_left(job)
            self.harvest_queue.send(build_repetition_event(job, self.clock.now()), tenant=tenant)
            change.after = {"files": left}
        return job

    def delete(self, tenant: str, job_id: str) -> Job:
        """Delete the job with everything that belongs to it, and return it as it was."""
        job = find_job(self.jobs, tenant, job_id)
        with self.audit.change(
            AuditAction.DELETE_JOB, build_job_target(tenant, job_id), tenant=tenant, before=describe_job(job)
        ) as change:
            job = self.deleter.delete(tenant, job_id)
            change.after = {"deleted": True}
        return job

    def _redeliver_all(self, deliveries: Sequence[Delivery]) -> RedeliveredJob:
        result = RedeliveredJob()
        for delivery in deliveries:
            try:
                self.redeliverer.redeliver(delivery.tenant, delivery.id)
            except ApiError as error:
                result.refused[delivery.id] = error.detail
            else:
                result.redelivered.append(delivery.id)
        if not result.redelivered:
            detail = "; ".join(dict.fromkeys(result.refused.values()))
            raise ApiError(409, "Nothing redelivered", detail)
        return result

    def _find_files_left(self, job: Job) -> int:
        """Return how many files can be fetched again. Raises a 409 ApiError if none can."""
        now = self.clock.now()
        if not job.is_terminal:
            raise ApiError(409, "Job has not ended", f"The job is {job.status}, its harvest is still to come")
        if job.status is not JobStatus.SUCCEEDED:
            raise ApiError(409, "No output", f"The job has {job.status} and has no output; retry it")
        left = sum(not record.is_stored for record in load_file_records(job, self.documents))
        if not left:
            raise NothingToDoError("All files are stored", "The job has no file that is left at Replicate")
        if source_expired(job, now):
            ended_at = job.completed_at or job.created_at
            raise ApiError(
                409,
                "Files are gone",
                "Replicate deletes files one hour after the end of a prediction, which was at"
                f" {format_timestamp(ended_at)}; these could be fetched until"
                f" {format_timestamp(ended_at + REPLICATE_RETENTION)}. Run the prediction again",
            )
        if job.lease_until is not None and job.lease_until > now:
            raise ApiError(
                409,
                "Harvest in progress",
                f"The files are being fetched; try again after {format_timestamp(job.lease_until)}",
            )
        return left


def _require_unfinished(job: Job) -> None:
    """Raise NothingToDoError if the job has ended."""
    if job.is_terminal:
        raise NothingToDoError("Job has ended", f"The job has ended as {job.status}, nothing runs")


def find_job(jobs: JobReader, tenant: str, job_id: str) -> Job:
    """Return the job. Raises NotFoundError."""
    job = jobs.get(tenant, job_id)
    if job is None:
        raise NotFoundError("no such job")
    return job


def describe_job(job: Job) -> dict[str, Any]:
    """Return what an audit record says about the state of a job."""
    return {
        "status": job.status.value,
        "end_reason": job.end_reason.value if job.end_reason else None,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested_at is not None,
    }
