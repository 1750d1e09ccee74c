"""Works on bulk operations, in slices of a few jobs after which the progress is saved.

A crash makes the next run repeat at most one slice. The use cases of single jobs bear that: a job is retried
once, and a cancel, a harvest and a webhook that are repeated change nothing or arrive twice under one ID.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.audit.actor import acting_as
from replicate_proxy.audit.model import Actor, AuditAction
from replicate_proxy.errors import (
    ApiError,
    ConflictError,
    DuplicateError,
    NotFoundError,
    PermanentError,
)
from replicate_proxy.observability import logger
from replicate_proxy.operations.bulk.model import (
    BulkStatus,
    JobOutcome,
    JobResult,
    describe_operation,
)
from replicate_proxy.operations.bulk.service import build_target
from replicate_proxy.operations.job_actions import NothingToDoError
from replicate_proxy.testing.checkpoints import no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.background_worker import WorkerLease
    from replicate_proxy.operations.bulk.actions import JobAction
    from replicate_proxy.operations.bulk.model import BulkAction, BulkOperation, JobKey
    from replicate_proxy.operations.bulk.ports import BulkStore
    from replicate_proxy.ports import Clock, JobReader
    from replicate_proxy.testing.checkpoints import Checkpoint

SLICE_SIZE = 10
# All operations together. The rate limit of calls to Replicate is the dispatcher's.
_MAX_JOBS_PER_SECOND = 20
# A job that fails so often for a temporary reason, in as many runs, is reported as failed.
_MAX_TRIES = 3
_MAX_DURATION = timedelta(days=1)
_MAX_CONFLICTS = 5


class _PostponedError(Exception):
    """The action failed for a temporary reason: the next run repeats it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkWorker:
    """Goes on with all running operations, so that none waits for the others."""

    store: BulkStore
    jobs: JobReader
    actions: Mapping[BulkAction, JobAction]
    lease: WorkerLease
    audit: AuditLog
    clock: Clock
    sleep: Callable[[float], None]
    checkpoint: Checkpoint = no_checkpoint

    def run(self, deadline: datetime, *, lease_until: datetime) -> int:
        """Work until the deadline, or until nothing is left to do; return how many jobs were acted on.

        Does nothing while another worker runs. One that crashes loses its lease at `lease_until`.
        """
        with self.lease.hold(lease_until) as is_free:
            if not is_free:
                logger.info("bulk operations skipped, another worker is running")
                return 0
            return self._work(deadline)

    def _work(self, deadline: datetime) -> int:
        count = 0
        postponed: set[str] = set()
        while self.clock.now() < deadline:
            running = [each for each in self.store.list_running() if each.id not in postponed]
            if not running:
                break
            for operation in running:
                progress = self._continue(operation, deadline)
                count += progress.jobs
                if progress.is_postponed:
                    postponed.add(operation.id)
        return count

    def _continue(self, operation: BulkOperation, deadline: datetime) -> _Progress:
        """Work on one slice of the operation, or end it."""
        actor = Actor(
            key_id=operation.key_id,
            source=operation.source,
            correlation_id=operation.correlation_id,
            bulk_operation=operation.id,
        )
        logger.append_keys(bulk_operation=operation.id)
        try:
            with acting_as(actor):
                return self._work_on_slice(operation, deadline)
        except Exception:  # noqa: BLE001 - one operation that cannot go on must not stop the others
            logger.exception("bulk operation postponed")
            return _Progress(0, is_postponed=True)
        finally:
            logger.remove_keys(["bulk_operation"])

    def _work_on_slice(self, operation: BulkOperation, deadline: datetime) -> _Progress:
        now = self.clock.now()
        if operation.position >= operation.matched:
            self._end(operation, BulkStatus.SUCCEEDED)
            return _Progress(0)
        if now - operation.started_at > _MAX_DURATION:
            self._end(operation, BulkStatus.FAILED, error="It did not end within a day")
            return _Progress(0)
        try:
            keys = self.store.list_jobs(operation, SLICE_SIZE)
        except NotFoundError:
            self._end(operation, BulkStatus.FAILED, error="The list of its jobs is gone")
            return _Progress(0)
        results, is_postponed = self._act_on_all(operation, keys, deadline)
        self.checkpoint("admin.bulk_slice_done")
        # The failure of a further job is its first one.
        tries = (1 if results else operation.tries + 1) if is_postponed else 0
        self._save(operation, results, tries=tries)
        self.checkpoint("admin.bulk_slice_saved")
        self._limit_rate(len(results), now)
        return _Progress(len(results), is_postponed=is_postponed)

    def _act_on_all(
        self, operation: BulkOperation, keys: Sequence[JobKey], deadline: datetime
    ) -> tuple[list[JobResult], bool]:
        """Return the results, and whether the job after them is left to the next run."""
        results: list[JobResult] = []
        for index, key in enumerate(keys):
            if results and self.clock.now() >= deadline:
                break
            try:
                results.append(self._act(operation, key))
            except _PostponedError as error:
                tries = operation.tries if index == 0 else 0
                if tries + 1 < _MAX_TRIES:
                    return results, True
                results.append(JobResult(key, JobOutcome.FAILED, f"Temporary failure: {error}"))
        return results, False

    def _act(self, operation: BulkOperation, key: JobKey) -> JobResult:
        """Raise _PostponedError if it failed for a temporary or an unexpected reason."""
        try:
            return self._try_to_act(operation, key)
        except NothingToDoError as error:
            return JobResult(key, JobOutcome.SKIPPED, error.title)
        except ApiError as error:
            if error.status >= 500:  # noqa: PLR2004 - server errors
                raise _PostponedError(error.title) from error
            return JobResult(key, JobOutcome.FAILED, error.title)
        except (PermanentError, DuplicateError) as error:
            return JobResult(key, JobOutcome.FAILED, str(error))
        except Exception as error:
            # An error of one job must not stop the others.
            logger.exception("bulk operation failed on a job", tenant=key.tenant, job_id=key.id)
            raise _PostponedError(type(error).__name__) from error

    def _try_to_act(self, operation: BulkOperation, key: JobKey) -> JobResult:
        action = self.actions[operation.action]
        job = self.jobs.get(key.tenant, key.id)
        if not action.is_done(job, operation.started_at):
            if job is None:
                return JobResult(key, JobOutcome.SKIPPED, "Job is gone")
            if not operation.filter.matches(job):
                return JobResult(key, JobOutcome.SKIPPED, "Does not match any more")
            action.act(job, operation.started_at)
        return JobResult(key, JobOutcome.DONE)

    def _save(self, operation: BulkOperation, results: Sequence[JobResult], *, tries: int) -> None:
        """Add the results, also to an operation that was canceled meanwhile."""
        stored: BulkOperation | None = operation
        for _ in range(_MAX_CONFLICTS):
            # Only a worker that has lost its lease can find other progress than its own.
            if stored is None or stored.position != operation.position:
                return
            try:
                self.store.replace(stored.record(results, tries=tries))
            except ConflictError:
                stored = self.store.get(operation.id)
            else:
                return
        raise ConflictError("the operation keeps changing")

    def _end(self, operation: BulkOperation, status: BulkStatus, *, error: str | None = None) -> None:
        with self.audit.change(
            AuditAction.END_BULK_OPERATION,
            build_target(operation.id),
            tenant=operation.filter.tenant,
            before=describe_operation(operation),
        ) as change:
            ended = self.store.replace(operation.end(status, self.clock.now(), error=error))
            change.after = {**describe_operation(ended), "error": error}
        logger.info("bulk operation ended", **describe_operation(ended))

    def _limit_rate(self, count: int, started_at: datetime) -> None:
        remaining = count / _MAX_JOBS_PER_SECOND - (self.clock.now() - started_at).total_seconds()
        if remaining > 0:
            self.sleep(remaining)


@dataclass(frozen=True, slots=True)
class _Progress:
    """How many jobs were acted on, and whether the operation is left to the next run."""

    jobs: int
    is_postponed: bool = False
