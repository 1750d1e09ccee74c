"""Cancel jobs: at once in the queue, through the dispatcher once they are sent to Replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.ids import is_id
from replicate_proxy.jobs.changes import CancelRequested, StaleChangeError
from replicate_proxy.observability import logger, tracer
from replicate_proxy.testing.checkpoints import no_checkpoint

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import CommandQueue
    from replicate_proxy.services.wait import JobWaiter
    from replicate_proxy.testing.checkpoints import Checkpoint


# Replicate answers a cancel request with the canceled prediction. Ours takes a message through the dispatch
# queue, so wait a moment for the result.
_WAIT_SECONDS = 3.0


class JobCanceler:
    """Records the cancel request on the job, then sends a command to the dispatcher.

    If the command is lost, the sweep sends another. Without a waiter, no request waits for the result.
    """

    def __init__(
        self,
        updater: JobUpdater,
        queue: CommandQueue,
        waiter: JobWaiter | None = None,
        *,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._updater = updater
        self._queue = queue
        self._waiter = waiter
        self._checkpoint = checkpoint

    def cancel_job(self, tenant: str, job_id: str) -> Job:
        """Request the cancel, wait a moment, and return the job. Does nothing if the job is terminal.

        Raises NotFoundError.
        """
        if not is_id(job_id):
            raise NotFoundError("no such job")
        tracer.annotate(job_id=job_id)
        job = self.request_cancel(self._updater.get(tenant, job_id))
        if self._waiter is None or job.is_terminal or job.cancel_requested_at is None:
            return job
        return self._waiter.wait_until_final(job, _WAIT_SECONDS) or job

    def request_cancel(self, job: Job) -> Job:
        """Request the cancel without waiting for the result, and return the job."""
        try:
            job = self._updater.apply(job, CancelRequested())
        except StaleChangeError:
            return self._updater.get(job.tenant, job.id)
        if not job.is_terminal:
            self._checkpoint("ingest.cancel_request_stored")
            self._enqueue_cancel(job)
        return job

    def _enqueue_cancel(self, job: Job) -> None:
        try:
            self._queue.send(DispatchCommand.for_job(DispatchKind.CANCEL, job))
        except RetryableError as error:
            logger.warning("cancel not enqueued, left to the sweep", job_id=job.id, reason=str(error))
