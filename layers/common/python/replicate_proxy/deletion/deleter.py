"""Accept the deletion of an ended job. The sweep carries it out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.deletion.model import Deletion, build_deletion
from replicate_proxy.errors import ApiError, ConflictError, NotFoundError, RetryableError
from replicate_proxy.ids import is_id
from replicate_proxy.observability import logger, tracer
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from replicate_proxy.deletion.ports import DeletionStore
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock


_MAX_ATTEMPTS = 6


class JobDeleter:
    """Replaces the record of a job by that of its deletion: from then on no read finds the job."""

    def __init__(self, store: DeletionStore, clock: Clock, *, checkpoint: Checkpoint = no_checkpoint) -> None:
        self._store = store
        self._clock = clock
        self._checkpoint = checkpoint

    def delete(self, tenant: str, job_id: str) -> Job:
        """Return the job as it was.

        Raises NotFoundError, also for one that was deleted before, a 409 ApiError if the job has not ended,
        and RetryableError.
        """
        if not is_id(job_id):
            raise NotFoundError("no such job")
        tracer.annotate(job_id=job_id)
        return self.replace_record(tenant, job_id)

    def replace_record(self, tenant: str, job_id: str, *, leaves_content: bool = False) -> Job:
        """Do the same as `delete`, also in a thread, which has no trace.

        With `leaves_content`, another removes its content, and the sweep only what is left at the last pass.
        """
        for _ in range(_MAX_ATTEMPTS):
            job = self._store.get(tenant, job_id)
            if job is None or isinstance(job, Deletion):
                raise NotFoundError("no such job")
            if not job.is_terminal:
                raise ApiError(
                    409,
                    "Prediction has not ended",
                    "Only a prediction that has ended can be deleted: cancel it first",
                )
            try:
                deletion = build_deletion(job, self._clock.now())
                if leaves_content:
                    deletion = replace(deletion, next_pass_at=deletion.final_at)
                self._store.mark(job, deletion)
            except ConflictError:
                continue
            self._checkpoint("ingest.deletion_stored")
            logger.info("job deleted", job_id=job_id, tenant=tenant, correlation_id=job.correlation_id)
            return job
        raise RetryableError("too many concurrent changes of the job", retry_after=1)
