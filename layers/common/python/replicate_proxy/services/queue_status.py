"""What a tenant's own queue is like: its unfinished predictions, and what may keep them from being sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.concurrency.model import name_tenant_limit
from replicate_proxy.jobs.model import ACTIVE_STATUSES, Account, JobStatus
from replicate_proxy.timed_cache import TimedCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.concurrency.model import Slots, WaitingJob
    from replicate_proxy.jobs.model import Job, WaitReason
    from replicate_proxy.pauses.pause import Pause
    from replicate_proxy.ports import JobReader
    from replicate_proxy.replicate_api.circuit_breaker import BreakerStatus
    from replicate_proxy.replicate_api.rate_limit import RateLimitState

# So many of the newest predictions are looked at.
MAX_STATUS_JOBS = 1000
# Beyond every ID, so that the whole line is counted.
_LAST_POSITION = "~~"
_MAX_IN_LINE = 1000
_MAX_TENANTS = 500
STATUS_CACHE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedJobs:
    """What the newest jobs of a tenant say; `is_complete` if these are all.

    `queued_for` counts the queued ones by why they wait, those of which it is known.
    """

    looked_at: int
    is_complete: bool
    unfinished: Mapping[JobStatus, int]
    queued_for: Mapping[WaitReason, int]
    oldest_queued_at: datetime | None


@dataclass(frozen=True, slots=True)
class LimitUse:
    """The concurrency limit of the tenant, the slots in use, and how many jobs wait in its line."""

    max_concurrency: int
    in_use: int
    in_line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """The state of a tenant's queue at `at`. `account` is where its new predictions run."""

    at: datetime
    jobs: CountedJobs
    predictions_paused: Pause | None
    deliveries_paused: Pause | None
    account: Account
    creates: RateLimitState
    breaker: BreakerStatus
    limit: LimitUse | None


class SlotReader(Protocol):
    """Reads slots and lines: `aws.slot_store.DynamoSlotStore`."""

    def read(self, limit_name: str) -> Slots: ...

    def list_line(self, limit_name: str, *, count: int) -> list[WaitingJob]: ...

    def count_ahead(self, limit_name: str, job_id: str, *, at_most: int) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatusReader:
    """Reads the state with a bounded number of requests; callers share it for `cache_seconds`."""

    jobs: JobReader
    slots: SlotReader
    find_max: Callable[[str], int | None]
    find_account: Callable[[str], Account]
    find_pause: Callable[[str], Pause | None]
    find_delivery_pause: Callable[[str], Pause | None]
    read_creates: Callable[[Account], RateLimitState]
    read_breaker: Callable[[Account], BreakerStatus]
    now: Callable[[], datetime]
    max_jobs: int = MAX_STATUS_JOBS
    cache_seconds: float = STATUS_CACHE_SECONDS
    cache: TimedCache[QueueStatus] = field(default_factory=lambda: TimedCache(_MAX_TENANTS))

    def read(self, tenant: str) -> QueueStatus:
        """Return the state. Raises RetryableError."""
        known = self.cache.find_fresh(tenant)
        if known is not None:
            return known
        account = self.find_account(tenant)
        status = QueueStatus(
            at=self.now(),
            jobs=self._count(tenant),
            predictions_paused=self.find_pause(tenant),
            deliveries_paused=self.find_delivery_pause(tenant),
            account=account,
            creates=self.read_creates(account),
            breaker=self.read_breaker(account),
            limit=self._read_limit(tenant),
        )
        self.cache.put(tenant, status, self.cache_seconds)
        return status

    def _count(self, tenant: str) -> CountedJobs:
        page = self.jobs.list_jobs(tenant, before_id=None, min_id=None, limit=self.max_jobs)
        statuses = Counter(job.status for job in page.jobs)
        queued = [job for job in page.jobs if job.status is JobStatus.QUEUED]
        return CountedJobs(
            looked_at=len(page.jobs),
            is_complete=page.next_before_id is None,
            unfinished={status: statuses[status] for status in JobStatus if status in ACTIVE_STATUSES},
            queued_for=Counter(job.waiting.reason for job in queued if job.waiting is not None),
            oldest_queued_at=self._find_oldest(tenant, queued[-1] if queued else None),
        )

    def _find_oldest(self, tenant: str, oldest: Job | None) -> datetime | None:
        """Return when the oldest queued job was accepted, of those looked at and the first one in line."""
        line = self.slots.list_line(name_tenant_limit(tenant), count=1)
        first = self.jobs.get(tenant, line[0].job_id) if line else None
        found = [job.created_at for job in (oldest, first) if job is not None]
        return min(found, default=None)

    def _read_limit(self, tenant: str) -> LimitUse | None:
        name = name_tenant_limit(tenant)
        max_concurrency = self.find_max(name)
        if max_concurrency is None:
            return None
        in_line = self.slots.count_ahead(name, _LAST_POSITION, at_most=_MAX_IN_LINE)
        return LimitUse(max_concurrency, len(self.slots.read(name).holders), in_line)
