"""Reading batches: many predictions that were asked for together.

Accepting batches: many predictions together or none of them; and cancelling them together.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import ConflictError, NotFoundError, RetryableError
from replicate_proxy.ids import generate_id, is_id
from replicate_proxy.jobs.model import Batch
from replicate_proxy.observability import Metric, count
from replicate_proxy.ports import BatchStore, Clock, IdempotencyRecord, IdempotencyStore
from replicate_proxy.services.ingest import claim_idempotency_key
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.services.cancel import JobCanceler
    from replicate_proxy.services.ingest import JobFactory, JobRequest


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch and those of its jobs that are still kept; `replayed` where an idempotency key had made it
    before.
    """

    batch: Batch
    jobs: Sequence[Job]
    is_replay: bool = False


class BatchReader:
    """Reading batches under the caller's tenant."""

    def __init__(self, store: BatchStore) -> None:
        self._store = store

    def get(self, tenant: str, batch_id: str) -> BatchState:
        """Raises NotFoundError."""
        batch = self._store.get(tenant, batch_id) if is_id(batch_id) else None
        if batch is None:
            raise NotFoundError("no such batch")
        return BatchState(batch, self._store.list_jobs(batch))


class BatchService:
    """Writes a batch and all of its jobs in one transaction, then queues them; what cannot be queued, the
    sweep queues.
    """

    def __init__(
        self,
        *,
        store: BatchStore,
        idempotency: IdempotencyStore,
        intake: JobFactory,
        cancel: JobCanceler,
        clock: Clock,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._store = store
        self._idempotency = idempotency
        self._intake = intake
        self._cancel = cancel
        self._clock = clock
        self._checkpoint = checkpoint

    def create(self, news: Sequence[JobRequest], principal: Principal, key: str | None) -> BatchState:
        """Raises ApiError 409 where the idempotency key stands for another request, RetryableError where
        nothing durable came of this one.
        """
        batch_id = generate_id(self._clock.now())
        if key is not None:
            wanted = IdempotencyRecord(principal.tenant, key, _fingerprint(news), batch_id)
            batch_id = claim_idempotency_key(self._idempotency, wanted, self._clock)
            self._checkpoint("ingest.idempotency_key_claimed")
            earlier = self._store.get(principal.tenant, batch_id)
            if earlier is not None:
                return self._replayed(earlier)
        return self._create(news, principal, batch_id)

    def cancel(self, tenant: str, batch_id: str) -> BatchState:
        """Asks for the end of every job that has none. Raises NotFoundError."""
        found = BatchReader(self._store).get(tenant, batch_id)
        for job in found.jobs:
            if not job.is_terminal:
                self._cancel.request_cancel(job)
        return BatchState(found.batch, self._store.list_jobs(found.batch))

    def _create(self, news: Sequence[JobRequest], principal: Principal, batch_id: str) -> BatchState:
        now = self._clock.now()
        jobs = [
            self._intake.build_job(new, principal, generate_id(now), now, batch_id=batch_id) for new in news
        ]
        batch = Batch(
            tenant=principal.tenant,
            id=batch_id,
            created_at=now,
            public_base_url=news[0].base_url,
            job_ids=tuple(job.id for job in jobs),
            expires_at=self._intake.calculate_expiry(now),
        )
        try:
            self._store.create(batch, jobs)
        except (ConflictError, RetryableError) as error:
            there = self._store.get(principal.tenant, batch_id)
            if there is None:
                raise RetryableError("the batch could not be recorded") from error
            if there.job_ids != batch.job_ids:
                return self._replayed(there)
            # The write had reached the table and only its answer was lost.
        for job in jobs:
            self._intake.record_acceptance(job)
        self._checkpoint("ingest.job_stored")
        # One that cannot be queued takes seconds to say so: the others are left to the sweep with it.
        all(self._intake.enqueue(job) for job in jobs)
        self._checkpoint("ingest.job_enqueued")
        return BatchState(batch, jobs)

    def _replayed(self, batch: Batch) -> BatchState:
        count(Metric.JOB_REPLAYED)
        return BatchState(batch, self._store.list_jobs(batch), is_replay=True)


def _fingerprint(news: Sequence[JobRequest]) -> str:
    return hashlib.sha256(
        "\n".join(["batch", *(new.calculate_fingerprint() for new in news)]).encode()
    ).hexdigest()
