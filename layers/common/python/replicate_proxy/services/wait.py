"""Wait for a job to become final: `Prefer: wait`, and the response to a cancel."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock, JobStore


_MIN_INTERVAL_SECONDS = 0.15
_MAX_INTERVAL_SECONDS = 1.0
_INTERVAL_GROWTH = 1.25


class JobWaiter:
    """Reads a job at growing intervals until it is final.

    `max_wait_seconds` limits every wait, because API Gateway ends a request after 29 seconds (Amazon API
    Gateway, quotas).
    """

    def __init__(
        self, store: JobStore, clock: Clock, sleep: Callable[[float], None], *, max_wait_seconds: float
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._max_wait_seconds = max_wait_seconds

    def wait_until_final(self, job: Job, timeout_seconds: float) -> Job:
        """Return the job once it is final, or as it is when the timeout ends."""
        deadline = self._clock.now() + timedelta(seconds=min(timeout_seconds, self._max_wait_seconds))
        interval_seconds = _MIN_INTERVAL_SECONDS
        while not job.is_terminal:
            seconds_left = (deadline - self._clock.now()).total_seconds()
            if seconds_left <= 0:
                break
            self._sleep(min(interval_seconds, seconds_left))
            interval_seconds = min(interval_seconds * _INTERVAL_GROWTH, _MAX_INTERVAL_SECONDS)
            job = self._store.get(job.tenant, job.id) or job
        return job
