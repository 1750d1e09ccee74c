"""Wait for a job to become final or to be submitted: `Prefer: wait`, the response to a cancel, streams."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import Clock, JobStore


_MIN_INTERVAL_SECONDS = 0.15
_MAX_INTERVAL_SECONDS = 1.0
_INTERVAL_GROWTH = 1.25
# For the last read of the job and of its documents, and for the way back.
_RESPONSE_SECONDS = 2.0


class WaitLimiter(Protocol):
    """Bounds the requests that wait at the same time, per tenant and in all."""

    def hold_place(self, tenant: str) -> AbstractContextManager[bool]:
        """Hold a place for the block, and yield whether one was free."""
        ...


@dataclass(frozen=True, slots=True)
class JobWaiter:
    """Reads a job at growing intervals until it is final.

    `max_wait_seconds` limits every wait. So does the API, which ends a request `api_timeout_seconds` after it
    received it (Amazon API Gateway, quotas): what a cold start took of that time is missing from the wait.
    """

    store: JobStore
    clock: Clock
    sleep: Callable[[float], None]
    max_wait_seconds: float
    api_timeout_seconds: float = 29.0
    limiter: WaitLimiter | None = None

    def wait_until_final(
        self, job: Job, timeout_seconds: float, *, received_at: datetime | None = None
    ) -> Job | None:
        """Return the job once it is final, or as it is when the timeout ends.

        `received_at` is when the API received the request, from which the timeout counts (RFC 7240, section
        4.3): Replicate's Python client gives up half a second after it. Returns None without waiting if too
        many requests wait already.
        """
        seconds_left = timeout_seconds - self._calculate_age_seconds(received_at)
        return self.wait_until(job, _is_terminal, seconds_left, received_at=received_at)

    def wait_until(
        self,
        job: Job,
        is_done: Callable[[Job], bool],
        timeout_seconds: float,
        *,
        received_at: datetime | None = None,
        interval_seconds: float = _MIN_INTERVAL_SECONDS,
    ) -> Job | None:
        """Return the job once it is done, like `wait_until_final`. The interval grows from the given one."""
        deadline = self._calculate_deadline(timeout_seconds, received_at)
        if is_done(job) or deadline <= self.clock.now():
            return job
        with self.limiter.hold_place(job.tenant) if self.limiter else nullcontext(True) as has_place:
            return self._wait(job, is_done, deadline, interval_seconds) if has_place else None

    def _calculate_deadline(self, timeout_seconds: float, received_at: datetime | None) -> datetime:
        now = self.clock.now()
        age_seconds = self._calculate_age_seconds(received_at)
        seconds_left = self.api_timeout_seconds - _RESPONSE_SECONDS - age_seconds
        return now + timedelta(seconds=min(timeout_seconds, self.max_wait_seconds, seconds_left))

    def _calculate_age_seconds(self, received_at: datetime | None) -> float:
        """Return how long ago the API received the request, 0 if that is not known."""
        age_seconds = (self.clock.now() - received_at).total_seconds() if received_at else 0.0
        # An event that is older than any request can be is a sample or a replay.
        return age_seconds if 0 <= age_seconds <= self.api_timeout_seconds else 0.0

    def _wait(
        self, job: Job, is_done: Callable[[Job], bool], deadline: datetime, interval_seconds: float
    ) -> Job:
        while not is_done(job):
            seconds_left = (deadline - self.clock.now()).total_seconds()
            if seconds_left <= 0:
                break
            self.sleep(min(interval_seconds, seconds_left))
            interval_seconds = min(interval_seconds * _INTERVAL_GROWTH, _MAX_INTERVAL_SECONDS)
            job = self._read(job)
        return job

    def _read(self, job: Job) -> Job:
        """Return the job as it is now, or as it was if it cannot be read.

        The request that waits has been accepted: an error would make its caller repeat it.
        """
        try:
            return self.store.get(job.tenant, job.id) or job
        except RetryableError as error:
            logger.warning("job not read while waiting", job_id=job.id, reason=str(error))
            return job


def _is_terminal(job: Job) -> bool:
    return job.is_terminal
