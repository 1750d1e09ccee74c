"""`Prefer: wait`: holding the reply until the job is final or the patience is used up."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock, JobStore


_FIRST_PAUSE = 0.15
_LONGEST_PAUSE = 1.0


class JobWaiter:
    """Looks at the job again and again, ever less often. `longest` seconds bounds every hold: API Gateway
    ends a request after 29 seconds (Amazon API Gateway, quotas).
    """

    def __init__(
        self, store: JobStore, clock: Clock, sleep: Callable[[float], None], *, max_wait_seconds: float
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._longest = max_wait_seconds

    def wait_until_final(self, job: Job, timeout_seconds: float) -> Job:
        """The newest record, final or not."""
        ends = self._clock.now() + timedelta(seconds=min(timeout_seconds, self._longest))
        pause = _FIRST_PAUSE
        while not job.is_terminal and (left := (ends - self._clock.now()).total_seconds()) > 0:
            self._sleep(min(pause, left))
            pause = min(pause * 1.25, _LONGEST_PAUSE)
            job = self._store.get(job.tenant, job.id) or job
        return job
