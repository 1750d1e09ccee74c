"""Create and cancel batches: several jobs that one request asked for. `services.batch_reader` reads them."""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import (
    ApiError,
    ConflictError,
    NotFoundError,
    NotWrittenError,
    RetryableError,
)
from replicate_proxy.ids import generate_id, hash_idempotency_key
from replicate_proxy.jobs.model import Batch
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.services.batch_reader import BatchReader, BatchState
from replicate_proxy.services.ingest import (
    find_reserved_id,
    find_written,
    log_job_accepted,
    reserve_id,
    unconfirmed_write,
)
from replicate_proxy.services.input_check import accept_all, check_batch
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.batches.ports import BatchCountReader
    from replicate_proxy.budgets.gate import BudgetGate
    from replicate_proxy.budgets.model import Hold
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import BatchStore, Clock, CommandQueue, IdempotencyStore
    from replicate_proxy.services.cancel import JobCanceler
    from replicate_proxy.services.ingest import JobFactory, JobRequest
    from replicate_proxy.services.input_check import CheckInput


class BatchLimiter(Protocol):
    """Limits the predictions that a tenant creates in batches: API Gateway counts a batch as one request."""

    def acquire_slot(self, tenant: str, slots: int) -> float:
        """Return 0 if so many slots were free and are now taken, else the seconds to wait."""
        ...


class BatchService:
    """Creates and cancels batches.

    A batch and all of its jobs are written in one transaction; then the jobs are queued. The sweep queues
    those that could not be queued.
    """

    def __init__(  # noqa: PLR0913 - what creates and cancels jobs, and two limits
        self,
        *,
        store: BatchStore,
        idempotency: IdempotencyStore,
        factory: JobFactory,
        queue: CommandQueue,
        canceler: JobCanceler,
        limiter: BatchLimiter | None = None,
        clock: Clock,
        budgets: BudgetGate,
        counts: BatchCountReader,
        check_input: CheckInput = accept_all,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._store = store
        self._counts = counts
        self._idempotency = idempotency
        self._factory = factory
        self._queue = queue
        self._canceler = canceler
        self._limiter = limiter
        self._budgets = budgets
        self._check_input = check_input
        self._clock = clock
        self._checkpoint = checkpoint

    def create(
        self, requests: Sequence[JobRequest], principal: Principal, idempotency_key: str | None
    ) -> BatchState:
        """Create the batch, or return the one that the idempotency key created before.

        Raises a 422 ApiError if a model does not take its input, a 429 ApiError if the tenant creates too
        many, a 402 ApiError if they do not fit into a budget, a 409 ApiError if the key was used for another
        request, and RetryableError if it is not stored.
        """
        try:
            requests = check_batch(self._check_input, requests)
            hold = self._budgets.check(requests, principal)
        except (ApiError, RetryableError):
            existing = self._find_earlier(requests, principal.tenant, idempotency_key)
            if existing is None:
                raise
            return self._replay(existing)
        self._check_rate(principal.tenant, len(requests))
        batch_id = reserve_id(
            self._idempotency,
            principal.tenant,
            idempotency_key,
            partial(_calculate_fingerprint, requests),
            clock=self._clock,
            checkpoint=self._checkpoint,
        )
        if idempotency_key is not None:
            existing = self._store.get(principal.tenant, batch_id)
            if existing is not None:
                return self._replay(existing)
        return self._create(requests, principal, batch_id, idempotency_key, hold)

    def _find_earlier(
        self, requests: Sequence[JobRequest], tenant: str, idempotency_key: str | None
    ) -> Batch | None:
        """Return the batch that was accepted before a schema was known, or the budget used up."""
        fingerprint = _calculate_fingerprint(requests)
        batch_id = find_reserved_id(self._idempotency, tenant, idempotency_key, fingerprint, self._clock)
        return self._store.get(tenant, batch_id) if batch_id else None

    def _check_rate(self, tenant: str, predictions: int) -> None:
        delay_seconds = self._limiter.acquire_slot(tenant, predictions) if self._limiter else 0
        if delay_seconds > 0:
            detail = "Too many predictions in batches; each counts as one request"
            raise ApiError(429, "Too many requests", detail, retry_after=math.ceil(delay_seconds))

    def get(self, tenant: str, batch_id: str) -> BatchState:
        """Return the batch with its jobs or counts. Raises NotFoundError."""
        return BatchReader(self._store, self._counts).get(tenant, batch_id)

    def cancel(self, state: BatchState) -> BatchState:
        """Request the cancel of every job that is not final."""
        for job in state.jobs:
            if not job.is_terminal:
                with suppress(NotFoundError):  # it has ended and was deleted meanwhile
                    self._canceler.request_cancel(job)
        return BatchState(state.batch, self._store.list_jobs(state.batch))

    def _create(
        self,
        requests: Sequence[JobRequest],
        principal: Principal,
        batch_id: str,
        idempotency_key: str | None,
        hold: Hold | None,
    ) -> BatchState:
        batch, jobs = self._build_batch(requests, principal, batch_id, idempotency_key)
        try:
            if hold is None:
                self._store.create(batch, jobs)
            else:
                self._budgets.create(jobs, hold, batch=batch)
        except NotWrittenError:
            raise
        except (ConflictError, RetryableError) as error:
            stored = find_written(self._store.get, principal.tenant, batch_id, idempotency_key)
            if stored is None:
                raise unconfirmed_write(idempotency_key) from error
            if stored.job_ids != batch.job_ids:
                return self._replay(stored)
            # The write succeeded and only its response was lost.
        for job in jobs:
            log_job_accepted(job)
        self._checkpoint("ingest.job_stored")
        self._enqueue(jobs)
        self._checkpoint("ingest.job_enqueued")
        return BatchState(batch, jobs)

    def _build_batch(
        self,
        requests: Sequence[JobRequest],
        principal: Principal,
        batch_id: str,
        idempotency_key: str | None,
    ) -> tuple[Batch, list[Job]]:
        now = self._clock.now()
        jobs = [
            self._factory.build_job(request, principal, generate_id(now), now, batch_id=batch_id)
            for request in requests
        ]
        batch = Batch(
            tenant=principal.tenant,
            id=batch_id,
            created_at=now,
            public_base_url=requests[0].public_base_url,
            job_ids=tuple(job.id for job in jobs),
            idempotency_hash=hash_idempotency_key(idempotency_key),
            expires_at=self._factory.calculate_expiry(now),
        )
        return batch, jobs

    def _enqueue(self, jobs: Sequence[Job]) -> None:
        commands = [DispatchCommand.for_job(DispatchKind.SUBMIT, job) for job in jobs]
        try:
            self._queue.send_all(commands)
        except RetryableError as error:
            logger.warning(
                "jobs not enqueued, left to the sweep", batch_id=jobs[0].batch_id, reason=str(error)
            )

    def _replay(self, batch: Batch) -> BatchState:
        count(Metric.JOB_REPLAYED)
        return BatchState(batch, self._store.list_jobs(batch), is_replay=True)


def _calculate_fingerprint(requests: Sequence[JobRequest]) -> str:
    lines = ["batch", *(request.calculate_fingerprint() for request in requests)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
