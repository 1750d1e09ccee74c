"""Apply changes to jobs and save them without overwriting concurrent changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import ConflictError, NotFoundError, RetryableError
from replicate_proxy.jobs.changes import Reported
from replicate_proxy.jobs.state_machine import apply_change

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.changes import Change
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.ports import Clock, JobStore


_MAX_SAVE_ATTEMPTS = 6


class JobUpdater:
    """Applies changes by the state machine; the job's revision is the condition of each save.

    `on_ended` is called once for each job that ends, with the change that ended it; it must not raise.
    """

    def __init__(
        self,
        store: JobStore,
        clock: Clock,
        timeouts: JobTimeouts,
        *,
        on_ended: Callable[[Job, Change], None] = lambda _job, _change: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._timeouts = timeouts
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
            if isinstance(change, Reported) and job.replicate_id is None:
                # The signed callback URL proves that the prediction is this job's. Claim it, so that another
                # job of unknown outcome with an identical request cannot.
                self._store.claim_prediction(change.replicate_id, job.tenant, job.id)
            try:
                saved = self._store.save(changed)
            except ConflictError:
                job = self.get(job.tenant, job.id)
                continue
            if saved.is_terminal:
                self._on_ended(saved, change)
            return saved
        raise RetryableError("too many concurrent changes of the job", retry_after=1)
