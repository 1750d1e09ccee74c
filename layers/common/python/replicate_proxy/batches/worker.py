"""Works on large batches, step by step: expand, cancel, write the results, notify, and remove in the end.

A step is small, and its progress is saved after it. A crash makes the next run repeat one step, which does
nothing twice. All tenants go on in turn, and all batches of each, so that none waits for the others.

A batch whose step fails is due again later, so that it does not keep others out of the page of due batches.
A step can also end the process, for example if it needs too much memory. So a batch is due later from before
its first step in a run on, until a step is saved: the next run goes on with the others.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from replicate_proxy.batches.model import BatchPhase, find_lines_object, list_prefixes, parse_lines
from replicate_proxy.batches.turns import list_turns
from replicate_proxy.errors import ConflictError, ProxyError
from replicate_proxy.observability import Metric, count_failure, logger
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.background_worker import WorkerLease
    from replicate_proxy.batches.expander import BatchExpander
    from replicate_proxy.batches.model import LargeBatch
    from replicate_proxy.batches.ports import BatchCountReader, BatchObjects, LargeBatchStore
    from replicate_proxy.batches.results import ResultWriter
    from replicate_proxy.jobs.model import Batch, Job
    from replicate_proxy.ports import Clock, JobsById

_MAX_BATCHES = 50
_MAX_CONFLICTS = 5
# The lease is renewed after each part of a run: a crash stops the work for as long as it lasts.
_LEASE_DURATION = timedelta(seconds=60)
_ROUND_DURATION = timedelta(seconds=30)
# After a step that has failed. Less than the minute between two sweeps: the next one tries again.
_RETRY_DELAY = timedelta(seconds=50)
# The delay doubles with each run that ends within its first step of the batch, up to 13 minutes.
_MAX_DOUBLINGS = 4
# A batch may run for longer than it is kept. Its webhook is sent before its deliveries are removed.
_MIN_KEPT = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWorker:
    """Goes on with all batches that are due.

    `notify` sends the webhook of a completed batch, under an ID that a repetition has again. `cancel`
    requests the cancel of a job. `remove_objects` removes all with a prefix, and `remove_rows` the deliveries
    and counts of a batch.
    """

    store: LargeBatchStore
    objects: BatchObjects
    jobs: JobsById
    counts: BatchCountReader
    expander: BatchExpander
    writer: ResultWriter
    notify: Callable[[Batch], None]
    cancel: Callable[[Job], object]
    remove_objects: Callable[[str], object]
    remove_rows: Callable[[str, str], object]
    lease: WorkerLease
    clock: Clock
    checkpoint: Checkpoint = no_checkpoint

    def run(self, deadline: datetime) -> int:
        """Work until the deadline, or until no batch can go on; return the number of steps.

        Does nothing while another worker runs. One that crashes loses its lease within a minute.
        """
        steps = 0
        ready_by_id: dict[str, bool] = {}
        while (now := self.clock.now()) < deadline:
            with self.lease.hold(now + _LEASE_DURATION) as is_free:
                if not is_free:
                    logger.info("batches skipped, another worker is running")
                    break
                done = self._work(min(deadline, now + _ROUND_DURATION), ready_by_id)
            steps += done
            if not done:
                break
        return steps

    def _work(self, deadline: datetime, ready_by_id: dict[str, bool]) -> int:
        """Return how many steps were done; `ready_by_id` says which batches of the run can go on.

        It has them in the order of their last steps: the first one is the next whose turn it is.
        """
        steps = 0
        while (now := self.clock.now()) < deadline:
            due = self.store.list_due(now, limit=_MAX_BATCHES)
            positions = {batch_id: position for position, batch_id in enumerate(ready_by_id)}
            ready = [batch for batch in due if ready_by_id.get(batch.id, True)]
            if not ready:
                break
            if len(due) >= _MAX_BATCHES:
                # There may be more: those that have had their turn come after them.
                ready = [_make_due(batch, now) for batch in ready]
            ready.sort(key=lambda batch: positions.get(batch.id, -1))
            for batch in _take_turns(ready, ready_by_id):
                if self.clock.now() >= deadline:
                    break
                is_first = ready_by_id.pop(batch.id, None) is None
                has_gone_on = self._try_step(batch, is_first=is_first)
                ready_by_id[batch.id] = has_gone_on
                steps += has_gone_on
        return steps

    def _try_step(self, batch: Batch, *, is_first: bool = True) -> bool:
        """Return whether the batch has gone on. One that fails must not stop the others."""
        with logger.append_context_keys(batch_id=batch.id, tenant=batch.tenant):
            try:
                if is_first:
                    batch = self._begin(batch)
                return batch.large is not None and self._step(batch, batch.large)
            except ConflictError as error:
                # Its caller has canceled it, or another worker has gone on with it.
                logger.warning("batch postponed", reason=f"{type(error).__name__}: {error}")
                self._save_after_failure(batch)
            except ProxyError as error:
                logger.warning("batch postponed", reason=f"{type(error).__name__}: {error}")
                count_failure(Metric.BATCH_FAILED, error)
                self._save_after_failure(batch, due_at=self.clock.now() + _RETRY_DELAY)
            except Exception as error:  # noqa: BLE001 - a bug in one batch must not stop the others
                logger.exception("batch postponed unexpectedly")
                count_failure(Metric.BATCH_FAILED, error)
                self._save_after_failure(batch, due_at=self.clock.now() + _RETRY_DELAY)
            return False

    def _begin(self, batch: Batch) -> Batch:
        """Postpone the batch, in case its step ends the process; the step saves the earlier time again."""
        if batch.large is None:
            return batch
        count = batch.large.interruptions
        due_at = self.clock.now() + _RETRY_DELAY * 2 ** min(count, _MAX_DOUBLINGS)
        begun = self._save(batch, due_at=due_at, interruptions=count + 1)
        if begun.large is None:
            return begun
        return replace(begun, large=replace(begun.large, due_at=batch.large.due_at, interruptions=0))

    def _save_after_failure(self, batch: Batch, **changes: Any) -> None:
        """Save when the batch is due, unless another worker has gone on with it. A failure is only logged."""
        try:
            with suppress(ConflictError):
                self._save(batch, **changes)
        except Exception:  # noqa: BLE001 - it must not stop the others
            logger.exception("batch not postponed")

    def _step(self, batch: Batch, large: LargeBatch) -> bool:
        if large.is_completed:
            self._remove(batch)
            return True
        if self._handle_expanded_slice(batch, large):
            return True
        match large.phase:
            case BatchPhase.EXPANDING:
                return self._expand(batch, large)
            case BatchPhase.RUNNING:
                return self._check_end(batch, large)
            case BatchPhase.WRITING:
                return self._write(batch, large)
            case _:
                self.notify(batch)
                self.checkpoint("batch.webhook_stored")
                due_at = max(large.delete_at, self.clock.now() + _MIN_KEPT)
                self._save(batch, phase=BatchPhase.COMPLETED, due_at=due_at)
                logger.info("batch completed", lines=large.lines, created_jobs=large.created)
                return True

    def _handle_expanded_slice(self, batch: Batch, large: LargeBatch) -> bool:
        """Enqueue or cancel the jobs of a slice; return False if there is none to handle."""
        if large.sent_slice < large.slices:
            # Its worker has ended before it was enqueued.
            self._enqueue_slice(batch, large, self._read_jobs(batch, large.sent_slice))
        elif large.cancel_requested_at is not None and large.cancel_slice < large.slices:
            self._cancel_slice(batch, large.cancel_slice)
            self._save(batch, cancel_slice=large.cancel_slice + 1)
        else:
            return False
        return True

    def _expand(self, batch: Batch, large: LargeBatch) -> bool:
        if large.position >= large.size_bytes:
            self._save(batch, phase=BatchPhase.RUNNING)
            logger.info(
                "batch expanded", lines=large.lines, created_jobs=large.created, rejected=large.rejected
            )
            return True
        expanded, jobs = self.expander.expand_slice(batch, large)
        if expanded.large is not None and large.slices < expanded.large.slices:
            self._enqueue_slice(expanded, expanded.large, jobs)
        return True

    def _enqueue_slice(self, batch: Batch, large: LargeBatch, jobs: Iterable[Job]) -> None:
        self.expander.enqueue(list(jobs))
        self._save(batch, sent_slice=large.sent_slice + 1)
        self.checkpoint("batch.slice_saved")

    def _check_end(self, batch: Batch, large: LargeBatch) -> bool:
        """Go on once all jobs have ended. Otherwise others are looked at first the next time."""
        is_ended = self.counts.read_counts(batch.tenant, batch.id).ended >= large.created
        if is_ended:
            self._save(batch, phase=BatchPhase.WRITING)
        else:
            self._save(batch, due_at=self.clock.now())
        return is_ended

    def _write(self, batch: Batch, large: LargeBatch) -> bool:
        changes = self.writer.write_part(batch, large)
        self.checkpoint("batch.part_written")
        if not changes:
            changes = {"phase": BatchPhase.NOTIFYING, "completed_at": self.clock.now()}
        self._save(batch, **changes)
        return True

    def _cancel_slice(self, batch: Batch, number: int) -> None:
        for job in self._read_jobs(batch, number):
            if not job.is_terminal:
                self.cancel(job)

    def _read_jobs(self, batch: Batch, number: int) -> Iterable[Job]:
        """Return the jobs of a slice, without those that are deleted."""
        lines = parse_lines(self.objects.read(find_lines_object(batch, number)))
        job_ids = [line.derive_job_id(batch.id) for line in lines if line.status is None]
        return self.jobs.get_many(batch.tenant, job_ids, consistent=True).values()

    def _remove(self, batch: Batch) -> None:
        """Remove the batch at the end of its retention; objects go first and its record last."""
        for prefix in list_prefixes(batch.tenant, batch.id):
            self.remove_objects(prefix)
        self.checkpoint("batch.objects_removed")
        self.remove_rows(batch.tenant, batch.id)
        self.store.remove(batch)
        logger.info("batch deleted")

    def _save(self, batch: Batch, **changes: Any) -> Batch:
        """Save progress, also of a batch whose cancel was requested meanwhile, and return what is stored."""
        stored: Batch | None = batch
        for _ in range(_MAX_CONFLICTS):
            if stored is None or stored.large is None or batch.large is None:
                break
            if stored.large.progress != batch.large.progress:
                # Only a worker that has lost its lease finds other progress than its own.
                break
            changed = {"due_at": batch.large.due_at, "interruptions": batch.large.interruptions, **changes}
            try:
                return self.store.replace(replace(stored, large=replace(stored.large, **changed)))
            except ConflictError:
                stored = self.store.get(batch.tenant, batch.id)
        raise ConflictError("another worker has gone on with the batch")


def _take_turns(ready: Sequence[Batch], ready_by_id: Mapping[str, bool]) -> Iterator[Batch]:
    """Yield one batch of each tenant in turn, until a tenant without others can go on with one it has had.

    Then they have to be read again, so that it has its next turn before the others have had all of theirs.
    """
    for turn, next_turn in pairwise([*list_turns(ready, lambda batch: batch.tenant), []]):
        yield from turn
        waiting = {batch.tenant for batch in next_turn}
        if any(ready_by_id.get(batch.id, False) for batch in ready if batch.tenant not in waiting):
            break


def _make_due(batch: Batch, due_at: datetime) -> Batch:
    """Return the batch as it is due at that time, once its step is saved."""
    return batch if batch.large is None else replace(batch, large=replace(batch.large, due_at=due_at))
