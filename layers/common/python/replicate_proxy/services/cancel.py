"""Cancelling: at once while the job waits in our queue, through Replicate once it runs there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.ids import is_id
from replicate_proxy.jobs.changes import CancelRequested
from replicate_proxy.jobs.state_machine import StaleChangeError
from replicate_proxy.observability import logger
from replicate_proxy.testing.checkpoints import no_checkpoint

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import CommandQueue
    from replicate_proxy.services.wait import JobWaiter
    from replicate_proxy.testing.checkpoints import Checkpoint


# Replicate answers a cancel with the canceled prediction; ours goes through a queue, so give it a moment.
_PATIENCE_SECONDS = 3.0


class Cancel:
    """Marks the wish on the job, then tells the dispatcher. A lost message is made good by the sweep."""

    def __init__(
        self,
        updater: JobUpdater,
        queue: CommandQueue,
        waiter: JobWaiter,
        *,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._updater = updater
        self._queue = queue
        self._waiter = waiter
        self._checkpoint = checkpoint

    def cancel(self, tenant: str, job_id: str) -> Job:
        """The job after the request: canceled, or still what it was. Harmless on a job that is over."""
        if not is_id(job_id):
            raise NotFoundError("no such job")
        job = self.ask(self._updater.get(tenant, job_id))
        if job.is_terminal or job.cancel_requested_at is None:
            return job
        return self._waiter.wait_until_final(job, _PATIENCE_SECONDS)

    def ask(self, job: Job) -> Job:
        """The same for a job that was just read, without waiting for what comes of it."""
        try:
            job = self._updater.apply(job, CancelRequested())
        except StaleChangeError:
            return self._updater.get(job.tenant, job.id)
        if not job.is_terminal:
            self._checkpoint("ingest.cancel_recorded")
            self._send(job)
        return job

    def _send(self, job: Job) -> None:
        try:
            self._queue.send(DispatchCommand(DispatchKind.CANCEL, job.tenant, job.id, job.correlation_id))
        except RetryableError as error:
            logger.warning("cancel not queued; the sweep will", job_id=job.id, reason=str(error))
