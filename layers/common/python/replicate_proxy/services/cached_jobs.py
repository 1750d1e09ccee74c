"""Reading jobs through a cache without ever showing an unfinished one as it was longer than a moment ago."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.clock import parse
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock, JobCache, JobPage, JobReader

__all__ = ["CachedJobs"]


class CachedJobs:
    """The JobReader port: what the cache says where it cannot mislead, a strong read of the table otherwise.

    A finished job never changes, so it is taken from the cache whatever its age. An unfinished one is taken
    while the newest hop of its own timeline is at most `stale` old: whatever has been written since is
    younger still. Pages are read from the table, since a cached list would miss what was created last.
    """

    def __init__(self, jobs: JobReader, cache: JobCache, clock: Clock, *, stale: timedelta) -> None:
        self._jobs = jobs
        self._cache = cache
        self._clock = clock
        self._stale = stale

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None:
        try:
            cached = self._cache.get(tenant, job_id)
        except RetryableError as error:
            count(Metric.CACHE_FALLBACK)
            logger.warning("read past the cache", reason=str(error))
            cached = None
        if cached is not None and self._holds(cached):
            return cached
        return self._jobs.get(tenant, job_id, consistent=consistent)

    def page(self, tenant: str, *, below: str | None, from_id: str | None, limit: int) -> JobPage:
        return self._jobs.page(tenant, below=below, from_id=from_id, limit=limit)

    def _holds(self, job: Job) -> bool:
        if job.is_terminal:
            return True
        newest = max((parse(time) for time in job.timeline.values()), default=job.created_at)
        return timedelta(0) <= self._clock.now() - newest <= self._stale
