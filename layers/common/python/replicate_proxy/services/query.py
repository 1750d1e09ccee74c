"""Reading jobs through a cache without ever showing an unfinished one as it was longer than a moment ago.

Reading jobs: one by id, or a page of the caller's own, newest first.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ApiError, InvalidField, NotFoundError, RetryableError
from replicate_proxy.ids import is_id, min_id_at
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock, JobCache, JobPage, JobReader
    from replicate_proxy.services.rendering import PredictionRenderer


class CachedJobReader:
    """The JobReader port: what the cache says where it cannot mislead, a strong read of the table otherwise.

    A finished job never changes, so it is taken from the cache whatever its age. An unfinished one is taken
    while the newest hop of its own timeline is at most `stale` old: whatever has been written since is
    younger still. Pages are read from the table, since a cached list would miss what was created last.
    """

    def __init__(self, jobs: JobReader, cache: JobCache, clock: Clock, *, max_staleness: timedelta) -> None:
        self._jobs = jobs
        self._cache = cache
        self._clock = clock
        self._stale = max_staleness

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None:
        try:
            cached = self._cache.get(tenant, job_id)
        except RetryableError as error:
            count(Metric.CACHE_UNAVAILABLE)
            logger.warning("read past the cache", reason=str(error))
            cached = None
        if cached is not None and self._holds(cached):
            return cached
        return self._jobs.get(tenant, job_id, consistent=consistent)

    def list_jobs(self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int) -> JobPage:
        return self._jobs.list_jobs(tenant, before_id=before_id, min_id=min_id, limit=limit)

    def _holds(self, job: Job) -> bool:
        if job.is_terminal:
            return True
        newest = max(job.timeline.values(), default=job.created_at)
        return timedelta(0) <= self._clock.now() - newest <= self._stale


# Replicate's own page size (OpenAPI document, GET /predictions).
PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class PredictionPage:
    """Rendered predictions and the cursor of the page after them."""

    results: Sequence[dict[str, Any]]
    next_cursor: str | None


class PredictionReader:
    """Everything is read under the caller's tenant; another tenant's job does not exist here."""

    def __init__(self, store: JobReader, views: PredictionRenderer) -> None:
        self._store = store
        self._views = views

    def job(self, tenant: str, job_id: str) -> Job:
        """Raises NotFoundError."""
        job = self._store.get(tenant, job_id) if is_id(job_id) else None
        if job is None:
            raise NotFoundError("no such job")
        return job

    def get(self, tenant: str, job_id: str) -> dict[str, Any]:
        return self._views.render(self.job(tenant, job_id))

    def list_predictions(
        self,
        tenant: str,
        *,
        cursor: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> PredictionPage:
        """`created_after` counts inclusive, `created_before` exclusive, as at Replicate."""
        bounds = [min_id_at(created_before)] if created_before else []
        bounds += [_id_of(cursor)] if cursor else []
        found = self._store.list_jobs(
            tenant,
            before_id=min(bounds, default=None),
            min_id=min_id_at(created_after) if created_after else None,
            limit=PAGE_SIZE,
        )
        results = self._views.render_page(found.jobs)
        following = found.next_before_id
        if len(results) < len(found.jobs):
            following = found.jobs[len(results) - 1].id
        return PredictionPage(results=results, next_cursor=_cursor_of(following) if following else None)


def _cursor_of(job_id: str) -> str:
    return base64.urlsafe_b64encode(job_id.encode()).decode().rstrip("=")


def _id_of(cursor: str) -> str:
    try:
        job_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        job_id = ""
    if not is_id(job_id):
        field = InvalidField("invalid_cursor", "cursor", "cursor is not one that this API gave out")
        raise ApiError(400, "Invalid cursor", field.description, invalid_fields=[field])
    return job_id
