"""Free slots from the stream of the jobs table, and let those who wait for them go.

The stream delivers a change at least once: a slot is freed only if it was acquired before the change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.concurrency.model import WaitingJob, build_holder, is_in_line, needs_slot
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.concurrency.line import WaitingLine
    from replicate_proxy.concurrency.ports import SlotStore
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.webhooks.model import JobChange

_BEFORE_REPLICATE = frozenset({JobStatus.QUEUED, JobStatus.SUBMITTING})


class SlotReleaser:
    """Frees the slots of jobs that leave Replicate. Changes of other jobs cost nothing."""

    def __init__(self, store: SlotStore, line: WaitingLine) -> None:
        self._store = store
        self._line = line

    def release(self, changes: Sequence[JobChange]) -> int | None:
        """Handle changes in any order; return the index of the first one that failed, or None."""
        failed_index: int | None = None
        for index, change in enumerate(changes):
            if change.old is None:
                continue
            try:
                self._handle(change.old, change.new)
            except Exception:  # noqa: BLE001 - whatever went wrong, the stream must deliver this change again
                logger.exception("slots not released", job_id=change.new.id, tenant=change.new.tenant)
                failed_index = index if failed_index is None else failed_index
        return failed_index

    def _handle(self, old: Job, new: Job) -> None:
        line = _find_line(old, new)
        if line is not None:
            self._store.leave_line(line, [WaitingJob.from_job(new)])
        for name in _find_released(old, new, line):
            slots = self._store.release(name, build_holder(new), up_to_revision=old.revision)
            if slots.has_line:
                self._line.advance(name)


def _find_line(old: Job, new: Job) -> str | None:
    """Return the limit in whose line the job was when it ended, fell back, or was found at Replicate."""
    is_same_attempt = new.status in _BEFORE_REPLICATE and new.attempt == old.attempt
    if old.waiting is None or not is_in_line(old) or is_same_attempt:
        return None
    return old.waiting.limit


def _find_released(old: Job, new: Job, line: str | None) -> tuple[str, ...]:
    """Return the limits whose slots the job does not need any more.

    A job that ends or falls back while it waits in line may have been granted a slot a moment before.
    """
    needed = [name for name in old.limits if needs_slot(old, name)]
    granted = [line] if line is not None else []
    return tuple(name for name in dict.fromkeys((*needed, *granted)) if not needs_slot(new, name))
