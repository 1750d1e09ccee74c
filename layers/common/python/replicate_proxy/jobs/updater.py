"""Apply changes to jobs and save them without overwriting concurrent changes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.errors import ConflictError, NotFoundError, RetryableError
from replicate_proxy.jobs.changes import AdoptionRevoked, Reported, StaleChangeError, find_end_reason
from replicate_proxy.jobs.model import AttemptOutcome
from replicate_proxy.jobs.state_machine import apply_change
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.changes import Accepted, Change
    from replicate_proxy.jobs.model import Cost, Job, JobStatus
    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.ports import Clock, JobStore, PredictionOwner


_MAX_SAVE_ATTEMPTS = 6


class JobUpdater:
    """Applies changes by the state machine; the job's revision is the condition of each save.

    `calculate_cost(job, status before)` is asked once for a job that ends; the cost is saved with its end.
    That of an attempt that was canceled for a fallback is saved with the end of the attempt.
    `on_changed` is called after each save, with the job before and after the change; `on_ended` once for each
    job that ends, with the change that ended it. They must not raise.
    """

    def __init__(
        self,
        store: JobStore,
        clock: Clock,
        timeouts: JobTimeouts,
        *,
        calculate_cost: Callable[[Job, JobStatus], Cost | None] = lambda _job, _ended_from: None,
        on_changed: Callable[[Job, Job, Change], None] = lambda _previous, _job, _change: None,
        on_ended: Callable[[Job, Change], None] = lambda _job, _change: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._timeouts = timeouts
        self._calculate_cost = calculate_cost
        self._on_changed = on_changed
        self._on_ended = on_ended

    def get(self, tenant: str, job_id: str) -> Job:
        """Return the current record. Raises NotFoundError."""
        job = self._store.get(tenant, job_id)
        if job is None:
            raise NotFoundError("no such job")
        return job

    def apply(self, job: Job, change: Change) -> Job:
        """Apply the change and return the saved job; after a conflict, apply it to the current record.

        Raises StaleChangeError if the change is late or a duplicate, RetryableError after too many conflicts.
        """
        for _ in range(_MAX_SAVE_ATTEMPTS):
            changed = apply_change(job, change, now=self._clock.now(), timeouts=self._timeouts)
            owner: PredictionOwner | None = None
            if isinstance(change, Reported) and job.replicate_id is None:
                # The signed callback URL proves that the prediction is this job's.
                owner = self._claim(job, change.replicate_id)
            # An operator's change of an ended job does not end it again.
            ends = changed.is_terminal and not job.is_terminal
            if not job.is_terminal:
                changed = self._finalize(job, changed, change)
            try:
                if owner is not None and isinstance(change, Reported):
                    saved = self._transfer_prediction(changed, change.replicate_id, owner, saves_job=True)
                else:
                    saved = self._store.save(changed)
            except ConflictError:
                job = self.get(job.tenant, job.id)
                continue
            self._on_changed(job, saved, change)
            if ends:
                self._on_ended(saved, change)
            return saved
        raise _too_many_changes()

    def _finalize(self, job: Job, changed: Job, change: Change) -> Job:
        """Return the changed job with what is calculated once, when it ends or an attempt was canceled.

        Such an attempt has cost what the job would have cost if it had ended with it.
        """
        if changed.is_terminal:
            return replace(
                changed,
                cost=self._calculate_cost(changed, job.status),
                end_reason=find_end_reason(changed, change),
            )
        if len(changed.past_attempts) <= len(job.past_attempts):
            return changed
        *earlier, last = changed.past_attempts
        if last.outcome is not AttemptOutcome.CANCELED:
            return changed
        alone = replace(job, past_attempts=(), fallbacks=())
        ended = apply_change(alone, change, now=last.ended_at, timeouts=self._timeouts)
        last = replace(last, cost=self._calculate_cost(ended, job.status))
        return replace(changed, past_attempts=(*earlier, last))

    def claim_prediction(self, job: Job, replicate_id: str) -> None:
        """Record for certain that a prediction is this job's, so that no other job adopts it.

        A job that has adopted it by likeness lets go of it, unless that job has ended.
        """
        for _ in range(_MAX_SAVE_ATTEMPTS):
            owner = self._claim(job, replicate_id)
            if owner is None:
                return
            with suppress(ConflictError):
                self._transfer_prediction(job, replicate_id, owner, saves_job=False)
                return
        raise _too_many_changes()

    def _claim(self, job: Job, replicate_id: str) -> PredictionOwner | None:
        """Claim a prediction for the job; return its owner if another job owns it only by likeness."""
        name = job.account.qualify(replicate_id)
        for _ in range(_MAX_SAVE_ATTEMPTS):
            if self._store.claim_prediction(name, job.tenant, job.id, now=self._clock.now()):
                return None
            owner = self._store.get_prediction_owner(name)
            if owner is None:
                continue
            if owner.is_certain:
                logger.error("prediction claimed by two jobs", job_id=job.id, other_job_id=owner.job_id)
                return None
            return owner
        raise _too_many_changes()

    def adopt_prediction(self, job: Job, change: Accepted) -> Job:
        """Record a prediction that is the job's by likeness, and the claim to it, both or neither.

        Raises ConflictError if another job has claimed it or the job has changed, StaleChangeError if the
        change does not apply to the job.
        """
        now = self._clock.now()
        changed = apply_change(job, change, now=now, timeouts=self._timeouts)
        return self._store.adopt_prediction(changed, now=now)

    def _transfer_prediction(
        self, job: Job, replicate_id: str, owner: PredictionOwner, *, saves_job: bool
    ) -> Job:
        """Give the job its prediction and take it from the one that has adopted it; return the job.

        Both or neither: between two writes, it would be the prediction of no job, and this job might be sent
        again. A job at a later attempt is saved as well, since it does not look for earlier predictions.
        """
        now, revocation = self._clock.now(), AdoptionRevoked(replicate_id=replicate_id)
        adopter, released = self._store.get(owner.tenant, owner.job_id), None
        if adopter is not None and adopter.replicate_id == replicate_id:
            with suppress(StaleChangeError):  # It has ended.
                released = apply_change(adopter, revocation, now=now, timeouts=self._timeouts)
        changed = [one for one in (released, job if saves_job else None) if one is not None]
        name = job.account.qualify(replicate_id)
        saved = self._store.transfer_prediction(name, owner, job, changed=changed, now=now)
        if adopter is not None and released is not None:
            logger.warning(
                "adopted prediction is another job's", job_id=adopter.id, replicate_id=replicate_id
            )
            self._on_changed(adopter, saved[0], revocation)
        return saved[-1] if saves_job else job


def _too_many_changes() -> RetryableError:
    return RetryableError("too many concurrent changes of the job", retry_after=1)
