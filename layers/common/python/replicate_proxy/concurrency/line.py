"""Lets the jobs that wait in line go, first come first served, as far as slots are free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.concurrency.model import Limit
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.concurrency.limits import ConcurrencyLimits
    from replicate_proxy.concurrency.model import Slots, WaitingJob
    from replicate_proxy.concurrency.ports import SlotStore
    from replicate_proxy.ports import CommandQueue

# Jobs that were granted a slot are still in line if whoever granted it has crashed: a few more are read.
_MARGIN = 10
_PAGE_SIZE = 100
# A thousand jobs at a time; the next pass of the sweep continues.
_MAX_ROUNDS = 10


class WaitingLine:
    """Grants free slots to the first jobs in line, and sends them to dispatch.

    The slot is taken before the message is sent, and the job leaves the line after that: a crash in between
    repeats the message, which is harmless, and loses nothing.
    """

    def __init__(self, store: SlotStore, limits: ConcurrencyLimits, queue: CommandQueue) -> None:
        self._store = store
        self._limits = limits
        self._queue = queue

    def advance(self, limit_name: str, *, is_repair: bool = False) -> int:
        """Let jobs go until no slot is free or no job waits; return how many.

        `is_repair` looks for jobs with a granted slot and without a message even if no slot is free.
        """
        sent = 0
        for _ in range(_MAX_ROUNDS):
            slots, number = self._store.read(limit_name), self._limits.find_max(limit_name)
            free = _PAGE_SIZE if number is None else max(number - len(slots.holders), 0)
            if not free and not is_repair:
                break
            waiting = self._store.list_line(limit_name, count=min(free + _MARGIN, _PAGE_SIZE))
            if not waiting:
                self._store.close_line(limit_name)
                break
            ready = self._grant(limit_name, number, slots, waiting, free)
            if ready is None:
                continue
            if not ready:
                break
            self._send(limit_name, ready)
            sent += len(ready)
        return sent

    def _grant(
        self, limit_name: str, number: int | None, slots: Slots, waiting: Sequence[WaitingJob], free: int
    ) -> list[WaitingJob] | None:
        """Return the jobs that have a slot or need none, in their order; None if the slots have changed."""
        if number is None:
            return list(waiting)
        new = [job for job in waiting if job.holder not in slots.holders][:free]
        if new and not self._store.grant(Limit(limit_name, number), [job.holder for job in new]):
            return None
        return [job for job in waiting if job.holder in slots.holders or job in new]

    def _send(self, limit_name: str, jobs: Sequence[WaitingJob]) -> None:
        self._queue.send_all(
            [
                DispatchCommand(
                    DispatchKind.SUBMIT,
                    job.tenant,
                    job.job_id,
                    job.correlation_id,
                    is_batched=job.is_batched,
                )
                for job in jobs
            ]
        )
        self._store.leave_line(limit_name, jobs)
        logger.info("waiting jobs sent", limit=limit_name, jobs=len(jobs))
