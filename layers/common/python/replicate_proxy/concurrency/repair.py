"""The sweep's part: free slots whose job does not need them, and let lines advance that have stalled.

Both happen only after a crash: in the moment between two writes, or when a batch of the stream was given up.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.concurrency.model import is_in_line, needs_slot
from replicate_proxy.errors import ProxyError
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.concurrency.limits import ConcurrencyLimits
    from replicate_proxy.concurrency.line import WaitingLine
    from replicate_proxy.concurrency.model import Slots
    from replicate_proxy.concurrency.ports import SlotStore
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock, JobStore

# Of the holders of a limit, so many are looked at in a pass; the next pass looks at the next ones.
_MAX_HOLDERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRepair:
    """Looks at every limit that jobs wait for. Without any, a pass is one read."""

    store: SlotStore
    jobs: JobStore
    limits: ConcurrencyLimits
    line: WaitingLine
    clock: Clock

    def run(self, deadline: datetime) -> int:
        """Repair and advance each line until `deadline`; return how many jobs were sent."""
        sent = 0
        names = self.store.list_lines()
        start = int(self.clock.now().timestamp() // 60) % len(names) if names else 0
        for name in [*names[start:], *names[:start]]:
            if self.clock.now() >= deadline:
                break
            try:
                self._free_stale_slots(name)
                sent += self.line.advance(name, is_repair=True)
            except ProxyError as error:
                logger.warning("slots not repaired", limit=name, reason=f"{type(error).__name__}: {error}")
        return sent

    def _free_stale_slots(self, name: str) -> None:
        number = self.limits.find_max(name)
        slots = self.store.read(name)
        if number is None or len(slots.holders) < number:
            return
        holders = _choose_holders(slots, self.clock.now())
        jobs = self._read_jobs(holders)
        for holder, revision in holders.items():
            if _is_stale(jobs.get(holder), name, revision):
                logger.warning("slot of a job that does not need it freed", limit=name, holder=holder)
                self.store.release(name, holder, up_to_revision=revision)

    def _read_jobs(self, holders: Mapping[str, int]) -> dict[str, Job]:
        ids_by_tenant: defaultdict[str, list[str]] = defaultdict(list)
        for holder in holders:
            tenant, _, job_id = holder.partition("/")
            ids_by_tenant[tenant].append(job_id)
        return {
            f"{tenant}/{job_id}": job
            for tenant, ids in ids_by_tenant.items()
            for job_id, job in self.jobs.get_many(tenant, ids, consistent=True).items()
        }


def _choose_holders(slots: Slots, now: datetime) -> dict[str, int]:
    """Return the holders of this pass: all, or a part that moves from minute to minute."""
    names = sorted(slots.holders)
    parts = -(-len(names) // _MAX_HOLDERS)
    start = int(now.timestamp() // 60) % max(parts, 1) * _MAX_HOLDERS
    return {name: slots.holders[name] for name in names[start : start + _MAX_HOLDERS]}


def _is_stale(job: Job | None, limit_name: str, revision: int) -> bool:
    """Return whether no job needs the slot.

    That of a queued job is in use if it was granted (revision 0: the job has been sent to dispatch), or
    acquired for the present record: dispatch may be about to claim it, or will find it again. One that was
    granted to a job which waits for another limit is not: the job had left the line a moment before.
    """
    if job is None:
        return True
    if needs_slot(job, limit_name):
        return False
    if job.status is not JobStatus.QUEUED:
        return True
    if revision == 0:
        return job.waiting is not None and is_in_line(job) and job.waiting.limit != limit_name
    return revision < job.revision
