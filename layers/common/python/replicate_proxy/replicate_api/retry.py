"""One span of time shared by everything an invocation does upstream.

Trying again within one invocation, for calls where that cannot cost money twice.

The client with another try where that is safe, all within one budget of time.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import backoff

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.replicate_api.errors import BreakerOpenError, ThrottledError, TokenRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from datetime import datetime

    from replicate_proxy.replicate_api.client import ReplicateClient
    from replicate_proxy.replicate_api.models import CreateTarget, UpstreamPrediction, UpstreamPredictionPage
    from replicate_proxy.replicate_api.response import UpstreamResponse


class Budget:
    """Counts down from `seconds`; hand the same one to every call of an invocation."""

    def __init__(self, seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ends = monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._ends - self._monotonic())


_shared: ContextVar[Budget | None] = ContextVar("budget", default=None)

_POINTLESS = (BreakerOpenError, TokenRejectedError)
"""Passing failures that do not pass within seconds."""


@contextmanager
def retry_budget(seconds: float) -> Iterator[Budget]:
    """One budget for everything that is retried inside, however many calls that are."""
    budget = Budget(seconds)
    token = _shared.set(budget)
    try:
        yield budget
    finally:
        _shared.reset(token)


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `tries` calls; waits grow from `base` to `cap` seconds with full jitter, never below
    `retry_after`.

    All waiting and calling shares the budget of the surrounding `invocation`, or `seconds` where there is
    none. A wait that would use the budget up is not begun: the error goes to the caller, who has a queue to
    park in.
    """

    max_attempts: int = 4
    base_delay_seconds: float = 0.2
    max_delay_seconds: float = 4.0
    budget_seconds: float = 20.0

    def call[T](
        self, function: Callable[[Budget], T], *, no_retry_on: tuple[type[RetryableError], ...] = ()
    ) -> T:
        """What `function` gives, called again on each RetryableError but those of `never`."""
        budget = _shared.get() or Budget(self.budget_seconds)
        retrying = backoff.on_exception(
            cast("Callable[[], Generator[float]]", lambda: self._waits(budget)),
            RetryableError,
            max_tries=self.max_attempts,
            giveup=lambda error: isinstance(error, (*_POINTLESS, *no_retry_on)),
            jitter=None,
            logger=None,
        )
        return retrying(function)(budget)

    def _waits(self, budget: Budget) -> Generator[float, RetryableError]:
        """backoff sends in each error and sleeps for what comes out; when this ends, it raises the error."""
        growing = backoff.expo(base=2, factor=self.base_delay_seconds, max_value=self.max_delay_seconds)
        growing.send(None)
        error = yield 0.0
        while True:
            wait = max(backoff.full_jitter(next(growing)), error.retry_after or 0.0)
            if wait >= budget.remaining():
                return
            logger.info("trying again", reason=type(error).__name__, seconds=round(wait, 2))
            error = yield wait


@dataclass(frozen=True, slots=True)
class RetryingClient:
    """Offers what `ReplicateClient` offers, with the same errors, once the tries or the time are used up."""

    client: ReplicateClient
    retry: Retry

    def create(
        self, target: CreateTarget, body: Mapping[str, Any], *, cancel_after_seconds: int | None = None
    ) -> UpstreamPrediction:
        """Sent again only where it certainly was not accepted, for an unknown outcome is no RetryableError.

        A throttled create is not tried again here: it waits better in a queue than in a running function.
        """
        return self.retry.call(
            lambda budget: self.client.create(
                target, body, cancel_after_seconds=cancel_after_seconds, budget=budget
            ),
            no_retry_on=(ThrottledError,),
        )

    def get(self, prediction_id: str) -> UpstreamPrediction:
        return self.retry.call(lambda budget: self.client.get(prediction_id, budget=budget))

    def cancel(self, prediction_id: str) -> UpstreamPrediction:
        return self.retry.call(lambda budget: self.client.cancel(prediction_id, budget=budget))

    def list(
        self,
        *,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        cursor: str | None = None,
    ) -> UpstreamPredictionPage:
        return self.retry.call(
            lambda budget: self.client.list(
                created_after=created_after, created_before=created_before, cursor=cursor, budget=budget
            )
        )

    def get_webhook_secret(self) -> str:
        return self.retry.call(lambda budget: self.client.get_webhook_secret(budget=budget))

    def read(self, path: str, query: Mapping[str, str] | None = None) -> UpstreamResponse:
        return self.retry.call(lambda budget: self.client.read(path, query, budget=budget))
