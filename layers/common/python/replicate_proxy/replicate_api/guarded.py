"""Replicate behind its guards: breaker, rate limit, retries of what may be retried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.observability import Metric, count
from replicate_proxy.replicate_api.errors import BreakerOpenError, NotAcceptedError, ThrottledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from replicate_proxy.replicate_api.models import CreateTarget, PredictionPage, UpstreamPrediction


# How long a lower limit that Replicate named is kept; it says it anew for as long as it holds.
_SLOW_SECONDS = 120.0
# Reads are paced at tens a second: who is sent away for longer had better let the next pass ask.
_LONGEST_WAIT = 2.0


class Client(Protocol):
    """`replicate_api.client.ReplicateClient`, as far as jobs need it."""

    def create(
        self, target: CreateTarget, body: dict[str, Any], *, cancel_after_seconds: int | None
    ) -> UpstreamPrediction: ...

    def get(self, prediction_id: str) -> UpstreamPrediction: ...

    def cancel(self, prediction_id: str) -> UpstreamPrediction: ...

    def list(
        self, *, created_after: datetime | None, created_before: datetime | None, cursor: str | None
    ) -> PredictionPage: ...


class Breaker(Protocol):
    """Opens when Replicate keeps failing, for all functions at once."""

    def before(self) -> None:
        """Raises BreakerOpenError while calls would not be made."""
        ...

    def call[T](self, function: Callable[[], T]) -> T: ...


class RateLimit(Protocol):
    """A token bucket shared by all functions."""

    def take(self) -> float:
        """0 where a place was taken, else the seconds until there may be one."""
        ...

    def slow_down(self, limit_per_minute: int, *, for_seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class GuardedPredictions:
    """Creates and cancels, for the dispatcher."""

    client: Client
    breaker: Breaker
    rate: RateLimit

    def wait_before_create(self) -> float:
        """Seconds to wait before a create may be sent, by breaker and rate limit; 0 takes a place."""
        try:
            self.breaker.before()
        except BreakerOpenError as error:
            return error.retry_after or 1.0
        return self.rate.take()

    def create(
        self, target: CreateTarget, body: dict[str, Any], *, cancel_after_seconds: int | None
    ) -> UpstreamPrediction:
        try:
            return self.breaker.call(
                lambda: self.client.create(target, body, cancel_after_seconds=cancel_after_seconds)
            )
        except ThrottledError as error:
            count(Metric.UPSTREAM_THROTTLED)
            if error.limit_per_minute is not None:
                self.rate.slow_down(error.limit_per_minute, for_seconds=_SLOW_SECONDS)
            raise

    def cancel(self, prediction_id: str) -> UpstreamPrediction:
        return self.breaker.call(lambda: self.client.cancel(prediction_id))


@dataclass(frozen=True, slots=True)
class GuardedReads:
    """The sweep's reads: they respect the breaker and wait for their share of Replicate's rate limit."""

    client: Client
    breaker: Breaker
    rate: RateLimit
    sleep: Callable[[float], None]

    def get(self, prediction_id: str) -> UpstreamPrediction:
        self._wait()
        return self.breaker.call(lambda: self.client.get(prediction_id))

    def list(
        self, *, created_after: datetime | None, created_before: datetime | None, cursor: str | None
    ) -> PredictionPage:
        self._wait()
        return self.breaker.call(
            lambda: self.client.list(
                created_after=created_after, created_before=created_before, cursor=cursor
            )
        )

    def _wait(self) -> None:
        """Raises NotAcceptedError where the share is used up for longer than a look may take."""
        seconds = self.rate.take()
        if seconds > _LONGEST_WAIT:
            raise NotAcceptedError("our share of Replicate's read limit is used up", retry_after=seconds)
        self.sleep(seconds)
