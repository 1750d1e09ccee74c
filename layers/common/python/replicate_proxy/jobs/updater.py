"""Read, apply, save: how every service changes a job without overwriting somebody else's change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import ConflictError, NotFoundError, RetryableError
from replicate_proxy.jobs.changes import Reported
from replicate_proxy.jobs.state_machine import apply

if TYPE_CHECKING:
    from replicate_proxy.jobs.changes import Change
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.ports import Clock, JobStore


_TRIES = 6


class JobUpdater:
    """Jobs with their state machine: each change is applied to the newest record and saved under its rev."""

    def __init__(self, store: JobStore, clock: Clock, policy: JobTimeouts) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy

    def get(self, tenant: str, job_id: str) -> Job:
        """The newest record. Raises NotFoundError."""
        job = self._store.get(tenant, job_id)
        if job is None:
            raise NotFoundError("no such job")
        return job

    def apply(self, job: Job, change: Change) -> Job:
        """Applies to the job as given first, and to a fresh read after each lost race.

        Raises StaleChangeError where the change is late or a duplicate, RetryableError where the races go on.
        """
        for _ in range(_TRIES):
            moved = apply(job, change, now=self._clock.now(), timeouts=self._policy)
            if isinstance(change, Reported) and job.replicate_id is None:
                # The webhook's address proves whose it is: no twin of unknown outcome may take it.
                self._store.claim_prediction(change.replicate_id, job.tenant, job.id)
            try:
                return self._store.save(moved)
            except ConflictError:
                job = self.get(job.tenant, job.id)
        raise RetryableError("the job is being changed by many at once", retry_after=1)
