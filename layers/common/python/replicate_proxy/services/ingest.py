"""Accepting a request: once the caller has its 201 the job is durable, whatever breaks after that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.clock import iso
from replicate_proxy.errors import ApiError, ConflictError, RetryableError
from replicate_proxy.ids import new_id
from replicate_proxy.observability import Metric, count
from replicate_proxy.ports import Clock, IdempotencyRecord, IdempotencyStore, JobStore
from replicate_proxy.steps import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.services.intake import Intake, NewJob

__all__ = ["Acceptance", "Ingest", "claim"]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The job a request became; `replayed` where an earlier request with the same idempotency key had made
    it.
    """

    job: Job
    replayed: bool = False


class Ingest:
    """Writes the job first and queues it second: if queueing fails, the sweep finds the job and queues it
    again.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        idempotency: IdempotencyStore,
        intake: Intake,
        clock: Clock,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._store = store
        self._idempotency = idempotency
        self._intake = intake
        self._clock = clock
        self._checkpoint = checkpoint

    def accept(self, new: NewJob, principal: Principal) -> Acceptance:
        """Raises ApiError 409 where the idempotency key stands for another request, RetryableError where
        nothing durable came of this one.
        """
        job_id = new_id(self._clock.now())
        if new.idempotency_key is None:
            return self._create(new, principal, job_id)
        wanted = IdempotencyRecord(
            tenant=principal.tenant, key=new.idempotency_key, fingerprint=new.fingerprint(), job_id=job_id
        )
        held_id = claim(self._idempotency, wanted, self._clock)
        self._checkpoint("ingest.key_claimed")
        return self._create(new, principal, held_id)

    def _create(self, new: NewJob, principal: Principal, job_id: str) -> Acceptance:
        earlier = self._store.get(principal.tenant, job_id) if new.idempotency_key else None
        if earlier is not None:
            return self._replayed(earlier)
        job = self._intake.job(new, principal, job_id, self._clock.now())
        try:
            self._store.create(job)
        except (ConflictError, RetryableError) as error:
            there = self._store.get(principal.tenant, job_id)
            if there is None:
                raise RetryableError("the job could not be recorded") from error
            if iso(there.created_at) != iso(job.created_at):
                return self._replayed(there)
            # The write had reached the table and only its answer was lost.
        self._intake.accepted(job)
        self._checkpoint("ingest.recorded")
        self._intake.enqueue(job)
        self._checkpoint("ingest.queued")
        return Acceptance(job)

    def _replayed(self, job: Job) -> Acceptance:
        count(Metric.JOB_REPLAYED)
        return Acceptance(job, replayed=True)


def claim(idempotency: IdempotencyStore, wanted: IdempotencyRecord, clock: Clock) -> str:
    """The id that what the key stands for has or will have: whoever comes second creates or finds that very
    one. Raises ApiError 409 where the key stands for another request.
    """
    held = idempotency.claim(wanted, now=clock.now())
    if held.fingerprint != wanted.fingerprint:
        raise ApiError(
            409, "Idempotency key in use", "This Idempotency-Key was used for a request with another body"
        )
    return held.job_id
