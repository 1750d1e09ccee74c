"""Replicate as services use it: the client behind retries, the breaker and the rate limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.replicate_api.errors import BreakerOpenError, NotAcceptedError, ThrottledError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.replicate_api.breaker import Breaker
    from replicate_proxy.replicate_api.budget import Budget
    from replicate_proxy.replicate_api.client import ReplicateClient
    from replicate_proxy.replicate_api.models import CreateTarget, PredictionPage, UpstreamPrediction
    from replicate_proxy.replicate_api.rate import RateLimiter
    from replicate_proxy.replicate_api.retry import Retry

__all__ = ["GuardedReplicate"]

SLOW_SECONDS = 30.0
"""How long Replicate's word about a lower limit is taken to hold; its next 429 renews it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedReplicate:
    """Raises the errors of `errors.py`. A create is tried again only where it certainly was not accepted."""

    client: ReplicateClient
    breaker: Breaker
    creates: RateLimiter
    reads: RateLimiter
    retry: Retry

    def wait_before_create(self) -> float:
        """Seconds to wait before a create may be sent, by breaker and rate limit; 0 takes a place."""
        try:
            self.breaker.before()
        except BreakerOpenError as error:
            return error.retry_after or 1.0
        return _take(self.creates)

    def create(
        self, target: CreateTarget, body: Mapping[str, Any], *, cancel_after_seconds: int | None = None
    ) -> UpstreamPrediction:
        """Starts a prediction; take a place by `wait_before_create` first."""

        def once(budget: Budget) -> UpstreamPrediction:
            return self.client.create(target, body, cancel_after_seconds=cancel_after_seconds, budget=budget)

        try:
            # A throttled create waits in the queue, not in a function that is paid by the second.
            return self._call(once, never=(ThrottledError,))
        except ThrottledError as error:
            self._heed(error)
            raise

    def cancel(self, prediction_id: str) -> UpstreamPrediction:
        return self._read(lambda budget: self.client.cancel(prediction_id, budget=budget))

    def get(self, prediction_id: str) -> UpstreamPrediction:
        return self._read(lambda budget: self.client.get(prediction_id, budget=budget))

    def list(
        self,
        *,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        cursor: str | None = None,
    ) -> PredictionPage:
        return self._read(
            lambda budget: self.client.list(
                created_after=created_after, created_before=created_before, cursor=cursor, budget=budget
            )
        )

    def _read[T](self, once: Callable[[Budget], T]) -> T:
        def in_turn(budget: Budget) -> T:
            wait = _take(self.reads)
            if wait > 0:
                raise NotAcceptedError("our share of Replicate's read limit is used up", retry_after=wait)
            return self.breaker.call(lambda: once(budget))

        return self.retry.call(in_turn)

    def _call[T](self, once: Callable[[Budget], T], *, never: tuple[type[RetryableError], ...]) -> T:
        return self.retry.call(lambda budget: self.breaker.call(lambda: once(budget)), never=never)

    def _heed(self, error: ThrottledError) -> None:
        count(Metric.UPSTREAM_THROTTLED)
        if error.limit_per_minute is None:
            return
        logger.warning("Replicate lowered our rate limit", per_minute=error.limit_per_minute)
        try:
            self.creates.slow_down(error.limit_per_minute, max(error.retry_after, SLOW_SECONDS))
        except RetryableError as failed:
            logger.warning("rate limit not shared", reason=str(failed))


def _take(limiter: RateLimiter) -> float:
    """Replicate's own 429 is the limit that counts; ours only spares it, so it must not stop work when it
    fails.
    """
    try:
        return limiter.take()
    except RetryableError as error:
        logger.warning("rate limiter not reachable", reason=str(error))
        return 0.0
