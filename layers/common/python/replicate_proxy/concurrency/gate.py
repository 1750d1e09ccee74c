"""What dispatch asks before it claims a job: a slot in each limit, or a place in line."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.concurrency.model import (
    WaitingJob,
    build_holder,
    is_in_line,
    needs_slot,
    occupies_slot,
)
from replicate_proxy.jobs.changes import CheckScheduled, StaleChangeError
from replicate_proxy.jobs.model import Waiting, WaitReason
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicate_proxy.concurrency.limits import ConcurrencyLimits
    from replicate_proxy.concurrency.line import WaitingLine
    from replicate_proxy.concurrency.model import Limit
    from replicate_proxy.concurrency.ports import SlotStore
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import Clock

# A held job is sent when its turn comes. The sweep looks at it this often in case that is lost.
_CHECK_INTERVAL = timedelta(minutes=10)


class SlotGate:
    """Acquires slots for jobs, or holds the jobs in line."""

    def __init__(
        self,
        *,
        updater: JobUpdater,
        store: SlotStore,
        limits: ConcurrencyLimits,
        line: WaitingLine,
        clock: Clock,
        timeouts: JobTimeouts,
    ) -> None:
        self._updater = updater
        self._store = store
        self._limits = limits
        self._line = line
        self._clock = clock
        self._timeouts = timeouts

    def acquire(self, job: Job) -> tuple[str, ...] | None:
        """Return the names of the limits in which the job has a slot now; None if it is held.

        The slots are good for a claim of this very record of the job.
        """
        acquired: list[str] = []
        for limit in self._limits.find(job):
            if not self._store.acquire(limit, build_holder(job), job.revision):
                self._hold(job, limit, acquired)
                return None
            acquired.append(limit.name)
        return tuple(acquired)

    def give_back(self, limit_names: Iterable[str], current: Job) -> None:
        """Free slots that were acquired for an earlier record of a job than `current`.

        They stay taken if the job needs them by now. No job in line gets one: the job itself comes back.
        """
        for name in limit_names:
            if not needs_slot(current, name):
                self._release(name, current)

    def step_aside(self, job: Job, current: Job) -> None:
        """Free all slots of a job that an operator has paused, and let others have them.

        `job` is its record before. It leaves its line: if it ends meanwhile, no change shows that it was
        there. It takes its place again when it is dispatched after the pause.
        """
        if job.waiting is not None and is_in_line(job):
            self._store.leave_line(job.waiting.limit, [WaitingJob.from_job(job)])
        for limit in self._limits.find(current):
            if not needs_slot(current, limit.name) and self._release(limit.name, current):
                self._line.advance(limit.name)

    def _hold(self, job: Job, limit: Limit, acquired: Iterable[str]) -> None:
        """Put the job into the line of the limit; it keeps the slots that it has acquired before.

        The line advances after that: a slot that was freed before the job had joined is not lost.
        """
        waiting_job = WaitingJob.from_job(job)
        self._store.join_line(limit.name, waiting_job)
        self._leave_other_line(job, limit, acquired)
        now = self._clock.now()
        waiting = Waiting(
            reason=WaitReason.CONCURRENCY_LIMIT, limit=limit.name, max_concurrency=limit.max_concurrency
        )
        held = CheckScheduled(
            expected_status=job.status,
            next_check_at=self._find_next_check(job, now),
            increments_backoff=False,
            waiting=waiting,
            limits=tuple(dict.fromkeys((*(job.limits if occupies_slot(job) else ()), *acquired))),
        )
        try:
            self._updater.apply(job, held)
        except StaleChangeError:
            self._store.leave_line(limit.name, [waiting_job])
            self.give_back(acquired, self._updater.get(job.tenant, job.id))
            return
        count(Metric.JOB_HELD)
        logger.info("job held", limit=limit.name, max_concurrency=limit.max_concurrency)
        self._line.advance(limit.name)

    def _leave_other_line(self, job: Job, limit: Limit, acquired: Iterable[str]) -> None:
        """Leave the line that the job was in, with the slot that it may have been granted there.

        That is the line of its model, if a limit of its tenant was set meanwhile: while it waits for its
        tenant, others can use its slot of the model.
        """
        if job.waiting is None or not is_in_line(job):
            return
        other = job.waiting.limit
        if other == limit.name or other in acquired or needs_slot(job, other):
            return
        self._store.leave_line(other, [WaitingJob.from_job(job)])
        if self._release(other, job):
            self._line.advance(other)

    def _find_next_check(self, job: Job, now: datetime) -> datetime:
        """Return when the sweep sends the job again: at its deadline or expiry at the latest."""
        expiry = job.created_at + timedelta(seconds=self._timeouts.max_queued_seconds + 1)
        bounds = [now + _CHECK_INTERVAL, expiry, *([job.deadline] if job.deadline else [])]
        return max(min(bounds), now + timedelta(seconds=1))

    def _release(self, limit_name: str, current: Job) -> bool:
        """Free the slot and return whether jobs wait for it."""
        slots = self._store.release(limit_name, build_holder(current), up_to_revision=current.revision - 1)
        return slots.has_line
