"""Read predictions by ID. `services.prediction_list` lists them, `services.batch_reader` reads batches.

`PredictionReader` works on a `JobReader`: the job store itself or, with DAX, a `CachedJobReader`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.concurrency.model import WaitingJob
from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.ids import is_id
from replicate_proxy.observability import Metric, count, logger, tracer

if TYPE_CHECKING:
    from replicate_proxy.concurrency.ports import LineReader
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock, JobCache, JobPage, JobReader
    from replicate_proxy.services.progress_request import ProgressRequester
    from replicate_proxy.services.rendering import PredictionRenderer


# Jobs ahead in a line are counted up to this number: 75 kB to read.
_MAX_AHEAD = 500


class PredictionReader:
    """Reads predictions of one tenant; another tenant's prediction does not exist for it.

    The read of a running one asks for its progress, which later reads show.
    """

    def __init__(
        self,
        jobs: JobReader,
        renderer: PredictionRenderer,
        progress: ProgressRequester | None = None,
        lines: LineReader | None = None,
    ) -> None:
        self._jobs = jobs
        self._renderer = renderer
        self._progress = progress
        self._lines = lines

    def get(self, tenant: str, prediction_id: str) -> dict[str, Any]:
        """Return the prediction. Raises NotFoundError."""
        job = self._jobs.get(tenant, prediction_id) if is_id(prediction_id) else None
        if job is None:
            raise NotFoundError("no such prediction")
        tracer.annotate(job_id=job.id)
        if self._progress is not None:
            self._progress.request_progress(job)
        view = self._renderer.render(job)
        if self._lines is not None:
            add_jobs_ahead(view, job, self._lines)
        return view


def add_jobs_ahead(view: dict[str, Any], job: Job, lines: LineReader) -> None:
    """Add to the prediction roughly how many jobs are ahead in the line that it waits in, if it does."""
    waiting = view["proxy"].get("waiting", {})
    if job.waiting is not None and "limit" in waiting:
        waiting["ahead"] = lines.count_ahead(
            job.waiting.limit, WaitingJob.from_job(job).position, at_most=_MAX_AHEAD
        )


class CachedJobReader:
    """Reads jobs through a cache with bounded staleness, for the JobReader port.

    A final job never changes, so a cached one is used whatever its age. Another one is used while the newest
    entry of its timeline is at most `max_staleness` old: any change that it misses is younger than that.
    Everything else is a consistent read of the table. Lists are always read from the table, because a cached
    list would miss the newest jobs.
    """

    def __init__(self, jobs: JobReader, cache: JobCache, clock: Clock, *, max_staleness: timedelta) -> None:
        self._jobs = jobs
        self._cache = cache
        self._clock = clock
        self._max_staleness = max_staleness

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None:
        try:
            cached = self._cache.get(tenant, job_id)
        except RetryableError as error:
            count(Metric.CACHE_UNAVAILABLE)
            logger.warning("cache unavailable, reading table", reason=str(error))
            cached = None
        if cached is not None and self._is_usable(cached):
            return cached
        return self._jobs.get(tenant, job_id, consistent=consistent)

    def list_jobs(self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int) -> JobPage:
        return self._jobs.list_jobs(tenant, before_id=before_id, min_id=min_id, limit=limit)

    def list_newer_jobs(self, tenant: str, *, after_id: str, before_id: str | None, limit: int) -> JobPage:
        return self._jobs.list_newer_jobs(tenant, after_id=after_id, before_id=before_id, limit=limit)

    def _is_usable(self, job: Job) -> bool:
        if job.is_terminal:
            return True
        changed_at = max(job.timeline.values(), default=job.created_at)
        return timedelta(0) <= self._clock.now() - changed_at <= self._max_staleness
