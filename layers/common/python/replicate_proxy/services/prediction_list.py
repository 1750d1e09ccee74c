"""List the predictions of one tenant, newest first, filtered by what their jobs say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from replicate_proxy.ids import find_bounds, find_neighbor, min_id_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.jobs.job_filter import JobFilter
    from replicate_proxy.jobs.model import Batch, Job
    from replicate_proxy.ports import JobReader
    from replicate_proxy.services.rendering import PredictionRenderer


type FindBatch = Callable[[str, str], Batch | None]
"""Returns a batch by tenant and ID."""

# Replicate's own page size (Replicate's OpenAPI document, GET /predictions).
PAGE_SIZE = 100
# A page looks at most at so many times its size of jobs, and goes on by cursor.
MAX_READS = 10


@dataclass(frozen=True, slots=True)
class PredictionPage:
    """Rendered predictions, newest first.

    The next page has those before `next_before_id`, the previous one those after `previous_after_id`; None if
    there is no such page. A page can be short or empty although others follow.
    """

    results: Sequence[dict[str, Any]]
    next_before_id: str | None
    previous_after_id: str | None


_EMPTY_PAGE = PredictionPage((), None, None)


class _Bounds(NamedTuple):
    """Which IDs can match: from `min_id` on, and before `before_id`."""

    min_id: str | None
    before_id: str | None


class PredictionList:
    """Lists predictions by the index of their tenant, which holds IDs only: filters apply to the jobs read.

    So what a page reads depends neither on how many jobs are stored nor on other tenants.
    """

    def __init__(self, jobs: JobReader, find_batch: FindBatch, renderer: PredictionRenderer) -> None:
        self._jobs = jobs
        self._find_batch = find_batch
        self._renderer = renderer

    def read(
        self,
        tenant: str,
        job_filter: JobFilter,
        *,
        before_id: str | None = None,
        after_id: str | None = None,
    ) -> PredictionPage:
        """Return a page of predictions older than `before_id`, or the page that ends above `after_id`."""
        bounds = self._find_bounds(tenant, job_filter)
        if bounds is None:
            return _EMPTY_PAGE
        if after_id is not None:
            return self._read_newer(tenant, job_filter, bounds, after_id)
        return self._read_older(tenant, job_filter, bounds, before_id)

    def _find_bounds(self, tenant: str, job_filter: JobFilter) -> _Bounds | None:
        """Return the bounds of the IDs that can match, None if none can.

        The jobs of a batch have its time, or that of its ID: only they are read, wherever in the list.
        """
        bounds = _Bounds(job_filter.min_id, job_filter.before_id)
        if job_filter.batch_id is None:
            return bounds
        batch = self._find_batch(tenant, job_filter.batch_id)
        if batch is None:
            return None
        low, high = find_bounds(batch.id, min_id_at(batch.created_at))
        return _Bounds(max(low, bounds.min_id or low), min(high, bounds.before_id or high))

    def _read_older(
        self, tenant: str, job_filter: JobFilter, bounds: _Bounds, before_id: str | None
    ) -> PredictionPage:
        found: list[Job] = []
        position = min(filter(None, (before_id, bounds.before_id)), default=None)
        for _ in range(MAX_READS):
            page = self._jobs.list_jobs(tenant, before_id=position, min_id=bounds.min_id, limit=PAGE_SIZE)
            found += filter(job_filter.matches, page.jobs)
            position = page.next_before_id
            if position is None or len(found) >= PAGE_SIZE:
                break
        results = self._renderer.render_page(found[:PAGE_SIZE])
        if len(results) < len(found):
            # The page is full: the next one starts after the last prediction that fits.
            position = found[len(results) - 1].id
        if before_id is None:
            return PredictionPage(results, position, None)
        # What a cursor left behind is newer than the first result, or than all that was looked at.
        newer_than = found[0].id if found else position or find_neighbor(before_id, -1)
        return PredictionPage(results, position, newer_than)

    def _read_newer(
        self, tenant: str, job_filter: JobFilter, bounds: _Bounds, after_id: str
    ) -> PredictionPage:
        found: list[Job] = []
        # The lowest ID of a moment ends with a zero: without it, the text is just below.
        position: str | None = max(after_id, bounds.min_id[:-1] if bounds.min_id else after_id)
        for _ in range(MAX_READS):
            page = self._jobs.list_newer_jobs(
                tenant, after_id=position or "", before_id=bounds.before_id, limit=PAGE_SIZE
            )
            found = [*filter(job_filter.matches, page.jobs), *found]
            position = page.previous_after_id
            if position is None or len(found) >= PAGE_SIZE:
                break
        # What does not fit is the newest part: the page has to end above `after_id`.
        results = self._renderer.render_page(found[::-1][:PAGE_SIZE])[::-1]
        if len(results) < len(found):
            position = found[-len(results)].id
        older_than = found[-1].id if found else position or find_neighbor(after_id, 1)
        return PredictionPage(results, older_than, position)
