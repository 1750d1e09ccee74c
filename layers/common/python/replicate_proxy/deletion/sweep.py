"""Carry out deletions, and delete the jobs whose retention has ended.

Objects go first and rows last, so that a pass that ends anywhere is repeated by the next sweep. The record of
the deletion stays until nothing can write about the job any more: until then, later passes remove what has
come late.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.deletion.model import Deletion, build_deletion
from replicate_proxy.due_jobs import DueJobReader
from replicate_proxy.errors import ConflictError, ProxyError
from replicate_proxy.observability import Metric, count, count_failure, logger
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from replicate_proxy.deletion.ports import DeletionStore, ObjectRemover, RowRemover
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock, DueJob


_WORKERS = 8


class DeletionOutcome(StrEnum):
    """The outcome of one pass over one job."""

    REMOVED = "removed"
    # What is left is the record of the deletion, until its last pass.
    EMPTIED = "emptied"
    NOT_DUE = "not_due"
    OUT_OF_TIME = "out_of_time"
    CHANGED_CONCURRENTLY = "changed_concurrently"
    FAILED = "failed"


class DeletionSweep:
    """Handles due deletions and expired jobs, the longest due first, until none is left or the time is up.

    `list_prefixes` returns the prefixes of the objects of a job; `rows` are its rows outside the table of
    jobs, and `late_rows` those that the last pass removes. `leave_limits` removes what is left of it in the
    concurrency limits.
    """

    def __init__(
        self,
        *,
        store: DeletionStore,
        objects: ObjectRemover,
        list_prefixes: Callable[[Deletion], Sequence[str]],
        rows: Sequence[RowRemover],
        late_rows: Sequence[RowRemover],
        leave_limits: Callable[[Deletion], object],
        clock: Clock,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._store = store
        self._objects = objects
        self._list_prefixes = list_prefixes
        self._rows = rows
        self._late_rows = late_rows
        self._leave_limits = leave_limits
        self._clock = clock
        self._checkpoint = checkpoint

    def delete_jobs(self, deadline: datetime) -> dict[str, int]:
        """Return how many jobs had which outcome. Raises RetryableError if due ones cannot be listed."""
        outcomes: Counter[str] = Counter()
        reader = DueJobReader(self._store.list_due)
        with ThreadPoolExecutor(_WORKERS) as workers:
            while (now := self._clock.now()) < deadline:
                due_jobs = reader.read_page(now)
                if reader.is_at_end:
                    break
                results = workers.map(partial(self._handle, deadline=deadline), due_jobs)
                outcomes.update(outcome.value for outcome in results)
        if removed := outcomes[DeletionOutcome.REMOVED]:
            count(Metric.JOBS_DELETED, removed)
        return dict(outcomes)

    def _handle(self, due_job: DueJob, *, deadline: datetime) -> DeletionOutcome:
        if self._clock.now() >= deadline:
            return DeletionOutcome.OUT_OF_TIME
        try:
            return self._run_pass(due_job)
        except ConflictError:
            return DeletionOutcome.CHANGED_CONCURRENTLY
        except ProxyError as error:
            logger.warning("deletion failed", job_id=due_job.id, reason=f"{type(error).__name__}: {error}")
            count_failure(Metric.DELETION_FAILED, error)
            return DeletionOutcome.FAILED
        except Exception as error:  # noqa: BLE001 - a bug in one deletion must not stop the others
            logger.exception("deletion failed unexpectedly", job_id=due_job.id)
            count_failure(Metric.DELETION_FAILED, error)
            return DeletionOutcome.FAILED

    def _run_pass(self, due_job: DueJob) -> DeletionOutcome:
        now = self._clock.now()
        stored = self._store.get(due_job.tenant, due_job.id)
        if stored is None:
            return DeletionOutcome.NOT_DUE
        deletion = stored if isinstance(stored, Deletion) else self._delete_expired(stored, now)
        if deletion is None or deletion.next_pass_at > now:
            return DeletionOutcome.NOT_DUE
        outcome = self._carry_out(deletion, now)
        logger.info(
            "deletion pass finished", job_id=deletion.id, tenant=deletion.tenant, outcome=outcome.value
        )
        return outcome

    def _delete_expired(self, job: Job, now: datetime) -> Deletion | None:
        if not job.is_terminal or job.delete_at is None or job.delete_at > now:
            return None
        deletion = build_deletion(job, now, is_expired=True)
        self._store.mark(job, deletion)
        self._checkpoint("sweep.expired_job_marked")
        return deletion

    def _carry_out(self, deletion: Deletion, now: datetime) -> DeletionOutcome:
        for prefix in self._list_prefixes(deletion):
            self._objects.remove_all(prefix)
        self._checkpoint("sweep.objects_removed")
        for rows in self._rows:
            rows.remove_job(deletion.tenant, deletion.id)
        self._checkpoint("sweep.deliveries_removed")
        next_pass_at = deletion.calculate_next_pass(now)
        if next_pass_at is not None:
            self._store.postpone(deletion, next_pass_at)
            return DeletionOutcome.EMPTIED
        for rows in self._late_rows:
            rows.remove_job(deletion.tenant, deletion.id)
        self._leave_limits(deletion)
        self._store.remove(deletion)
        return DeletionOutcome.REMOVED
