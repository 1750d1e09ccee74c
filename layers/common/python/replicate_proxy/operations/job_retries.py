"""Retry an ended job by a new one (docs/decisions/0051-a-retry-is-a-new-job.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.audit.model import AuditAction, build_job_target
from replicate_proxy.auth.principal import Principal
from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.jobs.changes import RetryReserved, StaleChangeError
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.jobs.transitions import has_known_outcome
from replicate_proxy.operations.job_actions import describe_job, find_job
from replicate_proxy.services.ingest import CreateResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import DocumentStore, IdempotencyRecord, JobReader
    from replicate_proxy.services.ingest import JobRequest


type RequestBuilder = Callable[[Job, Any, Principal], JobRequest]
"""Returns the request that creates the job again, with this input. Raises an ApiError if it is not valid."""


class Creator(Protocol):
    """Creates jobs: `services.ingest.JobCreator`, with RetryReservations as its idempotency keys."""

    def create(self, request: JobRequest, principal: Principal) -> CreateResult: ...


class RetryReservations:
    """The IdempotencyStore port for retries: the key is the ID of the old job, which keeps the new ID.

    Unlike other keys it lasts as long as the old job.
    """

    def __init__(self, updater: JobUpdater) -> None:
        self._updater = updater

    def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        del now
        job = self._updater.get(record.tenant, record.key)
        try:
            job = self._updater.apply(job, RetryReserved(job_id=record.reserved_id))
        except StaleChangeError:
            job = self._updater.get(record.tenant, record.key)
        return replace(record, reserved_id=job.retried_as or record.reserved_id)

    def find(self, tenant: str, key: str, *, now: datetime) -> IdempotencyRecord | None:
        """Return None: who retries has looked for an earlier retry before."""
        del tenant, key, now
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRetries:
    """Creates one new job for each ended job that is retried, however often that is asked for."""

    jobs: JobReader
    documents: DocumentStore
    creator: Creator
    build_request: RequestBuilder
    audit: AuditLog

    def retry(self, tenant: str, job_id: str) -> CreateResult:
        """Return the new job, or the one that an earlier request has created.

        Raises NotFoundError, a 409 ApiError if the job cannot be retried, and what the create of a prediction
        raises: the model, the tenant's budgets and pauses apply as they are now.
        """
        job = find_job(self.jobs, tenant, job_id)
        with self.audit.change(
            AuditAction.RETRY_JOB, build_job_target(tenant, job_id), tenant=tenant, before=describe_job(job)
        ) as change:
            result = self._find_retry(job) or self._create_retry(job)
            change.after = {"job": result.job.id, "is_repeated": result.is_replay}
        return result

    def _find_retry(self, job: Job) -> CreateResult | None:
        retry = self.jobs.get(job.tenant, job.retried_as) if job.retried_as else None
        return CreateResult(retry, is_replay=True) if retry is not None else None

    def _create_retry(self, job: Job) -> CreateResult:
        _require_retryable(job)
        try:
            model_input = self.documents.load(job.input)
        except NotFoundError as error:
            raise ApiError(409, "Input is gone", "The input of the job is not stored any more") from error
        # The key's restrictions were checked when the job was created; the operator answers for the retry.
        principal = Principal(job.tenant, job.key_id, has_budget=True)
        return self.creator.create(self.build_request(job, model_input, principal), principal)


def _require_retryable(job: Job) -> None:
    if not job.is_terminal:
        raise ApiError(
            409, "Job has not ended", f"The job is {job.status} and goes on by itself; cancel it to retry it"
        )
    if job.status is JobStatus.SUCCEEDED:
        raise ApiError(
            409, "Job has succeeded", "Only failed and canceled jobs are retried; send its input as a new one"
        )
    if not has_known_outcome(job):
        raise ApiError(
            409,
            "Outcome unknown",
            "It is not known whether Replicate has run the prediction, so a retry may pay for it twice. Look"
            " for it at Replicate, and send its input as a new prediction if it is not there",
        )
