"""Replicate's predictions behind the circuit breaker and the shared rate limits.

`UpstreamPredictionWriter` creates and cancels for the dispatcher, `UpstreamPredictionReader` reads for the
sweep, and for the dispatcher what is not urgent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from replicate_proxy.jobs.model import WaitReason
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.replicate_api.errors import BreakerOpenError, NotAcceptedError, ThrottledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from replicate_proxy.jobs.model import Submission
    from replicate_proxy.replicate_api.circuit_breaker import CircuitBreaker
    from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamPredictionPage
    from replicate_proxy.replicate_api.rate_limit import RateLimiter
    from replicate_proxy.replicate_api.response import UpstreamResponse
    from replicate_proxy.replicate_api.retry import RetryingClient


_REDUCED_LIMIT_SECONDS = 120.0
"""How long a reduced limit applies. Replicate repeats it in every 429 while it lasts."""

_MAX_READ_WAIT_SECONDS = 2.0
"""Reads get slots at tens per second. If the wait is longer, leave it to the next sweep."""


_MAX_BATCH_WAIT_SECONDS = 5.0
_MAX_BATCH_WAITS = 4
"""How long, and how often, a job of a large batch waits for its slot. The function's timeout is a minute."""


class CreateDelay(NamedTuple):
    """How long a create request has to wait, and why."""

    seconds: float
    reason: WaitReason


@dataclass(frozen=True, slots=True)
class UpstreamPredictionWriter:
    """Creates and cancels predictions.

    `batch_limiter` hands out the slots that jobs of large batches may take; they wait for one by `sleep`.
    """

    client: RetryingClient
    breaker: CircuitBreaker
    rate_limiter: RateLimiter
    batch_limiter: RateLimiter | None = None
    sleep: Callable[[float], None] = time.sleep

    def acquire_batch_slot(self) -> CreateDelay | None:
        """Do the same for a job of a large batch, but wait for the slot as long as that takes some seconds.

        Thousands of such jobs wait at a time: a message and a save of the job for each wait would cost more.
        """
        delay = None
        for _ in range(_MAX_BATCH_WAITS):
            delay = self._acquire_slot(self.batch_limiter or self.rate_limiter)
            if delay is None or delay.reason is not WaitReason.RATE_LIMIT:
                break
            if delay.seconds > _MAX_BATCH_WAIT_SECONDS:
                break
            self.sleep(delay.seconds)
        return delay

    def acquire_create_slot(self) -> CreateDelay | None:
        """Return None if a create may be sent now, else how long to wait (open breaker or rate limit)."""
        return self._acquire_slot(self.rate_limiter)

    def _acquire_slot(self, rate_limiter: RateLimiter) -> CreateDelay | None:
        try:
            self.breaker.raise_if_open()
        except BreakerOpenError as error:
            delay_seconds = error.retry_after or 1.0
            logger.info("create postponed", reason="circuit breaker is open", delay_seconds=delay_seconds)
            return CreateDelay(delay_seconds, WaitReason.CIRCUIT_OPEN)
        delay_seconds = rate_limiter.acquire_slot()
        if delay_seconds <= 0:
            return None
        logger.info("create postponed", reason="rate limit is used up", delay_seconds=delay_seconds)
        return CreateDelay(delay_seconds, WaitReason.RATE_LIMIT)

    def create(
        self, submission: Submission, body: dict[str, Any], *, cancel_after_seconds: int | None
    ) -> UpstreamPrediction:
        try:
            return self.breaker.call(
                lambda: self.client.create(submission, body, cancel_after_seconds=cancel_after_seconds)
            )
        except ThrottledError as error:
            count(Metric.UPSTREAM_THROTTLED)
            if error.limit_per_minute is not None:
                self.rate_limiter.reduce_limit(error.limit_per_minute, for_seconds=_REDUCED_LIMIT_SECONDS)
            raise

    def cancel(self, prediction_id: str) -> UpstreamPrediction:
        return self.breaker.call(lambda: self.client.cancel(prediction_id))


@dataclass(frozen=True, slots=True)
class UpstreamPredictionReader:
    """Reads predictions. Every read waits for a slot of the read limit."""

    client: RetryingClient
    breaker: CircuitBreaker
    rate_limiter: RateLimiter
    sleep: Callable[[float], None]

    def get(self, prediction_id: str) -> UpstreamPrediction:
        self._wait_for_slot()
        return self.breaker.call(lambda: self.client.get(prediction_id))

    def list(
        self, *, created_after: datetime | None, created_before: datetime | None, cursor: str | None
    ) -> UpstreamPredictionPage:
        self._wait_for_slot()
        return self.breaker.call(
            lambda: self.client.list(
                created_after=created_after, created_before=created_before, cursor=cursor
            )
        )

    def read(self, path: str) -> UpstreamResponse:
        """Return the response to a GET of another resource, if it is 2xx or 4xx."""
        self._wait_for_slot()
        return self.breaker.call(lambda: self.client.read(path))

    def _wait_for_slot(self) -> None:
        """Raise NotAcceptedError if the wait would be longer than `_MAX_READ_WAIT_SECONDS`."""
        wait_seconds = self.rate_limiter.acquire_slot()
        if wait_seconds > _MAX_READ_WAIT_SECONDS:
            raise NotAcceptedError("the read limit for Replicate is used up", retry_after=wait_seconds)
        self.sleep(wait_seconds)
